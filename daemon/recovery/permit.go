package recovery

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// decide is plan.Next, and before the irreversible steps of a work the two questions whose answers are not in memory: may we, and is it
// still true? In this order, because what another daemon did just before we had the locks is seen only afterwards. Each work is asked for
// by itself: the refusal of one holds no other.
func (r *Runner) decide(ctx context.Context, cluster string) plan.Decision {
	s := r.situation(cluster)
	d := plan.Next(s)
	refused, permitted, again := map[string]string{}, map[string]bool{}, false
	for _, w := range d.Works {
		if !w.Irreversible() || w.Episode == nil {
			continue
		}
		if why := r.permit(ctx, s, w); why != "" {
			refused[w.ID()] = why
			continue
		}
		permitted[w.ID()] = true
		again = again || w.Promotes() || r.Permit != nil && w.Episode.Promoted.IsZero()
	}
	if again {
		r.lookAgain(ctx, s, d)
		s = r.situation(cluster)
		d = plan.Next(s)
		for _, w := range d.Works {
			switch id := w.ID(); {
			case !w.Irreversible() || w.Episode == nil || refused[id] != "":
			case r.Permit != nil && !permitted[id]:
				refused[id] = fmt.Sprintf("it is not permitted yet: the failure of %v has come up while others were asked about", w.Failed)
			case r.Yield != nil && w.Promotes():
				refused[id] = r.Yield(ctx, s, *w.Episode)
			}
		}
	}
	r.mu.Lock()
	r.refusals[cluster] = refused
	r.mu.Unlock()
	return withhold(d, refused)
}

// permit says why the irreversible steps of a work may not be done; "" when they may.
func (r *Runner) permit(ctx context.Context, s plan.Situation, w plan.Work) string {
	if r.Permit == nil {
		return ""
	}
	if ok, why := r.Permit(ctx, s, *w.Episode); !ok {
		return why
	}
	return ""
}

// withhold takes from a decision the steps that are not permitted, and says so in it. What can be taken back is done all the same.
func withhold(d plan.Decision, refused map[string]string) plan.Decision {
	works := slices.Clone(d.Works)
	for i := range works {
		w := &works[i]
		why := refused[w.ID()]
		if why == "" || !w.Irreversible() {
			continue
		}
		why = "not permitted: " + why
		w.Steps = slices.DeleteFunc(slices.Clone(w.Steps), func(s plan.Step) bool { return s.Kind.Irreversible() })
		w.Refused = append(slices.Clone(w.Refused), why)
		w.Wait = why
		if w.Episode.Closed.IsZero() {
			e := *w.Episode
			e.Blocked = why
			w.Episode = &e
		}
	}
	return plan.Decision{Works: works}
}

// Locks are advisory locks that are held: mysql.Held.
type Locks interface {
	Keys(ctx context.Context) []topology.Key // those that are held now
	Release()
}

// Gate answers Options.Permit where several daemons share a backend: it asks the others, and where their word is not enough takes the locks
// of the replicas. What it decides by is plan.Permit. Make it with NewGate.
type Gate struct {
	standing func() plan.Standing
	ask      func(ctx context.Context, failed topology.Key) []plan.Peer
	hold     func(ctx context.Context, keys []topology.Key, term int64) Locks

	mu      sync.Mutex
	held    map[string]Locks // by episode, until the turn ends
	granted map[string]int64 // by episode, the term in which its promotion was permitted
}

// NewGate takes where this daemon stands, a way to ask the others (peer.Peers.Ask), and a way to take locks (mysql.Servers.Hold), which must
// be let go when their context ends.
func NewGate(standing func() plan.Standing, ask func(context.Context, topology.Key) []plan.Peer, hold func(context.Context, []topology.Key, int64) Locks) *Gate {
	return &Gate{standing: standing, ask: ask, hold: hold, held: map[string]Locks{}, granted: map[string]int64{}}
}

// Permit is for Options.Permit. Locks that it takes are held until ctx ends, if they are what it permits by.
func (g *Gate) Permit(ctx context.Context, s plan.Situation, e plan.Episode) (bool, string) {
	self := g.standing()
	promoted := !e.Promoted.IsZero()
	g.mu.Lock()
	term, granted := g.granted[e.ID]
	g.mu.Unlock()
	if promoted && granted && self.Leading && term == self.Term {
		return true, "it was permitted together with the promotion"
	}
	c := plan.Claim{Failed: e.Failed, Promoted: promoted, Self: self, Peers: g.ask(ctx, e.Failed)}
	var locks Locks
	if !plan.Agreed(c) {
		c.Locks.Alive = plan.Electorate(s, e)
		locks = g.take(ctx, e.ID, c.Locks.Alive, self.Term)
		c.Locks.Held = locks.Keys(ctx)
		now := g.standing() // it took its time
		if c.Self.Leading = c.Self.Leading && now.Leading && now.Term == self.Term; !c.Self.Leading {
			g.release(e.ID, locks)
		}
	}
	ok, why := plan.Permit(c)
	switch {
	case !ok && locks != nil:
		g.release(e.ID, locks) // whoever has the better right is not to wait for us
	case ok:
		g.mu.Lock()
		g.granted[e.ID] = self.Term
		g.mu.Unlock()
	}
	return ok, why
}

// take returns the locks that are held for an episode already, or takes them, once in a turn.
func (g *Gate) take(ctx context.Context, episode string, keys []topology.Key, term int64) Locks {
	g.mu.Lock()
	before := g.held[episode]
	g.mu.Unlock()
	if before != nil {
		if len(before.Keys(ctx)) == len(keys) {
			return before
		}
		g.release(episode, before)
	}
	locks := g.hold(ctx, keys, term)
	g.mu.Lock()
	g.held[episode] = locks
	g.mu.Unlock()
	context.AfterFunc(ctx, func() { g.release(episode, locks) })
	return locks
}

func (g *Gate) release(episode string, locks Locks) {
	g.mu.Lock()
	if g.held[episode] == locks {
		delete(g.held, episode)
	}
	g.mu.Unlock()
	locks.Release()
}
