package recovery

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/daemon/plan"
)

// shown are the series whose names begin so, without that beginning.
func shown(t *testing.T, r *Runner, beginning string) []string {
	t.Helper()
	families, err := r.Registerer.(*prometheus.Registry).Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range families {
		name, ok := strings.CutPrefix(f.GetName(), beginning)
		if !ok {
			continue
		}
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetValue())
			}
			out = append(out, fmt.Sprintf("%s %s = %v", name, strings.Join(labels, " "),
				m.GetGauge().GetValue()+m.GetCounter().GetValue()))
		}
	}
	return out
}

// lead lets the runner work while do looks.
func lead(t *testing.T, r *Runner, do func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	do()
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// await waits until all of these are shown.
func await(t *testing.T, r *Runner, beginning string, want ...string) {
	t.Helper()
	var got []string
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		got = shown(t, r, beginning)
		if !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(got, w) }) {
			return
		}
	}
	t.Errorf("shown are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
}

func TestOnlyTheLeaderShowsClusters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runner(t, draw(`
db1
  db2 lag=3
  db3 down`), open(t))
		if got := shown(t, r, "orchestrator_cluster"); len(got) > 0 {
			t.Errorf("before it leads: %q", got)
		}
		lead(t, r, func() {
			await(t, r, "orchestrator_cluster_",
				"info  db1:3306 db1:3306 = 1", "servers db1:3306 up = 2", "servers db1:3306 failing = 1",
				"servers db1:3306 unknown = 0",
				"findings db1:3306 ReplicaDead false = 1", "recovery_enabled db1:3306 = 1",
				"failover_ready db1:3306 = 1", "recovery_open db1:3306 = 0",
				"recovery_refused db1:3306 = 0", "recovery_closed_timestamp_seconds db1:3306 recovered = 0",
				"step_failures_total db1:3306 = 0")
			await(t, r, "orchestrator_server_", "up db1:3306 db1:3306 = 1", "up db1:3306 db3:3306 = 0",
				"writable db1:3306 db1:3306 = 1",
				"writable db1:3306 db2:3306 = 0", "lag_seconds db1:3306 db2:3306 = 3")
		})
		if got := slices.Concat(shown(t, r, "orchestrator_cluster"), shown(t, r, "orchestrator_server")); len(got) > 0 {
			t.Errorf("after it has lost the lead: %q", got)
		}
	})
}

// An emptied intermediate is not shown as the primary, although its replicas are more.
func TestThePrimaryByRightIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runner(t, draw(`
db1 of=c exec=db1:1-100
db2 of=c exec=none
  db3 exec=db1:1-90
  db4 exec=db1:1-90`), open(t))
		lead(t, r, func() { await(t, r, "orchestrator_cluster_", "info  c db1:3306 = 1", "failover_ready c = 0") })
	})
}

func TestAFailoverIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := draw(dead)
		p.broken[plan.Promote] = 2
		r := runner(t, p, open(t))
		lead(t, r, func() {
			await(t, r, "orchestrator_cluster_", "step_failures_total db1:3306 = 2", "recovery_open db1:3306 = 0",
				"recovery_closed_timestamp_seconds db1:3306 withdrawn = 0")
			await(t, r, "orchestrator_recovery_", "episodes_total primary_failover recovered = 1",
				"promotions_total  = 1", "steps_total promote failed = 2",
				"steps_total repoint ok = 2") // the one that failed is passed over, and gives what it has
		})
	})
}

func TestARefusalIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runner(t, draw(dead), open(t))
		r.Off = func() string { return "it was switched off" }
		lead(t, r, func() {
			await(t, r, "orchestrator_cluster_", "recovery_refused db1:3306 = 1", "recovery_enabled db1:3306 = 0",
				"failover_ready db1:3306 = 0", "recovery_open db1:3306 = 0")
		})
	})
}
