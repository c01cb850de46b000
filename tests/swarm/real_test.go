package swarm_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"orchestrator/daemon/mysql"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/swarm"
)

// trio is a primary and two replicas, real or simulated.
type trio struct {
	servers *mysql.Servers
	keys    []topology.Key
	kill    func() error // the primary
}

// role is what a server is called in both.
func (c trio) role(k topology.Key) topology.Key {
	roles := []string{"unknown", "primary", "first", "second"}
	return topology.Key{Host: roles[1+slices.Index(c.keys, k.Attached())], Port: k.Port}
}

// view is what a probe says, without what two servers never have in common: names, moments, coordinates, and numbers of
// transactions.
func (c trio) view(t *testing.T, n int) string {
	t.Helper()
	i, _, err := c.servers.Probe(t.Context(), c.keys[n])
	if err != nil {
		t.Fatal(err)
	}
	executed := i.Executed
	known := struct {
		topology.Instance
		HasUUID, Started, ReportsItself, WrittenIsExecuted bool
		Transactions                                       uint64
		All                                                []map[string]any
	}{HasUUID: i.UUID != "", Started: !i.StartedAt.IsZero(),
		ReportsItself:     topology.Key{Host: i.ReportHost, Port: i.Port} == c.keys[n],
		WrittenIsExecuted: i.BinlogWritten.Equal(executed), Transactions: executed.Count()}
	for _, ch := range i.Channels {
		known.All = append(known.All, map[string]any{"name": ch.Name, "source": c.role(ch.Source), "user": ch.User,
			"has uuid": ch.SourceUUID != "", "has id": ch.SourceID != 0, "io": ch.IO, "sql": ch.SQL,
			"lost": topology.ConnectionError(ch.IOErrno), "explained": ch.IOError != "", "sql errno": ch.SQLErrno,
			"auto": ch.AutoPosition, "received": ch.Received.Count(), "drained": ch.Drained(executed), "lag": ch.Lag,
			"delay": ch.Delay, "filters": ch.Filters, "ssl": ch.SSL})
	}
	for n, k := range i.Registered {
		i.Registered[n] = c.role(k)
	}
	slices.SortFunc(i.Registered, topology.Key.Compare)
	known.Instance = topology.Instance{Flavor: i.Flavor, Port: i.Port, ReadOnly: i.ReadOnly,
		SuperReadOnly: i.SuperReadOnly, LogBin: i.LogBin, LogReplicaUpdates: i.LogReplicaUpdates,
		BinlogFormat: i.BinlogFormat, GTID: i.GTID, SemiSync: i.SemiSync, Registered: i.Registered}
	text, err := json.MarshalIndent(known, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// step does one, and what it says is of one kind in both.
func (c trio) step(t *testing.T, s plan.Step, at int, source int) string {
	t.Helper()
	s.At = c.keys[at]
	if source >= 0 {
		s.Source = c.keys[source]
	}
	switch err := c.servers.Do(t.Context(), s); {
	case errors.Is(err, mysql.ErrNotYet):
		return "not yet"
	case errors.As(err, new(*mysql.ErrExpect)):
		return "another state"
	case err != nil:
		return err.Error()
	}
	return "done"
}

// TestTheSwarmAnswersLikeRealServers goes through a failover by hand, on real servers and on the swarm, and compares
// what the daemon's own probe sees at each stage.
func TestTheSwarmAnswersLikeRealServers(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		open := func() *mysql.Servers {
			s := mysql.New(mysql.Options{User: swarm.User, Password: swarm.Password,
				Security:     lab.Security(),
				ProbeTimeout: 5 * time.Second, ConnectTimeout: 5 * time.Second})
			t.Cleanup(func() { _ = s.Close() })
			return s
		}
		primary, replicas := l.TestCluster(t, lab.Spec{Flavor: f}, 2)
		if err := primary.Exec(t.Context(), "INSERT INTO app.written VALUES (1, 1, '')"); err != nil {
			t.Fatal(err)
		}
		simulated := start(t, swarm.Spec{Clusters: 1, Size: 3, Flavors: []topology.Flavor{f}}).Clusters()[0].Servers
		real := trio{open(), []topology.Key{primary.Key, replicas[0].Key, replicas[1].Key}, primary.Kill}
		sim := trio{open(), []topology.Key{simulated[0].Key, simulated[1].Key, simulated[2].Key},
			func() error { simulated[0].Kill(); return nil }}

		agree := func(stage string, servers ...int) {
			t.Helper()
			for _, n := range servers {
				a, b := "", "-"
				for end := time.Now().Add(8 * time.Second); a != b &&
					time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
					a, b = real.view(t, n), sim.view(t, n)
				}
				if a != b {
					t.Errorf("%s: server %d says %s\nand the simulated one %s", stage, n, a, b)
				}
			}
		}
		both := func(s plan.Step, at, source int) {
			t.Helper()
			if a, b := real.step(t, s, at, source), sim.step(t, s, at, source); a != b {
				t.Errorf("%s: %q, and on the simulated server %q", s.Kind, a, b)
			}
		}
		agree("in the beginning", 0, 1, 2)
		both(plan.Step{Kind: plan.StopReceiver}, 1, -1)
		agree("a receiver is stopped", 0, 1)
		both(plan.Step{Kind: plan.StartReceiver}, 1, -1)
		agree("it runs again", 1)
		both(plan.Step{Kind: plan.Promote, Expect: plan.Expect{UUID: "another"}}, 1, -1)
		if err := errors.Join(real.kill(), sim.kill()); err != nil {
			t.Fatal(err)
		}
		agree("the primary is dead", 1, 2)
		both(plan.Step{Kind: plan.StopReceiver}, 1, -1)
		both(plan.Step{Kind: plan.StopReceiver}, 2, -1)
		agree("receivers of a dead source are stopped", 1, 2)
		both(plan.Step{Kind: plan.Promote}, 1, -1)
		agree("a replica is promoted", 1)
		both(plan.Step{Kind: plan.Repoint}, 2, 1)
		agree("the other replica is moved", 2, 1)
		both(plan.Step{Kind: plan.Fence}, 1, -1)
		agree("the primary is fenced", 1)
		both(plan.Step{Kind: plan.Detach}, 2, -1)
		agree("the replica is detached", 2)
	})
}
