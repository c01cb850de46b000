package haproxy_test

import (
	"context"
	"database/sql"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// before is one HAProxy before the pair, and clients that use it all the time: one with a new connection for each
// question, one that keeps its own.
type before struct {
	*lab.HAProxy
	version  string
	fresh    *sql.DB
	kept     *sql.DB
	answered [2]atomic.Int64 // by a, by b
}

func (b *before) ask(ctx context.Context, db *sql.DB) (id int) {
	if db.QueryRowContext(ctx, "SELECT @@server_id").Scan(&id) != nil {
		return 0
	}
	return id
}

// connections that clients have made to a member: it writes each into its general log.
func connections(w *world, s *lab.Server) int {
	w.Helper()
	log, err := os.ReadFile(s.File("general.log"))
	w.must(err)
	return strings.Count(string(log), "Connect\t"+lab.BackendUser+"@")
}

// The real thing: a pair of which the active dies and comes back without what was written meanwhile. The members
// themselves count who connects.
func TestAPairBehindHAProxy(t *testing.T) {
	t.Parallel()
	for _, f := range []topology.Flavor{lab.MariaDB, lab.MySQL} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			testPair(t, f)
		})
	}
}

func testPair(t *testing.T, f topology.Flavor) {
	l := lab.Test(t)
	w := &world{T: t, lab: l}
	a, b, err := l.Pair(t.Context(), f, append(lab.Quick(), "--general-log=1", "--general-log-file=general.log")...)
	w.must(err)
	members := []string{a.Key.String(), b.Key.String()}
	w.at = address(t, l) + ":3001"
	w.fit.Store(members[0])
	w.startAgent(members...)
	w.Cleanup(w.stopAgent)
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	t.Cleanup(func() { cancel(); clients.Wait() })
	var all []*before
	for version, root := range lab.HAProxyRoots() {
		h, err := l.NewHAProxy(root)
		w.must(err)
		w.startHAProxy(h, version, members...)
		p := &before{HAProxy: h, version: version}
		for i, db := range []**sql.DB{&p.fresh, &p.kept} {
			*db, err = sql.Open("mysql", lab.BackendUser+":"+lab.BackendPassword+"@tcp("+h.Database+")/"+
				lab.BackendDatabase+"?timeout=1s&readTimeout=1s")
			w.must(err)
			defer (*db).Close()
			(*db).SetMaxIdleConns(i)
			clients.Go(func() {
				for ctx.Err() == nil {
					switch p.ask(ctx, *db) {
					case a.ServerID:
						p.answered[0].Add(1)
					case b.ServerID:
						p.answered[1].Add(1)
					}
					time.Sleep(3 * time.Millisecond)
				}
			})
		}
		all = append(all, p)
	}
	// serves waits until new connections through every HAProxy reach this server; nil is none.
	serves := func(what string, s *lab.Server) {
		t.Helper()
		id := 0
		if s != nil {
			id = s.ServerID
		}
		for _, p := range all {
			begin := time.Now()
			for p.ask(ctx, p.fresh) != id {
				if time.Since(begin) > 10*time.Second {
					t.Fatalf("%s, HAProxy %s: server %d doesn't serve after 10 s; log: %s", what, p.version, id,
						p.Log())
				}
			}
			t.Logf("%s, HAProxy %s: after %v", what, p.version, time.Since(begin))
		}
	}
	was := 0 // connections of a, when it died
	// phase does something while clients go on, and has a, which is stale, count.
	phase := func(what string, d time.Duration, do func()) {
		t.Helper()
		had, answered := connections(w, b), int64(0)
		do()
		time.Sleep(d)
		for _, p := range all {
			answered += p.answered[1].Swap(0)
			if n := p.answered[0].Load(); n > 0 {
				t.Errorf("%s, HAProxy %s: the stale member answered %d times", what, p.version, n)
			}
		}
		wrong := connections(w, a) - was
		t.Logf("%s: connections to the stale member %d, to the other %d, which answered %d times", what, wrong,
			connections(w, b)-had, answered)
		if wrong > 0 {
			t.Errorf("%s: %d connections to the stale member", what, wrong)
		}
	}
	each := func(do func(p *before) error) {
		t.Helper()
		for _, p := range all {
			w.must(do(p))
		}
	}
	restart := func(p *before) error {
		w.must(p.Kill())
		return p.Start(ctx)
	}

	serves("at first", a)
	if connections(w, a) == 0 {
		t.Fatal("the active member has counted no connection: what follows would prove nothing")
	}
	w.must(b.StopReplica(ctx))
	w.must(a.Kill())
	was = connections(w, a)
	w.fit.Store(b.Key.String())
	serves("the active member is dead", b)
	for _, p := range all {
		p.answered[0].Store(0)
	}
	_, err = all[0].fresh.ExecContext(ctx, "CREATE TABLE said (id INT PRIMARY KEY)")
	w.must(err)
	stopped := map[topology.Flavor]string{lab.MariaDB: "--skip-slave-start=1", lab.MySQL: "--skip-replica-start=1"}[f]
	phase("it returns, stale", time.Second, func() { w.must(a.Restart(ctx, stopped)) })
	phase("HAProxy restarts", 500*time.Millisecond, func() {
		each(restart)
		serves("restarted", b)
	})
	phase("HAProxy reloads", 700*time.Millisecond, func() {
		each(func(p *before) error { return p.Reload(ctx) })
		serves("reloaded", b)
	})
	phase("the agent is dead", 2500*time.Millisecond, w.stopAgent)
	serves("the agent is dead", nil)
	phase("HAProxy restarts, and the agent is dead", 500*time.Millisecond, func() { each(restart) })
	phase("the agent is back", 300*time.Millisecond, func() {
		w.startAgent(members...)
		serves("the agent is back", b)
	})
	phase("both are down, and the stale one is back first", time.Second, func() {
		w.must(b.Kill())
		w.must(a.Kill())
		w.fit.Store("")
		w.must(a.Restart(ctx))
	})
	serves("no member is fit", nil)
	phase("the other one is back", 500*time.Millisecond, func() {
		w.must(b.Restart(ctx))
		w.fit.Store(b.Key.String())
		serves("the other one is back", b)
	})
	w.must(a.StartReplica(ctx)) // it catches up, and an operator fails back
	w.must(b.StartReplica(ctx))
	w.must(lab.Drain(ctx, a, b))
	if err := a.DB().QueryRowContext(ctx, "SELECT 1 FROM information_schema.tables WHERE table_schema = ? AND "+
		"table_name = 'said'", lab.BackendDatabase).Scan(new(int)); err != nil {
		t.Errorf("the member that was stale has not caught up: %v", err)
	}
	w.fit.Store(a.Key.String())
	serves("failed back", a)
}
