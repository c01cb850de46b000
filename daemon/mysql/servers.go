// Package mysql is the only code that talks to managed servers, MySQL 5.7 to 9 and MariaDB 10.5 to 12: it asks what they are doing (Probe),
// notices that one has gone (Watch), and does one step of a recovery at one of them (Do).
//
// It decides nothing: what a finding means is analysis, what to do is plan. The one idea: a server is recognised once a connection, by
// flavour and parsed version, and from then on its dialect is a table of whole statements; everything behind reads columns by name, in
// either vocabulary, and failures by type and number, never by text.
package mysql

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"orchestrator/daemon/topology"
)

// Options of Servers.
type Options struct {
	User, Password string
	TLS            *tls.Config // nil: without TLS. ServerName is set to the host of each server
	Resolve        string      // "given", "hostname" or "report_host": carried for discovery, which names servers; nothing is renamed here
	ConnectTimeout time.Duration
	ProbeTimeout   time.Duration // a probe with all it needs, connecting included; 1 s by default
	StepTimeout    time.Duration // one step; 10 s by default
	Logger         *slog.Logger
	Daemon         string // who we are, told to servers as program_name
	// Term is that in which this daemon leads, 0 when it does not; nil: it is alone, and has none. Steps take a server's lock in it.
	Term func() int64
	// Patience is how long a daemon of a lower term may hold a server's lock, as seen from here, before its session is ended: the TTL of the lease. One
	// that lives, on the other side of a split backend, ends its turn within that, and what it did is seen; 0 is 5 s.
	Patience time.Duration
}

// Servers are the managed servers, each with a connection that is kept open between probes. Safe for concurrent use.
type Servers struct {
	o       Options
	logger  *slog.Logger
	mu      sync.Mutex
	closed  bool
	user    string
	secret  string
	servers map[topology.Key]*server
	crash   crash
	held    map[topology.Key]*hold    // locks that are kept between steps
	others  map[topology.Key]sighting // who was seen to hold a lock, and since when
	lost    map[topology.Key][]string // ids of connections that broke while they may have held the lock
}

// server is what is kept of one of them between probes. Whoever holds turn may use the rest.
type server struct {
	turn  chan struct{}
	conn  *conn
	known known
}

// New opens nothing: connections are made when a server is asked.
func New(o Options) *Servers {
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = time.Second
	}
	if o.ProbeTimeout <= 0 {
		o.ProbeTimeout = time.Second
	}
	if o.StepTimeout <= 0 {
		o.StepTimeout = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Patience <= 0 {
		o.Patience = 5 * time.Second
	}
	if o.Term == nil {
		o.Term = func() int64 { return 0 }
	}
	return &Servers{o: o, logger: o.Logger, user: o.User, secret: o.Password, servers: map[topology.Key]*server{},
		held: map[topology.Key]*hold{}, lost: map[topology.Key][]string{}, others: map[topology.Key]sighting{}}
}

var errClosed = errors.New("the daemon is stopping: its connections are closed")

func (s *Servers) server(k topology.Key) (*server, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	v := s.servers[k]
	if v == nil {
		v = &server{turn: make(chan struct{}, 1)}
		s.servers[k] = v
	}
	return v, nil
}

// SetCredentials is for those that log in from now on; connections that are open stay open.
func (s *Servers) SetCredentials(user, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.user, s.secret = user, password
}

func (s *Servers) credentials() (user, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.user, s.secret
}

// Forget closes what is kept of a server. It does not wait for a probe that is under way, which then closes it itself.
func (s *Servers) Forget(k topology.Key) {
	s.mu.Lock()
	v := s.servers[k]
	delete(s.servers, k)
	s.mu.Unlock()
	if v != nil {
		v.drop()
	}
}

// drop closes the kept connection unless a probe is using it: that one sees that its server was forgotten when it ends.
func (v *server) drop() {
	select {
	case v.turn <- struct{}{}:
		v.hangUp()
		<-v.turn
	default:
	}
}

func (v *server) hangUp() {
	if v.conn != nil {
		v.conn.close()
		v.conn = nil
	}
}

// Close closes all kept connections; probes under way end by their own deadline.
func (s *Servers) Close() error {
	s.mu.Lock()
	s.closed = true
	all := s.servers
	s.servers = map[topology.Key]*server{}
	for _, h := range s.held {
		_ = h.conn.wire.Close()
	}
	s.mu.Unlock()
	for _, v := range all {
		v.drop()
	}
	return nil
}

// kept says whether v is still the server of k.
func (s *Servers) kept(k topology.Key, v *server) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.servers[k] == v
}

// Probe asks the server at k, within Options.ProbeTimeout. A connection that was kept and turns out broken is made anew once, and how that
// ends decides. The error is for people; it never holds a secret.
func (s *Servers) Probe(ctx context.Context, k topology.Key) (topology.Instance, topology.Failure, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.ProbeTimeout)
	defer cancel()
	v, err := s.server(k)
	if err != nil {
		return topology.Instance{}, topology.Other, fmt.Errorf("probe %v: %w", k, err)
	}
	select {
	case v.turn <- struct{}{}:
	case <-ctx.Done():
		return topology.Instance{}, topology.Timeout, fmt.Errorf("probe %v: the probe before has not ended yet: %w", k, ctx.Err())
	}
	defer func() { <-v.turn }()

	fresh := v.conn == nil
	i, err := s.ask(ctx, k, v)
	if err != nil && !fresh && failure(err) == topology.Reset && ctx.Err() == nil {
		v.hangUp()
		i, err = s.ask(ctx, k, v)
	}
	if err != nil || !s.kept(k, v) {
		v.hangUp() // privileges, too, are learnt only by logging in again
	}
	if err != nil {
		return topology.Instance{}, failure(err), fmt.Errorf("probe %v: %w", k, explain(err))
	}
	return i, topology.OK, nil
}
