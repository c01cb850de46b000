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
)

const (
	// agentDeadline bounds one question and its answer. HAProxy asks again in 250 ms.
	agentDeadline = time.Second
	// agentConnections may be open at the same time; 16 HAProxies that ask for two members hold fewer.
	agentConnections = 64
	agentLine        = 512
	agentWhy         = 120
)

// Agent answers HAProxy's agent checks: one line with the name of a member comes in, "up ready" or "down #why" goes
// out. Set Listen, Members and Fit, then Open, Serve, Close.
type Agent struct {
	Listen  string   // "host:port"
	Members []string // addresses, "host:port"

	// Fit says whether a member may serve, and if not, why. At most one may, and never two, nor one in doubt: HAProxy
	// believes it. It is called by many at the same time, some ten times a second, and must answer from memory: HAProxy
	// takes silence for the end of the daemon.
	Fit func(member string) (serve bool, why string)

	listener net.Listener
	slots    chan struct{}
	handlers sync.WaitGroup
	mu       sync.Mutex
	open     map[net.Conn]bool // nil when closed
}

// Open begins to listen.
func (a *Agent) Open() error {
	l, err := net.Listen("tcp", a.Listen)
	if err != nil {
		return fmt.Errorf("listen for HAProxy's agent checks at %s (haproxy.agent): %w", a.Listen, err)
	}
	a.listener, a.slots, a.open = l, make(chan struct{}, agentConnections), map[net.Conn]bool{}
	return nil
}

// Addr is where it listens.
func (a *Agent) Addr() net.Addr { return a.listener.Addr() }

// Serve answers until ctx ends (nil) or Close is called (nil), or listening fails.
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
			// Too many open files, a connection reset in the queue: these pass, and an agent that gives up takes the
			// backend away.
			t := time.NewTimer(10 * time.Millisecond)
			select {
			case <-ctx.Done():
				t.Stop()
				return nil
			case <-t.C:
				continue
			}
		}
		select {
		case a.slots <- struct{}{}:
		default: // HAProxy ignores a broken agent check; a second later it asks again
			conn.Close()
			continue
		}
		if !a.hold(conn) {
			conn.Close()
			return nil
		}
		go func() {
			defer func() {
				a.release(conn)
				<-a.slots
				a.handlers.Done()
			}()
			a.answer(conn)
		}()
	}
}

// Close ends Serve and all connections, and waits for them.
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
	io.WriteString(conn, a.word(strings.TrimSpace(line))) // whoever doesn't read it asks again
}

// word is the answer. The blank before '#' matters: without it HAProxy takes the answer for none, and keeps the last
// one.
func (a *Agent) word(name string) string {
	for _, m := range a.Members {
		if m != name && ServerName(m) != name {
			continue
		}
		serve, why := a.Fit(m)
		if serve {
			return "up ready\n" // ready: out of the maintenance that "disabled" puts it in
		}
		return "down #" + plain(why) + "\n"
	}
	return "down #unknown member\n"
}

// plain makes a reason fit for HAProxy: one line, of printable ASCII, short.
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
