package mysql_test

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// Where the directory for temporary tables is full, MariaDB answers no question with information_schema.PROCESSLIST.
// It is polled all the same, its readers are counted, a stall is seen, and it can be fenced, clients included.
func TestAFullDirectoryForTemporaryTables(t *testing.T) {
	lab.FlavorsIf(t, false, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		disk := l.NewSmallDisk(t, flavor)
		primary, _ := l.TestCluster(t, lab.Spec{Flavor: flavor, ExtraArgs: []string{"--tmpdir=" + disk.Inside}}, 0)
		replicas, err := l.Replicas(t.Context(), primary, 1, lab.Spec{})
		if err != nil {
			t.Fatal(err)
		}
		if err := disk.Fill(); err != nil {
			t.Fatal(err)
		}
		const threads = "SELECT ID FROM information_schema.PROCESSLIST"
		if err := primary.Exec(t.Context(), threads); err == nil || !strings.Contains(err.Error(), "1021") {
			t.Fatalf("the directory is full, and it answers %q: %v", threads, err)
		}
		s := open(t)
		p := probe(t, s, primary.Key)
		if len(p.Registered) != 1 || p.Registered[0] != replicas[0].Key {
			t.Errorf("registered: %v, want %v", p.Registered, replicas[0].Key)
		}

		clients, err := sql.Open("mysql", primary.DSN(lab.AppUser, lab.AppPassword))
		if err != nil {
			t.Fatal(err)
		}
		defer clients.Close()
		client, err := clients.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		holder, err := primary.DB().Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer holder.Close()
		if _, err := holder.ExecContext(t.Context(), "FLUSH TABLES WITH READ LOCK"); err != nil {
			t.Fatal(err)
		}
		commit := make(chan error, 1)
		go func() {
			_, err := client.ExecContext(t.Context(), "INSERT INTO app.written VALUES (1, 1, '')")
			commit <- err
		}()
		deadline := time.Now().Add(time.Minute)
		for p.Stalled == nil && time.Now().Before(deadline) {
			time.Sleep(500 * time.Millisecond)
			p = probe(t, s, primary.Key)
		}
		if p.Stalled == nil || p.Stalled.Cause != "lock" || p.Readers != 1 {
			t.Errorf("stalled: %+v, readers: %d; want a lock, and one", p.Stalled, p.Readers)
		}
		if _, err := holder.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
			t.Fatal(err)
		}
		if err := <-commit; err != nil {
			t.Error(err)
		}
		step := plan.Step{Kind: plan.Fence, At: primary.Key, Expect: plan.Expect{UUID: p.UUID}}
		if err := s.Do(t.Context(), step); err != nil {
			t.Error(err)
		}
		if err := client.PingContext(t.Context()); err == nil {
			t.Error("a client is still there after the fence")
		}
	})
}
