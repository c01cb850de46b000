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
	v.refuseUnfollowed(c.ranking)
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

// weigh lists what speaks against a candidate and for it.
func (v *view) weigh(s *topology.Server, all choice, e Episode) Candidate {
	c := Candidate{Key: s.Key}
	if !s.Up() {
		c.Vetoes = []string{fmt.Sprintf("out of reach (%s)", cmp.Or(string(s.Probe.Failure), "never asked"))}
		return c
	}
	c.Behind, c.Unapplied = v.received(s).Missing(all.need), s.Instance.Executed.Missing(s.Received())
	c.Vetoes = append(v.declared(s), v.unable(s, c.Unapplied)...)
	c.Vetoes = append(c.Vetoes, v.unfit(s, all, e)...)
	c.Eligible = len(c.Vetoes) == 0
	c.Reasons = reasons(s, c)
	if tag := v.Policy.SameTag; v.near(s.Key, e) {
		c.Reasons = append(c.Reasons, fmt.Sprintf("its tag %s is %s, as that of %v", tag, s.Tags[tag], e.Failed))
	}
	n, why := v.unserved(s, all, e)
	if why != "" {
		c.Reasons = append(c.Reasons, why)
	}
	all.left[s.Key] = n
	if k := v.between(s, e); !k.IsZero() {
		c.Reasons = append(c.Reasons, fmt.Sprintf("it follows %v, so direct replicas go first", k))
	}
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

// against is what stands against a candidate, with the way to lift it where that is all that people have declared.
func (v *view) against(c Candidate) string {
	why := strings.Join(c.Vetoes, "; ")
	s := v.servers[c.Key]
	if !s.Up() || len(v.declared(s)) != len(c.Vetoes) {
		return why
	}
	var lift []string
	if s.Rule == topology.MustNot {
		lift = append(lift, fmt.Sprintf("orchestrator-client rule set %v neutral", s.Key))
	}
	if v.downtime(s) {
		lift = append(lift, fmt.Sprintf("orchestrator-client downtime end %v", s.Key))
	}
	return why + "; to lift that: " + strings.Join(lift, ", and ")
}

// unable are the vetoes of the server's own state.
func (v *view) unable(s *topology.Server, unapplied uint64) (vetoes []string) {
	veto := func(format string, args ...any) { vetoes = append(vetoes, fmt.Sprintf(format, args...)) }
	if s.MultiSource() {
		veto("it has several sources, and those are never changed automatically")
	}
	if !s.Instance.LogBin {
		veto("it has no binary log (log_bin is off)")
	}
	if c := s.Channel(); c != nil {
		if !c.AutoPosition {
			veto("it does not replicate by GTID")
		}
		switch why := stuck(s); {
		case c.Delay > 0 && unapplied > 0:
			veto("it is delayed on purpose by %s, and has not applied %s; %s", seconds(c.Delay),
				count(unapplied, "received transaction"), liftDelay(s, *c))
		case c.Delay > 0:
			veto("it is delayed on purpose by %s", seconds(c.Delay))
		case broken(s) == "" && why != "":
			veto("%s", why)
		}
		if lag := c.Lag; v.Policy.MaxLag > 0 && lag != nil && time.Duration(*lag)*time.Second > v.Policy.MaxLag {
			veto("it lags by %s, and the policy allows %s at most", time.Duration(*lag)*time.Second, v.Policy.MaxLag)
		}
	}
	if why := broken(s); why != "" {
		veto("its applier stopped with %s: %s can't be applied", why, count(unapplied, "received transaction"))
	}
	if f := v.finding(s.Key, analysis.ErrantGTID); f != nil && !v.Policy.AllowErrant {
		n := f.Transactions.Count()
		veto("it has %s, written at %s, which would spread (%s)",
			count(n, "errant transaction"), v.writer(s, f.Transactions), f.Transactions.Text())
	}
	return vetoes
}

// writer names the servers at which errant transactions of s were written. On MariaDB only those are found that s wrote
// itself.
func (v *view) writer(s *topology.Server, set gtid.Set) string {
	if s.Instance.Flavor == topology.MariaDB || set.Subtract(set.From(s.Instance.UUID)).Empty() {
		return s.Key.String() + " itself"
	}
	var out []string
	for _, o := range v.Snapshot.Servers {
		if o.Instance == nil || o.Instance.UUID == "" {
			continue
		}
		if from := set.From(o.Instance.UUID); !from.Empty() {
			out, set = append(out, o.Key.String()), set.Subtract(from)
		}
	}
	if !set.Empty() {
		out = append(out, "a server that this daemon does not know")
	}
	return strings.Join(out, " and ")
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
	if ch := s.Channel(); ch != nil && !ch.AutoPosition {
		out = append(out, "what it received can't be compared by GTID")
	} else if c.Behind == 0 {
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

// refuseUnfollowed vetoes candidates that another eligible one could not follow: it runs an older version, or logs in
// another format.
func (v *view) refuseUnfollowed(ranking []Candidate) {
	for i := range ranking {
		if !ranking[i].Eligible {
			continue
		}
		for _, o := range ranking {
			a, b := v.servers[ranking[i].Key], v.servers[o.Key]
			if why := analysis.CantFollow(b.Instance, a.Instance); o.Eligible && why != "" {
				ranking[i].Eligible = false
				ranking[i].Vetoes = append(ranking[i].Vetoes, fmt.Sprintf("%v could not follow it: %s", o.Key, why))
				break
			}
		}
	}
}

// order compares candidates; 0 where only their names can decide.
func (v *view) order(a, b Candidate, all choice, e Episode) int {
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
		cmp.Compare(first(!e.fails(a.Key)), first(!e.fails(b.Key))),
		cmp.Compare(first(v.begun(a, e)), first(v.begun(b, e))),
		cmp.Compare(e.failures(a.Key), e.failures(b.Key)), // where all fail each has its turn
		cmp.Compare(first(!all.slow[a.Key]), first(!all.slow[b.Key])),
		cmp.Compare(first(all.direct(v, a)), first(all.direct(v, b))),
		cmp.Compare(all.left[a.Key], all.left[b.Key]),
		cmp.Compare(first(v.serves(a)), first(v.serves(b))),
		cmp.Compare(rule(a), rule(b)),
		cmp.Compare(first(v.near(a.Key, e)), first(v.near(b.Key, e))),
		cmp.Compare(a.Behind, b.Behind),
		cmp.Compare(a.Unapplied, b.Unapplied),
	)
}

// tie says of the chosen candidate that only its name puts it before others.
func (v *view) tie(c *choice, e Episode) {
	if c.chosen == nil || c.adopted != nil {
		return
	}
	first, same := &c.ranking[0], []topology.Key{c.ranking[0].Key}
	for _, r := range c.ranking[1:] {
		if r.Eligible && v.order(*first, r, *c, e) == 0 {
			same = append(same, r.Key)
		}
	}
	if len(same) > 1 && slices.MinFunc(same, topology.Key.Compare) == first.Key {
		first.Reasons = append(first.Reasons, fmt.Sprintf("it ties with %s, and its name is first", together(same[1:])))
	}
}

// near says that the server at k has the same value of the tag that the policy names as the failed one.
func (v *view) near(k topology.Key, e Episode) bool {
	s, failed := v.servers[k], v.servers[e.Failed]
	tag := v.Policy.SameTag
	return tag != "" && s != nil && failed != nil && failed.Tags[tag] != "" && s.Tags[tag] == failed.Tags[tag]
}

// begun says that the promotion of c was begun: it has forgotten its source already.
func (v *view) begun(c Candidate, e Episode) bool {
	s := v.up(c.Key)
	return c.Key == e.Candidate && s != nil && len(s.Instance.Channels) == 0 && !v.exchanged(s, e)
}

// keep leaves the candidate that the episode is committed to at the top, unless it still has to apply what another has
// applied, or others could follow the best one and can't follow it: the best one had a moment's trouble when it was
// chosen.
func keep(all choice, e Episode) {
	ranking := all.ranking
	at := slices.IndexFunc(ranking, func(c Candidate) bool { return c.Key == e.Candidate && c.Eligible })
	if at <= 0 || e.fails(e.Candidate) ||
		ranking[at].Unapplied > 0 && ranking[0].Unapplied == 0 && ranking[0].Behind == 0 ||
		all.left[e.Candidate] > 0 && all.left[ranking[0].Key] == 0 {
		return
	}
	kept := ranking[at]
	copy(ranking[1:at+1], ranking[:at])
	ranking[0] = kept
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
