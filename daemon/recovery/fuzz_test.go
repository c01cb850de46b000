package recovery

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"orchestrator/backend"
	"orchestrator/backend/storetest"
	"orchestrator/daemon/hook"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// FuzzOnRecord has anything on record of recoveries. It is read, and what follows from it is decided, shown and stored
// again.
func FuzzOnRecord(f *testing.F) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	key := func(host string) topology.Key { return topology.Key{Host: host, Port: 3306} }
	for n, v := range []any{
		plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Cluster: "db1:3306", Failed: key("db1"), Opened: at,
			Candidate: key("db2"), Stage: plan.Chosen, Touched: []topology.Key{key("db2"), key("db3")}, DrainSince: at},
		plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Cluster: "db1:3306", Failed: key("db9"),
			Candidate: key("db1"), Stage: plan.Ended, Opened: at, Promoted: at.Add(time.Hour), Closed: at,
			Lost: []plan.Lost{{Key: key("db4"), Why: "x"}}},
		plan.Done{Step: plan.Step{Kind: plan.Promote, At: key("db2")}, Episode: "e", Started: at, Took: time.Second},
		hook.Run{Episode: "e", Started: at},
	} {
		document, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(n), "e", int64(1), string(document))
		f.Add(byte(n+1), "e", int64(1), string(document))
	}
	kinds := []string{EpisodeKind, EpisodeKind, StepKind, HookKind}
	f.Fuzz(func(t *testing.T, kind byte, name string, version int64, document string) {
		synctest.Test(t, func(t *testing.T) {
			r := backend.Record{Kind: kinds[int(kind)%len(kinds)], Key: name, Version: version, Writer: "w",
				Document: []byte(document)}
			store := &storetest.Memory{}
			if err := store.Put(t.Context(), r); err != nil {
				t.Skip() // no store has it
			}
			x := runner(t, draw(dead), store)
			if err := x.Load(t.Context()); err != nil {
				t.Fatal(err)
			}
			x.Mark(topology.Snapshot{})
			for j := range x.All() {
				j.Decision()
				j.Readiness()
			}
			for _, e := range x.Episodes("") {
				_ = x.Acknowledge(t.Context(), e.ID, "ann", "seen", time.Now())
			}
		})
	})
}
