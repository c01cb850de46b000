package sqlstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"orchestrator/backend"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

func record(key string, version int64) backend.Record {
	return backend.Record{Kind: "k", Key: key, Version: version, Writer: "w", Document: []byte(`"x"`)}
}

func put(t testing.TB, s backend.Store, records ...backend.Record) {
	t.Helper()
	if err := s.Put(t.Context(), records...); err != nil {
		t.Fatal(err)
	}
}

// wantUnavailable wants that the store can't be used now, and says why.
func wantUnavailable(t testing.TB, s *Store, says string) {
	t.Helper()
	errs := map[string]error{}
	errs["Put"] = s.Put(t.Context(), record("x", 1))
	_, errs["List"] = s.List(t.Context(), "k")
	_, errs["Beat"] = s.Lease("leader").Beat(t.Context(), backend.Hold{Holder: "a", Term: 1, Beat: 1})
	_, errs["Identity"] = s.Identity(t.Context())
	for call, err := range errs {
		if !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), says) ||
			strings.Contains(fmt.Sprint(err), lab.BackendPassword) {
			t.Errorf("%s = %v, want that the backend is unavailable, %q", call, err, says)
		}
	}
}

func TestWhatCannotBeUsedIsRefusedWithTheReason(t *testing.T) {
	onMembers(t, func(t *testing.T, m *lab.Server) {
		root := func(statements ...string) {
			t.Helper()
			must(t, m.Exec(context.Background(), statements...))
		}
		grantee := fmt.Sprintf("'%s'@'%%'", lab.BackendUser)
		for _, c := range []struct {
			name, says   string
			before, mend []string
			options      func(*MySQLOptions)
		}{
			{name: "no tables, and no right to make them", says: "it has no tables",
				before: []string{"REVOKE CREATE ON orchestrator.* FROM " + grantee},
				mend:   []string{"GRANT CREATE ON orchestrator.* TO " + grantee}},
			{name: "read-only", says: "it is read-only", before: []string{"SET GLOBAL read_only = 1"},
				mend: []string{"SET GLOBAL read_only = 0"}},
			{name: "rows", says: "binlog_format is ROW", before: []string{"SET GLOBAL binlog_format = 'ROW'"},
				mend: []string{"SET GLOBAL binlog_format = 'STATEMENT'"}},
			{name: "mixed", says: "binlog_format is MIXED", before: []string{"SET GLOBAL binlog_format = 'MIXED'"},
				mend: []string{"SET GLOBAL binlog_format = 'STATEMENT'"}},
			{name: "no autocommit", says: "autocommit is off", before: []string{"SET GLOBAL autocommit = 0"},
				mend: []string{"SET GLOBAL autocommit = 1"}},
			{name: "another password", says: "check the user and the password",
				options: func(o *MySQLOptions) { o.Password = "wrong" }},
			{name: "no such database", says: "docs/backend.md", options: func(o *MySQLOptions) { o.Database = "none" }},
			{name: "nobody there", says: "refused", options: func(o *MySQLOptions) { o.Address = m.Key.Host + ":1" }},
			{name: "stale", says: "it lacks things", options: func(o *MySQLOptions) {
				o.Accept = func(_ context.Context, current, offered Identity) error {
					if current != (Identity{}) || offered.ID == "" {
						return fmt.Errorf("identities %+v and %+v", current, offered)
					}
					return errors.New("it lacks things")
				}
			}},
		} {
			t.Run(c.name, func(t *testing.T) {
				o := options(m.Key.String())
				if c.options != nil {
					c.options(&o)
				}
				root(c.before...)
				s := dial(t, o)
				wantUnavailable(t, s, c.says)
				root(c.mend...)
				if c.options == nil {
					put(t, s, record("x", 1)) // without a restart
				}
			})
		}
	})
}

// A server that becomes read-only under us is found out by the first write, and not written to when it is asked again.
func TestAServerThatBecomesReadOnly(t *testing.T) {
	onMembers(t, func(t *testing.T, m *lab.Server) {
		s := dial(t, options(m.Key.String()))
		put(t, s, record("x", 1))
		must(t, m.SetReadOnly(t.Context(), true))
		if err := s.Put(t.Context(), record("x", 2)); !errors.Is(err, backend.ErrUnavailable) ||
			!strings.Contains(err.Error(), "it is read-only") {
			t.Fatalf("Put = %v", err)
		}
		must(t, m.SetReadOnly(t.Context(), false))
		put(t, s, record("x", 2))
	})
}

func TestFacts(t *testing.T) {
	onMembers(t, func(t *testing.T, m *lab.Server) {
		s := dial(t, options(m.Key.String()))
		must(t, s.Create(t.Context()))
		must(t, s.Create(t.Context()))
		put(t, s, record("x", 12345))
		h := backend.Hold{Holder: "a", Term: 3, Beat: 7}
		if _, err := s.Lease("leader").Beat(t.Context(), h); err != nil {
			t.Fatal(err)
		}
		f, err := s.Facts(t.Context())
		must(t, err)
		id, err := s.Identity(t.Context())
		must(t, err)
		want := Identity{ID: id, Flavor: m.Flavor, Version: f.Version, Format: "STATEMENT", LogBin: true,
			Autocommit: true, Tables: true, Hold: h, Newest: 12345, Packet: f.Packet}
		if f != want || len(id) != 36 || f.Version.Major < 9 {
			t.Errorf("Facts = %+v, want %+v", f, want)
		}
		if m.Flavor == topology.MySQL {
			var uuid string
			must(t, m.DB().QueryRow("SELECT @@server_uuid").Scan(&uuid))
			if id != uuid {
				t.Errorf("Identity = %s, server_uuid is %s", id, uuid)
			}
		}
		if why := Stale(f, 4, 0); !strings.Contains(why, "already had term 4") {
			t.Errorf("a lower term: %q", why)
		}
		if why := Stale(f, 3, 12345+2_500_000); !strings.Contains(why, "lacks the last 2.5s") {
			t.Errorf("older records: %q", why)
		}
		if why := Stale(f, 3, 12345); why != "" {
			t.Errorf("nothing is missing: %q", why)
		}
	})
}

// The account of the lab has what docs/backend.md says, and nothing else; all tests here run with it.
func TestTheDocumentedGrant(t *testing.T) {
	onMembers(t, func(t *testing.T, m *lab.Server) {
		text, err := os.ReadFile("../../docs/backend.md")
		must(t, err)
		rows, err := m.DB().Query("SHOW GRANTS FOR " + lab.BackendUser)
		must(t, err)
		defer rows.Close()
		for rows.Next() {
			var grant string
			must(t, rows.Scan(&grant))
			grant = strings.ReplaceAll(grant, "`", "")
			if strings.HasPrefix(grant, "GRANT USAGE") || strings.Contains(grant, " ON store") { // see databasesOf
				continue
			}
			privileges, _, _ := strings.Cut(grant, " TO ")
			if !strings.Contains(string(text), privileges+" TO ") {
				t.Errorf("the account has %q; the document says otherwise", privileges)
			}
		}
	})
}

func TestAHungServerIsBoundedByTheTimeout(t *testing.T) {
	onMembers(t, func(t *testing.T, m *lab.Server) {
		o := options(m.Key.String())
		o.Timeout = 300 * time.Millisecond
		s := dial(t, o)
		put(t, s, record("x", 1))
		must(t, m.Hang())
		time.Sleep(100 * time.Millisecond) // until each of its threads has heard of it
		for range 2 {                      // by an open connection, then by a new one
			start := time.Now()
			err := s.Put(t.Context(), record("x", 2))
			if took := time.Since(start); !errors.Is(err, backend.ErrUnavailable) || took > o.Timeout+
				200*time.Millisecond {
				t.Errorf("Put = %v after %v", err, took)
			}
		}
		start := time.Now()
		_, err := s.Lease("leader").Beat(t.Context(), backend.Hold{Holder: "a", Term: 1, Beat: 1})
		if took := time.Since(start); !errors.Is(err, backend.ErrUnavailable) || took > o.Timeout+200*time.Millisecond {
			t.Errorf("Beat = %v after %v", err, took)
		}
		must(t, m.Continue())
		put(t, s, record("x", 2))
	})
}

func TestARestartedServerIsNoError(t *testing.T) {
	onMembers(t, func(t *testing.T, m *lab.Server) {
		s := dial(t, options(m.Key.String()))
		put(t, s, record("x", 1))
		before, err := s.Identity(t.Context())
		must(t, err)
		must(t, m.Kill())
		wantUnavailable(t, s, "refused")
		must(t, m.Restart(t.Context()))
		put(t, s, record("x", 2))
		if after, err := s.Identity(t.Context()); after != before || err != nil {
			t.Errorf("Identity = %s, %v; before %s", after, err, before)
		}
		// Killed while idle, and in the middle of a statement that waits.
		must(t, m.Exec(t.Context(), "SET GLOBAL wait_timeout = 1"))
		other := dial(t, options(m.Key.String()))
		put(t, other, record("x", 3))
		time.Sleep(1500 * time.Millisecond)
		put(t, other, record("x", 4))
	})
}

func TestCollisionsAreTriedAgain(t *testing.T) {
	onMembers(t, func(t *testing.T, m *lab.Server) {
		must(t, m.Exec(t.Context(), "SET GLOBAL innodb_lock_wait_timeout = 1"))
		s := dial(t, options(m.Key.String()))
		put(t, s, record("a", 1), record("b", 1))

		t.Run("a row that stays locked", func(t *testing.T) {
			tx, err := m.DB().BeginTx(t.Context(), nil)
			must(t, err)
			_, err = tx.Exec("UPDATE orchestrator.record SET writer = 'other' WHERE record.key = 'a'")
			must(t, err)
			timer := time.AfterFunc(1300*time.Millisecond, func() { tx.Rollback() })
			defer timer.Stop()
			put(t, s, record("a", 2))
		})
		t.Run("a deadlock", func(t *testing.T) {
			var many []backend.Record
			for i := range 50 {
				many = append(many, record(fmt.Sprint("c", i), 1))
			}
			put(t, s, many...)
			tx, err := m.DB().BeginTx(t.Context(), nil)
			must(t, err)
			// It has changed more than the other, so that the other is the victim.
			_, err = tx.Exec("UPDATE orchestrator.record SET writer = 'other' WHERE kind = 'k' AND record.key " +
				"LIKE 'c%'")
			must(t, err)
			done := make(chan error)
			go func() { done <- s.Put(t.Context(), record("a", 3), record("c1", 3)) }()
			time.Sleep(300 * time.Millisecond)
			_, err = tx.Exec("UPDATE orchestrator.record SET writer = 'other' WHERE kind = 'k' AND record.key = 'a'")
			must(t, err)
			must(t, tx.Commit())
			must(t, <-done)
		})
		for _, key := range []string{"a", "c1"} {
			if r, err := s.Get(t.Context(), "k", key); err != nil || r.Writer != "w" {
				t.Errorf("%s = %+v, %v", key, r, err)
			}
		}
	})
}

func TestTLSToTheBackend(t *testing.T) {
	l := lab.Test(t)
	m, err := l.Member(t.Context(), lab.MySQL)
	must(t, err)
	pem, err := os.ReadFile(m.File("ca.pem")) // made by the server at its first start
	must(t, err)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate")
	}
	// The certificates that MySQL makes for itself bear no name that could be checked; that the authority has signed
	// them can.
	signedBy := func(pool *x509.CertPool) *tls.Config {
		return &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: pool})
			return err
		}}
	}
	must(t, m.Exec(t.Context(), fmt.Sprintf("ALTER USER '%s'@'%%' REQUIRE SSL", lab.BackendUser)))
	for _, c := range []struct {
		name string
		tls  *tls.Config
		says string
	}{
		{"the authority is trusted", signedBy(pool), ""},
		{"another authority is trusted", signedBy(x509.NewCertPool()), "unknown authority"},
		{"the name is checked", &tls.Config{RootCAs: pool}, "x509"},
		{"plain text", nil, "Access denied"},
	} {
		o := options(m.Key.String())
		o.TLS = c.tls
		s := dial(t, o)
		if c.says == "" {
			put(t, s, record("x", 1))
			var cipher string
			must(t, s.read.QueryRow("SHOW STATUS LIKE 'Ssl_cipher'").Scan(new(string), &cipher))
			if cipher == "" {
				t.Errorf("%s: no cipher", c.name)
			}
			continue
		}
		wantUnavailable(t, s, c.says)
	}
}

// Two servers that don't replicate, each with a record that tells them apart, and users all the time, while a proxy
// sends the connections here and there. No user sees the old server again when one has seen the new one, and no
// statement goes there.
func TestASwitchIsOneMomentForAll(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		var members []*lab.Server
		for i := range 2 {
			m, err := l.Member(t.Context(), f, lab.Quick()...)
			must(t, err)
			direct := dial(t, options(m.Key.String()))
			put(t, direct, record("which", int64(i+1)))
			members = append(members, m)
		}
		p, err := l.Proxy()
		must(t, err)
		defer p.Close()
		p.Point(members[0])
		s := dial(t, options(p.Key.String()))

		type seen struct {
			server     topology.Key
			start, end time.Time
		}
		var mu sync.Mutex
		var reads []seen
		ctx, stop := context.WithCancel(t.Context())
		var users sync.WaitGroup
		for u := range 6 {
			users.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					if u%3 == 2 {
						_ = s.Put(ctx, record(fmt.Sprint("user", u), int64(i+1)))
						_, _ = s.Lease("leader").Beat(ctx, backend.Hold{Holder: "a", Term: 1, Beat: int64(i)})
						continue
					}
					start := time.Now()
					if r, err := s.Get(ctx, "k", "which"); err == nil {
						mu.Lock()
						reads = append(reads, seen{members[r.Version-1].Key, start, time.Now()})
						mu.Unlock()
					}
				}
			})
		}
		const switches = 8
		phases := []time.Time{time.Now()}
		// settle waits until a phase has lasted, and somebody has seen its server: on a machine that is busy that takes
		// longer.
		settle := func() {
			began, now := phases[len(phases)-1], members[(len(phases)-1)%2].Key
			time.Sleep(150 * time.Millisecond)
			waitFor(t, "somebody who has seen the server", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(reads) > 0 && reads[len(reads)-1].server == now && reads[len(reads)-1].start.After(began)
			})
		}
		for i := range switches {
			settle()
			to := members[(i+1)%2]
			phases = append(phases, time.Now())
			if i%2 == 0 {
				p.Switch(to)
				continue
			}
			// A proxy that leaves the old connections alone: all go when the first new one comes.
			p.Point(to)
			must(t, members[i%2].Exec(t.Context(), killOne(t, members[i%2])))
		}
		settle()
		stop()
		users.Wait()
		phases = append(phases, time.Now())

		const travel = 50 * time.Millisecond // of a statement that was sent before the switch
		for i, begin := range phases[:switches+1] {
			now, end := members[i%2].Key, phases[i+1]
			first := end // moment when somebody has seen the new server
			for _, r := range reads {
				if r.server == now && r.start.After(begin) && r.end.Before(first) {
					first = r.end
				}
			}
			if !first.Before(end) {
				t.Errorf("phase %d: nobody has seen %v", i, now)
			}
			for _, r := range reads {
				if r.server != now && r.start.After(first) && r.end.Before(end) {
					t.Errorf("phase %d: %v was seen, and %v later the server before", i, now, r.start.Sub(first))
				}
			}
			var moved time.Time
			for _, st := range p.Statements() {
				switch {
				case st.When.Before(begin) || st.When.After(end) || strings.HasPrefix(st.Text, "SHOW VARIABLES") ||
					strings.HasPrefix(st.Text, "SELECT\n\t(SELECT COALESCE"):
				case st.At == now && moved.IsZero():
					moved = st.When
				case st.At != now && !moved.IsZero() && st.When.Sub(moved) > travel:
					t.Errorf("phase %d: a statement went to the server before, %v after the first to %v", i,
						st.When.Sub(moved), now)
				}
			}
		}
		t.Logf("%d reads, %d statements", len(reads), len(p.Statements()))
	})
}

func killOne(t *testing.T, m *lab.Server) string {
	t.Helper()
	var id int64
	must(t, m.DB().QueryRow("SELECT id FROM information_schema.processlist WHERE user = ? ORDER BY id DESC LIMIT 1",
		lab.BackendUser).Scan(&id))
	return fmt.Sprint("KILL ", id)
}
