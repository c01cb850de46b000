package hostile_test

import (
	"database/sql"
	"fmt"
	"testing"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// A session without any privilege that takes the daemons' locks on every server stops no failover.
func TestStrangersTakeTheLocks(t *testing.T) {
	t.Parallel() // else its parts would begin before TestUndisturbed
	flavors := []topology.Flavor{lab.MariaDB}
	if whole {
		flavors = append(flavors, lab.MySQL)
	}
	for _, flavor := range flavors {
		t.Run(string(flavor), func(t *testing.T) {
			r := begin(t)
			r.flavor = flavor
			f := r.failsOver(func(f *watched.Fleet) {
				for _, s := range append(f.Replicas, f.Primary) {
					takeLocks(f, s)
				}
			})
			f.Await("it is reported", func() bool { return f.Found(analysis.StrangeLock, "which is no daemon's") })
		})
	}
}

func takeLocks(f *watched.Fleet, s *lab.Server) {
	app, err := sql.Open("mysql", s.DSN(lab.AppUser, lab.AppPassword))
	f.Must(err)
	f.Cleanup(func() { app.Close() })
	names := []string{"orchestrator", "orchestrator.term"}
	for n := range 63 {
		names = append(names, fmt.Sprintf("orchestrator.term.%d", n))
	}
	c, err := app.Conn(f.Ctx)
	f.Must(err)
	for _, name := range names {
		_, err := c.ExecContext(f.Ctx, "DO GET_LOCK('"+name+"', 1)")
		f.Must(err)
	}
	waiter, err := app.Conn(f.Ctx) // it would have the lock next
	f.Must(err)
	go func() { _, _ = waiter.ExecContext(f.Ctx, "DO GET_LOCK('orchestrator', 60)") }()
}
