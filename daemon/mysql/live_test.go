package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/mysql"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

func open(t testing.TB) *mysql.Servers {
	s := mysql.New(mysql.Options{User: lab.User, Password: lab.Password, Security: lab.Security(),
		ProbeTimeout: 5 * time.Second, ConnectTimeout: 5 * time.Second})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func probe(t testing.TB, s *mysql.Servers, k topology.Key) topology.Instance {
	t.Helper()
	i, failure, err := s.Probe(t.Context(), k)
	if err != nil {
		t.Fatalf("probe: %v (%s)", err, failure)
	}
	return i
}

func do(t *testing.T, s *mysql.Servers, step plan.Step) {
	t.Helper()
	for _, turn := range []string{"first", "second"} { // idempotent
		start := time.Now()
		if err := s.Do(t.Context(), step); err != nil {
			t.Fatalf("%s time: %v", turn, err)
		}
		t.Logf("%s, %s time: %v", step.Kind, turn, time.Since(start).Round(time.Millisecond))
	}
}

// until asks until a server is as it should be.
func until(t *testing.T, s *mysql.Servers, k topology.Key, claim string,
	good func(topology.Instance) bool) topology.Instance {
	t.Helper()
	var i topology.Instance
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if i = probe(t, s, k); good(i) {
			return i
		}
	}
	t.Fatalf("%v: not so: %s; it says %+v", k, claim, i)
	return i
}

func write(t *testing.T, s *lab.Server, id string) {
	t.Helper()
	if err := s.Exec(t.Context(), "INSERT INTO app.written VALUES ("+id+", 1, '')"); err != nil {
		t.Fatal(err)
	}
}

func flows(i topology.Instance) bool {
	return len(i.Channels) == 1 && i.Channels[0].IO == topology.Running && i.Channels[0].SQL == topology.Running
}

func TestRealServers(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		primary, replicas := l.TestCluster(t, lab.Spec{Flavor: f}, 2)
		a, b := replicas[0], replicas[1]
		s := open(t)

		if missing, err := s.CheckGrants(t.Context(), a.Key); err != nil || len(missing) > 0 {
			t.Errorf("grants: %v %v", missing, err)
		}
		p := probe(t, s, primary.Key)
		if p.Flavor != f || p.ReadOnly || !p.LogBin || !p.LogReplicaUpdates || !p.GTID || p.UUID == "" ||
			len(p.Channels) != 0 || p.Port != primary.Key.Port ||
			time.Since(p.StartedAt) > 5*time.Minute {
			t.Errorf("the primary says %+v", p)
		}
		if len(p.Registered) != 2 || p.Registered[0] != a.Key && p.Registered[0] != b.Key {
			t.Errorf("registered: %v, want %v and %v", p.Registered, a.Key, b.Key)
		}
		write(t, primary, "1")
		p = probe(t, s, primary.Key)
		if p.Executed.Empty() {
			t.Error("the primary has executed nothing")
		}
		r := until(t, s, a.Key, "it has what the primary wrote", func(i topology.Instance) bool {
			return flows(i) &&
				i.Executed.Contains(p.Executed)
		})
		c := r.Channels[0]
		if !r.ReadOnly || c.Source != primary.Key || !c.AutoPosition || !c.Received.Contains(p.Executed) ||
			c.User != lab.ReplicationUser || c.Lag == nil || r.UUID == p.UUID {
			t.Errorf("the replica says %+v", r)
		}
		from := plan.Expect{UUID: r.UUID, Source: primary.Key}

		own := plan.Step{Kind: plan.TryWrite, At: a.Key, Table: "app.written"}
		if err, refused := s.Do(t.Context(), own), new(mysql.ErrExpect); !errors.As(err, &refused) {
			t.Errorf("a row of our own at a read-only server: %v", err)
		}

		// Expectations.
		for name, e := range map[string]plan.Expect{
			"another server":        {UUID: p.UUID},
			"another source":        {Source: b.Key},
			"it still receives":     {NotFrom: primary.Key},
			"it has not got so far": {Executed: ahead(t, p)},
		} {
			var refused *mysql.ErrExpect
			if err := s.Do(t.Context(), plan.Step{Kind: plan.Promote, At: a.Key, Expect: e}); !errors.As(err,
				&refused) {
				t.Errorf("%s: %v, want ErrExpect", name, err)
			}
		}

		do(t, s, plan.Step{Kind: plan.RestartReceiver, At: a.Key, Expect: from})
		do(t, s, plan.Step{Kind: plan.StopReceiver, At: a.Key, Expect: from})
		if c := probe(t, s, a.Key).Channels[0]; c.IO != topology.Stopped || c.SQL != topology.Running {
			t.Errorf("stopped receiver: %+v", c)
		}
		do(t, s, plan.Step{Kind: plan.StartReceiver, At: a.Key, Expect: from})
		until(t, s, a.Key, "it replicates again", flows)
		if f == lab.MySQL {
			exec(t, a, "STOP REPLICA SQL_THREAD")
		} else {
			exec(t, a, "STOP SLAVE SQL_THREAD")
		}
		write(t, primary, "2")
		p = probe(t, s, primary.Key)
		until(t, s, a.Key, "it has received and not applied", func(i topology.Instance) bool {
			return i.Channels[0].Received.Contains(p.Executed) && !i.Channels[0].Drained(i.Executed)
		})
		if err := s.Do(t.Context(), plan.Step{Kind: plan.AwaitApplied, At: a.Key, Set: p.Executed}); !errors.Is(err,
			mysql.ErrNotYet) {
			t.Errorf("await with the applier stopped: %v, want ErrNotYet", err)
		}
		if err := s.Do(t.Context(), plan.Step{Kind: plan.RestartReceiver, At: a.Key}); f == lab.MariaDB &&
			!errors.Is(err, mysql.ErrNotYet) {
			t.Errorf("a restart would lose what was received: %v, want ErrNotYet", err)
		}
		do(t, s, plan.Step{Kind: plan.StartApplier, At: a.Key, Expect: from})
		do(t, s, plan.Step{Kind: plan.AwaitApplied, At: a.Key, Set: p.Executed})
		until(t, s, b.Key, "b has it too", func(i topology.Instance) bool { return i.Executed.Contains(p.Executed) })

		// A hung primary: the receivers find out, and nothing waits for it.
		if err := primary.Hang(); err != nil {
			t.Fatal(err)
		}
		do(t, s, plan.Step{Kind: plan.RestartReceiver, At: a.Key, Expect: from})
		short := mysql.New(mysql.Options{User: lab.User, Password: lab.Password, Security: lab.Security(),
			ProbeTimeout: 300 * time.Millisecond})
		defer func() { _ = short.Close() }()
		start := time.Now()
		if _, failure, err := short.Probe(t.Context(), primary.Key); failure != topology.Timeout ||
			time.Since(start) > time.Second {
			t.Errorf("a hung server: %s after %v: %v", failure, time.Since(start), err)
		}
		do(t, s, plan.Step{Kind: plan.StopReceiver, At: a.Key, Expect: from})
		do(t, s, plan.Step{Kind: plan.StopReceiver, At: b.Key, Expect: plan.Expect{Source: primary.Key}})
		do(t, s, plan.Step{Kind: plan.Promote, At: a.Key, Expect: plan.Expect{UUID: r.UUID, Executed: p.Executed,
			NotFrom: primary.Key}})
		if i := probe(t, s, a.Key); i.ReadOnly || len(i.Channels) != 0 {
			t.Errorf("promoted: %+v", i)
		}
		do(t, s, plan.Step{Kind: plan.Repoint, At: b.Key, Source: a.Key, Expect: plan.Expect{Within: p.Executed}})
		until(t, s, b.Key, "it follows the promoted one, with the credentials that it had", flows)
		write(t, a, "3")
		np := probe(t, s, a.Key)
		until(t, s, b.Key, "it gets what the promoted one "+
			"writes", func(i topology.Instance) bool { return i.Executed.Contains(np.Executed) })

		// The old primary returns, with a client that holds the fence up.
		if err := primary.Continue(); err != nil {
			t.Fatal(err)
		}
		app, err := sql.Open("mysql", primary.DSN(lab.AppUser, lab.AppPassword)+"app")
		if err != nil {
			t.Fatal(err)
		}
		defer app.Close()
		holder, err := app.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer holder.Close()
		if _, err := holder.ExecContext(t.Context(), "LOCK TABLES app.written WRITE"); err != nil {
			t.Fatal(err)
		}
		do(t, s, plan.Step{Kind: plan.Fence, At: primary.Key, Expect: plan.Expect{UUID: p.UUID}})
		if i := probe(t, s, primary.Key); !i.ReadOnly || i.SuperReadOnly != (f == lab.MySQL) {
			t.Errorf("fenced: %+v", i)
		}
		if err := s.Do(t.Context(), plan.Step{Kind: plan.Repoint, At: primary.Key, Source: a.Key}); err == nil {
			t.Error("a server that never replicated has no credentials to keep")
		}

		do(t, s, plan.Step{Kind: plan.Detach, At: b.Key, Expect: plan.Expect{Source: a.Key}})
		c = probe(t, s, b.Key).Channels[0]
		if c.Source != a.Key.Detach() || c.IO != topology.Stopped || !c.AutoPosition || c.User != lab.ReplicationUser {
			t.Errorf("detached: %+v", c)
		}
		do(t, s, plan.Step{Kind: plan.Repoint, At: b.Key, Source: a.Key})
		until(t, s, b.Key, "it is attached again", flows)

		// A crash.
		gone := make(chan error, 1)
		go func() { gone <- s.Watch(t.Context(), a.Key) }()
		time.Sleep(300 * time.Millisecond)
		if err := a.Kill(); err != nil {
			t.Fatal(err)
		}
		start = time.Now()
		select {
		case err := <-gone:
			t.Logf("the watch ended %v after the server", time.Since(start).Round(time.Millisecond))
			if err != nil {
				t.Errorf("watch: %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Error("the watch did not notice")
		}
		if _, failure, err := s.Probe(t.Context(), a.Key); failure != topology.Refused {
			t.Errorf("a killed server: %s: %v", failure, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if err := s.Watch(ctx, b.Key); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a watch of a living server: %v", err)
		}
	})
}

func exec(t *testing.T, s *lab.Server, q string) {
	t.Helper()
	if err := s.Exec(t.Context(), q); err != nil {
		t.Fatal(err)
	}
}

func ahead(t *testing.T, i topology.Instance) gtid.Set {
	t.Helper()
	text := i.UUID + ":1-1000000"
	if i.Flavor == topology.MariaDB {
		text = "0-1-1000000"
	}
	s, err := gtid.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
