package pair

import (
	"context"
	"testing"
	"time"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// A daemon that was frozen, or away, while the other member served does not go on with the one that it knew.
func TestWatchAfterAFreeze(t *testing.T) {
	l := lab.Test(t)
	r := rigged(t, l, lab.MariaDB, true, nil)
	known := Known{Previous: r.a()}
	w := r.pair.Watch(func(context.Context) Known { return known }, nil, nil)
	if s := w.Turn(t.Context()); s.Choice.Serve != r.a() {
		t.Fatalf("%+v", s.Choice)
	}
	known.Newest = r.clock
	for i := range r.servers {
		r.exec(i, r.say(i, server.Stop))
	}
	r.put(1, "tag", "while frozen")
	for _, c := range []struct {
		name string
		age  time.Duration
		want topology.Key
	}{
		{"whoever has looked all the time stays", 0, r.a()},
		{"after a freeze the member with more serves", stale + time.Millisecond, r.b()},
		{"and keeps its place", 0, r.b()},
	} {
		w.mu.Lock()
		w.state.At = w.state.At.Add(-c.age)
		w.mu.Unlock()
		if s := w.Turn(t.Context()); s.Choice.Serve != c.want {
			t.Errorf("%s: %+v", c.name, s.Choice)
		}
	}
	// a daemon that starts, and remembers what it served
	again := r.pair.Watch(func(context.Context) Known { return known }, nil, nil)
	if s := again.Turn(t.Context()); s.Choice.Serve != r.b() {
		t.Errorf("after a restart: %+v", s.Choice)
	}
}

// A member whose tables disappear gets no new ones from a connection that happens to see it first: the next look judges
// it, and a daemon that remembers records does not use it.
func TestWatchAMemberWhoseTablesDisappear(t *testing.T) {
	l := lab.Test(t)
	r := rigged(t, l, lab.MariaDB, true, nil)
	known := Known{Previous: r.a(), Newest: r.clock}
	w := r.pair.Watch(func(context.Context) Known { return known }, nil, nil)
	identity := w.Turn(t.Context()).Members[0].ID
	if err := w.Accept(identity, true); err != nil {
		t.Error(err)
	}
	r.exec(0, "SET SESSION sql_log_bin = 0", "DROP DATABASE "+lab.BackendDatabase, "CREATE DATABASE "+
		lab.BackendDatabase)
	for _, what := range []string{"before the next look", "after it"} {
		if err := w.Accept(identity, false); err == nil {
			t.Errorf("%s: accepted", what)
		}
		if s := w.Turn(t.Context()); s.Choice.Serve != r.b() {
			t.Errorf("%s: %+v", what, s.Choice)
		}
	}
}
