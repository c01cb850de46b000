package sqlstore

import (
	"errors"
	"strings"
	"testing"

	"orchestrator/backend"
	"orchestrator/backend/storetest"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

func TestPair(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		a, b, err := l.Pair(t.Context(), f, lab.Quick()...)
		must(t, err)
		ctx := t.Context()
		var stores []*Store
		var proxies []*lab.Proxy
		for _, m := range []*lab.Server{a, b} {
			p, err := l.Proxy()
			must(t, err)
			defer p.Close()
			p.Point(m)
			stores, proxies = append(stores, dial(t, options(p.Key.String()))), append(proxies, p)
		}
		storetest.RunPair(t, storetest.Pair{
			A: stores[0], B: stores[1], LeaseA: stores[0].Lease("leader"), LeaseB: stores[1].Lease("leader"),
			Cut:   func() error { return errors.Join(a.StopReplica(ctx), b.StopReplica(ctx)) },
			Heal:  func() error { return errors.Join(a.StartReplica(ctx), b.StartReplica(ctx)) },
			Drain: func() error { return lab.Drain(ctx, a, b) },
		})
		statements := 0
		for i, m := range []*lab.Server{a, b} {
			unsafe, err := m.Unsafe()
			must(t, err)
			failed, err := m.Failed()
			must(t, err)
			if len(unsafe)+len(failed) > 0 {
				t.Errorf("%v has logged unsafe statements %q and errors of its applier %q", m.Key, unsafe, failed)
			}
			for _, s := range proxies[i].Statements() {
				statements++
				if s.Warnings > 0 && !strings.HasPrefix(s.Text, "CREATE TABLE IF NOT EXISTS") {
					t.Errorf("%d warnings at %v for %s", s.Warnings, m.Key, s.Text)
				}
			}
		}
		t.Logf("%d statements, none unsafe", statements)
	})
}

// What the tests rely on: an unsafe statement is counted by both ways.
func TestUnsafeStatementsAreCounted(t *testing.T) {
	onMembers(t, func(t *testing.T, m *lab.Server) {
		p, err := lab.Test(t).Proxy()
		must(t, err)
		defer p.Close()
		p.Point(m)
		s := dial(t, options(p.Key.String()))
		put(t, s, record("a", 1))
		before, err := m.Unsafe()
		must(t, err)
		if len(before) != 0 {
			t.Fatalf("unsafe statements %q", before)
		}
		_, err = s.write.Exec("UPDATE record SET version = 2 WHERE kind = 'k' LIMIT 1")
		must(t, err)
		warned := 0
		for _, st := range p.Statements() {
			warned += st.Warnings
		}
		if n, err := m.Unsafe(); len(n) == 0 || err != nil || warned == 0 {
			t.Fatalf("unsafe statements %q in the log (%v), %d warnings to the client", n, err, warned)
		}
	})
}

func TestErrorsOfAnApplierAreCounted(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		a, b, err := l.Pair(t.Context(), f, lab.Quick()...)
		must(t, err)
		put(t, dial(t, options(a.Key.String())), record("a", 1))
		must(t, lab.Drain(t.Context(), a, b))
		if n, err := b.Failed(); len(n) != 0 || err != nil {
			t.Fatalf("errors %q, %v", n, err)
		}
		must(t, b.StopReplica(t.Context()))
		c, err := b.DB().Conn(t.Context())
		must(t, err)
		for _, statement := range []string{"SET SESSION sql_log_bin = 0", "DROP TABLE orchestrator.record",
			"SET SESSION sql_log_bin = 1"} {
			_, err := c.ExecContext(t.Context(), statement)
			must(t, err)
		}
		must(t, c.Close())
		put(t, dial(t, options(a.Key.String())), record("a", 2))
		must(t, b.StartReplica(t.Context()))
		waitFor(t, "the error", func() bool { n, err := b.Failed(); return len(n) > 0 && err == nil })
	})
}

// Backend statements per call, for the documents.
func TestStatementsPerCall(t *testing.T) {
	onMembers(t, func(t *testing.T, m *lab.Server) {
		p, err := lab.Test(t).Proxy()
		must(t, err)
		defer p.Close()
		p.Point(m)
		s := dial(t, options(p.Key.String()))
		lease := s.Lease("leader")
		for range 2 { // the second time all connections are open
			for _, c := range []struct {
				name string
				call func() error
				want int
			}{
				{"Put of one record", func() error { return s.Put(t.Context(), record("a", 1)) }, 1},
				{"Put of two records", func() error { return s.Put(t.Context(), record("a", 2), record("b", 2)) }, 1},
				{"Get", func() error { _, err := s.Get(t.Context(), "k", "a"); return err }, 1},
				{"List", func() error { _, err := s.List(t.Context(), "k"); return err }, 1},
				{"Beat", func() error {
					_, err := lease.Beat(t.Context(), backend.Hold{Holder: "a", Term: 1, Beat: 1})
					return err
				}, 2},
				{"Read", func() error { _, err := lease.Read(t.Context()); return err }, 1},
			} {
				before := len(p.Statements())
				must(t, c.call())
				got := 0
				for _, st := range p.Statements()[before:] {
					if strings.HasPrefix(st.Text, "SHOW VARIABLES") || strings.HasPrefix(st.Text,
						"SELECT\n\t(SELECT COALESCE") || strings.HasPrefix(st.Text, "CREATE TABLE") {
						continue
					}
					got++
				}
				if got != c.want {
					t.Errorf("%s: %d statements, want %d", c.name, got, c.want)
				}
			}
		}
	})
}
