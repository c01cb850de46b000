package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// Candidate is a server's place in the ranking.
type Candidate struct {
	Key       topology.Key `json:"key"`
	Eligible  bool         `json:"eligible"`
	Vetoes    []string     `json:"vetoes,omitempty"`  // why not; all of them
	Reasons   []string     `json:"reasons,omitempty"` // why it stands where it does
	Behind    uint64       `json:"behind"`            // transactions it lacks of what reachable servers have received
	Unapplied uint64       `json:"unapplied"`         // received and not yet applied
}

// choice is what is known about who could replace a failed primary.
type choice struct {
	ranking []Candidate
	pool    []*topology.Server // the direct replicas, as far as they count
	chosen  *topology.Server   // the first eligible one; nil when there is none
	adopted *topology.Server   // somebody who was opened for writes already
	need    gtid.Set           // all that reachable replicas have received, and a new primary must have
	donors  []*topology.Server // who has something from the failed one, and might pass it on
	writers []gtid.Set         // of need, by who wrote it: see gtid.ByWriter
	movable []movable          // the donors that can follow a new primary
	slow    map[topology.Key]bool
	left    map[topology.Key]int // how many servers could not follow each, were it promoted
	unnamed string               // why the server that an operator named can't be chosen; "" when none was named
	refused []string             // why nobody was chosen
	bound   string               // what may be lost
}

// Rank is the ranking of the servers that could replace the failed primary, each with its reasons. Next would choose
// the first.
func Rank(s Situation, failed topology.Key) []Candidate {
	v := newView(s)
	e := Episode{Kind: PrimaryFailover, Failed: failed}
	for _, o := range v.open(PrimaryFailover) {
		if o.Failed == failed {
			e = o
		}
	}
	return v.choice(e).ranking
}

// pool are the servers that could replace the failed one. They are its direct replicas, reachable or not, those that
// this episode has already moved away from it, and those that an earlier failover still had to move under it, or had
// detached from it.
func (v *view) pool(e Episode) []*topology.Server {
	var out []*topology.Server
	for i := range v.Snapshot.Servers {
		s := &v.Snapshot.Servers[i]
		if s.Key != e.Failed && (s.ChannelFrom(e.Failed) != nil || s.Key == e.Candidate || e.touched(s.Key) ||
			v.unmoved(s, e.Failed) || v.strayed(s, e.Failed)) {
			out = append(out, s)
		}
	}
	return out
}

// unmoved says that s still follows a server that was replaced by the one at k.
func (v *view) unmoved(s *topology.Server, k topology.Key) bool {
	return slices.ContainsFunc(v.Episodes, func(o Episode) bool {
		return o.counts() && o.Candidate == k && s.ChannelFrom(o.Failed) != nil
	})
}

// strayed says that s was detached from the server at k by a failover that was left half done: what it has received is
// all the same from there.
func (v *view) strayed(s *topology.Server, k topology.Key) bool {
	return s.ChannelFrom(k.Detach()) != nil && slices.ContainsFunc(v.Episodes, func(o Episode) bool {
		return o.Failed == k && o.Unfinished && o.touched(s.Key)
	})
}

func (v *view) choice(e Episode) choice {
	pool := v.pool(e)
	c := choice{pool: pool, left: map[topology.Key]int{}}
	var parts []gtid.Set
	for _, s := range v.below(e, pool) {
		c.donors = append(c.donors, s)
		if v.partial(s, e.Failed) == "" {
			one := v.passedOn(s, e)
			parts, c.need = append(parts, one), c.need.Union(one)
		}
	}
	c.writers, c.movable = gtid.ByWriter(parts), v.movable(c.donors, e)
	c.adopted = v.adopted(e, c)
	for _, s := range v.candidates(e, pool) {
		one := v.weigh(s, c, e)
		if why := v.noReplica(s, c, e); why != "" {
			one.Eligible, one.Vetoes = false, append(one.Vetoes, why)
		}
		c.ranking = append(c.ranking, one)
	}
	v.refuseUnfollowed(c, e)
	v.refuseUnnamed(&c, e)
	c.slow = v.slow(c.ranking, e)
	slices.SortStableFunc(c.ranking, func(a, b Candidate) int {
		return cmp.Or(v.order(a, b, c, e), a.Key.Compare(b.Key))
	})
	keep(c, e)
	for i := range c.ranking {
		if r := &c.ranking[i]; e.fails(r.Key) {
			r.Reasons = append([]string{"steps at it fail: " + e.failing(r.Key).Why}, r.Reasons...)
		}
	}
	v.choose(&c, e)
	v.tie(&c, e)
	v.bound(&c, e)
	return c
}

// below are the servers that can be reached and have something from the failed one: the pool, and all that follow a
// server of the pool, directly or through others. Where an intermediate source has died, its replicas may have more
// than any direct replica.
func (v *view) below(e Episode, pool []*topology.Server) []*topology.Server {
	seen := map[topology.Key]bool{e.Failed: true}
	var out []*topology.Server
	for todo := slices.Clone(pool); len(todo) > 0; todo = todo[1:] {
		s := todo[0]
		if seen[s.Key] {
			continue
		}
		seen[s.Key] = true
		if s.Up() {
			out = append(out, s)
		}
		todo = append(todo, v.replicas[s.Key]...)
	}
	return out
}

// passedOn is what the server has from the failed one. It excludes what the server wrote itself and what a server
// between the two wrote. A server between that may have been opened for writes as a candidate is no longer between, so
// what it wrote then counts.
func (v *view) passedOn(s *topology.Server, e Episode) gtid.Set {
	have := v.shared(s)
	have = have.Subtract(have.From(s.Instance.UUID))
	for range v.Snapshot.Servers {
		c := s.Channel()
		if c == nil || c.Source == e.Failed {
			break
		}
		if s = v.servers[c.Source]; s == nil || s.Instance == nil || len(s.Instance.Channels) == 0 {
			break
		}
		if s.Key != e.Candidate && !slices.Contains(e.Abandoned, s.Key) {
			have = have.Subtract(have.From(s.Instance.UUID))
		}
	}
	return have
}

func (v *view) choose(c *choice, e Episode) {
	if len(c.ranking) == 0 || !c.ranking[0].Eligible {
		if c.unnamed != "" {
			c.refused = append(c.refused, c.unnamed)
			return
		}
		c.refused = append(c.refused, fmt.Sprintf("no replica of %v can be promoted", e.Failed))
		for _, r := range c.ranking {
			c.refused = append(c.refused, fmt.Sprintf("%v: %s", r.Key, v.against(r)))
		}
		return
	}
	a := v.acknowledged(e, v.pool(e))
	if why := a.refusal(e.Failed); why != "" && !v.Policy.AllowReceivedLoss && !v.begun(c.ranking[0], e) {
		c.refused = append(c.refused, why)
		return
	}
	if why := v.notCompared(e, c.need); len(why) > 0 && !v.begun(c.ranking[0], e) {
		c.refused = append(c.refused, why...)
		return
	}
	if why := v.diverged(*c, e); why != "" && !v.Policy.AllowReceivedLoss && !v.begun(c.ranking[0], e) {
		c.refused = append(c.refused, why)
		return
	}
	for i, r := range c.ranking {
		if !r.Eligible {
			break
		}
		s := v.servers[r.Key]
		if v.received(s).Contains(c.need) || v.donor(*c, s, e) != nil {
			c.take(i, v, e)
			return
		}
	}
	least := 0
	for i, r := range c.ranking {
		if r.Eligible && r.Behind < c.ranking[least].Behind {
			least = i
		}
	}
	best := v.servers[c.ranking[least].Key]
	if !v.Policy.AllowReceivedLoss {
		c.refused = append(c.refused, fmt.Sprintf("%s would be thrown away: %s; allow_received_loss is false",
			count(v.received(best).Missing(c.need), "received transaction"), v.holders(*c, best, e)))
		return
	}
	c.take(least, v, e)
	c.need = best.Received()
}

// take chooses the candidate at a place of the ranking. Those before it are passed over: nobody can give them what they
// lack.
func (c *choice) take(place int, v *view, e Episode) {
	c.chosen = v.servers[c.ranking[place].Key]
	for i := range place {
		r := &c.ranking[i]
		r.Eligible = false
		r.Vetoes = append(r.Vetoes, fmt.Sprintf("it lacks %s: %s", count(r.Behind, "transaction"),
			v.holders(*c, v.servers[r.Key], e)))
	}
	slices.SortStableFunc(c.ranking, func(a, b Candidate) int {
		switch {
		case a.Eligible == b.Eligible:
			return 0
		case a.Eligible:
			return -1
		}
		return 1
	})
}

// holders names the servers that have what cand lacks, and why they can't give it.
func (v *view) holders(c choice, cand *topology.Server, e Episode) string {
	var out []string
	for _, s := range c.donors {
		lacks := v.passedOn(s, e).Intersect(c.need)
		if s.Key == cand.Key || v.received(cand).Contains(lacks) {
			continue
		}
		if why := v.withholds(s, cand, lacks, e); why != "" {
			out = append(out, fmt.Sprintf("%v has them, and can't pass them on to %v (%s)", s.Key, cand.Key, why))
		} else {
			only, not := lacks.Subtract(v.received(cand)), c.need.Subtract(v.received(s))
			out = append(out, fmt.Sprintf("%v has %s of them (%s) and lacks %s that another has (%s), so no server "+
				"has all", s.Key, count(only.Count(), "transaction"), only.Text(), count(not.Count(), "transaction"),
				not.Text()))
		}
	}
	return strings.Join(out, "; ")
}
