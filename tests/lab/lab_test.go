package lab

import (
	"context"
	"testing"
	"time"

	"orchestrator/daemon/topology"
)

func TestServersLiveDieAndReturn(t *testing.T) {
	Flavors(t, func(t *testing.T, l *Lab, f topology.Flavor) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		begun := time.Now()
		primary, replicas := l.TestCluster(t, Spec{Flavor: f}, 2)
		t.Logf("primary and two replicas after %v", time.Since(begun).Round(time.Millisecond))
		tmpdirs := map[string]bool{}
		for _, s := range append(replicas, primary) {
			var dir string
			if err := s.DB().QueryRowContext(ctx, "SELECT @@tmpdir").Scan(&dir); err != nil {
				t.Fatal(err)
			}
			tmpdirs[dir] = true
		}
		if len(tmpdirs) != 3 {
			t.Errorf("each server has its own tmpdir: got %v", tmpdirs)
		}
		if err := primary.Exec(ctx, "INSERT INTO app.written VALUES (1, 1, 'x')"); err != nil {
			t.Fatal(err)
		}
		if err := primary.Kill(); err != nil {
			t.Fatal(err)
		}
		if primary.Pid() != 0 {
			t.Error("the killed primary still has a process")
		}
		begun = time.Now()
		if err := primary.Restart(ctx); err != nil {
			t.Fatal(err)
		}
		t.Logf("restarted after %v", time.Since(begun).Round(time.Millisecond))
		if on, err := primary.ReadOnly(ctx); err != nil || !on {
			t.Errorf("a restarted server is read-only: got %v, %v", on, err)
		}
		if err := AwaitReplication(ctx, primary, replicas...); err != nil {
			t.Error(err)
		}
	})
}
