package pair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/plural"
	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// PromoteOptions are the options of Promote.
type PromoteOptions struct {
	DryRun bool
	// DrainTimeout bounds the wait for what was received and is not applied; a minute by default.
	DrainTimeout time.Duration
	// Force: treat the other member as dead although it may be alive; or the data of both are lost.
	Force bool
	// AllowLoss discards what was received and can't be applied.
	AllowLoss bool
}

// situation is the state at the start of a move of the service.
type situation struct {
	target, other *site
	to, from      Member // as they were seen
	mutual        bool   // each replicates from the other
	proxy         []ProxyServer
}

// Promote makes a member the one that serves, and verifies it. It works for a running pair, and for a replica whose
// primary is dead; a second run finds little to do. The daemons need no notification: the other member, read-only for
// the moment, is not fit to serve, and the target is.
func (p *Pair) Promote(ctx context.Context, to topology.Key, o PromoteOptions) (Report, error) {
	if o.DrainTimeout <= 0 {
		o.DrainTimeout = time.Minute
	}
	r := Report{DryRun: o.DryRun, Steps: []Step{}}
	s, err := p.situate(ctx, to)
	if err == nil {
		err = s.mayPromote(o)
	}
	if err == nil {
		r.Steps, r.Next = p.planPromotion(s, o)
		if !o.DryRun {
			err = p.walk(ctx, &r)
		}
	}
	if err == nil && !o.DryRun {
		err = p.verifyPromotion(ctx, s, &r)
	}
	if err != nil {
		return r, fmt.Errorf("promote %v: %w", to, err)
	}
	return r, nil
}

func (p *Pair) situate(ctx context.Context, k topology.Key) (s situation, err error) {
	if s.target, s.other, err = p.site(k); err != nil {
		return s, err
	}
	if s.to, err = s.target.see(ctx); err != nil {
		return s, err
	}
	if s.from, err = s.other.see(ctx); err != nil {
		if ctx.Err() != nil {
			return s, err
		}
		err = nil // it may be down
	}
	s.mutual = s.from.Up && s.from.From(k) != nil && s.to.From(s.other.key) != nil
	if s.to.Blind != "" {
		return s, fmt.Errorf("the replication status of %v can't be read: %s", k, s.to.Blind)
	}
	if p.o.Proxy != nil {
		if s.proxy, err = p.o.Proxy.Servers(ctx); err != nil {
			return s, fmt.Errorf("ask HAProxy which member it serves: %w; fix that, or continue without HAProxy with "+
				"--no-proxy", err)
		}
	}
	return s, nil
}

// mayPromote returns what forbids the promotion. Nothing has been changed yet.
func (s situation) mayPromote(o PromoteOptions) error {
	to, from := s.to, s.from
	switch {
	case to.LogBin && !strings.EqualFold(to.Format, "STATEMENT"):
		return fmt.Errorf("its binlog_format is %s, and must be STATEMENT: SET GLOBAL binlog_format = 'STATEMENT'",
			to.Format)
	case !to.Tables && from.Tables:
		return fmt.Errorf("it has no tables, and %v has: orchestrator backend rejoin --seed %v", from.Key, to.Key)
	case !to.Tables && !o.Force:
		return fmt.Errorf("it has no tables, and %s. In a new pair, daemons create them when they start. If the data "+
			"of both members are lost, --force creates empty tables, and the daemons, which must keep running, write "+
			"their journals into them", s.otherLacks())
	case !to.GTID && from.Up:
		return errNoGTID
	}
	c := to.From(s.other.key)
	if !from.Up {
		if o.Force {
			return nil
		}
		if c != nil && c.IO == topology.Running {
			return fmt.Errorf("%v is out of reach from here (%s), but %v still receives from it: it may be alive, "+
				"and daemons may use it. Try again in some seconds, or stop that server; --force continues all "+
				"the same", s.other.key, from.Err, to.Key)
		}
		for _, v := range s.proxy {
			if v.Key == s.other.key && v.Up && v.Sessions > 0 {
				return fmt.Errorf("%v is out of reach from here (%s), but HAProxy serves it, with %s: --force "+
					"continues all the same", s.other.key, from.Err, plural.Count(v.Sessions, "session"))
			}
		}
		return nil
	}
	missing := to.Executed.Missing(from.Executed)
	switch {
	case missing == 0 || o.AllowLoss:
	case c == nil:
		return fmt.Errorf("it lacks %s of %v, and does not replicate from it: orchestrator backend rejoin %v",
			plural.Count(missing, "transaction"), from.Key, to.Key)
	case !c.Running() && (c.SQLErrno != 0 || c.IOErrno != 0 || c.IO == topology.Stopped || c.SQL == topology.Stopped):
		return fmt.Errorf("it lacks %s of %v, and %s: orchestrator backend rejoin %v",
			plural.Count(missing, "transaction"), from.Key, c.Trouble(), to.Key)
	}
	return nil
}

// otherLacks says why the other member can't give its tables.
func (s situation) otherLacks() string {
	if s.from.Up {
		return fmt.Sprintf("%v has none either", s.other.key)
	}
	return fmt.Sprintf("it is not known whether %v has, because it is out of reach (%s)", s.other.key, s.from.Err)
}

// planPromotion returns the steps, from what was seen.
func (p *Pair) planPromotion(s situation, o PromoteOptions) (steps []Step, next []string) {
	t, other := s.target, s.other
	channel := s.to.From(other.key)
	plain := s.to.ReadOnly && !s.mutual // a replica, not a member that is ready to serve

	if s.from.Up && !s.from.ReadOnly && (channel != nil || s.mutual) {
		steps = append(steps, other.say("refuse writes, so that nothing new arrives",
			other.dialect.SayAll(server.RefuseWrites)...))
	}
	if s.from.Up && channel != nil && !o.AllowLoss {
		steps = append(steps, Step{At: t.key, Does: fmt.Sprintf("wait until everything that %v has written is applied",
			other.key), Run: func(ctx context.Context) error {
			err := t.catchUp(ctx, other, o.DrainTimeout, p.o.Progress)
			if err != nil && !s.from.ReadOnly {
				// This had stopped the writers.
				if e := other.all(context.WithoutCancel(ctx), server.TakeWrites); e != nil {
					return errors.Join(err, fmt.Errorf("make %v writable again: %w", other.key, e))
				}
				err = fmt.Errorf("%w; %v is writable again", err, other.key)
			}
			return err
		}})
	}
	if channel != nil && !s.from.Up && !o.AllowLoss {
		steps = append(steps, Step{At: t.key, Does: "wait until everything that was received is applied",
			Run: func(ctx context.Context) error {
				return t.drain(ctx, other.key, o.DrainTimeout, p.o.Progress)
			}})
	}
	if plain {
		for _, c := range s.to.Channels {
			steps = append(steps, p.endReplication(t, c, o))
		}
	}
	if s.to.ReadOnly {
		steps = append(steps, t.say("take writes", t.dialect.SayAll(server.TakeWrites)...))
	}
	if !s.to.Tables {
		steps = append(steps, Step{At: t.key, Does: "create empty tables; then the daemons use this member, and " +
			"write their journals into it",
			Run: func(ctx context.Context) error { return p.makeTables(ctx, t) }})
	}
	steps = append(steps, p.pointProxy(s)...)
	if s.mutual {
		steps = append(steps, Step{At: other.key, Does: "wait until no daemon uses it any longer",
			Run: func(ctx context.Context) error { return p.awaitNoClients(ctx, other) }})
		steps = append(steps, other.say("take writes again: it is ready to serve from now on",
			other.dialect.SayAll(server.TakeWrites)...))
	}
	switch {
	case !s.from.Up:
		next = append(next, fmt.Sprintf("when %v is back: orchestrator backend rejoin %v", other.key, other.key))
	case !s.mutual:
		next = append(next, fmt.Sprintf("orchestrator backend rejoin %v, so that it follows", other.key))
	}
	return steps, next
}

// endReplication stops and resets a replica's channel. Everything received is applied by then; that is checked again
// after the receiver has stopped, because a reset removes the relay logs.
func (p *Pair) endReplication(t *site, c Channel, o PromoteOptions) Step {
	return Step{At: t.key, Does: fmt.Sprintf("stop replication from %v, and remove its configuration", c.Source),
		Statements: []string{t.dialect.Say(server.StopReceiver).ForChannel(c.Name).Text,
			t.dialect.Say(server.Stop).ForChannel(c.Name).Text,
			t.dialect.Say(server.Reset).ForChannel(c.Name).Text},
		Run: func(ctx context.Context) error {
			if err := t.tell(ctx, server.StopReceiver, c.Name); err != nil {
				return err
			}
			if !o.AllowLoss {
				if err := t.drain(ctx, c.Source, o.DrainTimeout, p.o.Progress); err != nil {
					return err
				}
			}
			if err := t.tell(ctx, server.Stop, c.Name); err != nil {
				return err
			}
			return t.tell(ctx, server.Reset, c.Name)
		}}
}

func (p *Pair) makeTables(ctx context.Context, t *site) error {
	store, err := p.store(t.key)
	if err != nil {
		return err
	}
	defer store.Close()
	_, err = store.Identity(ctx)
	return err
}

// pointProxy makes HAProxy serve the target only.
func (p *Pair) pointProxy(s situation) []Step {
	if p.o.Proxy == nil {
		return nil
	}
	to, from := s.target.key, s.other.key
	return []Step{{
		Does: fmt.Sprintf("HAProxy: serve %v, and no longer %v", to, from),
		Statements: []string{"set server " + name(s.proxy, from) + " state maint", "set server " + name(s.proxy, to) +
			" state ready", "shutdown sessions server " + name(s.proxy, from)},
		Run: func(ctx context.Context) error {
			if err := p.o.Proxy.Maintain(ctx, from); err != nil {
				return err
			}
			if err := p.o.Proxy.Ready(ctx, to); err != nil {
				return err
			}
			return p.o.Proxy.ShutSessions(ctx, from)
		},
	}, {
		Does: fmt.Sprintf("HAProxy: wait until its checks let %v be served", to),
		Run:  func(ctx context.Context) error { return p.awaitServed(ctx, to) },
	}}
}

func name(servers []ProxyServer, k topology.Key) string {
	if i := slices.IndexFunc(servers, func(s ProxyServer) bool { return s.Key == k }); i >= 0 {
		return servers[i].Name
	}
	return k.String()
}

// How long the proxy, and then the daemons, may take to follow.
const followWithin = 15 * time.Second

func (p *Pair) awaitServed(ctx context.Context, to topology.Key) error {
	ctx, cancel := context.WithTimeout(ctx, followWithin)
	defer cancel()
	for {
		servers, err := p.o.Proxy.Servers(ctx)
		state, served, others := "not known to it", false, false
		for _, s := range servers {
			if s.Key == to {
				state, served = s.State, s.Up
			} else {
				others = others || s.Up // an agent whose answer has not yet changed ends the maintenance
			}
		}
		if served && !others {
			return nil
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			return errors.Join(fmt.Errorf("HAProxy does not serve only %v (%s) after %v: check that the daemons "+
				"answer its agent checks, and their reasons", to, state, followWithin), err)
		}
	}
}

// awaitNoClients waits until no connection of the daemons' account has the database open on a member. There are few,
// and each daemon closes its own as soon as it has seen the other identity.
func (p *Pair) awaitNoClients(ctx context.Context, s *site) error {
	ctx, cancel := context.WithTimeout(ctx, followWithin)
	defer cancel()
	for {
		n, err := p.clients(ctx, s)
		if err != nil || n == 0 {
			return err
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			return fmt.Errorf("%d connections of %s still use %v after %v; it stays read-only, so nothing is written "+
				"there. Check that every daemon runs, and which member its backend.address reaches; then run "+
				"this again", n, p.o.Backend.User, s.key, followWithin)
		}
	}
}

// clients counts the connections of daemons that use a member.
func (p *Pair) clients(ctx context.Context, s *site) (n int, err error) {
	if p.o.Backend.User == "" {
		return 0, nil
	}
	err = s.use(ctx, s.o.StatementTimeout, func(ctx context.Context) error {
		rows, err := s.query(ctx, askClients, p.o.Backend.User, p.o.Database)
		n = len(rows)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("ask %v for its clients: %w", s.key, err)
	}
	return n, nil
}

// verifyPromotion looks at the result.
func (p *Pair) verifyPromotion(ctx context.Context, s situation, r *Report) error {
	m, err := s.target.see(ctx)
	if err != nil {
		return err
	}
	if m.ReadOnly {
		return errors.New("it is read-only: something has set that again")
	}
	r.Seen = append(r.Seen, fmt.Sprintf("%v takes writes", m.Key))
	if p.o.Proxy != nil {
		servers, err := p.o.Proxy.Servers(ctx)
		if err != nil {
			return fmt.Errorf("ask HAProxy which member it serves: %w", err)
		}
		for _, v := range servers {
			r.Seen = append(r.Seen, fmt.Sprintf("HAProxy: %v is %s, %s", v.Key, v.State,
				plural.Count(v.Sessions, "session")))
			if v.Up != (v.Key == m.Key) {
				return fmt.Errorf("HAProxy has %v as %s", v.Key, v.State)
			}
		}
	}
	if !s.from.Up || !s.from.Tables {
		return nil
	}
	v, err := p.Verify(ctx, false)
	if err != nil {
		return err
	}
	r.Verification = &v
	if !v.Equal && s.mutual {
		r.Next = append(r.Next, "the members differ: orchestrator backend verify --repair")
	}
	return nil
}
