package sim

import (
	"slices"
	"strings"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/tests/world"
)

// verdict holds that nobody is declared dead whose name we only can't resolve, nor on the word of replicas that only
// can't resolve it.
func (r *run) verdict(before, e plan.Episode) {
	began := before.Stage == "" || before.Stage == plan.Suspected
	if !began || e.Stage != plan.Committed && e.Stage != plan.Chosen {
		return
	}
	failed := r.Find(e.Failed)
	if f := r.Heard(failed).Probe.Failure; f == topology.NoHost && len(e.Abandoned) == 0 {
		r.hurt("a name that does not resolve is no death", "%v is declared dead, and only its name failed", e.Failed)
	}
	if failed.Health != world.Alive || len(e.Abandoned) > 0 || e.Kind != plan.PrimaryFailover {
		return
	}
	for _, v := range r.Servers {
		if v.Source == failed.N && r.reachable(v) && !v.Connected && v.IOErrno != world.UnknownHost {
			return
		}
	}
	r.hurt("a name that does not resolve is no death",
		"%v lives and is declared dead, and nobody has tried to reach it", e.Failed)
}

// adoption holds that nobody is taken for the new primary who took writes without us, unless it was a replica when the
// primary fell silent and passes every veto.
func (r *run) adoption(before, e plan.Episode) {
	if !before.Promoted.IsZero() || e.Promoted.IsZero() {
		return
	}
	if v := r.Find(e.Candidate); !v.Opened {
		r.adopts(v, r.Find(e.Failed))
	}
}

func (r *run) adopts(v, failed *world.Server) {
	r.Stats.Adopted++
	r.Say("%v is adopted", v.Key)
	if !r.byHand[v.N] || v.Rule == topology.MustNot || r.Heard(v).Downtime != nil ||
		v.LogFilters && !r.policy.AllowFilters {
		r.hurt("nobody is adopted whom nobody chose", "%v takes writes and is taken for the new primary", v.Key)
		return
	}
	for _, o := range r.Servers {
		// One without GTID can't be compared: a person has decided, and it is lost by name.
		if o != v && r.reachable(o) && r.below(o, failed) && !r.partial(o) && !v.Executed.Has(o.Received) &&
			!r.policy.AllowReceivedLoss && !o.Coordinates {
			r.hurt("nobody is adopted who lacks something", "%v is taken for the new primary, and %v received more",
				v.Key, o.Key)
		}
	}
	v.Stray = false
}

// quiet holds that a server which was replaced writes nothing more once the daemon has had time to fence it, not by its
// own events either, and that nobody whom we have opened waits for acknowledgements that can't come.
func (r *run) quiet(v *world.Server) {
	const bound = 25 // ticks
	const patience = 80
	if r.reachable(v) && v.Writes() && r.replaced(v) && r.off == "" {
		if r.writes[v.N]++; r.writes[v.N] > bound {
			r.hurt("who was replaced writes nothing", "%v does, for %d ticks", v.Key, r.writes[v.N])
		}
	} else if e := r.openOf(v); e != nil && v.Opened && r.Hangs(v) && r.reachable(v) && v.Locked == 0 {
		if r.writes[v.N]++; r.writes[v.N] > patience {
			r.hurt("a promoted server waits for nobody who can't come", "%v does, for %d ticks", v.Key, r.writes[v.N])
		}
	} else {
		r.writes[v.N] = 0
	}
}

// waitsForSome holds that a server is not opened to wait for more acknowledgements than can come.
func (r *run) waitsForSome(step plan.Step) {
	if step.SemiSync != plan.On {
		return
	}
	n, cand := 0, r.Find(step.At)
	for _, v := range r.Servers {
		if s := r.Heard(v); v != cand && s.Up() && s.Instance.SemiSync.ReplicaEnabled {
			n++
		}
	}
	if n < cand.Semi.Wait {
		r.hurt("a promoted server waits for nobody who can't come", "%v is opened to wait for %d, and %d acknowledge",
			cand.Key, cand.Semi.Wait, n)
	}
}

// recorded holds that a server is on record before its replication is changed: a daemon that takes over would else not
// know that this was our work.
func (r *run) recorded(w plan.Work, step plan.Step) {
	switch step.Kind {
	case plan.StopReceiver, plan.RestartReceiver, plan.Repoint, plan.Promote:
	default:
		return
	}
	known := slices.ContainsFunc(r.episodes, func(e plan.Episode) bool {
		return w.Episode != nil && e.ID == w.Episode.ID &&
			(e.Candidate == step.At || slices.Contains(e.Touched, step.At))
	})
	if !known {
		r.hurt("a server is on record before its replication is changed", "%s of %v: %s at %v", w.Kind, w.Failed,
			step.Kind, step.At)
	}
}

// preempted holds that work which waits for another does not begin, and that what has begun says why it does not go on.
func (r *run) preempted(before plan.Episode, w plan.Work) {
	if e := w.Episode; strings.Contains(w.Wait, "which goes first") && len(w.Steps) == 0 && e.Closed.IsZero() &&
		(before.ID == "" || e.Blocked == "") {
		r.hurt("what is pre-empted waits on record", "%s of %v: %s", w.Kind, w.Failed, w.Wait)
	}
}

// givenUp holds that no replica is lost that would only have to apply first what it has received.
func (r *run) givenUp(before, e plan.Episode) {
	for _, l := range e.Lost[len(before.Lost):] {
		v, source := r.Find(l.Key), r.named(strings.Cut(l.Why, " has purged"))
		if l.Key == impostor {
			continue
		}
		if source != nil && v.SQLErrno == 0 && !v.Delayed && r.Heard(v).Received().Contains(r.GTIDs(source.Purged)) {
			r.hurt("a replica that has to apply first is not given up", "%v: %s", l.Key, l.Why)
		}
	}
}

// named is the server that a text begins with; nil where it does not.
func (r *run) named(key, _ string, found bool) *world.Server {
	for _, v := range r.Servers {
		if found && v.Key.String() == key {
			return v
		}
	}
	return nil
}

// openOf is the open episode that has promoted the server.
func (r *run) openOf(v *world.Server) *plan.Episode {
	for i, e := range r.episodes {
		if e.Closed.IsZero() && e.Stage == plan.Promoted && e.Candidate == v.Key {
			return &r.episodes[i]
		}
	}
	return nil
}

// replaced says that another server was promoted in the place of v, and that nobody has promoted v since.
func (r *run) replaced(v *world.Server) bool {
	k := plan.PromotedLast(r.episodes)
	if k.IsZero() || k == v.Key || v.Stray {
		return false
	}
	for _, e := range r.episodes {
		if !e.Promoted.IsZero() && (e.Failed == v.Key || e.Candidate == v.Key) {
			return true
		}
	}
	return false
}

// doubted is the episode that tells why the server which was promoted last stays read-only although nobody else takes
// writes, or why nothing is moved under it: another stands at its address, or a replica of it has more. Only a person
// knows whether it has all that was committed there. nil where there is none, or no reason for one.
func (r *run) doubted() *plan.Episode {
	for i, e := range r.episodes {
		if v := r.Find(e.Candidate); v != nil && e.Stage == plan.Promoted && e.Closed.IsZero() && e.Blocked != "" &&
			e.CandidateUUID != r.Heard(v).Instance.UUID {
			return &r.episodes[i]
		}
		if !e.Closed.IsZero() || e.Code != analysis.PrimaryNotWritable || e.Blocked == "" ||
			e.Failed != plan.PromotedLast(r.episodes) {
			continue
		}
		v := r.Find(e.Failed)
		for _, o := range r.Servers {
			if o.Source == v.N && !v.Executed.Has(o.Received) {
				return &r.episodes[i]
			}
		}
		for _, o := range r.episodes { // the latest is first
			if !o.Promoted.IsZero() && o.Candidate == v.Key {
				if o.CandidateUUID != r.Heard(v).Instance.UUID {
					return &r.episodes[i]
				}
				break
			}
		}
	}
	return nil
}
