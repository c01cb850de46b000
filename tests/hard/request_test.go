package hard

import (
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/api"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// The server that an operator named hangs before it is opened. Once the request is withdrawn nobody is promoted, for
// nobody asks for that any more; another request may name another server.
func TestTheNamedCandidateHangs(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := watched.StartAs(t, l, lab.Spec{Flavor: flavor}, 2,
			lab.DaemonSpec{Binary: binary, Config: "[[policy]]\nclusters = [\"*\"]\n"})
		commits(f, f.Primary, 1)
		for _, r := range f.Replicas {
			caughtUp(f, r)
		}
		f.Must(f.Primary.Kill())
		blocked := func(why string) {
			f.Helper()
			f.Within(20*time.Second, "it is blocked: "+why, func() bool {
				es, err := f.API.Episodes(f.Ctx, "", "true")
				return err == nil && len(es) == 1 && strings.Contains(es[0].Blocked, why)
			})
		}
		blocked("recover_primary is false")
		cluster, first := f.Primary.Key.String(), f.Replicas[0]
		f.Must(first.Hang())
		please := api.RecoverRequest{By: "ann", Reason: "it is dead", Candidate: first.Key}
		asked, err := f.API.Recover(f.Ctx, cluster, please)
		f.Must(err)
		blocked("ann named " + first.Key.String() + " to be promoted, and it can't be: out of reach")
		please.Candidate = f.Replicas[1].Key
		if _, err := f.API.Recover(f.Ctx, cluster, please); err == nil ||
			!strings.Contains(err.Error(), "withdraw "+asked.Request.ID) {
			t.Errorf("a second request: %v", err)
		}
		f.Must(f.API.Withdraw(f.Ctx, asked.Request.ID))
		blocked("recover_primary is false")
		f.During(2*time.Second, "nobody is promoted", func() bool { return f.ReadOnly(f.Replicas[1]) })
		_, err = f.API.Recover(f.Ctx, cluster, please)
		f.Must(err)
		if _, primary := f.Promoted(); primary != f.Replicas[1] {
			t.Errorf("%v was promoted", primary.Key)
		}
	})
}

// Nothing was ever written, and the second primary dies before its replicas have begun to read from it.
func TestTwoDeathsInAnEmptyCluster(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 3)
		f.Must(f.Primary.Kill())
		writable := func() (found *lab.Server) {
			f.Helper()
			f.Within(20*time.Second, "one takes writes", func() bool {
				for _, r := range f.Replicas {
					if ro, err := r.ReadOnly(f.Ctx); err == nil && !ro {
						found = r
					}
				}
				return found != nil
			})
			return found
		}
		second := writable()
		f.Must(second.Kill())
		f.Settled(writable(), second)
	})
}
