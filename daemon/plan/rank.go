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

// Rank is the ranking of those who could replace the failed primary, each with its reasons; the first is whom Next would choose.
func Rank(s Situation, failed topology.Key) []Candidate {
	w := world{s}
	e := Episode{Kind: PrimaryFailover, Failed: failed}
	if o := w.open(); o != nil && o.Failed == failed {
		e = *o
	}
	return w.choice(e).ranking
}

// pool are the servers that could replace the failed one: its direct replicas, reachable or not, and those that this episode
// has already taken away from it.
func (w world) pool(e Episode) []topology.Server {
	var out []topology.Server
	for _, v := range w.Snapshot.Servers {
		if v.Key == e.Failed {
			continue
		}
		taken := v.Key == e.Candidate || slices.Contains(e.Witnesses, v.Key)
		if v.ChannelFrom(e.Failed) != nil || taken {
			out = append(out, v)
		}
	}
	return out
}

func (w world) choice(e Episode) choice {
	var c choice
	pool := w.pool(e)
	for _, v := range pool {
		if !v.Up() {
			continue
		}
		if v.Instance.Flavor != topology.MariaDB || w.finding(v.Key, analysis.ErrantGTID) == nil {
			c.need = c.need.Union(v.Received().Subtract(v.Received().From(v.Instance.UUID)))
		}
		if v.Instance.LogBin && v.Instance.LogReplicaUpdates && !v.MultiSource() && broken(v) == "" {
			c.donors = append(c.donors, v.Key)
		}
	}
	for _, v := range w.Snapshot.Servers {
		opened := v.Up() && v.Key != e.Failed && len(v.Instance.Channels) == 0 && !v.Instance.ReadOnly
		if opened && (v.Key == e.Candidate || !c.need.Empty() && v.Instance.Executed.Contains(c.need)) {
			c.adopted = &v
			break
		}
	}
	for _, v := range pool {
		c.ranking = append(c.ranking, w.weigh(v, c.need, e))
	}
	w.refuseNewer(c.ranking)
	slices.SortStableFunc(c.ranking, func(a, b Candidate) int { return w.order(a, b, e) })
	w.keep(c.ranking, e)
	w.choose(&c, e)
	w.bound(&c, e)
	return c
}

// weigh lists what speaks against a candidate and for it.
func (w world) weigh(v topology.Server, need gtid.Set, e Episode) Candidate {
	c := Candidate{Key: v.Key}
	veto := func(format string, args ...any) { c.Vetoes = append(c.Vetoes, fmt.Sprintf(format, args...)) }
	if !v.Up() {
		veto("out of reach (%s)", cmp.Or(string(v.Probe.Failure), "never asked"))
		return c
	}
	i := v.Instance
	c.Behind, c.Unapplied = v.Received().Missing(need), i.Executed.Missing(v.Received())
	if v.Rule == topology.MustNot {
		veto("its promotion rule is must_not")
	}
	if d := v.Downtime; d != nil && d.Until.After(w.Snapshot.At) {
		veto("it is in downtime until %s (%s: %s)", d.Until.UTC().Format(time.RFC3339), d.Owner, d.Reason)
	}
	if v.MultiSource() {
		veto("it has several sources, and those are never changed automatically")
	}
	if !i.LogBin {
		veto("it has no binary log (log_bin is off)")
	} else if !i.LogReplicaUpdates {
		veto("it does not log what it replicates (log_replica_updates is off), so nobody can follow it")
	}
	if ch := v.Channel(); ch != nil {
		if !ch.AutoPosition {
			veto("it does not replicate by GTID")
		}
		if ch.Delay > 0 {
			veto("it is delayed on purpose by %s", time.Duration(ch.Delay)*time.Second)
		}
		if ch.Filters {
			veto("it filters what it replicates, so it has only a part of the data")
		}
		if lag := ch.Lag; w.Policy.MaxLag > 0 && lag != nil && time.Duration(*lag)*time.Second > w.Policy.MaxLag {
			veto("it lags by %s, and the policy wants %s at most", time.Duration(*lag)*time.Second, w.Policy.MaxLag)
		}
	}
	if why := broken(v); why != "" {
		veto("its applier stopped with %s: %d transactions that it received can't be applied", why, c.Unapplied)
	}
	if f := w.finding(v.Key, analysis.ErrantGTID); f != nil && !w.Policy.AllowErrant {
		veto("it has errant transactions, which would spread: %s", f.Says)
	}
	c.Eligible = len(c.Vetoes) == 0
	c.Reasons = w.reasons(v, c)
	return c
}

// broken says with which error the applier of v stopped; "" when it works or was merely stopped.
func broken(v topology.Server) string {
	for _, c := range v.Instance.Channels {
		if c.SQL == topology.Stopped && c.SQLErrno != 0 {
			return fmt.Sprintf("error %d", c.SQLErrno)
		}
	}
	return ""
}

func (w world) reasons(v topology.Server, c Candidate) []string {
	var out []string
	if v.Rule == topology.Prefer || v.Rule == topology.PreferNot {
		out = append(out, "its promotion rule is "+string(v.Rule))
	}
	if c.Behind == 0 {
		out = append(out, "it has everything that any reachable replica received")
	} else {
		out = append(out, fmt.Sprintf("it lacks %d transactions that another replica received", c.Behind))
	}
	if c.Unapplied == 0 {
		out = append(out, "all of it applied")
	} else {
		out = append(out, fmt.Sprintf("%d of it not applied yet", c.Unapplied))
	}
	return append(out, fmt.Sprintf("version %v", v.Instance.Version))
}

// refuseNewer vetoes candidates that an older server could not follow, as long as an older eligible one is there.
func (w world) refuseNewer(ranking []Candidate) {
	for i := range ranking {
		if !ranking[i].Eligible {
			continue
		}
		for _, o := range ranking {
			a, b := w.Snapshot.Server(ranking[i].Key), w.Snapshot.Server(o.Key)
			if o.Eligible && newer(a.Instance, b.Instance) {
				ranking[i].Eligible = false
				ranking[i].Vetoes = append(ranking[i].Vetoes, fmt.Sprintf("it runs %v, and %v, which runs %v, could not follow it", a.Instance.Version, o.Key, b.Instance.Version))
				break
			}
		}
	}
}

func (w world) order(a, b Candidate, e Episode) int {
	rule := func(c Candidate) int {
		switch w.Snapshot.Server(c.Key).Rule {
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
		cmp.Compare(first(w.begun(a, e)), first(w.begun(b, e))),
		cmp.Compare(rule(a), rule(b)),
		cmp.Compare(a.Behind, b.Behind),
		cmp.Compare(a.Unapplied, b.Unapplied),
		a.Key.Compare(b.Key),
	)
}

// begun says that the promotion of c was begun: it has forgotten its source already.
func (w world) begun(c Candidate, e Episode) bool {
	v := w.Snapshot.Server(c.Key)
	return c.Key == e.Candidate && v.Up() && len(v.Instance.Channels) == 0
}

// keep leaves the candidate that the episode is committed to at the top, unless it still has to apply what another one has applied.
func (w world) keep(ranking []Candidate, e Episode) {
	at := slices.IndexFunc(ranking, func(c Candidate) bool { return c.Key == e.Candidate && c.Eligible })
	if at <= 0 || ranking[at].Unapplied > 0 && ranking[0].Unapplied == 0 && ranking[0].Behind == 0 {
		return
	}
	kept := ranking[at]
	copy(ranking[1:at+1], ranking[:at])
	ranking[0] = kept
}

func (w world) choose(c *choice, e Episode) {
	if len(c.ranking) == 0 || !c.ranking[0].Eligible {
		c.refused = append(c.refused, fmt.Sprintf("no replica of %v can be promoted", e.Failed))
		for _, r := range c.ranking {
			c.refused = append(c.refused, fmt.Sprintf("%v: %s", r.Key, strings.Join(r.Vetoes, "; ")))
		}
		return
	}
	best := w.Snapshot.Server(c.ranking[0].Key)
	if missing := best.Received().Missing(c.need); missing > 0 && w.donor(*c, best.Key) == nil {
		if !w.Policy.AllowReceivedLoss {
			c.refused = append(c.refused, fmt.Sprintf(
				"%d transactions that were received would be thrown away: %s; allow_received_loss is false", missing, w.holders(c.need, *best)))
			return
		}
		c.need = best.Received()
	}
	c.chosen = best
}

// holders names the servers that have what best lacks, and why they can't give it.
func (w world) holders(need gtid.Set, best topology.Server) string {
	var out []string
	for _, v := range w.Snapshot.Servers {
		if v.Key == best.Key || !v.Up() || best.Received().Contains(v.Received().Subtract(v.Received().From(v.Instance.UUID))) || !need.Contains(v.Received()) {
			continue
		}
		why := "it has no binary log of them"
		if b := broken(v); b != "" {
			why = "its applier stopped with " + b
		} else if v.MultiSource() {
			why = "it has several sources"
		}
		out = append(out, fmt.Sprintf("%v has them, and can't pass them on to %v (%s)", v.Key, best.Key, why))
	}
	return strings.Join(out, "; ")
}

// bound states, before anything is done, what the failover may lose.
func (w world) bound(c *choice, e Episode) {
	if c.chosen == nil {
		return
	}
	said := []string{"no transaction that a reachable replica received is lost"}
	if failed := w.Snapshot.Server(e.Failed); failed != nil && failed.Instance != nil {
		if n := c.need.Missing(failed.Instance.Executed); n > 0 && c.need.Count() > 0 {
			said = append(said, fmt.Sprintf("%v was seen to have %d transactions that no reachable replica received", e.Failed, n))
		}
		said = append(said, fmt.Sprintf("what %v committed in its last moments and sent to nobody can't be known", e.Failed))
	}
	silent := 0
	for _, v := range w.pool(e) {
		if !v.Up() {
			silent++
		}
	}
	if silent > 0 {
		said = append(said, fmt.Sprintf("%d replicas out of reach may have received more", silent))
	}
	c.bound = strings.Join(said, "; ")
}
