package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/analysis"
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
	chosen  *topology.Server // the first eligible one; nil when there is none
	adopted *topology.Server // somebody who was opened for writes already
	need    gtid.Set         // all that reachable replicas have received, and a new primary must have
	donors  []topology.Key   // who can pass on what it has
	refused []string         // why nobody was chosen
	bound   string           // what may be lost
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
// this episode has already moved away from it, and those that an earlier failover still had to move under it.
func (v *view) pool(e Episode) []*topology.Server {
	var out []*topology.Server
	for i := range v.Snapshot.Servers {
		s := &v.Snapshot.Servers[i]
		if s.Key != e.Failed && (s.ChannelFrom(e.Failed) != nil || s.Key == e.Candidate || e.touched(s.Key) ||
			v.unmoved(s, e.Failed)) {
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

func (v *view) choice(e Episode) choice {
	var c choice
	pool := v.pool(e)
	for _, s := range v.below(e, pool) {
		c.need = c.need.Union(v.passedOn(s, e))
		if s.Instance.LogBin && s.Instance.LogReplicaUpdates && !s.MultiSource() && broken(s) == "" {
			c.donors = append(c.donors, s.Key)
		}
	}
	for i := range v.Snapshot.Servers {
		s := &v.Snapshot.Servers[i]
		if writable(s) && s.Key != e.Failed &&
			(s.Key == e.Candidate || !c.need.Empty() && s.Instance.Executed.Contains(c.need)) {
			c.adopted = s
			break
		}
	}
	for _, s := range pool {
		c.ranking = append(c.ranking, v.weigh(s, c.need))
	}
	v.refuseNewer(c.ranking)
	slices.SortStableFunc(c.ranking, func(a, b Candidate) int { return v.order(a, b, e) })
	keep(c.ranking, e)
	v.choose(&c, e)
	v.bound(&c, e, pool)
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

// weigh lists what speaks against a candidate and for it.
func (v *view) weigh(s *topology.Server, need gtid.Set) Candidate {
	c := Candidate{Key: s.Key}
	if !s.Up() {
		c.Vetoes = []string{fmt.Sprintf("out of reach (%s)", cmp.Or(string(s.Probe.Failure), "never asked"))}
		return c
	}
	c.Behind, c.Unapplied = v.received(s).Missing(need), s.Instance.Executed.Missing(s.Received())
	c.Vetoes = append(v.declared(s), v.unable(s, c.Unapplied)...)
	c.Eligible = len(c.Vetoes) == 0
	c.Reasons = reasons(s, c)
	return c
}

// declared are the vetoes of people.
func (v *view) declared(s *topology.Server) (vetoes []string) {
	if s.Rule == topology.MustNot {
		vetoes = append(vetoes, "its promotion rule is must_not")
	}
	if d := s.Downtime; v.downtime(s) {
		vetoes = append(vetoes, fmt.Sprintf("it is in downtime until %s (%s: %s)",
			d.Until.UTC().Format(time.RFC3339), d.Owner, d.Reason))
	}
	return vetoes
}

// unable are the vetoes of the server's own state.
func (v *view) unable(s *topology.Server, unapplied uint64) (vetoes []string) {
	veto := func(format string, args ...any) { vetoes = append(vetoes, fmt.Sprintf(format, args...)) }
	if s.MultiSource() {
		veto("it has several sources, and those are never changed automatically")
	}
	if !s.Instance.LogBin {
		veto("it has no binary log (log_bin is off)")
	} else if !s.Instance.LogReplicaUpdates {
		veto("it does not log what it replicates (log_replica_updates is off), so no server can follow it")
	}
	if c := s.Channel(); c != nil {
		if !c.AutoPosition {
			veto("it does not replicate by GTID")
		}
		if c.Delay > 0 {
			veto("it is delayed on purpose by %s", time.Duration(c.Delay)*time.Second)
		}
		if c.Filters {
			veto("it filters what it replicates, so it has only a part of the data")
		}
		if lag := c.Lag; v.Policy.MaxLag > 0 && lag != nil && time.Duration(*lag)*time.Second > v.Policy.MaxLag {
			veto("it lags by %s, and the policy allows %s at most", time.Duration(*lag)*time.Second, v.Policy.MaxLag)
		}
	}
	if why := broken(s); why != "" {
		veto("its applier stopped with %s: %s can't be applied", why, count(unapplied, "received transaction"))
	}
	if f := v.finding(s.Key, analysis.ErrantGTID); f != nil && !v.Policy.AllowErrant {
		veto("it has errant transactions, which would spread: %s", f.Says)
	}
	return vetoes
}

// broken says with which error the applier of s stopped; "" when it works or was merely stopped.
func broken(s *topology.Server) string {
	for _, c := range s.Instance.Channels {
		if c.SQL == topology.Stopped && c.SQLErrno != 0 {
			return fmt.Sprintf("error %d", c.SQLErrno)
		}
	}
	return ""
}

func reasons(s *topology.Server, c Candidate) []string {
	var out []string
	if s.Rule == topology.Prefer || s.Rule == topology.PreferNot {
		out = append(out, "its promotion rule is "+string(s.Rule))
	}
	if c.Behind == 0 {
		out = append(out, "it has everything that any reachable replica received")
	} else {
		out = append(out, fmt.Sprintf("it lacks %s that another replica received", count(c.Behind, "transaction")))
	}
	if c.Unapplied == 0 {
		out = append(out, "all of it applied")
	} else {
		out = append(out, fmt.Sprintf("%d of it not applied yet", c.Unapplied))
	}
	return append(out, fmt.Sprintf("version %v", s.Instance.Version))
}

// refuseNewer vetoes candidates that an older server could not follow, as long as an older eligible one is there.
func (v *view) refuseNewer(ranking []Candidate) {
	for i := range ranking {
		if !ranking[i].Eligible {
			continue
		}
		for _, o := range ranking {
			a, b := v.servers[ranking[i].Key], v.servers[o.Key]
			if o.Eligible && newer(a.Instance, b.Instance) {
				ranking[i].Eligible = false
				ranking[i].Vetoes = append(ranking[i].Vetoes,
					fmt.Sprintf("it runs %v, and %v, which runs %v, could not follow it",
						a.Instance.Version, o.Key, b.Instance.Version))
				break
			}
		}
	}
}

func (v *view) order(a, b Candidate, e Episode) int {
	rule := func(c Candidate) int {
		switch v.servers[c.Key].Rule {
		case topology.Prefer:
			return 0
		case topology.PreferNot:
			return 2
		}
		return 1
	}
	first := func(yes bool) int {
		if yes {
			return 0
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(first(a.Eligible), first(b.Eligible)),
		cmp.Compare(first(v.begun(a, e)), first(v.begun(b, e))),
		cmp.Compare(rule(a), rule(b)),
		cmp.Compare(a.Behind, b.Behind),
		cmp.Compare(a.Unapplied, b.Unapplied),
		a.Key.Compare(b.Key),
	)
}

// begun says that the promotion of c was begun: it has forgotten its source already.
func (v *view) begun(c Candidate, e Episode) bool {
	s := v.up(c.Key)
	return c.Key == e.Candidate && s != nil && len(s.Instance.Channels) == 0
}

// keep leaves the candidate that the episode is committed to at the top, unless it still has to apply what another has
// applied.
func keep(ranking []Candidate, e Episode) {
	at := slices.IndexFunc(ranking, func(c Candidate) bool { return c.Key == e.Candidate && c.Eligible })
	if at <= 0 || ranking[at].Unapplied > 0 && ranking[0].Unapplied == 0 && ranking[0].Behind == 0 {
		return
	}
	kept := ranking[at]
	copy(ranking[1:at+1], ranking[:at])
	ranking[0] = kept
}

func (v *view) choose(c *choice, e Episode) {
	if len(c.ranking) == 0 || !c.ranking[0].Eligible {
		c.refused = append(c.refused, fmt.Sprintf("no replica of %v can be promoted", e.Failed))
		for _, r := range c.ranking {
			c.refused = append(c.refused, fmt.Sprintf("%v: %s", r.Key, strings.Join(r.Vetoes, "; ")))
		}
		return
	}
	best := v.servers[c.ranking[0].Key]
	if missing := v.received(best).Missing(c.need); missing > 0 && v.donor(*c, best) == nil {
		if !v.Policy.AllowReceivedLoss {
			c.refused = append(c.refused, fmt.Sprintf("%s would be thrown away: %s; allow_received_loss is false",
				count(missing, "received transaction"), v.holders(c.need, best)))
			return
		}
		c.need = best.Received()
	}
	a := v.acknowledged(e, v.pool(e))
	if why := a.refusal(e.Failed); why != "" && !v.Policy.AllowReceivedLoss && !v.begun(c.ranking[0], e) {
		c.refused = append(c.refused, why)
		return
	}
	c.chosen = best
}

// holders names the servers that have what best lacks, and why they can't give it.
func (v *view) holders(need gtid.Set, best *topology.Server) string {
	var out []string
	for i := range v.Snapshot.Servers {
		s := &v.Snapshot.Servers[i]
		if s.Key == best.Key || !s.Up() || v.received(best).Contains(v.shared(s)) || !need.Contains(v.shared(s)) {
			continue
		}
		why := "it has no binary log of them"
		if b := broken(s); b != "" {
			why = "its applier stopped with " + b
		} else if s.MultiSource() {
			why = "it has several sources"
		}
		out = append(out, fmt.Sprintf("%v has them, and can't pass them on to %v (%s)", s.Key, best.Key, why))
	}
	return strings.Join(out, "; ")
}

// bound states, before anything is done, what the failover may lose.
func (v *view) bound(c *choice, e Episode, pool []*topology.Server) {
	if c.chosen == nil {
		return
	}
	said := []string{"no transaction that a reachable replica received is lost"}
	if failed := v.servers[e.Failed]; failed != nil && failed.Instance != nil {
		if n := c.need.Missing(failed.Instance.Executed); n > 0 && c.need.Count() > 0 {
			said = append(said, fmt.Sprintf("%v was seen to have %s that no reachable replica received",
				e.Failed, count(n, "transaction")))
		}
		said = append(said, fmt.Sprintf("what %v committed in its last moments and sent to no server can't be known",
			e.Failed))
	}
	if may := v.acknowledged(e, pool).bound(e.Failed); may != "" {
		said = append(said, may)
	}
	silent := 0
	for _, s := range pool {
		if !s.Up() {
			silent++
		}
	}
	if silent > 0 {
		said = append(said, fmt.Sprintf("%s out of reach may have received more", count(silent, "replica")))
	}
	c.bound = strings.Join(said, "; ")
}
