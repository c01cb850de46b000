package pair

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"orchestrator/backend"
	"orchestrator/backend/sqlstore"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

const (
	// schedulesEnv is how many schedules run for each flavour, seedEnv the seed of the first.
	schedulesEnv = "ORCHESTRATOR_SCHEDULES"
	seedEnv      = "ORCHESTRATOR_SEED"
	schedules    = 2
	daemons      = 3
	events       = 14
)

func number(t *testing.T, env string, otherwise uint64) uint64 {
	text := os.Getenv(env)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		t.Fatalf("%s=%q: want a number", env, text)
	}
	return n
}

// TestBothMembersEndTheSame kills processes, not machines: what a process has written to its files stays, so that
// members need not wait for the disk.
func TestBothMembersEndTheSame(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		a, b, err := l.Pair(t.Context(), f, lab.Quick()...)
		must(t, err)
		first, n := number(t, seedEnv, uint64(time.Now().UnixNano()>>10)), number(t, schedulesEnv, schedules)
		var proxies [daemons]*lab.Proxy
		for i := range proxies {
			proxies[i], err = l.Proxy()
			must(t, err)
			defer proxies[i].Close()
		}
		var sum tally
		for i := range n {
			began := time.Now()
			s := &schedule{t: t, random: rand.New(rand.NewPCG(first+i, 0)), members: [2]*lab.Server{a, b},
				proxies: proxies, database: fmt.Sprint("s", i)}
			s.run()
			sum.add(s.tally)
			t.Logf("schedule %d of %d, %s=%d: %v; %+v; %s", i+1, n, seedEnv, first+i,
				time.Since(began).Round(time.Millisecond), s.tally, strings.Join(s.story, ", "))
			if t.Failed() {
				break
			}
		}
		t.Logf("all of %s: %+v", f, sum)
	})
}

// tally counts what has happened.
type tally struct {
	// Stale: switches to a member that lacked something
	Acknowledged, Refused, Beats, Switches, Stale, Kills, Cuts, Restarts, Statements int
	Lost, Differing, Warnings, Unsafe, ApplierErrors                                 int // must be 0
}

func (a *tally) add(b tally) {
	a.Acknowledged += b.Acknowledged
	a.Refused += b.Refused
	a.Beats += b.Beats
	a.Switches += b.Switches
	a.Stale += b.Stale
	a.Kills += b.Kills
	a.Cuts += b.Cuts
	a.Restarts += b.Restarts
	a.Statements += b.Statements
	a.Lost += b.Lost
	a.Differing += b.Differing
	a.Warnings += b.Warnings
	a.Unsafe += b.Unsafe
	a.ApplierErrors += b.ApplierErrors
}

type schedule struct {
	t        *testing.T
	random   *rand.Rand
	members  [2]*lab.Server
	proxies  [daemons]*lab.Proxy // of the writers
	database string
	writers  [daemons]*writer
	story    []string

	mu    sync.Mutex
	tally tally
}

// writer is what a daemon does with its backend. It has a proxy of its own, so that two of them may see different
// members.
type writer struct {
	s       *schedule
	name    string
	proxy   *lab.Proxy
	path    string
	clock   *backend.Clock
	random  *rand.Rand
	to      int // member that its proxy serves
	journal *sqlstore.Journal
	acked   []backend.Record
	hold    backend.Hold // that it has tried last
	stop    context.CancelFunc
	done    chan struct{}
}

func (s *schedule) run() {
	ctx, t := s.t.Context(), s.t
	must(t, s.members[0].Exec(ctx, "CREATE DATABASE "+s.database,
		fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON %s.* TO '%s'@'%%'", s.database, lab.BackendUser)))
	must(t, lab.Drain(ctx, s.members[0], s.members[1]))
	dir := t.TempDir()
	for i := range s.writers {
		off := time.Duration(s.random.Int64N(int64(4*time.Second))) - 2*time.Second
		p := s.proxies[i]
		p.Switch(s.members[0])
		p.Forget()
		w := &writer{s: s, name: fmt.Sprint("d", i), proxy: p, path: filepath.Join(dir, fmt.Sprint(i, ".db")),
			random: rand.New(rand.NewPCG(s.random.Uint64(), 1)),
			clock:  backend.NewClock(func() time.Time { return time.Now().Add(off) })}
		s.writers[i] = w
		w.start()
	}
	for range events {
		time.Sleep(time.Duration(20+s.random.IntN(80)) * time.Millisecond)
		s.event()
	}
	s.settle()
	for _, w := range s.writers {
		must(t, w.journal.Close())
	}
	s.judge()
}

func (s *schedule) note(format string, values ...any) {
	s.story = append(s.story, fmt.Sprintf(format, values...))
}

func (s *schedule) event() {
	ctx, t := s.t.Context(), s.t
	m := s.random.IntN(2)
	server := s.members[m]
	switch s.random.IntN(10) {
	case 0, 1: // kill, or let come back
		if server.Pid() == 0 {
			s.revive(m)
			return
		}
		if s.members[1-m].Pid() == 0 {
			return // one is always there
		}
		must(t, server.Kill())
		s.tally.Kills++
		s.note("kill %d", m)
		for _, w := range s.writers {
			if w.to == m {
				s.point(w, 1-m, true) // to all that is left, stale or not
			}
		}
	case 2, 3: // cut, in one direction
		if server.Pid() != 0 {
			must(t, server.StopReplica(ctx))
			s.tally.Cuts++
			s.note("cut %d", m)
		}
	case 4:
		if server.Pid() != 0 {
			must(t, server.StartReplica(ctx))
			s.note("heal %d", m)
		}
	case 5, 6: // a switch as it should be: to one that has caught up
		if server.Pid() == 0 {
			return
		}
		if ok, err := server.CaughtUp(ctx, s.members[1-m]); s.members[1-m].Pid() != 0 && (!ok || err != nil) {
			return
		}
		s.note("switch to %d", m)
		shut := s.random.IntN(3) > 0
		for _, w := range s.writers {
			s.point(w, m, shut)
		}
	case 7, 8: // a switch that should not be: of one daemon, to whatever is there
		if server.Pid() == 0 {
			return
		}
		w := s.writers[s.random.IntN(daemons)]
		s.note("%s to %d", w.name, m)
		s.point(w, m, true)
	case 9: // a daemon restarts
		w := s.writers[s.random.IntN(daemons)]
		w.end()
		must(t, w.journal.Close())
		w.start()
		s.tally.Restarts++
		s.note("restart %s", w.name)
	}
}

func (s *schedule) point(w *writer, m int, shut bool) {
	if w.to == m {
		return
	}
	if old := s.members[w.to]; old.Pid() == 0 {
		s.tally.Stale++ // nobody knows what it lacks
	} else if ok, err := s.members[m].CaughtUp(s.t.Context(), old); err == nil && !ok {
		s.tally.Stale++
	}
	w.to = m
	s.tally.Switches++
	if shut {
		w.proxy.Switch(s.members[m])
	} else {
		w.proxy.Point(s.members[m])
	}
}

func (s *schedule) revive(m int) {
	must(s.t, s.members[m].Restart(s.t.Context()))
	s.note("return %d", m)
	// Its replica tries to connect each second: now is sooner.
	other := s.members[1-m]
	if r, err := other.Replication(s.t.Context()); err == nil && r.IO != "No" {
		must(s.t, other.StopReplica(s.t.Context()))
		must(s.t, other.StartReplica(s.t.Context()))
	}
}

// settle brings everybody to one member, as it stands, and wants there all that was acknowledged; then it ends all that
// is wrong, and waits until both have drained.
func (s *schedule) settle() {
	ctx, t := s.t.Context(), s.t
	for _, w := range s.writers {
		w.end()
	}
	m := s.random.IntN(2)
	if s.members[m].Pid() == 0 {
		m = 1 - m
	}
	for _, server := range s.members {
		if server.Pid() != 0 {
			must(t, server.StopReplica(ctx))
		}
	}
	for _, w := range s.writers {
		s.point(w, m, true)
		w.proxy.Switch(s.members[m]) // also who has kept old connections to the other when its proxy was turned round
	}
	for _, w := range s.writers {
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			// A new identity gets the journal before it answers; who holds the lease goes on beating.
			err := w.journal.Put(ctx, w.record("tag", "last"))
			if err == nil {
				_, err = w.journal.Lease("leader").Beat(ctx, w.hold)
			}
			if err == nil {
				var identity string
				if identity, err = w.journal.Identity(ctx); err == nil && identity != s.identity(m) {
					t.Fatalf("%s uses %s, and not member %d", w.name, identity, m)
				}
			}
			if err == nil {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %v", w.name, err)
			}
		}
	}
	s.wantAcknowledged(m, "alone")
	for m, server := range s.members {
		if server.Pid() == 0 {
			s.revive(m)
		}
		must(t, server.StartReplica(ctx))
	}
	must(t, lab.Drain(ctx, s.members[0], s.members[1]))
}

// identity asks a member which identity it has.
func (s *schedule) identity(m int) string {
	direct, err := sqlstore.OpenMySQL(s.options(s.members[m].Key))
	must(s.t, err)
	defer direct.Close()
	identity, err := direct.Identity(s.t.Context())
	must(s.t, err)
	return identity
}

// wantAcknowledged wants at a member what was acknowledged, or what has replaced it.
func (s *schedule) wantAcknowledged(m int, when string) {
	t := s.t
	direct, err := sqlstore.OpenMySQL(s.options(s.members[m].Key))
	must(t, err)
	defer direct.Close()
	all, err := direct.Everything(t.Context())
	must(t, err)
	have := map[string]backend.Record{}
	for _, r := range all {
		have[r.Kind+"/"+r.Key] = r
	}
	for _, w := range s.writers {
		for _, r := range w.acked {
			if got := have[r.Kind+"/"+r.Key]; r.Wins(got) {
				s.tally.Lost++
				t.Errorf("%s had %+v acknowledged, and member %d (%s) has %+v", w.name, r, m, when, got)
			}
		}
	}
}

func (s *schedule) judge() {
	t := s.t
	var tables [2][]string
	for m, server := range s.members {
		tables[m] = append(rows(t, server, "SELECT kind, record.key, version, writer, deleted, document FROM "+
			s.database+".record ORDER BY kind, record.key"),
			rows(t, server, "SELECT name, holder, term, beat, '', '' FROM "+s.database+".lease ORDER BY name")...)
		unsafe, err := server.Unsafe()
		must(t, err)
		failed, err := server.Failed()
		must(t, err)
		s.tally.Unsafe += len(unsafe)
		s.tally.ApplierErrors += len(failed)
		if len(unsafe)+len(failed) > 0 {
			t.Errorf("%v has logged unsafe statements %q and errors of its applier %q", server.Key, unsafe, failed)
		}
	}
	if a, b := strings.Join(tables[0], "\n"), strings.Join(tables[1], "\n"); a != b {
		s.tally.Differing++
		t.Errorf("the members differ:\n%s\nand\n%s", a, b)
	}
	s.wantAcknowledged(0, "in the end")
	for _, w := range s.writers {
		s.tally.Acknowledged += len(w.acked)
		for _, st := range w.proxy.Statements() {
			s.tally.Statements++
			if st.Warnings > 0 && !strings.HasPrefix(st.Text, "CREATE TABLE IF NOT EXISTS") {
				s.tally.Warnings++
				t.Errorf("%d warnings at %v for %s", st.Warnings, st.At, st.Text)
			}
		}
	}
}

func rows(t *testing.T, server *lab.Server, query string) (out []string) {
	t.Helper()
	found, err := server.DB().QueryContext(t.Context(), query)
	must(t, err)
	defer found.Close()
	for found.Next() {
		var c [6]string
		must(t, found.Scan(&c[0], &c[1], &c[2], &c[3], &c[4], &c[5]))
		out = append(out, fmt.Sprintf("%q", c))
	}
	must(t, found.Err())
	return out
}

func (s *schedule) options(k topology.Key) sqlstore.MySQLOptions {
	return sqlstore.MySQLOptions{Address: k.String(), Database: s.database, User: lab.BackendUser,
		Password: lab.BackendPassword, Security: lab.Security(), Timeout: 2 * time.Second}
}

func (w *writer) start() {
	t := w.s.t
	remote, err := sqlstore.OpenMySQL(w.s.options(w.proxy.Key))
	must(t, err)
	local, err := sqlstore.OpenSQLite(w.path)
	must(t, err)
	w.journal, err = sqlstore.OpenJournal(t.Context(), remote, local,
		sqlstore.JournalOptions{Facts: []string{"instance"}})
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	w.stop, w.done = stop, make(chan struct{})
	go func() {
		defer close(w.done)
		for ctx.Err() == nil {
			w.act(ctx)
			time.Sleep(time.Duration(w.random.IntN(8)) * time.Millisecond)
		}
	}()
}

func (w *writer) end() {
	w.stop()
	<-w.done
}

func (w *writer) record(kind, key string) backend.Record {
	v := w.clock.Next()
	r := backend.Record{Kind: kind, Key: key, Version: v, Writer: w.name, Deleted: w.random.IntN(5) == 0}
	if !r.Deleted {
		r.Document = fmt.Appendf(nil, `{"by":%q,"at":%d,"text":"größe '\\\""}`, w.name, v)
	}
	return r
}

func (w *writer) act(ctx context.Context) {
	switch w.random.IntN(8) {
	case 0:
		found, err := w.journal.List(ctx, "tag")
		if err == nil {
			for _, r := range found {
				w.clock.Observe(r.Version)
			}
		}
	case 1:
		lease := w.journal.Lease("leader")
		seen, err := lease.Read(ctx)
		if err != nil {
			return
		}
		if seen.Holder == w.name || w.random.IntN(3) > 0 {
			w.hold.Beat++
			_, err = lease.Beat(ctx, w.hold)
		} else {
			w.hold = backend.Hold{Holder: w.name, Term: max(seen.Term, w.hold.Term) + 1, Beat: 1}
			_, err = lease.Take(ctx, seen, w.hold)
		}
		if err == nil {
			w.count(func(c *tally) { c.Beats++ })
		}
	case 2:
		var facts []backend.Record
		for i := range 5 {
			facts = append(facts, w.record("instance", fmt.Sprint("db", i)))
		}
		if err := w.journal.Put(ctx, facts...); err == nil {
			w.acked = append(w.acked, facts...) // by the journal at least, which outlives the writer here
		}
	default:
		r := []backend.Record{w.record("tag", fmt.Sprint("shared", w.random.IntN(6)))}
		if w.random.IntN(3) == 0 {
			r = append(r, w.record("downtime", fmt.Sprint(w.name, "-", w.random.IntN(50))))
		}
		switch err := w.journal.Put(ctx, r...); {
		case err == nil:
			w.acked = append(w.acked, r...)
		case !errors.Is(err, backend.ErrUnavailable) && ctx.Err() == nil:
			w.s.t.Errorf("%s: %v", w.name, err)
		default:
			w.count(func(c *tally) { c.Refused++ })
		}
	}
}

func (w *writer) count(what func(*tally)) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	what(&w.s.tally)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
