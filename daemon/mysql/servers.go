// Package mysql asks managed servers, MySQL 5.7 to 9 and MariaDB 10.5 to 12, what they are doing (Probe), notices that
// one is gone (Watch), and does one step of a recovery at one of them (Do).
//
// It decides nothing: what a finding means is analysis, what to do is plan. The one idea: a server is recognised once a
// connection. From then on what it is asked is a table of whole statements, and the server package reads the answers by
// name.
//
// Where to look: servers (connections); probe (one look at a server), with questions, seldom, registered, threads,
// stall and binlog (what it is asked); watch (its socket); operate and steps (one step), with half, fence, heartbeat
// and trial; lock, held and stranger (its advisory lock, and who else holds it); grants and explain (what the account
// lacks).
package mysql

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// Options of Servers.
type Options struct {
	User, Password string
	server.Security
	ConnectTimeout time.Duration
	ProbeTimeout   time.Duration // a probe with all it needs, connecting included; 1 s by default
	StepTimeout    time.Duration // one step; 10 s by default
	// Admit says why no connection may be made to a server at an address; the zero address is not known yet. nil: all
	// may be made.
	Admit  func(topology.Key, netip.Addr) error
	Logger *slog.Logger
	// Term is that in which this daemon leads, 0 when it does not; nil: it is alone, and has none. Steps take a
	// server's lock in it.
	Term func() int64
	// Patience is how long a daemon of a lower term may hold a server's lock, as seen from here, before its session is
	// ended: the TTL of the lease. A daemon that lives, on the other side of a split backend, ends its turn within
	// that, and what it did is seen. 0 is 5 s.
	Patience time.Duration
}

// Servers are the managed servers, each with a connection that is kept open between probes. Safe for concurrent use.
type Servers struct {
	o      Options
	logger *slog.Logger
	crash  crash
	room   *server.Room // for the answers of all

	mu      sync.Mutex
	closed  bool
	account server.Account
	servers map[topology.Key]*kept
	held    map[topology.Key]*hold    // locks that are kept between steps
	others  map[topology.Key]sighting // who was seen to hold a lock, and since when
	users   []string                  // that daemons log in as: the one of account, and those before it
	lost    map[topology.Key][]string // ids of connections that broke while they may have held the lock
	heavy   int                       // what is kept of all servers beyond what each may have
}

// kept is what is kept of a server between probes. Only the goroutine whose element is in turn may use the rest.
type kept struct {
	turn  chan struct{}
	conn  *server.Conn
	known known
	// changed says that a step changed what rarely changes, so that the next probe reads it.
	changed atomic.Bool
	logs    logs
	// crowded is when an answer was too long: the list of those that have registered is not read for a while, as
	// anybody who may replicate can make it long.
	crowded time.Time
	// strangers is what they have done here. Servers.mu protects it: steps, which have connections of their own, note
	// it as well.
	strangers interference
	heavy     int // its share of Servers.heavy, which the same lock protects
}

// longAnswers is the memory that answers may take at a time: hardly one in a fleet is longer than a few kilobytes.
const longAnswers = 32 << 20

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
	if o.Admit == nil {
		o.Admit = func(topology.Key, netip.Addr) error { return nil }
	}
	if o.Patience <= 0 {
		o.Patience = 5 * time.Second
	}
	if o.Term == nil {
		o.Term = func() int64 { return 0 }
	}
	return &Servers{o: o, logger: o.Logger, room: server.NewRoom(longAnswers),
		account: server.Account{User: o.User, Password: o.Password},
		servers: map[topology.Key]*kept{},
		users:   []string{o.User},
		held:    map[topology.Key]*hold{}, lost: map[topology.Key][]string{}, others: map[topology.Key]sighting{}}
}

var errClosed = errors.New("the daemon is stopping: its connections are closed")

func (s *Servers) server(k topology.Key) (*kept, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	v := s.servers[k]
	if v == nil {
		v = &kept{turn: make(chan struct{}, 1)}
		s.servers[k] = v
	}
	return v, nil
}

func (s *Servers) connect(ctx context.Context, k topology.Key) (*server.Conn, error) {
	return s.dial(ctx, k, s.dialling())
}

func (s *Servers) dial(ctx context.Context, k topology.Key, o server.Options) (*server.Conn, error) {
	o.Admit = func(a netip.Addr) error { return s.o.Admit(k, a) }
	if err := s.o.Admit(k, netip.Addr{}); err != nil {
		return nil, fmt.Errorf("%w: %w", server.ErrBarred, err)
	}
	return server.Dial(ctx, server.Address(k), o)
}

func (s *Servers) dialling() server.Options {
	s.mu.Lock()
	defer s.mu.Unlock()
	return server.Options{Account: s.account, Security: s.o.Security, Timeout: s.o.ConnectTimeout, Room: s.room}
}

// SetCredentials is for those that log in from now on; connections that are open stay open.
func (s *Servers) SetCredentials(user, password string, keys server.Keys) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account, s.o.Keys = server.Account{User: user, Password: password}, keys
	if !slices.Contains(s.users, user) {
		s.users = append(s.users, user)
	}
}

func (s *Servers) credentials() server.Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.account
}

// Forget closes what is kept of a server. It does not wait for a probe that is under way, which then closes it itself.
func (s *Servers) Forget(k topology.Key) {
	s.mu.Lock()
	v := s.servers[k]
	delete(s.servers, k)
	if v != nil {
		s.heavy -= v.heavy
	}
	s.mu.Unlock()
	if v != nil {
		v.drop()
	}
}

// take waits for the turn to use the kept connection; give ends it.
func (v *kept) take(ctx context.Context) error {
	select {
	case v.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (v *kept) give() { <-v.turn }

// use does something on the kept connection, which must be there, and closes it where that cost it.
func (v *kept) use(do func(*server.Conn) error) error {
	err := do(v.conn)
	if err != nil && !survives(err) {
		v.hangUp()
	}
	return err
}

// drop closes the kept connection unless a probe is using it: that one sees that its server was forgotten when it ends.
func (v *kept) drop() {
	select {
	case v.turn <- struct{}{}:
		v.hangUp()
		<-v.turn
	default:
	}
}

func (v *kept) hangUp() {
	if v.conn != nil {
		v.conn.Close()
		v.conn = nil
	}
}

// Close closes all kept connections; probes under way end by their own deadline.
func (s *Servers) Close() error {
	s.mu.Lock()
	s.closed = true
	all := s.servers
	s.servers = map[topology.Key]*kept{}
	for _, h := range s.held {
		h.conn.Break()
	}
	s.mu.Unlock()
	for _, v := range all {
		v.drop()
	}
	return nil
}

// current says whether v is still what is kept of k.
func (s *Servers) current(k topology.Key, v *kept) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.servers[k] == v
}

// Probe asks the server at k, within Options.ProbeTimeout. Where the kept connection turns out to be broken, another
// one is made, once, and how that ends decides. The error is for people; it never holds a secret.
func (s *Servers) Probe(ctx context.Context, k topology.Key) (topology.Instance, topology.Failure, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.ProbeTimeout)
	defer cancel()
	v, err := s.server(k)
	if err != nil {
		return topology.Instance{}, topology.Other, fmt.Errorf("probe %v: %w", k, err)
	}
	if err := v.take(ctx); err != nil {
		return topology.Instance{}, topology.Timeout, fmt.Errorf("probe %v: the probe before has not ended yet: %w", k,
			err)
	}
	defer v.give()
	if v.conn != nil && s.o.Admit(k, v.conn.Remote()) != nil {
		v.hangUp() // that is said when it is connected to again
	}
	fresh := v.conn == nil
	i, err := s.ask(ctx, k, v)
	if err != nil && !fresh && server.Failure(err) == topology.Reset && ctx.Err() == nil {
		v.hangUp()
		i, err = s.ask(ctx, k, v)
	}
	if errors.Is(err, server.ErrTooMuch) && !v.isCrowded(time.Now()) {
		v.crowded = time.Now()
		v.hangUp()
		i, err = s.ask(ctx, k, v)
	}
	if err != nil || !s.current(k, v) {
		v.hangUp() // only another login shows what privileges the account has got
	}
	if err != nil {
		return topology.Instance{}, server.Failure(err), fmt.Errorf("probe %v: %w", k, explain(err))
	}
	return i, topology.OK, nil
}

// isCrowded says that the list of those that have registered was too long a while ago.
func (v *kept) isCrowded(now time.Time) bool { return now.Sub(v.crowded) < avoidLogsFor }

// ask is one probe, on the kept connection or another one.
func (s *Servers) ask(ctx context.Context, k topology.Key, v *kept) (topology.Instance, error) {
	before, fresh := v.known.instance, v.conn == nil
	if fresh {
		o := s.dialling()
		o.Several = true
		c, err := s.dial(ctx, k, o)
		if err != nil {
			return topology.Instance{}, err
		}
		v.conn, v.known = c, known{}
	}
	i, err := v.ask(ctx)
	if err == nil {
		err = s.weigh(k, v, i)
	}
	if err == nil {
		err = s.lookForStrangers(ctx, k, v, &i)
	}
	switch {
	case !fresh:
		s.reportMissing(k, v, before.Ungranted)
	case i.UUID == before.UUID: // until it is asked again
		i.Ungranted = before.Ungranted
		v.known.instance.Ungranted = before.Ungranted
	}
	return i, err
}
