package recovery

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// decide is plan.Next, and before the irreversible steps of a work the two questions whose answers are not in memory:
// may we, and is it still true? In this order, because what another daemon did just before we had the locks is seen
// only afterwards. Each work is asked for by itself: the refusal of one holds no other.
func (r *Runner) decide(ctx context.Context, cluster string) plan.Decision {
	s := r.situation(cluster)
	d := plan.Next(s)
	var claims []plan.Claim
	again := false
	for _, w := range d.Works {
		if !w.Irreversible() || w.Episode == nil {
			continue
		}
		claim := r.claim(ctx, s, *w.Episode)
		claims = append(claims, claim)
		if ok, _ := plan.Permit(claim); !ok {
			continue
		}
		again = again || w.Promotes() || r.Claim != nil && w.Episode.Promoted.IsZero()
	}
	refused := map[string]string{}
	if again {
		r.lookAgain(ctx, s, d)
		s = r.situation(cluster)
		d = plan.Next(s)
		r.transfer(ctx, s, d, claims)
		refused = r.unasked(d, claims)
	}
	r.keepClaims(cluster, claims)
	maps.Copy(refused, plan.Refusals(claims))
	return d.Withhold(refused)
}

// keepClaims notes the claims of the last decision. They are part of the situation, which is another one when they
// differ.
func (r *Runner) keepClaims(cluster string, claims []plan.Claim) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if reflect.DeepEqual(r.claims[cluster], claims) {
		return
	}
	r.edition++
	r.claims[cluster], r.editions[cluster] = claims, r.edition
}

// claim is what this daemon can show for the irreversible steps of an episode.
func (r *Runner) claim(ctx context.Context, s plan.Situation, e plan.Episode) plan.Claim {
	if r.Claim == nil {
		return plan.Claim{Work: e.ID, Failed: e.Failed, Self: plan.PeerStatus{Leading: true}} // alone
	}
	return r.Claim(ctx, s, e)
}

// transfer asks, for each promotion that is permitted, whether another daemon should do it, and notes that in the
// claim.
func (r *Runner) transfer(ctx context.Context, s plan.Situation, d plan.Decision, claims []plan.Claim) {
	for _, w := range d.Works {
		i := slices.IndexFunc(claims, func(c plan.Claim) bool { return c.Work == w.ID() })
		if r.Transfer == nil || !w.Promotes() || i < 0 {
			continue
		}
		if ok, _ := plan.Permit(claims[i]); ok {
			claims[i].Transfer = r.Transfer(ctx, s, *w.Episode)
		}
	}
}

// unasked are the works that have come up since the others were asked.
func (r *Runner) unasked(d plan.Decision, claims []plan.Claim) map[string]string {
	out := map[string]string{}
	for _, w := range d.Works {
		asked := slices.ContainsFunc(claims, func(c plan.Claim) bool { return c.Work == w.ID() })
		if r.Claim != nil && w.Irreversible() && w.Episode != nil && !asked {
			out[w.ID()] = fmt.Sprintf(
				"it is not permitted yet: %v failed while the others were asked about another server", w.Failed)
		}
	}
	return out
}

// Locks are advisory locks that are held: mysql.Held.
type Locks interface {
	Keys(ctx context.Context) []topology.Key // those that are held now
	Release()
}

// Gate answers Options.Claim where several daemons share a backend: it asks the others, and where their word is not
// enough takes the locks of the replicas. Make it with NewGate.
type Gate struct {
	standing func() plan.PeerStatus
	ask      func(ctx context.Context, failed topology.Key) []plan.Peer
	hold     func(ctx context.Context, keys []topology.Key, term int64) Locks

	mu      sync.Mutex
	held    map[string]Locks      // by episode, until the turn ends
	granted map[string]plan.Claim // by episode, what was permitted last
}

// NewGate takes where this daemon stands, a way to ask the others (peer.Peers.Ask), and a way to take locks
// (mysql.Servers.Hold), which must be let go when their context ends.
func NewGate(standing func() plan.PeerStatus, ask func(context.Context, topology.Key) []plan.Peer,
	hold func(context.Context, []topology.Key, int64) Locks) *Gate {
	return &Gate{standing: standing, ask: ask, hold: hold, held: map[string]Locks{}, granted: map[string]plan.Claim{}}
}

// Claim is for Options.Claim. Locks that it takes are held until ctx ends, if they are what the claim is permitted
// by. In one term, a promotion and what follows it rest on one claim.
func (g *Gate) Claim(ctx context.Context, s plan.Situation, e plan.Episode) plan.Claim {
	self := g.standing()
	promoted := !e.Promoted.IsZero()
	g.mu.Lock()
	granted, ok := g.granted[e.ID]
	g.mu.Unlock()
	if promoted && ok && self.Leading && granted.Self.Term == self.Term {
		return granted
	}
	c := plan.Claim{Work: e.ID, Failed: e.Failed, Promoted: promoted, Self: self, Peers: g.ask(ctx, e.Failed)}
	var locks Locks
	if !plan.Agreed(c) {
		c.Locks.Alive = plan.Voters(s, e)
		locks = g.take(ctx, e.ID, c.Locks.Alive, self.Term)
		c.Locks.Held = locks.Keys(ctx)
		now := g.standing() // it took its time
		if c.Self.Leading = c.Self.Leading && now.Leading && now.Term == self.Term; !c.Self.Leading {
			g.release(e.ID, locks)
		}
	}
	ok, _ = plan.Permit(c)
	switch {
	case !ok && locks != nil:
		g.release(e.ID, locks) // a daemon with the better right must not wait for us
	case ok:
		g.mu.Lock()
		g.granted[e.ID] = c
		g.mu.Unlock()
	}
	return c
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
