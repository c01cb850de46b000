package hard

import (
	"context"
	"fmt"
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
	first(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
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

// Of two replicas with one server_id, MySQL lists the one that registered last. Where that is the known one, the other
// shows only by the thread that serves it: a reader that nobody knows. Where it is the other, both are known, and the
// double id is found.
func TestAReplicaThatItsSourceDoesNotList(t *testing.T) {
	for _, c := range []struct {
		name  string
		twin  bool // it registers last
		found analysis.Code
	}{{"the known one is listed", false, analysis.UnknownReader}, {"the other", true, analysis.DuplicateServerID}} {
		t.Run(c.name, func(t *testing.T) {
			only(t, lab.MySQL, func(t *testing.T, l *lab.Lab) {
				f := watched.Servers(t, l, lab.Spec{Flavor: lab.MySQL}, 1)
				known := f.Replicas[0]
				twin, err := l.Start(f.Ctx, lab.Spec{Flavor: lab.MySQL, ServerID: known.ServerID})
				f.Must(err)
				f.Must(l.ReplicateFrom(f.Ctx, twin, f.Primary))
				last := map[bool]*lab.Server{false: known, true: twin}[c.twin]
				f.Must(last.Exec(f.Ctx, "STOP REPLICA IO_THREAD", "START REPLICA IO_THREAD"))
				f.Await("the source lists the last one", func() bool {
					row, err := f.Primary.Row(f.Ctx, "SHOW REPLICAS")
					return err == nil && row["Host"] == last.Key.Host
				})
				f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy, Seeds: keysOf(f.Primary, known)})
				f.Await("it is found", func() bool { return f.Found(c.found, "") })
				other := map[analysis.Code]analysis.Code{analysis.UnknownReader: analysis.DuplicateServerID,
					analysis.DuplicateServerID: analysis.UnknownReader}[c.found]
				f.During(2*time.Second, "the other is not", func() bool { return !f.Found(other, "") })
			})
		})
	}
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

// A session holds a lock of the whole server at the primary, and all writers wait. "Nothing is wrong" was said. It is
// named, nobody is promoted beside a primary that lives, and it is over when the lock is.
func TestALockOfTheWholeServerOnThePrimaryIsNamed(t *testing.T) {
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := start(t, l, lab.Spec{Flavor: flavor}, 2)
		held := lock(f, f.Primary, "FLUSH TABLES WITH READ LOCK")
		var waiting sync.WaitGroup
		for i := range 8 {
			waiting.Go(func() {
				if err := f.Primary.Exec(f.Ctx, fmt.Sprintf("CREATE DATABASE waits%d", i)); err != nil {
					t.Error(err)
				}
			})
		}
		f.Within(40*time.Second, "it is named", func() bool { return f.Found(analysis.PrimaryStalled, "lock") })
		f.During(3*time.Second, "nobody is promoted", func() bool { f.NoFailover(); return true })
		_, err := held.ExecContext(f.Ctx, "UNLOCK TABLES")
		f.Must(err)
		waiting.Wait()
		f.Within(30*time.Second, "it is over", func() bool { return !f.Found(analysis.PrimaryStalled, "") })
	})
}
