package lab

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"orchestrator/daemon/topology"
)

// Proxy is a TCP proxy before a pair, as HAProxy would be: all new connections go to one server. It notes the
// statements that pass, so it can't see into TLS.
type Proxy struct {
	Key      topology.Key
	listener net.Listener
	work     sync.WaitGroup

	mu         sync.Mutex
	to         *Server
	pairs      map[net.Conn]net.Conn // of the client, and of the server
	statements []*Statement
}

// Statement has passed a proxy.
type Statement struct {
	At       topology.Key // which server has got it
	When     time.Time
	Text     string // its beginning
	Warnings int    // that the server gave for it
}

// Proxy starts one that serves nobody yet: it hangs up, as HAProxy does without a server. Close ends it.
func (l *Lab) Proxy() (*Proxy, error) {
	host, err := l.Address()
	if err != nil {
		return nil, err
	}
	p := &Proxy{Key: topology.Key{Host: host, Port: 3307}, pairs: map[net.Conn]net.Conn{}}
	if p.listener, err = net.Listen("tcp", p.Key.String()); err != nil {
		return nil, err
	}
	p.work.Go(p.accept)
	return p, nil
}

// Point sends new connections to a server, or with nil nowhere; the old ones stay where they are.
func (p *Proxy) Point(to *Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = to
}

// Switch sends new connections to a server, and shuts the old ones.
func (p *Proxy) Switch(to *Server) {
	p.Point(to)
	p.shut()
}

func (p *Proxy) shut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for client, server := range p.pairs {
		client.Close()
		server.Close()
	}
}

// Statements are all that have passed, in order.
func (p *Proxy) Statements() []Statement {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Statement, len(p.statements))
	for i, s := range p.statements {
		out[i] = *s
	}
	return out
}

// Forget begins a new list of statements.
func (p *Proxy) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.statements = nil
}

// Close ends the proxy and all that goes through it.
func (p *Proxy) Close() error {
	err := p.listener.Close()
	p.shut()
	p.work.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.work.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	to := p.to
	p.mu.Unlock()
	if to == nil {
		return
	}
	server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", to.Key.String())
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	p.pairs[client] = server
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.pairs, client)
		p.mu.Unlock()
	}()
	var last *Statement // that the client waits for; guarded by mu
	ask := packets{beginning: func(sequence byte, payload []byte) {
		const query = 3
		if sequence != 0 || len(payload) == 0 || payload[0] != query {
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		last = &Statement{At: to.Key, When: time.Now(), Text: strings.TrimSpace(string(payload[1:]))}
		p.statements = append(p.statements, last)
	}}
	answer := packets{beginning: func(sequence byte, payload []byte) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if last != nil && sequence == 1 {
			last.Warnings = warnings(payload)
			last = nil
		}
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.MultiWriter(&ask, server), client)
		_ = server.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(io.MultiWriter(&answer, client), server)
	client.Close()
	<-done
}

// warnings reads their number from an OK packet; other packets have none.
func warnings(payload []byte) int {
	if len(payload) == 0 || payload[0] != 0 {
		return 0
	}
	at := 1
	for range 2 { // affected rows, last id
		if at >= len(payload) {
			return 0
		}
		switch payload[at] {
		case 0xfc:
			at += 3
		case 0xfd:
			at += 4
		case 0xfe:
			at += 9
		default:
			at++
		}
	}
	if at+4 > len(payload) {
		return 0
	}
	return int(payload[at+2]) | int(payload[at+3])<<8
}

// packets cuts a stream into the protocol's packets and shows the beginning of each, at most shown bytes.
type packets struct {
	beginning func(sequence byte, payload []byte)
	header    []byte
	payload   []byte
	left      int // of the payload
}

const shown = 400

func (p *packets) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if len(p.header) < 4 {
			take := min(4-len(p.header), len(b))
			p.header = append(p.header, b[:take]...)
			b = b[take:]
			if len(p.header) < 4 {
				return n, nil
			}
			p.left, p.payload = int(p.header[0])|int(p.header[1])<<8|int(p.header[2])<<16, nil
		}
		take := min(p.left, len(b))
		p.payload = append(p.payload, b[:min(take, shown-len(p.payload))]...)
		b, p.left = b[take:], p.left-take
		if p.left == 0 {
			p.beginning(p.header[3], p.payload)
			p.header = nil
		}
	}
	return n, nil
}
