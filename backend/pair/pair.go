// Package pair looks after a backend pair: two servers that replicate from each other by statement; one serves, and
// the other is ready to take over. It looks at both members, decides which of them is fit to serve, finds what could
// make the pair fail, compares their records, and moves the service on request.
//
// It stores no records (sqlstore does), and answers no proxy (haproxy does). The one idea: records merge. So
// differences are fixed by reading both members and writing both, and a switch loses nothing that can still be read
// somewhere. Which member serves is a pure function of what was seen (Choose), so daemons that see the same decide the
// same.
package pair

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// Account is a name and a password.
type Account = server.Account

// Options of Open. Members are the two (or just one) as this machine reaches them directly.
type Options struct {
	Members  []topology.Key
	Database string // that holds the records
	// Account is used to look and to act.
	Account Account
	// Backend is the account that the daemons use; Doctor looks at its privileges. Its password may be missing.
	Backend Account
	server.Security
	// LookTimeout bounds a look at one member, connecting included; 500 ms by default.
	LookTimeout time.Duration
	// StatementTimeout bounds a statement that changes something; 10 s by default.
	StatementTimeout time.Duration
	Proxy            Proxy // nil: there is none, or it is not to be asked
	Logger           *slog.Logger
	// Progress is called with what is being done, and its progress, for people. It may be nil.
	Progress func(says string)
}

// Proxy is what this package needs from HAProxy's runtime socket.
type Proxy interface {
	// Servers are those of the proxy's backend section for the database.
	Servers(ctx context.Context) ([]ProxyServer, error)
	// Ready lets HAProxy serve a server when its checks pass; Maintain takes it out of service, until Ready or an
	// agent's "ready".
	Ready(ctx context.Context, member topology.Key) error
	Maintain(ctx context.Context, member topology.Key) error
	// ShutSessions ends the sessions with a server.
	ShutSessions(ctx context.Context, member topology.Key) error
}

// Pair is the two members, each with one permanent connection. Safe for concurrent use.
type Pair struct {
	o     Options
	sites []*site
}

// Open does not connect yet.
func Open(o Options) (*Pair, error) {
	if len(o.Members) == 0 || len(o.Members) > 2 {
		return nil, fmt.Errorf("look after a pair: %d members are named, it needs two: set backend.members = "+
			"[\"host:port\", \"host:port\"]", len(o.Members))
	}
	if len(o.Members) == 2 && o.Members[0] == o.Members[1] {
		return nil, fmt.Errorf("look after a pair: %v is named twice: set backend.members to the two servers",
			o.Members[0])
	}
	if o.LookTimeout <= 0 {
		o.LookTimeout = 500 * time.Millisecond
	}
	if o.StatementTimeout <= 0 {
		o.StatementTimeout = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	p := &Pair{o: o}
	for _, k := range o.Members {
		p.sites = append(p.sites, &site{key: k, o: &p.o, turn: make(chan struct{}, 1)})
	}
	return p, nil
}

// Close ends the connections.
func (p *Pair) Close() error {
	for _, s := range p.sites {
		s.turn <- struct{}{}
		s.hangUp()
		<-s.turn
	}
	return nil
}

// Look asks the members at the same time, each within LookTimeout.
func (p *Pair) Look(ctx context.Context) []Member {
	out := make([]Member, len(p.sites))
	var all sync.WaitGroup
	for i, s := range p.sites {
		all.Go(func() { out[i] = s.look(ctx) })
	}
	all.Wait()
	return out
}

// site returns the member with that key, and the other one.
func (p *Pair) site(k topology.Key) (it, other *site, err error) {
	i := slices.IndexFunc(p.sites, func(s *site) bool { return s.key == k })
	if i < 0 {
		return nil, nil, fmt.Errorf("%v is not a member of the pair: backend.members names %v", k, p.o.Members)
	}
	if len(p.sites) < 2 {
		return nil, nil, fmt.Errorf("%v is the only member: name both in backend.members", k)
	}
	return p.sites[i], p.sites[1-i], nil
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
