package declared

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"orchestrator/backend"
	"orchestrator/backend/storetest"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

func TestARequestIsKnownToAllUntilItIsWithdrawnOrOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &storetest.Memory{}
		daemon := func(id string) *Declarations {
			ds, err := Open(t.Context(), store, backend.NewClock(time.Now), id)
			if err != nil {
				t.Fatal(err)
			}
			return ds
		}
		one, other := daemon("d1"), daemon("d2")
		ask := plan.Request{ID: "r1", Kind: plan.Recover, Server: topology.Key{Host: "db1", Port: 3306}, By: "ann",
			Reason: "it is dead"}
		if _, err := one.AddRequest(t.Context(), "db1:3306", ask); err != nil {
			t.Fatal(err)
		}
		again := ask
		again.ID = "r2"
		if _, err := one.AddRequest(t.Context(), "db9:3306", again); err != nil {
			t.Fatal(err)
		}
		before := other.Edition()
		if err := other.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := other.Planned("db1:3306"); len(got) != 1 || got[0].By != "ann" || got[0].At.IsZero() ||
			other.Edition() == before {
			t.Errorf("the other daemon knows %+v, edition %d", got, other.Edition())
		}
		if err := other.WithdrawRequest(t.Context(), "r1"); err != nil || len(other.Requests("")) != 1 {
			t.Errorf("%v; withdrawn, and there are %+v", err, other.Requests(""))
		}
		edition := other.Edition()
		time.Sleep(RequestTime)
		if got := other.Requests(""); len(got) != 0 || other.Edition() == edition {
			t.Errorf("after %v there are %+v, edition %d", RequestTime, got, other.Edition())
		}
	})
}

// A request of a clock that was set back since is not carried out years later. One of a daemon whose clock is ahead is.
func TestARequestOfAClockThatWasAhead(t *testing.T) {
	for ahead, stands := range map[time.Duration]bool{-2 * time.Hour: false, 0: true, 24 * time.Hour: true,
		10 * 365 * 24 * time.Hour: false} {
		store := &storetest.Memory{}
		r, err := backend.Encode(RequestKind, "r1", Request{Request: plan.Request{ID: "r1"}, Cluster: "db1:3306",
			Until: time.Now().Add(ahead + RequestTime)})
		if err != nil {
			t.Fatal(err)
		}
		r.Version, r.Writer = time.Now().UnixMicro(), "d1"
		if err := store.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		ds, err := Open(t.Context(), store, backend.NewClock(time.Now), "d2")
		if err != nil {
			t.Fatal(err)
		}
		if got := ds.Planned("db1:3306"); (len(got) == 1) != stands {
			t.Errorf("%v ahead: %+v", ahead, got)
		}
	}
}

func TestARequestIsSigned(t *testing.T) {
	ds, err := Open(t.Context(), &storetest.Memory{}, backend.NewClock(time.Now), "d1")
	if err != nil {
		t.Fatal(err)
	}
	k := topology.Key{Host: "db1", Port: 3306}
	for says, r := range map[string]plan.Request{
		"the reason is missing":                      {ID: "r1", Server: k, By: "ann"},
		"the name of the person who asks is missing": {ID: "r1", Server: k, Reason: "x"},
		"1 to 64 letters":                            {ID: "../x", Server: k, By: "ann", Reason: "x"},
		"is not a server":                            {ID: "r1", By: "ann", Reason: "x"},
	} {
		if _, err := ds.AddRequest(t.Context(), "db1:3306", r); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v, want %q", r, err, says)
		}
	}
}
