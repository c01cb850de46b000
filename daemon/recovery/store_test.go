package recovery

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"orchestrator/backend"
	"orchestrator/backend/storetest"
	"orchestrator/daemon/plan"
)

// slow is a store on a disk that takes its time, and counts what it was asked to do.
type slow struct {
	storetest.Memory
	puts atomic.Int32
}

func (s *slow) Put(ctx context.Context, records ...backend.Record) error {
	s.puts.Add(1)
	time.Sleep(50 * time.Millisecond)
	return s.Memory.Put(ctx, records...)
}

func TestEpisodesThatWaitAreStoredTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slow{}
		r := runner(t, draw(dead), store)
		for i := range 200 {
			e := plan.Episode{ID: fmt.Sprint("e", i), Kind: plan.PrimaryFailover, Cluster: fmt.Sprint("c", i)}
			if i == 100 {
				e.Why = string(make([]byte, backend.MaxDocument)) // nobody else may suffer for it
			}
			go r.record(t.Context(), plan.Decision{Works: []plan.Work{{Episode: &e}}})
		}
		synctest.Wait()
		began := time.Now()
		r.writes.Wait()
		records, err := store.List(t.Context(), EpisodeKind)
		if err != nil || len(records) != 199 {
			t.Errorf("%d are stored, %v", len(records), err)
		}
		if took := time.Since(began); took > 100*time.Millisecond || store.puts.Load() > 2 {
			t.Errorf("%d transactions, %s", store.puts.Load(), took)
		}
	})
}
