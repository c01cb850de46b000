package hard

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/api"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// A former primary that comes back is named, with how to rejoin it. Nothing false is found or said around the failover.
func TestAFormerPrimaryIsBackAndIdle(t *testing.T) {
	quick(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 2)
		stop := collect(f, analysis.ReplicaFailingToConnect)
		f.Must(f.Primary.Kill())
		_, primary := f.Promoted()
		f.Settled(primary)
		time.Sleep(1500 * time.Millisecond)
		if found := stop(); len(found) > 0 {
			t.Errorf("found around the failover: %q", found)
		}
		f.Must(f.Primary.Restart(f.Ctx))
		f.Await("it is found, with what to do", func() bool {
			return f.Found(analysis.FormerPrimaryBack, "to rejoin it, have it replicate from "+primary.Key.String())
		})
		if log := f.API.Log(); strings.Contains(log, "started anew") || strings.Contains(log, "so it lives") {
			t.Errorf("the log says that a dead primary lives")
		}
	})
}

// collect takes in what a code says of, until it is stopped.
func collect(f *watched.Fleet, code analysis.Code) (stop func() []string) {
	ctx, cancel := context.WithCancel(f.Ctx)
	var done sync.WaitGroup
	var said []string
	done.Go(func() {
		for ctx.Err() == nil {
			found, _ := f.API.Findings(ctx, "")
			for _, x := range found {
				if x.Code == code && !slices.Contains(said, x.Says) {
					said = append(said, x.Says)
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	return func() []string {
		cancel()
		done.Wait()
		return said
	}
}

// Of two replicas with one server_id, MySQL lists one. The other is seen by the thread that serves it.
func TestAReplicaThatItsSourceDoesNotList(t *testing.T) {
	only(t, lab.MySQL, func(t *testing.T, l *lab.Lab) {
		f := start(t, l, lab.Spec{Flavor: lab.MySQL}, 1)
		twin, err := l.Start(f.Ctx, lab.Spec{Flavor: lab.MySQL, ServerID: f.Replicas[0].ServerID})
		f.Must(err)
		f.Must(l.ReplicateFrom(f.Ctx, twin, f.Primary))
		took := f.Within(20*time.Second, "a reader that nobody knows", func() bool {
			return f.Found(analysis.UnknownReader, "does not know 1 of the readers") ||
				f.Found(analysis.DuplicateServerID, "")
		})
		t.Logf("found after %v", took.Round(time.Millisecond))
	})
}

// Replicas that could not take the primary's place are named while it lives.
func TestReplicasThatCouldNotReplaceThePrimary(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 1)
		odd, err := l.Start(f.Ctx, lab.Spec{Flavor: flavor, ExtraArgs: []string{"--replicate-wild-ignore-table=x.%"}})
		f.Must(err)
		f.Must(l.ReplicateFrom(f.Ctx, odd, f.Primary))
		f.Await("it is named", func() bool {
			return f.Found(analysis.UnfitReplicas, odd.Key.String()+": it filters what it replicates")
		})
	})
}

// A primary whose commits do not wait for acknowledgements as it was set up to is not ready to be replaced.
func TestSemiSyncIsPartOfReadiness(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor, Semisync: true}, 2)
		ready := func() api.Readiness {
			c, err := f.API.Cluster(f.Ctx, f.Primary.Key.String())
			f.Must(err)
			return c.Readiness
		}
		f.Await("it is ready", func() bool { return ready().Ready })
		f.Must(f.Primary.Exec(f.Ctx, "SET GLOBAL "+setting(flavor, "master_timeout", "source_timeout")+" = 500"))
		for _, r := range f.Replicas {
			f.Must(r.Kill())
		}
		commits(f, f.Primary, 1) // after half a second
		f.Await("it is not", func() bool {
			r := ready()
			return !r.Ready && strings.Contains(strings.Join(r.Because, "; "), "semi-sync: ")
		})
	})
}
