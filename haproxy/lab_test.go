package haproxy_test

import (
	"bufio"
	"context"
	"flag"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"orchestrator/haproxy"
	"orchestrator/tests/lab"
)

// TestMain lets four tests go on at the same time: they wait more than they compute.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// member is a TCP server that greets with its name, and counts whom it greets while it is stale.
type member struct {
	address string
	stale   atomic.Bool
	wrong   atomic.Int64 // served while stale

	mu    sync.Mutex
	l     net.Listener
	conns []net.Conn
}

func (m *member) start(t *testing.T) {
	t.Helper()
	l, err := listen(m.address)
	if err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	m.l = l
	m.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if m.stale.Load() {
				m.wrong.Add(1)
			}
			m.mu.Lock()
			m.conns = append(m.conns, c)
			m.mu.Unlock()
			go func() {
				c.Write([]byte(m.address + "\n"))
				c.Read(make([]byte, 1)) // until the client goes
				c.Close()
			}()
		}
	}()
}

// listen tries for a while: a process that is being started holds what was closed a moment ago.
func listen(address string) (l net.Listener, err error) {
	for range 100 {
		if l, err = net.Listen("tcp", address); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return l, err
}

// die closes everything, as a killed process does.
func (m *member) die() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.l != nil {
		m.l.Close()
	}
	for _, c := range m.conns {
		c.Close()
	}
	m.l, m.conns = nil, nil
}

type world struct {
	*testing.T
	version string // of the configuration
	config  string // as it was rendered for the API
	lab     *lab.Lab
	kept    *http.Transport

	a, b  *member
	h     *lab.HAProxy
	fit   atomic.Value // the address of the member that is fit, or ""
	agent *haproxy.Agent
	at    string // of the agent
	done  chan error
}

// everyVersion runs a test with Debian's HAProxy, and with one from 3.1 on where there is one. It isn't started yet.
func everyVersion(t *testing.T, test func(*world)) {
	t.Parallel()
	for version, root := range lab.HAProxyRoots() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			w := &world{T: t, version: version, lab: lab.Test(t), kept: &http.Transport{}}
			t.Cleanup(w.kept.CloseIdleConnections)
			var err error
			w.h, err = w.lab.NewHAProxy(root)
			w.must(err)
			test(w)
			if t.Failed() {
				t.Logf("log of HAProxy: %s", w.h.Log())
			}
		})
	}
}

// versions gives a test two members as well, of which the first is fit. Never is a stale one served.
func versions(t *testing.T, test func(*world)) {
	everyVersion(t, func(w *world) {
		w.a, w.b = &member{}, &member{}
		for _, m := range []*member{w.a, w.b} {
			m.address = address(w.T, w.lab) + ":3306"
			m.start(w.T)
			w.Cleanup(m.die)
		}
		w.begin(w.a.address, w.b.address)
		test(w)
		if n := w.a.wrong.Load() + w.b.wrong.Load(); n > 0 {
			w.Errorf("%d connections were served by a stale member", n)
		}
	})
}

func address(t *testing.T, l *lab.Lab) string {
	t.Helper()
	a, err := l.Address()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// begin starts the agent, which calls the first member fit, and HAProxy.
func (w *world) begin(members ...string) {
	w.at = address(w.T, w.lab) + ":3001"
	w.fit.Store(members[0])
	w.startAgent(members...)
	w.Cleanup(w.stopAgent)
	w.startHAProxy(w.h, w.version, members...)
}

func (w *world) startHAProxy(h *lab.HAProxy, version string, members ...string) {
	config, err := haproxy.Render(haproxy.Values{Version: version, Socket: h.Socket, Database: h.Database, HTTP: h.HTTP,
		Agent: w.at, Members: members,
		Daemons: []haproxy.Daemon{{Address: h.Host + ":3000"}}})
	w.must(err)
	w.must(h.Write(config))
	w.must(h.Start(w.Context()))
}

func (w *world) startAgent(members ...string) {
	w.agent = &haproxy.Agent{Listen: w.at, Members: members, Fit: func(m string) (bool, string) {
		fit := w.fit.Load().(string)
		return m == fit, "the fit one is " + fit
	}}
	var err error
	for range 100 { // as in listen
		if err = w.agent.Open(); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.must(err)
	w.done = make(chan error, 1)
	go func(a *haproxy.Agent, done chan error) { done <- a.Serve(context.Background()) }(w.agent, w.done)
}

func (w *world) stopAgent() {
	if w.agent == nil {
		return
	}
	w.must(w.agent.Close())
	w.must(<-w.done)
	w.agent = nil
}

// session opens one through HAProxy and says who greeted; "" is nobody.
func (w *world) session() (net.Conn, string) {
	c, err := net.DialTimeout("tcp", w.h.Database, time.Second)
	if err != nil {
		return nil, ""
	}
	c.SetReadDeadline(time.Now().Add(3 * time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		c.Close()
		return nil, ""
	}
	return c, strings.TrimSpace(line)
}

// await opens sessions until this member serves, and says how long that took. "" waits for nobody to.
func (w *world) await(who string) time.Duration {
	w.Helper()
	begin := time.Now()
	for {
		c, got := w.session()
		if c != nil {
			c.Close()
		}
		if got == who {
			return time.Since(begin)
		}
		if time.Since(begin) > 5*time.Second {
			w.Fatalf("%q serves after 5 s; want %q; log: %s", got, who, w.h.Log())
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// only opens sessions for a while; nobody else may serve.
func (w *world) only(who string, d time.Duration) {
	w.Helper()
	n := 0
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		c, got := w.session()
		if c != nil {
			c.Close()
		}
		if got != who {
			w.Fatalf("%q serves; want %q; log: %s", got, who, w.h.Log())
		}
		n++
	}
	w.Logf("%d connections", n)
}

// ends says how long a session stays open.
func (w *world) ends(c net.Conn, most time.Duration) time.Duration {
	w.Helper()
	begin := time.Now()
	c.SetReadDeadline(begin.Add(most))
	if _, err := c.Read(make([]byte, 1)); os.IsTimeout(err) {
		w.Errorf("a session is still open after %v", most)
	}
	c.Close()
	return time.Since(begin)
}

func TestAStaleMemberThatReturnsIsNeverServed(t *testing.T) {
	versions(t, func(w *world) {
		w.Logf("first service %v after HAProxy answered", w.await(w.a.address))
		w.a.die()
		w.fit.Store(w.b.address)
		if took := w.await(w.b.address); took > 900*time.Millisecond {
			w.Errorf("a switch from a dead member took %v", took)
		} else {
			w.Logf("switch from a dead member: %v", took)
		}
		w.a.stale.Store(true)
		w.a.start(w.T)
		w.only(w.b.address, time.Second)
		// HAProxy is killed and started again
		for range 2 {
			w.must(w.h.Kill())
			w.must(w.h.Start(w.Context()))
			w.Logf("restart: %v", w.await(w.b.address))
			w.only(w.b.address, 400*time.Millisecond)
		}
		for range 2 {
			w.must(w.h.Reload(w.Context()))
			w.Logf("reload: %v", w.await(w.b.address))
			w.only(w.b.address, 400*time.Millisecond)
		}
		// both down; the stale one comes back first
		w.b.die()
		w.fit.Store("")
		w.await("")
		w.only("", 500*time.Millisecond)
		w.b.start(w.T)
		w.only("", 500*time.Millisecond)
		w.fit.Store(w.b.address)
		w.Logf("back: %v", w.await(w.b.address))
		// caught up, and an operator fails back
		w.a.stale.Store(false)
		w.fit.Store(w.a.address)
		w.Logf("fail back: %v", w.await(w.a.address))
	})
}

func TestADeadAgentEndsWithNobodyServed(t *testing.T) {
	versions(t, func(w *world) {
		w.await(w.a.address)
		held, _ := w.session()
		w.stopAgent()
		w.a.die() // and the others go over to b; a comes back at once
		w.a.stale.Store(true)
		w.must(w.h.Kill())
		held.Close()
		w.a.start(w.T)
		w.must(w.h.Start(w.Context()))
		w.only("", time.Second) // HAProxy restarted, agent dead: if it were to serve, then at once, or after a check
		w.fit.Store(w.b.address)
		w.startAgent(w.a.address, w.b.address)
		w.Logf("the agent is back: %v", w.await(w.b.address))
		held, _ = w.session()
		w.only(w.b.address, 500*time.Millisecond) // both checks have been there
		w.stopAgent()
		begin := time.Now()
		w.Logf("held session: %v", w.ends(held, 4*time.Second))
		w.await("")
		w.Logf("the agent is dead, nobody served after %v", time.Since(begin))
		w.b.die()
		w.b.stale.Store(true)
		w.b.start(w.T) // it returns, and the agent's last word was for it
		w.only("", time.Second)
		w.b.die()
		w.a.stale.Store(false)
		w.fit.Store(w.a.address)
		w.startAgent(w.a.address, w.b.address)
		w.b.start(w.T)
		w.Logf("and back for the other: %v", w.await(w.a.address))
	})
}

// An agent that hangs, as a stopped process does: the kernel takes the connections, and nobody answers.
func TestAHungAgentEndsWithNobodyServed(t *testing.T) {
	versions(t, func(w *world) {
		w.await(w.a.address)
		held, _ := w.session()
		w.only(w.a.address, 500*time.Millisecond) // both checks have been there
		w.stopAgent()
		hung, err := listen(w.at)
		w.must(err)
		begin := time.Now()
		w.ends(held, 10*time.Second)
		took := time.Since(begin)
		if took < time.Second || took > 5500*time.Millisecond {
			w.Errorf("a session was ended %v after the agent hung", took)
		}
		w.await("")
		w.Logf("held session: %v; nobody served after %v", took, time.Since(begin))
		w.a.die()
		w.a.stale.Store(true)
		w.a.start(w.T) // its last word was for a
		w.only("", 700*time.Millisecond)
		w.must(w.h.Kill())
		w.must(w.h.Start(w.Context()))
		w.only("", 700*time.Millisecond)
		w.must(hung.Close())
		w.fit.Store(w.b.address)
		w.startAgent(w.a.address, w.b.address)
		w.Logf("the agent goes on, for the other: %v", w.await(w.b.address))
	})
}

func TestSessionsEndWhenTheAgentChangesItsMind(t *testing.T) {
	versions(t, func(w *world) {
		w.await(w.a.address)
		var shut, served []time.Duration
		serving, other := w.a, w.b
		for range 12 {
			c, got := w.session()
			if got != serving.address {
				w.Fatalf("%q serves; want %q", got, serving.address)
			}
			begin := time.Now()
			w.fit.Store(other.address)
			shut = append(shut, w.ends(c, time.Second))
			w.await(other.address)
			served = append(served, time.Since(begin))
			serving, other = other, serving
			time.Sleep(time.Duration(20*len(shut)) * time.Millisecond) // another phase of the checks each time
		}
		slices.Sort(shut)
		slices.Sort(served)
		w.Logf("sessions shut: median %v, most %v; the other serves: median %v, most %v", shut[6], shut[11], served[6],
			served[11])
		if served[11] > 900*time.Millisecond {
			w.Errorf("a switch took %v", served[11])
		}
	})
}

func TestAReloadLeavesNoSessionBehind(t *testing.T) {
	versions(t, func(w *world) {
		w.await(w.a.address)
		c, _ := w.session()
		w.must(w.h.Reload(w.Context()))
		w.fit.Store(w.b.address)
		w.Logf("the old session: %v", w.ends(c, 2*time.Second))
		w.await(w.b.address)
	})
}

func TestRuntimeSocket(t *testing.T) {
	versions(t, func(w *world) {
		w.await(w.a.address)
		r := w.h.Runtime()
		if v, err := r.Version(w.Context()); err != nil || v == "" {
			w.Errorf("version %q, %v", v, err)
		}
		name := haproxy.ServerName(w.a.address)
		held, _ := w.session()
		var servers []haproxy.Server
		for range 500 { // until the agent has spoken about both
			var err error
			servers, err = r.Servers(w.Context(), haproxy.Backend)
			w.must(err)
			if servers[0].Agent != "" && servers[1].Agent != "" {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if len(servers) != 2 || servers[0].Name != name || servers[0].Address != w.a.address || !servers[0].Serves() ||
			servers[0].Sessions != 1 ||
			servers[1].Serves() || servers[1].Agent != "down (the fit one is "+w.a.address+")" {
			w.Errorf("servers: %+v", servers)
		}
		w.must(r.Shutdown(w.Context(), haproxy.Backend, name))
		w.ends(held, time.Second)
		held, _ = w.session()
		w.must(r.SetState(w.Context(), haproxy.Backend, name, haproxy.Maint))
		w.Logf("sessions end %v after maint", w.ends(held, time.Second))
		w.await(w.a.address) // the agent's "ready" ends it again
		if err := r.SetState(w.Context(), haproxy.Backend, "nobody", haproxy.Ready); err == nil ||
			!strings.Contains(err.Error(), "No such server") {
			w.Errorf("got %v", err)
		}
		if err := r.SetState(w.Context(), haproxy.Backend, "x\nshutdown", haproxy.Ready); err == nil {
			w.Error("a name with a line end was taken")
		}
		w.must(w.h.Kill())
		if _, err := r.Version(w.Context()); err == nil || !strings.Contains(err.Error(), "check that HAProxy runs") {
			w.Errorf("got %v", err)
		}
	})
}
