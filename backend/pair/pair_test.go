package pair

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"orchestrator/backend"
	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

const admin, adminPassword = "pair_admin", "admin-secret"

// rig is a pair, or a primary and its replica, with our tables, and whoever cares for it.
type rig struct {
	*testing.T
	lab     *lab.Lab
	servers []*lab.Server
	pair    *Pair
	clock   int64
	mu      sync.Mutex
	said    []string
}

func (r *rig) a() topology.Key { return r.servers[0].Key }
func (r *rig) b() topology.Key { return r.servers[1].Key }

// rigged starts them: mutual, or only the second from the first, which is then read-only.
func rigged(t *testing.T, l *lab.Lab, f topology.Flavor, mutual bool, proxy Proxy) *rig {
	t.Helper()
	r := &rig{T: t, lab: l, clock: 1000}
	var err error
	var a, b *lab.Server
	if mutual {
		a, b, err = l.Pair(t.Context(), f, lab.Quick()...)
	} else {
		if a, err = l.Member(t.Context(), f, lab.Quick()...); err == nil {
			b, err = l.Member(t.Context(), f, lab.Quick()...)
		}
		if err == nil {
			err = l.ReplicateFrom(t.Context(), b, a)
		}
		if err == nil {
			err = b.SetReadOnly(t.Context(), true)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	r.servers = []*lab.Server{a, b}
	r.open(proxy)
	r.put(0, "setting", "first")
	r.await("tables", func() bool {
		m := r.pair.Look(t.Context())
		return m[0].Tables && m[1].Tables && m[0].Newest == m[1].Newest && m[0].Hold == m[1].Hold
	})
	return r
}

// open makes the account of the administrator, with the documented grants, and opens the pair.
func (r *rig) open(proxy Proxy) {
	r.Helper()
	var keys []topology.Key
	for _, s := range r.servers {
		r.admin(s)
		keys = append(keys, s.Key)
	}
	var err error
	r.pair, err = Open(Options{Members: keys, Database: lab.BackendDatabase, Account: Account{User: admin,
		Password: adminPassword},
		Backend: Account{User: lab.BackendUser,
			Password: lab.BackendPassword}, Security: lab.Security(), LookTimeout: 2 * time.Second, Proxy: proxy,
		Progress: func(says string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.said = append(r.said, says)
		}})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { r.pair.Close() })
}

func (r *rig) admin(s *lab.Server) {
	r.Helper()
	ctx := r.Context()
	c, err := s.DB().Conn(ctx)
	if err != nil {
		r.Fatal(err)
	}
	defer c.Close()
	var version string
	if err := c.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version); err != nil {
		r.Fatal(err)
	}
	f, v, err := topology.ParseVersion(version)
	if err != nil {
		r.Fatal(err)
	}
	_, everywhere := BackendGrants(f)
	if f == topology.MySQL {
		_, err = c.ExecContext(ctx, "SET GLOBAL super_read_only = 0")
	}
	statements := append([]string{"SET SESSION sql_log_bin = 0",
		fmt.Sprintf("CREATE USER IF NOT EXISTS '%s'@'%%' IDENTIFIED BY '%s'", admin, adminPassword),
		server.Grant(strings.Join(everywhere, ", "), lab.BackendUser+"@%")},
		AdminGrants(f, v, admin+"@%", lab.BackendDatabase)...)
	for _, q := range append(statements, "SET SESSION sql_log_bin = 1") {
		if err == nil {
			_, err = c.ExecContext(ctx, q)
		}
	}
	if err != nil {
		r.Fatal(err)
	}
}

// put writes records at one member, as a daemon does.
func (r *rig) put(at int, kind string, keys ...string) {
	r.Helper()
	s, err := r.pair.store(r.servers[at].Key)
	if err != nil {
		r.Fatal(err)
	}
	defer s.Close()
	var records []backend.Record
	for _, k := range keys {
		r.clock++
		records = append(records, backend.Record{Kind: kind, Key: k, Version: r.clock, Writer: fmt.Sprint("daemon", at),
			Document: json.RawMessage(fmt.Sprintf(`{"at":%d}`, at))})
	}
	if err := s.Put(r.Context(), records...); err != nil {
		r.Fatal(err)
	}
	if at == 0 && r.clock < 1010 {
		if _, err := s.Lease(LeaseName).Beat(r.Context(), backend.Hold{Holder: "daemon0", Term: 7,
			Beat: r.clock}); err != nil {
			r.Fatal(err)
		}
	}
}

func (r *rig) await(what string, holds func() bool) {
	r.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("%s: did not come; %+v", what, r.pair.Look(r.Context()))
		}
	}
}

func (r *rig) exec(at int, statements ...string) {
	r.Helper()
	if err := r.servers[at].Exec(r.Context(), statements...); err != nil {
		r.Fatal(err)
	}
}

// keys are the records of a kind at a member, read behind everybody's back.
func (r *rig) keys(at int, kind string) (out []string) {
	r.Helper()
	rows, err := r.servers[at].DB().QueryContext(r.Context(), "SELECT record.key FROM orchestrator.record WHERE kind "+
		"= ? AND deleted = 0 ORDER BY record.key", kind)
	if err != nil {
		r.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var k string
		if err := rows.Scan(&k); err != nil {
			r.Fatal(err)
		}
		out = append(out, k)
	}
	return out
}

// say is a word in the flavour's words, about the default channel.
func (r *rig) say(at int, w server.Word) string {
	return r.pair.sites[at].dialect.Say(w).ForChannel("").Text
}

func steps(r Report) string {
	var lines []string
	for _, s := range r.Steps {
		lines = append(lines, s.String())
	}
	return strings.Join(lines, "\n")
}

func TestLookTellsWhatIsThere(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		r := rigged(t, l, f, true, nil)
		m := r.pair.Look(t.Context())
		for i := range m {
			c := m[i].From(m[1-i].Key)
			if !m[i].Up || m[i].Flavor != f || m[i].Format != "STATEMENT" || m[i].ReadOnly || m[i].Hold.Term != 7 ||
				c == nil || !c.Running() || m[i].ID == "" {
				t.Errorf("%+v", m[i])
			}
		}
		if m[0].ID == m[1].ID {
			t.Error("one identity for both")
		}
		s, err := r.pair.store(r.a())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		identity, err := s.Identity(t.Context())
		if err != nil || identity != m[0].ID {
			t.Errorf("the store knows it as %s (%v), we as %s", identity, err, m[0].ID)
		}
		if err := r.servers[0].Hang(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond) // until each of its threads has heard of it
		r.pair.o.LookTimeout = time.Second
		began := time.Now()
		m = r.pair.Look(t.Context())
		if took := time.Since(began); m[0].Up || !m[1].Up || took > 3*time.Second || m[0].Failure != topology.Timeout {
			t.Errorf("a hung member: after %v: %+v", took, m[0])
		}
		if err := r.servers[0].Kill(); err != nil {
			t.Fatal(err)
		}
		m = r.pair.Look(t.Context())
		if m[0].Failure != topology.Refused || m[0].Unreachable == 0 {
			t.Errorf("a dead member: %+v", m[0])
		}
		if Behind(m, identity) != r.a() {
			t.Errorf("a dead member is not known by its identity any more: %+v", m[0])
		}
		if c := Choose(m, Known{Previous: r.a(), Term: 7}); c.Serve != r.b() {
			t.Errorf("%+v", c)
		}
	})
}

func TestVerifyMergesWhatDiffers(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		r := rigged(t, l, f, true, nil)
		v, err := r.pair.Verify(t.Context(), false)
		if err != nil || !v.Equal {
			t.Fatalf("%+v, %v", v, err)
		}
		r.put(0, "tag", "both") // an older version of what is written at the other below
		r.await("both", func() bool { return len(r.keys(1, "tag")) == 1 })
		for i := range r.servers {
			r.exec(i, r.say(i, server.Stop))
		}
		r.put(0, "tag", "only-a")
		r.put(1, "tag", "only-b", "both")
		r.put(1, "downtime", "d")
		// And what no write of ours makes: one version, two contents.
		r.exec(1, "SET SESSION sql_log_bin = 0", "UPDATE orchestrator.record SET document = '{}' WHERE kind = "+
			"'setting'", "SET SESSION sql_log_bin = 1")
		v, err = r.pair.Verify(t.Context(), false)
		if err != nil || v.Equal || len(v.Differences) != 5 {
			t.Fatalf("%+v, %v", v, err)
		}
		conflict := v.Differences[slices.IndexFunc(v.Differences,
			func(d Difference) bool { return d.Kind == "setting" })]
		if !conflict.Conflict {
			t.Errorf("%+v", conflict)
		}
		for i := range r.servers {
			r.exec(i, "SET GLOBAL read_only = 1")
		}
		if v, err = r.pair.Verify(t.Context(), true); err == nil || len(v.Differences) != 5 || len(v.Merged) > 0 {
			t.Fatalf("while nobody takes writes: %+v, %v", v, err)
		}
		for i := range r.servers {
			r.exec(i, "SET GLOBAL read_only = 0")
		}
		if v, err = r.pair.Verify(t.Context(), true); err != nil || !v.Equal || len(v.Merged) != 5 {
			t.Fatalf("%+v, %v", v, err)
		}
		for i := range r.servers {
			if got := strings.Join(r.keys(i, "tag"), " "); got != "both only-a only-b" {
				t.Errorf("member %d has %s", i, got)
			}
			r.exec(i, r.say(i, server.Start))
		}
		// What comes late changes nothing.
		r.await("replication", func() bool {
			m := r.pair.Look(t.Context())
			return m[0].Channels[0].Running() && m[1].Channels[0].Running() && m[0].Executed.Equal(m[1].Executed)
		})
		if v, err = r.pair.Verify(t.Context(), false); err != nil || !v.Equal {
			t.Errorf("%+v, %v", v, err)
		}
	})
}

func TestPromoteInARunningPair(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		proxy := &fakeProxy{}
		r := rigged(t, l, f, true, proxy)
		proxy.set(r.a(), r.b())
		before := r.pair.Look(t.Context())
		dry, err := r.pair.Promote(t.Context(), r.b(), PromoteOptions{DryRun: true})
		if err != nil || len(dry.Steps) < 4 || dry.Steps[0].Done {
			t.Fatalf("%+v, %v", dry, err)
		}
		after := r.pair.Look(t.Context())
		if after[0].ReadOnly || !after[0].Executed.Equal(before[0].Executed) || len(proxy.did) > 0 {
			t.Fatalf("a dry run changed something: %v", proxy.did)
		}
		for try := range 2 {
			if try == 1 {
				proxy.did = nil
			}
			report, err := r.pair.Promote(t.Context(), r.b(), PromoteOptions{})
			if err != nil {
				t.Fatalf("time %d: %v\n%s", try+1, err, steps(report))
			}
			m := r.pair.Look(t.Context())
			if m[0].ReadOnly || m[1].ReadOnly || !m[0].Channels[0].Running() || !m[1].Channels[0].Running() ||
				report.Verification == nil || !report.Verification.Equal {
				t.Errorf("%+v %+v", m, report)
			}
			if got := strings.Join(proxy.did, ", "); got != "maint a, ready b, shut a" {
				t.Errorf("HAProxy was told: %s", got)
			}
		}
		r.put(1, "tag", "after")
		r.await("what the new active writes", func() bool { return slices.Contains(r.keys(0, "tag"), "after") })
	})
}

func TestPromoteAPlainReplicaOfADeadPrimary(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		r := rigged(t, l, f, false, nil)
		// A backlog in the relay log, which must not be lost: the applier waits for a lock, the receiver goes on.
		c, err := r.servers[1].DB().Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.ExecContext(t.Context(), "BEGIN"); err != nil {
			t.Fatal(err)
		}
		if f == topology.MySQL {
			r.exec(1, "SET GLOBAL super_read_only = 0")
		}
		if _, err := c.ExecContext(t.Context(), "SELECT * FROM orchestrator.record WHERE kind = 'setting' "+
			"FOR UPDATE"); err != nil {
			t.Fatal(err)
		}
		r.put(0, "setting", "first")
		for i := range 20 {
			r.put(0, "tag", fmt.Sprintf("t%02d", i))
		}
		source := r.pair.Look(t.Context())[0]
		r.await("everything received", func() bool {
			m := r.pair.Look(t.Context())[1]
			return m.Channels[0].Received.Contains(source.Executed) && !m.Executed.Contains(source.Executed)
		})
		if _, err := r.pair.Promote(t.Context(), r.b(), PromoteOptions{DrainTimeout: time.Second}); err == nil &&
			f == topology.MariaDB {
			t.Error("promoted with the primary alive, and behind")
		}
		if err := r.servers[0].Kill(); err != nil {
			t.Fatal(err)
		}
		r.await("the receiver notices",
			func() bool { return r.pair.Look(t.Context())[1].Channels[0].IO != topology.Running })
		if _, err := r.pair.Promote(t.Context(), r.b(), PromoteOptions{DrainTimeout: time.Second}); err == nil ||
			!strings.Contains(err.Error(), "received and not applied") {
			t.Errorf("promoted over relay logs that are not applied: %v", err)
		}
		if m := r.pair.Look(t.Context())[1]; !m.ReadOnly || len(m.Channels) != 1 {
			t.Errorf("a refused promotion changed something: %+v", m)
		}
		if _, err := c.ExecContext(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
		c.Close()
		for range 2 {
			report, err := r.pair.Promote(t.Context(), r.b(), PromoteOptions{})
			if err != nil {
				t.Fatal(err, steps(report))
			}
		}
		if m := r.pair.Look(t.Context())[1]; m.ReadOnly || len(m.Channels) != 0 {
			t.Errorf("%+v", m)
		}
		if n := len(r.keys(1, "tag")); n != 20 {
			t.Errorf("%d of 20 records", n)
		}
		r.put(1, "tag", "new")
	})
}

// fakeProxy stands in for HAProxy, which has tests of its own: it obeys, and writes down what it was told.
type fakeProxy struct {
	servers []ProxyServer
	did     []string
}

func (p *fakeProxy) set(up, down topology.Key) {
	p.servers = []ProxyServer{{Key: up, Name: "a", Up: true, State: "UP", Sessions: 3},
		{Key: down, Name: "b", State: "DOWN"}}
}

func (p *fakeProxy) Servers(context.Context) ([]ProxyServer, error) {
	return slices.Clone(p.servers), nil
}

func (p *fakeProxy) do(k topology.Key, verb string, change func(*ProxyServer)) error {
	for i := range p.servers {
		if p.servers[i].Key == k {
			change(&p.servers[i])
			p.did = append(p.did, verb+" "+p.servers[i].Name)
			return nil
		}
	}
	return fmt.Errorf("no server %v", k)
}

func (p *fakeProxy) Ready(_ context.Context, k topology.Key) error {
	return p.do(k, "ready", func(s *ProxyServer) { s.Up, s.State = true, "UP" })
}

func (p *fakeProxy) Maintain(_ context.Context, k topology.Key) error {
	return p.do(k, "maint", func(s *ProxyServer) { s.Up, s.State = false, "MAINT" })
}

func (p *fakeProxy) ShutSessions(_ context.Context, k topology.Key) error {
	return p.do(k, "shut", func(s *ProxyServer) { s.Sessions = 0 })
}

// The data of both are lost: only somebody's word makes a member without tables the one that serves.
func TestPromoteAMemberWithoutTables(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		r := rigged(t, l, f, true, nil)
		word := func(o PromoteOptions, want string) {
			t.Helper()
			if _, err := r.pair.Promote(t.Context(), r.a(), o); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("promoted, or refused for another reason than %q: %v", want, err)
			}
			if r.pair.Look(t.Context())[0].Tables {
				t.Error("it has got tables")
			}
		}
		lose := func(at int) {
			c, err := r.servers[at].DB().Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for _, q := range []string{"SET SESSION sql_log_bin = 0", "DROP DATABASE orchestrator",
				"CREATE DATABASE orchestrator"} {
				if _, err := c.ExecContext(t.Context(), q); err != nil {
					t.Fatal(err)
				}
			}
		}
		lose(0)
		word(PromoteOptions{Force: true}, "orchestrator backend rejoin --seed") // the other one has them all
		lose(1)
		word(PromoteOptions{}, fmt.Sprintf("%v has none either", r.b()))
		if err := r.servers[1].Kill(); err != nil {
			t.Fatal(err)
		}
		word(PromoteOptions{}, fmt.Sprintf("it is not known whether %v has", r.b()))
		if _, err := r.pair.Promote(t.Context(), r.a(), PromoteOptions{Force: true, DryRun: true}); err != nil ||
			r.pair.Look(t.Context())[0].Tables {
			t.Errorf("a dry run: %v", err)
		}
		for range 2 {
			if report, err := r.pair.Promote(t.Context(), r.a(), PromoteOptions{Force: true}); err != nil ||
				!r.pair.Look(t.Context())[0].Tables {
				t.Fatal(err, steps(report))
			}
		}
		r.put(0, "tag", "new")
	})
}
