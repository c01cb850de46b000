package plan

import (
	"cmp"
	"fmt"
	"slices"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/gtid"
	"orchestrator/daemon/plural"
	"orchestrator/daemon/topology"
)

// regroup moves all replicas under the new primary, once that takes writes.
func (p *primaryFailover) regroup() Work {
	e := &p.e
	if e.Stage != Promoted {
		e.Stage, e.Promoted = Promoted, p.promotedAt()
	}
	w := Work{Episode: e}
	primary := p.servers[e.Candidate]
	e.CandidateUUID = primary.Instance.UUID
	e.open(primary)
	p.sawCommit(e, primary)
	if s := p.up(e.Failed); s != nil && p.unfenced(s, *e) {
		w.Steps = append(w.Steps, p.fence(s, e, replacedBy(e.Candidate)))
	}
	p.moveAll(&w, primary)
	if step, wait := p.forgetSource(primary, *e); step != nil {
		w.Steps = append(w.Steps, *step)
	} else if wait != "" {
		w.Wait = wait
	}
	if step, wait := p.stopWaiting(primary, e); step != nil && !w.acts(primary.Key) {
		w.Steps = append(w.Steps, *step)
	} else if wait != "" && w.Wait == "" {
		w.Wait = wait
	}
	if len(w.Steps) > 0 || w.Wait != "" {
		return w
	}
	if e.Blocked = p.hangs(primary); e.Blocked != "" {
		w.Wait, w.Refused = e.Blocked, []string{e.Blocked}
		return w
	}
	p.loseRest(e, primary)
	p.leave(e, false)
	return p.close(*e, withLost(fmt.Sprintf("%v replaces %v", e.Candidate, e.Failed), *e))
}

// moveAll has every replica that can be reached follow the new primary.
func (p *primaryFailover) moveAll(w *Work, primary *topology.Server) {
	e := &p.e
	for i := range p.Snapshot.Servers {
		r := &p.Snapshot.Servers[i]
		if r.Key == primary.Key || r.Key == e.Failed || !r.Up() {
			continue
		}
		m := p.move(r, primary, *e)
		if m == (moved{}) {
			m = p.arrived(r, primary, *e)
		}
		if m.step != nil {
			e.touch(r.Key) // it may have come back only now, and a repoint that is done by half must be known as ours
			w.Steps = append(w.Steps, *m.step)
		}
		if m.lost != "" {
			e.lose(r.Key, m.lost)
		}
		if m.wait != "" {
			w.Wait = m.wait
		}
	}
}

// loseRest names the servers that could not be kept, each with the reason.
func (p *primaryFailover) loseRest(e *Episode, primary *topology.Server) {
	p.loseSilent(e)
	for _, k := range e.Abandoned { // also one that followed another replica
		if s := p.servers[k]; p.down(k) && s.Channel() != nil {
			e.lose(k, fmt.Sprintf(outOfReach+"%s); it is moved under %v when it comes back", s.Probe.Failure,
				primary.Key))
		}
	}
	for _, s := range p.tree(e.Failed) {
		if left := p.passedOn(s, *e).Subtract(primary.Instance.Executed); s.Up() && !left.Empty() {
			e.lose(s.Key, fmt.Sprintf("it follows %v, which is out of reach, and has %s that %v lacks (%s)",
				s.Channel().Source, count(left.Count(), "transaction"), primary.Key, left.Text()))
		}
	}
	for _, k := range e.Abandoned {
		if s := p.up(k); k != e.Candidate && s != nil && len(s.Instance.Channels) == 0 {
			e.lose(k, fmt.Sprintf("its promotion was begun and failed, and with its source it has forgotten the "+
				"replication account: make it follow %v by hand", e.Candidate))
		}
	}
	for n, r := range p.strangers(e.Failed) {
		if n == listed {
			break
		}
		e.lose(r.Key, "it is registered as a replica, and has never answered this daemon")
	}
	for n, k := range p.unproved(e.Failed) {
		if n == listed {
			break
		}
		e.lose(k, fmt.Sprintf("it registered as a replica and is not confirmed: if it is yours, make it follow %v by "+
			"hand", e.Candidate))
	}
}

// loseSilent names the replicas that were out of reach, and so still follow the failed server.
func (v *view) loseSilent(e *Episode) {
	for _, r := range v.replicas[e.Failed] {
		if !r.Up() {
			e.lose(r.Key, fmt.Sprintf(outOfReach+"%s); it is moved under %v when it comes back",
				r.Probe.Failure, e.Candidate))
		}
	}
}

// withLost adds to an outcome how many replicas were left behind.
func withLost(outcome string, e Episode) string {
	if len(e.Lost) > 0 {
		outcome += "; " + plural.Count(len(e.Lost), "replica") + " left behind"
	}
	return outcome
}

// moved says how a replica gets from the failed server to its new source. At most one field is set; none when there is
// nothing to do.
type moved struct {
	step *Step
	lost string // why it can't be kept; a step may detach it
	wait string
}

// move says how r gets from the failed server of an episode to its new source, or why it can't.
func (v *view) move(r, source *topology.Server, e Episode) moved {
	c := v.toMove(r, source, e)
	switch {
	case c == nil:
		return moved{}
	case source.Address().IsZero():
		return moved{lost: unaddressed(source)}
	case r.MultiSource():
		return moved{lost: fmt.Sprintf(
			"it has several sources, and those are never changed automatically; "+
				"its channel from %v must be moved by hand",
			e.Failed)}
	case !c.AutoPosition:
		return moved{lost: "it does not replicate by GTID, " +
			"so its place in another source's binary log is not known for certain"}
	}
	if why := v.sieve(r, source.Key); why != "" && !v.Policy.AllowFilters && !e.Kind.Promotes() {
		return moved{lost: fmt.Sprintf("%s; %v would send it all: what it lacks would break it, "+
			"and what must not be there would come", why, source.Key)}
	}
	limit := within(r, source)
	parted := source.Instance.ShownToLack(r.Received())
	if extra := r.Received().Subtract(limit).Union(parted); !extra.Empty() {
		if parted.Empty() && v.received(source).Contains(extra) {
			return moved{wait: fmt.Sprintf("%v must be asked again before %v can be moved under it", source.Key, r.Key)}
		}
		why := fmt.Sprintf("it has %s that %v lacks (%s)", count(extra.Count(), "transaction"), source.Key,
			extra.Text())
		return moved{step: detach(r, *c, why), lost: why}
	}
	if why := cmp.Or(alike(r, source), analysis.CantFollow(r.Instance, source.Instance)); why != "" {
		return moved{step: detach(r, *c, why), lost: why}
	}
	kept := relayed(r, source)
	if !keeps(r).Contains(kept) {
		return v.applyFirst(r, source, kept, e)
	}
	if lost := gone(r, source); !lost.Empty() {
		lacks := "has purged"
		if !source.Instance.LogReplicaUpdates {
			lacks = "has not logged"
		}
		why := fmt.Sprintf("%v %s %s, which it lacks (%s): it must be rebuilt", source.Key, lacks,
			count(lost.Count(), "transaction"), lost.Text())
		return moved{step: detach(r, *c, why), lost: why}
	}
	return moved{step: &Step{Kind: Repoint, At: r.Key, Source: source.Key,
		Expect: Expect{UUID: r.Instance.UUID, Within: limit, Kept: kept},
		Why:    fmt.Sprintf("its source %v has failed; %v has all that it received", e.Failed, source.Key)}}
}

// applyFirst has r apply what its relay logs hold and source can't send, before its source is changed: the change
// throws the relay logs away.
func (v *view) applyFirst(r, source *topology.Server, kept gtid.Set, e Episode) moved {
	holds := fmt.Sprintf("its relay logs hold %s that %v has purged, and a change of its source would throw them away",
		count(kept.Count(), "transaction"), source.Key)
	if why := stuck(r); why != "" {
		return moved{lost: fmt.Sprintf("%s; %s", holds, why)}
	}
	if slices.ContainsFunc(r.Instance.Channels, func(c topology.Channel) bool { return c.SQL == topology.Stopped }) {
		return moved{step: &Step{Kind: StartApplier, At: r.Key, Expect: Expect{UUID: r.Instance.UUID},
			Why: holds + ": its applier, which is stopped, applies them first"}}
	}
	return moved{step: &Step{Kind: AwaitApplied, At: r.Key, Set: kept, Expect: Expect{UUID: r.Instance.UUID},
		Why: holds + ": it applies them first"}}
}

// toMove is the channel of r that must be moved. It is the one from the failed server, or one that we pointed at
// another source but did not start, because the daemon was killed between the two, or one that we stopped when r was
// the candidate and followed another replica. It is nil when there is nothing to move.
func (v *view) toMove(r, source *topology.Server, e Episode) *topology.Channel {
	if c := r.ChannelFrom(e.Failed); c != nil {
		return c
	}
	c := r.Channel()
	if c == nil || !c.Halted() || !e.touched(r.Key) || c.Source.Detached() {
		return nil
	}
	if c.Source == source.Key || c.Source == e.Candidate || c.Source == e.Donor ||
		slices.Contains(e.Abandoned, c.Source) || slices.Contains(e.Abandoned, r.Key) {
		return c
	}
	return nil
}

// within is the most that r may have received if it follows source: the source's transactions, and those that r wrote
// itself. (A MySQL replica with errant transactions can still follow.)
func within(r, source *topology.Server) gtid.Set {
	return source.Instance.Executed.Union(r.Received().From(r.Instance.UUID))
}

// detach is nil for a server that receives nothing any more and still has to apply what it received. To change its
// source now would discard that. It may point at its new source already, where a daemon was killed in the middle.
func detach(r *topology.Server, c topology.Channel, why string) *Step {
	if c.IO == topology.Stopped && !c.Drained(r.Instance.Executed) {
		return nil
	}
	return &Step{Kind: Detach, At: r.Key, From: c.Source, Expect: Expect{UUID: r.Instance.UUID, Source: c.Source},
		Why: why}
}
