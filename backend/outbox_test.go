package backend_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"orchestrator/backend"
	"orchestrator/backend/storetest"
)

// picky is a store that refuses some keys, as a server does whose limits are tighter, or everything.
type picky struct {
	storetest.Memory

	mu      sync.Mutex
	refuses []string // keys
	down    error
	puts    int
}

func (p *picky) Put(ctx context.Context, records ...backend.Record) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.puts++
	if p.down != nil {
		return p.down
	}
	for _, r := range records {
		if slices.Contains(p.refuses, r.Key) {
			return errors.New("Error 1153: Got a packet bigger than max_allowed_packet")
		}
	}
	return p.Memory.Put(ctx, records...)
}

func facts(count int) (out []backend.Record) {
	for i := range count {
		out = append(out, backend.Record{Kind: "instance", Key: fmt.Sprintf("db%03d", i), Version: 1, Writer: "w"})
	}
	return out
}

func stored(t *testing.T, s backend.Store) int {
	t.Helper()
	all, err := s.Everything(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// One record that is refused, wherever it stands, does not keep the others out, and is named.
func TestRecordsFailOneByOne(t *testing.T) {
	for _, at := range []int{0, 1, 57, 98, 99} {
		records := facts(100)
		s := &picky{refuses: []string{records[at].Key}}
		err := backend.PutEach(t.Context(), s, records...)
		var refused backend.Refusals
		if !errors.As(err, &refused) || len(refused) != 1 || !strings.Contains(err.Error(), records[at].Key) {
			t.Errorf("the error does not name %s alone: %v", records[at].Key, err)
		}
		if n := stored(t, s); n != 99 {
			t.Errorf("with a bad record at %d, %d of 99 are stored", at, n)
		}
	}
	records := facts(3)
	records[1].Key = "a\x00b"
	s := &picky{}
	if err := backend.PutEach(t.Context(), s, records...); err == nil || stored(t, s) != 2 || s.puts != 1 {
		t.Errorf("a record that no store takes: %v, %d stored by %d statements", err, stored(t, s), s.puts)
	}
}

func TestAStoreThatTakesNothingIsNotAskedForEachRecord(t *testing.T) {
	for _, down := range []error{fmt.Errorf("%w: connection refused", backend.ErrUnavailable), errors.New("strange")} {
		s := &picky{down: down}
		err := backend.PutEach(t.Context(), s, facts(1000)...)
		var refused backend.Refusals
		if !errors.As(err, &refused) || len(refused) != 1000 || !errors.Is(err, down) || s.puts > 25 {
			t.Errorf("%v: %d refused by %d statements", err, len(refused), s.puts)
		}
	}
}

// What could not be stored is stored when the store is back, in its newest version, without anybody's doing.
func TestWhatIsDirtyStaysSoUntilItIsStored(t *testing.T) {
	now := time.Unix(1e9, 0)
	s := &picky{down: fmt.Errorf("%w: database is locked", backend.ErrUnavailable)}
	o := backend.NewOutbox(s, func() time.Time { return now })
	records := facts(50)
	if err := o.Put(t.Context(), records...); !errors.Is(err, backend.ErrUnavailable) {
		t.Fatalf("Put = %v", err)
	}
	newer := records[7]
	newer.Version = 2
	if err := o.Put(t.Context(), newer); err == nil {
		t.Fatal("Put says that it has stored")
	}
	if seen, err := o.List(t.Context(), "instance"); err != nil || len(seen) != 50 || seen[7].Version != 2 {
		t.Errorf("what waits is not seen: %d records, %v", len(seen), err)
	}
	if since, why := o.Down(); !since.Equal(now) || !strings.Contains(why, "database is locked") {
		t.Errorf("down since %v: %s", since, why)
	}
	now = now.Add(18 * time.Second)
	if err := o.Flush(t.Context()); err == nil {
		t.Error("Flush says that it has stored")
	}
	puts := s.puts
	if err := o.Flush(t.Context()); err != nil || s.puts != puts {
		t.Errorf("a store that is down is asked without a pause: %v", err)
	}
	s.down = nil
	now = now.Add(time.Minute)
	if err := o.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := s.Get(t.Context(), "instance", records[7].Key)
	if n := stored(t, s); n != 50 || o.Waits() != 0 || err != nil || r.Version != 2 {
		t.Errorf("%d of 50 are stored, %d wait, %+v, %v", n, o.Waits(), r, err)
	}
	if _, why := o.Down(); why != "" {
		t.Errorf("still down: %s", why)
	}
}

func TestARefusedRecordIsNamedUntilItIsStored(t *testing.T) {
	s := &picky{refuses: []string{"db003"}}
	now := time.Unix(1e9, 0)
	o := backend.NewOutbox(s, func() time.Time { return now })
	if err := o.Put(t.Context(), facts(9)...); err == nil {
		t.Fatal("Put says nothing")
	}
	if says := o.Refused(); len(says) != 1 || !strings.Contains(says[0], "db003") {
		t.Errorf("refused: %v", says)
	}
	if _, why := o.Down(); why != "" || stored(t, s) != 8 {
		t.Errorf("the store counts as down: %s", why)
	}
	s.refuses = nil
	now = now.Add(time.Minute)
	if err := o.Flush(t.Context()); err != nil || len(o.Refused()) > 0 || o.Waits() > 0 {
		t.Errorf("Flush = %v, refused %v", err, o.Refused())
	}
}
