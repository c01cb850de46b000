package trail

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"orchestrator/backend"
	"orchestrator/backend/sqlstore"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// Two daemons with journals share a pair of real servers. Before the switch, replication is behind, so the other member
// lacks the last records: the journals bring them. One daemon starts again in between.
func TestTheChainsSurviveASwitchOfTheBackend(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		ctx := t.Context()
		a, b, err := l.Pair(ctx, f, lab.Quick()...)
		must(t, err)
		proxy, err := l.Proxy()
		must(t, err)
		defer proxy.Close()
		proxy.Point(a)
		dir := t.TempDir()
		one, end := open(t, proxy, filepath.Join(dir, "one.db"))
		two, _ := open(t, proxy, filepath.Join(dir, "two.db"))
		one.change(t, "ann", 200)
		two.change(t, "bob", 200)
		must(t, lab.Drain(ctx, a, b))
		must(t, b.StopReplica(ctx))
		one.change(t, "ann", 200)
		two.change(t, "bob", 409)
		two.whole(t, 4)
		end() // and its daemon has gone when the switch comes
		proxy.Switch(b)
		two.change(t, "bob", 200)
		one, _ = open(t, proxy, filepath.Join(dir, "one.db"))
		one.change(t, "cid", 200)
		settle(t, one, two)
		one.whole(t, 6)
		two.whole(t, 6)

		must(t, b.StartReplica(ctx))
		must(t, lab.Drain(ctx, a, b))
		proxy.Switch(a)
		two.change(t, "bob", 200)
		settle(t, one, two)
		one.whole(t, 7)

		// Who has the member changes a record there.
		must(t, lab.Drain(ctx, a, b))
		must(t, a.Exec(ctx, `UPDATE orchestrator.record SET document = REPLACE(document, '"by":"cid"', '"by":"eve"') `+
			`WHERE kind = 'audit'`))
		n, says := two.verify(t)
		if n != 7 || len(says) != 1 || !strings.HasPrefix(says[0], "record 3 was changed after it was written") {
			t.Errorf("%d records; broken: %q", n, says)
		}
	})
}

// open is a daemon that keeps its journal in a file.
func open(t *testing.T, proxy *lab.Proxy, path string) (w writer, end func()) {
	t.Helper()
	local, err := sqlstore.OpenSQLite(path)
	must(t, err)
	remote, err := sqlstore.OpenMySQL(sqlstore.MySQLOptions{Address: proxy.Key.String(), Database: lab.BackendDatabase,
		User: lab.BackendUser, Password: lab.BackendPassword, Security: lab.Security(), Timeout: 5 * time.Second})
	must(t, err)
	clock := backend.NewClock(time.Now)
	j, err := sqlstore.OpenJournal(t.Context(), remote, local, sqlstore.JournalOptions{Owed: Kinds(), Clock: clock,
		Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { j.Close() })
	o := backend.NewOutbox(j, time.Now)
	tr, err := Open(t.Context(), Options{Outbox: o, Store: j, Clock: clock, Process: "h:1:" + random(), Name: "h",
		Row: local.Lease("audit"), Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	return writer{tr, o}, func() {
		tr.Wait()
		must(t, j.Close())
	}
}

// settle stores what could not be stored while the backend moved.
func settle(t *testing.T, all ...writer) {
	t.Helper()
	for _, w := range all {
		w.Wait()
		for w.outbox.Waits() > 0 {
			if err := w.outbox.Empty(t.Context()); err != nil {
				t.Log(err)
				time.Sleep(100 * time.Millisecond)
			}
		}
	}
}
