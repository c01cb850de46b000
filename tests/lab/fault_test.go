package lab

import (
	"context"
	"database/sql"
	"os"
	"testing"
	"time"

	"orchestrator/daemon/topology"
)

// answers says whether the server answers a client of the network.
func answers(ctx context.Context, t *testing.T, s *Server) bool {
	t.Helper()
	db, err := sql.Open("mysql", s.DSN(AppUser, AppPassword))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return db.PingContext(ctx) == nil
}

func TestCutAndHungServersAreSilent(t *testing.T) {
	FlavorsIf(t, os.Getenv("ORCHESTRATOR_HARD") == "all", func(t *testing.T, l *Lab, f topology.Flavor) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		primary, replicas := l.TestCluster(t, Spec{Flavor: f}, 2)
		w := Write(ctx, 1, append(replicas, primary)...)
		defer w.Stop()
		if err := w.AwaitRows(ctx, 50); err != nil {
			t.Fatal(err)
		}

		// A cut replica hears nothing more of its source, but we may ask it.
		if err := l.Cut(replicas[0]); err != nil {
			t.Fatal(err)
		}
		if answers(ctx, t, replicas[0]) {
			t.Error("a cut server answers")
		}
		had := count(ctx, t, replicas[0])
		if err := w.AwaitRows(ctx, 50); err != nil {
			t.Fatal(err)
		}
		if has := count(ctx, t, replicas[0]); has != had {
			t.Errorf("a cut replica went from %d to %d rows", had, has)
		}
		if err := l.Heal(); err != nil {
			t.Fatal(err)
		}
		if !answers(ctx, t, replicas[0]) {
			t.Error("a healed server doesn't answer")
		}

		// A cut primary takes no more rows; another that is opened does, and the writer finds it.
		begun := time.Now()
		if err := l.Cut(primary); err != nil {
			t.Fatal(err)
		}
		if err := replicas[1].SetReadOnly(ctx, false); err != nil {
			t.Fatal(err)
		}
		if err := w.AwaitAnother(ctx, primary); err != nil {
			t.Fatal(err)
		}
		if g := w.Outage(begun); g.Before != primary || g.After != replicas[1] || g.Length() < writeWithin/2 ||
			g.Length() > 5*writeWithin {
			t.Errorf("outage %v from %v to %v", g.Length(), g.Before.Key, g.After.Key)
		}
		if on, err := primary.ReadOnly(ctx); err != nil || on {
			t.Errorf("the cut primary says read-only %v, %v", on, err)
		}

		if err := replicas[1].Hang(); err != nil {
			t.Fatal(err)
		}
		if answers(ctx, t, replicas[1]) {
			t.Error("a hung server answers")
		}
		if err := replicas[1].Continue(); err != nil {
			t.Fatal(err)
		}
		if !answers(ctx, t, replicas[1]) {
			t.Error("a server that was continued doesn't answer")
		}
		w.Stop()
		if lost, err := w.Lost(ctx, primary); err != nil || len(lost) == 0 {
			t.Errorf("the old primary should lack what was written elsewhere: lost %d, %v", len(lost), err)
		}
	})
}

func count(ctx context.Context, t *testing.T, s *Server) (n int) {
	t.Helper()
	if err := s.DB().QueryRowContext(ctx, "SELECT COUNT(*) FROM app.written").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSemisyncWaitsForAReplica(t *testing.T) {
	FlavorsIf(t, os.Getenv("ORCHESTRATOR_HARD") == "all", func(t *testing.T, l *Lab, f topology.Flavor) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		primary, replicas := l.TestCluster(t, Spec{Flavor: f, Semisync: true}, 1)
		w := Write(ctx, 1, primary)
		defer w.Stop()
		if err := w.AwaitRows(ctx, 20); err != nil {
			t.Fatal(err)
		}
		if err := replicas[0].Hang(); err != nil {
			t.Fatal(err)
		}
		short, end := context.WithTimeout(ctx, 3*time.Second)
		defer end()
		if err := w.AwaitRows(short, 20); err == nil {
			t.Error("rows were acknowledged without the replica")
		}
	})
}
