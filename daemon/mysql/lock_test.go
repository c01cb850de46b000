package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"orchestrator/daemon/mysql"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// inTerm is a daemon that leads in a term.
func inTerm(t *testing.T, term int64) *mysql.Servers {
	s := mysql.New(mysql.Options{User: lab.User, Password: lab.Password, Security: lab.Security(),
		ConnectTimeout: 5 * time.Second,
		Term:           func() int64 { return term },
		Patience:       300 * time.Millisecond})
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestLocks(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		var keys []topology.Key
		for range 2 {
			v, err := l.Start(t.Context(), lab.Spec{Flavor: f})
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, v.Key)
		}
		nobody := topology.Key{Host: keys[0].Host, Port: 1}
		step := plan.Step{Kind: plan.Fence, At: keys[0]} // it is read-only already: nothing changes
		alone, five, six, big := inTerm(t, 0), inTerm(t, 5), inTerm(t, 6), inTerm(t, 1<<40|7)
		held := func(h *mysql.Held) int { return len(h.Keys(t.Context())) }

		frozen := five.Hold(t.Context(), append(keys, nobody), 5)
		if held(frozen) != 2 || len(frozen.Refused()) != 1 {
			t.Fatalf("held: %v, refused: %v", frozen.Keys(t.Context()), frozen.Refused())
		}
		for range 2 {
			if err := five.Do(t.Context(), step); err != nil {
				t.Errorf("a step under the lock that is held: %v", err)
			}
		}
		if held(frozen) != 2 {
			t.Error("a step let go of the lock that is held")
		}

		// Whoever is not higher gives way.
		for name, s := range map[string]*mysql.Servers{"alone": alone, "lower": inTerm(t, 4), "equal": inTerm(t, 5)} {
			var locked *mysql.ErrLocked
			if err := s.Do(t.Context(), step); !errors.As(err, &locked) || locked.Term != 5 ||
				!strings.Contains(err.Error(), "in term 5") {
				t.Errorf("%s: %v, want ErrLocked of term 5", name, err)
			}
		}
		if same := inTerm(t, 5).Hold(t.Context(), keys, 5); held(same) != 0 || held(frozen) != 2 {
			t.Error("an equal term took a lock")
		}

		patient := mysql.New(mysql.Options{User: lab.User, Password: lab.Password,
			Security: lab.Security(), Term: func() int64 { return 6 },
			Patience: time.Minute})
		defer func() { _ = patient.Close() }()
		var waits *mysql.ErrLocked
		if err := patient.Do(t.Context(), step); !errors.As(err, &waits) || !strings.Contains(err.Error(),
			"is given 1m0s to end") || held(frozen) != 2 {
			t.Errorf("one that was replaced a moment ago: %v", err)
		}

		// A higher one ends the session, and the lock is its own.
		start := time.Now()
		h := six.Hold(t.Context(), keys[:1], 6)
		if took := time.Since(start); held(h) != 1 || took > 1500*time.Millisecond {
			t.Errorf("a lower term was not broken, or only after %v: %v", took, h.Refused())
		}
		if got := frozen.Keys(t.Context()); len(got) != 1 || got[0] != keys[1] {
			t.Errorf("the broken one still holds %v", got)
		}
		var locked *mysql.ErrLocked
		if err := five.Do(t.Context(), step); err == nil || errors.As(err, &locked) || !strings.Contains(err.Error(),
			"is lost") {
			t.Errorf("a step for which the broken lock was held: %v", err)
		}
		if err := six.Do(t.Context(), step); err != nil {
			t.Error(err)
		}
		h.Release()
		if held(h) != 0 {
			t.Error("released, and held")
		}
		if err := five.Do(t.Context(), step); err == nil || !strings.Contains(err.Error(), "is lost") {
			t.Errorf("it forgot that its lock is lost: %v", err)
		}
		frozen.Release()
		for name, s := range map[string]*mysql.Servers{"alone": alone, "lower": five, "higher": six,
			"a term of 41 bits": big} {
			if err := s.Do(t.Context(), step); err != nil {
				t.Errorf("%s, after the release: %v", name, err)
			}
		}
		h = big.Hold(t.Context(), keys[:1], 1<<40|7)
		if err := six.Do(t.Context(), step); !errors.As(err, &locked) || locked.Term != 1<<40|7 {
			t.Errorf("a term of 41 bits: %v", err)
		}
		h.Release()

		// A daemon that is alone tells no term, and is let be.
		h = alone.Hold(t.Context(), keys[:1], 0)
		if err := six.Do(t.Context(), step); !errors.As(err, &locked) || locked.Term != 0 {
			t.Errorf("beside a daemon without a term: %v", err)
		}
		h.Release()

		// All goes with the context, also what a step is waiting for.
		ctx, cancel := context.WithCancel(t.Context())
		h = five.Hold(ctx, keys, 5)
		if held(h) != 2 {
			t.Fatal(h.Refused())
		}
		cancel()
		for end := time.Now().Add(5 * time.Second); held(h) > 0 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		if err := inTerm(t, 1).Do(t.Context(), step); err != nil {
			t.Errorf("after the context: %v", err)
		}
		h.Release()
	})
}

// Anybody who may log in can take a lock of any name. It counts for nothing.
func TestALockOfAStranger(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		v, err := l.Start(t.Context(), lab.Spec{Flavor: f, ExtraArgs: []string{"--read-only=0"}})
		if err != nil {
			t.Fatal(err)
		}
		app, err := sql.Open("mysql", v.DSN(lab.AppUser, lab.AppPassword))
		if err != nil {
			t.Fatal(err)
		}
		defer app.Close()
		take := func(names ...string) (gone func() bool) {
			t.Helper()
			c, err := app.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				var got int
				err := c.QueryRowContext(t.Context(), "SELECT GET_LOCK('"+name+"', 5)").Scan(&got)
				if err != nil || got != 1 {
					t.Fatal(name, got, err)
				}
			}
			t.Cleanup(func() { _ = c.Close() })
			return func() bool { return c.PingContext(t.Context()) != nil }
		}
		terms := []string{"orchestrator.term"}
		for n := range 63 {
			terms = append(terms, fmt.Sprintf("orchestrator.term.%d", n))
		}
		step := plan.Step{Kind: plan.Fence, At: v.Key}
		alone, seven := inTerm(t, 0), inTerm(t, 7)
		for name, c := range map[string]struct {
			s     *mysql.Servers
			locks []string
		}{
			"alone":      {alone, []string{"orchestrator"}},
			"in a term":  {seven, []string{"orchestrator"}},
			"the term's": {seven, terms},
			"all":        {seven, append(terms, "orchestrator")},
		} {
			gone := take(c.locks...)
			began := time.Now()
			if err := c.s.Do(t.Context(), step); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("%s: it took %v", name, took)
			}
			if !gone() {
				t.Errorf("%s: the session was not ended", name)
			}
		}
		gone := take("orchestrator")
		h := seven.Hold(t.Context(), []topology.Key{v.Key}, 7)
		if len(h.Keys(t.Context())) != 1 || !gone() {
			t.Errorf("it does not hold the lock: %v", h.Refused())
		}
		h.Release()

		// A look finds it as well, and reports it.
		gone = take("orchestrator")
		looks := inTerm(t, 0)
		i, _, err := looks.Probe(t.Context(), v.Key)
		if err != nil || len(i.Strangers) != 1 || !gone() || !strings.Contains(i.Strangers[0], "of "+lab.AppUser+"@") ||
			!strings.Contains(i.Strangers[0], "'orchestrator'; it was ended") {
			t.Errorf("%q, %v", i.Strangers, err)
		}
		if i, _, err = looks.Probe(t.Context(), v.Key); err != nil || len(i.Strangers) != 1 {
			t.Errorf("afterwards: %q, %v", i.Strangers, err)
		}

		// Where it can't be ended, the step is done without the lock, and the lock is not counted.
		revoke := "REVOKE CONNECTION_ADMIN, SYSTEM_USER ON *.* FROM '" + lab.User + "'@'%'"
		if f == lab.MariaDB {
			revoke = "REVOKE CONNECTION ADMIN, SUPER ON *.* FROM '" + lab.User + "'@'%'"
		}
		if err := errors.Join(v.SetReadOnly(t.Context(), false), v.Exec(t.Context(), revoke)); err != nil {
			t.Fatal(err)
		}
		gone = take("orchestrator")
		began := time.Now()
		if err := inTerm(t, 7).Do(t.Context(), step); err != nil || gone() || time.Since(began) > 2*time.Second {
			t.Errorf("a session that can't be ended: %v, after %v", err, time.Since(began))
		}
		h = inTerm(t, 7).Hold(t.Context(), []topology.Key{v.Key}, 7)
		if len(h.Keys(t.Context())) != 0 || len(h.Refused()) != 1 ||
			!strings.Contains(h.Refused()[0].Error(), "no daemon's, holds the lock 'orchestrator', and could not") {
			t.Errorf("it counts a lock that somebody else has: %v", h.Refused())
		}
		h.Release()
	})
}

// pipe is a network between us and a server that can be cut without either side hearing of it.
type pipe struct {
	topology.Key
	mu  sync.Mutex
	cut []func() // what is open
}

func newPipe(t *testing.T, to topology.Key) *pipe {
	l, err := net.Listen("tcp", "127.0.42.2:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &pipe{Key: topology.Key{Host: "127.0.42.2", Port: l.Addr().(*net.TCPAddr).Port}}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to.String())
			if err != nil {
				_ = near.Close()
				continue
			}
			var gone atomic.Bool
			p.mu.Lock()
			p.cut = append(p.cut, func() { gone.Store(true) })
			p.mu.Unlock()
			t.Cleanup(func() { _ = far.Close(); _ = near.Close() })
			forward := func(from, to net.Conn) {
				buffer := make([]byte, 16<<10)
				for {
					n, err := from.Read(buffer)
					if gone.Load() { // silence, also about the end
						if err != nil {
							return
						}
						continue
					}
					if _, werr := to.Write(buffer[:n]); err != nil || werr != nil {
						_ = to.Close()
						return
					}
				}
			}
			go forward(near, far)
			go forward(far, near)
		}
	}()
	return p
}

func (p *pipe) silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, cut := range p.cut {
		cut()
	}
}

// A network that was cut leaves the session at the server, and with it the lock: a daemon that led in the same term
// must not wait for hours for itself.
func TestALockThatWeLost(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		v, err := l.Start(t.Context(), lab.Spec{Flavor: f})
		if err != nil {
			t.Fatal(err)
		}
		p, s := newPipe(t, v.Key), inTerm(t, 5)
		h := s.Hold(t.Context(), []topology.Key{p.Key}, 5)
		if len(h.Keys(t.Context())) != 1 {
			t.Fatal(h.Refused())
		}
		p.silence()
		short, done := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer done()
		if got := h.Keys(short); len(got) != 0 {
			t.Errorf("cut off, and it holds %v", got)
		}
		h.Release()
		step := plan.Step{Kind: plan.Fence, At: p.Key}
		var locked *mysql.ErrLocked
		if err := inTerm(t, 5).Do(t.Context(), step); !errors.As(err, &locked) {
			t.Errorf("another daemon of the same term: %v", err)
		}
		if err := s.Do(t.Context(), step); err != nil {
			t.Errorf("the daemon whose lock it was: %v", err)
		}
	})
}
