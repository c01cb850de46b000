package haproxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"orchestrator/daemon/crowd"
)

const (
	// agentDeadline bounds one question and its answer. HAProxy asks again after 250 ms.
	agentDeadline = time.Second
	// agentConnections is how many may be open at the same time; 16 HAProxies that ask for two members open fewer. One
	// client has half of them at most. Then its oldest connection gives way: one that asked was answered long before.
	agentConnections = 64
	agentLine        = 512
	agentWhy         = 120
)

// Agent answers HAProxy's agent checks: it reads one line with the name of a member, and answers "up ready" or "down
// #why". Set Listen, Members and Fit, then call Open, Serve, Close.
type Agent struct {
	Listen  string   // "host:port"
	Members []string // addresses, "host:port"

	// Fit says whether a member may serve, and if not, why. It may say yes to at most one member, and never when in
	// doubt: HAProxy trusts the answer. Several goroutines call it at the same time, about ten times a second. It must
	// answer from memory: HAProxy takes silence for the death of the daemon.
	Fit func(member string) (serve bool, why string)

	listener net.Listener
	handlers sync.WaitGroup
	mu       sync.Mutex
	open     map[net.Conn]bool // nil when closed
}

// Open starts to listen.
func (a *Agent) Open() error {
	l, err := net.Listen("tcp", a.Listen)
	if err != nil {
		return fmt.Errorf("listen for HAProxy's agent checks at %s (haproxy.agent): %w", a.Listen, err)
	}
	a.listener, a.open = crowd.New(l, agentConnections), map[net.Conn]bool{}
	return nil
}

// Addr returns the address on which it listens.
func (a *Agent) Addr() net.Addr { return a.listener.Addr() }

// Serve answers until ctx ends or Close is called; both return nil.
func (a *Agent) Serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, a.shut)
	defer stop()
	for {
		conn, err := a.listener.Accept()
		if err != nil {
			var passing net.Error
			if errors.As(err, &passing) && passing.Timeout() || a.closed() {
				return nil
			}
			// Errors such as too many open files, or a connection that was reset in the queue, are temporary. If the
			// agent gave up, HAProxy would stop serving the backend.
			t := time.NewTimer(10 * time.Millisecond)
			select {
			case <-ctx.Done():
				t.Stop()
				return nil
			case <-t.C:
				continue
			}
		}
		if !a.hold(conn) {
			conn.Close()
			return nil
		}
		go func() {
			defer a.handlers.Done()
			defer a.release(conn)
			a.answer(conn)
		}()
	}
}

// Close ends Serve, closes all connections, and waits for their handlers.
func (a *Agent) Close() error {
	if a.listener == nil {
		return nil
	}
	a.shut()
	a.handlers.Wait()
	return nil
}

func (a *Agent) shut() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.listener.Close()
	for conn := range a.open {
		conn.Close()
	}
	a.open = nil
}

func (a *Agent) closed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.open == nil
}

func (a *Agent) hold(conn net.Conn) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open == nil {
		return false
	}
	a.open[conn] = true
	a.handlers.Add(1)
	return true
}

func (a *Agent) release(conn net.Conn) {
	conn.Close()
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.open, conn)
}

func (a *Agent) answer(conn net.Conn) {
	if conn.SetDeadline(time.Now().Add(agentDeadline)) != nil {
		return
	}
	line, err := bufio.NewReaderSize(io.LimitReader(conn, agentLine), agentLine).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return
	}
	io.WriteString(conn, a.word(strings.TrimSpace(line))) // a client that does not read it asks again
}

// word returns the answer. The space before '#' matters: without it, HAProxy ignores the answer and keeps the previous
// one.
func (a *Agent) word(name string) string {
	for _, m := range a.Members {
		if m != name && ServerName(m) != name {
			continue
		}
		serve, why := a.Fit(m)
		if serve {
			return "up ready\n" // "ready" ends the maintenance state in which "disabled" starts it
		}
		return "down #" + plain(why) + "\n"
	}
	return "down #unknown member\n"
}

// plain converts a reason for HAProxy: one short line of printable ASCII.
func plain(why string) string {
	why = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, why)
	if len(why) > agentWhy {
		why = why[:agentWhy]
	}
	if why = strings.TrimSpace(why); why == "" {
		return "not fit to serve"
	}
	return why
}
