package sim

import (
	"slices"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/tests/world"
)

// check holds a step, just before it is done, against what must never happen.
func (r *run) check(w plan.Work, step plan.Step) {
	e := w.Episode
	if step.Kind == plan.StopReceiver && e.Stage == plan.Committed {
		failed := r.Find(e.Failed)
		for _, v := range r.Servers {
			if v.Source == failed.N && v.Connected && v.Health == world.Alive && failed.Health == world.Alive &&
				r.Reaches(v.N, failed.N) && r.reachable(v) {
				r.hurt("never dead while a reachable replica receives", "%v declared dead, %v receives from it",
					e.Failed, v.Key)
			}
		}
	}
	if step.Kind == plan.Repoint {
		r.sendable(step)
		if r.Find(step.Source).Unsure(step.Source) {
			r.hurt("only a name that leads to one server is written", "%s at %v: %v", step.Kind, step.At, step.Source)
		}
	}
	r.chosen(w, step)
	r.continued(w, step)
	r.recorded(w, step)
	if step.Kind != plan.Promote {
		return
	}
	r.waitsForSome(step)
	failed, cand := r.Find(e.Failed), r.Find(step.At)
	if cand.Rule == topology.MustNot {
		r.hurt("never against a must_not", "%v is promoted", cand.Key)
	}
	r.followable(cand, failed, e.Failing)
	if r.partial(cand) {
		r.hurt("never a server that has only a part of the data", "%v is promoted", cand.Key)
	}
	r.bound(w, cand, failed)
	for _, v := range r.Servers {
		if v == cand || v == failed || !r.reachable(v) {
			continue
		}
		if r.below(v, failed) && !r.partial(v) && !cand.Executed.Has(v.Received) && !r.policy.AllowReceivedLoss &&
			!r.unknown(w, v, failed) {
			r.hurt("never less advanced, nothing received is lost", "%v is promoted with %v, %v received %v",
				cand.Key, cand.Executed, v.Key, v.Received)
		}
		if v.Open() {
			r.hurt("never two writable", "%v is promoted beside %v", cand.Key, v.Key)
		}
	}
	if r.reachable(failed) && !failed.ReadOnly {
		r.hurt("never two writable", "%v is promoted, and %v answers", cand.Key, failed.Key)
	}
}

// reachable says that a server lives, and that the daemon can get to it.
func (r *run) reachable(v *world.Server) bool {
	return v.Health == world.Alive && r.Reaches(-1, v.N) && !r.Unresolved[[2]int{-1, v.N}]
}

// chosen holds that nobody is promoted, or made the source of others, whom nobody chose.
func (r *run) chosen(w plan.Work, step plan.Step) {
	k := step.At
	if step.Kind == plan.Repoint {
		k = step.Source
	}
	v := r.Find(k)
	if step.Kind != plan.Repoint && step.Kind != plan.Promote || !v.Stray {
		return
	}
	if step.Kind == plan.Repoint && w.Kind == plan.IntermediateFailover {
		// Its replicas are moved to the one that a person opened, whose promotion is not on record.
		r.adopts(v, r.Find(w.Failed))
		v.Stray = true
		return
	}
	if r.byHand[v.N] && w.Episode != nil && slices.Contains(w.Episode.Touched, k) {
		r.adopts(v, r.Find(w.Failed)) // a person opened it in the middle of this failover
		return
	}
	r.hurt("never a server that nobody chose", "%s of %v: %s at %v: %v is a scratch copy", w.Kind, w.Failed, step.Kind,
		step.At, k)
}

// sendable holds that a server is not moved to where it would stop, or lose what it has, as far as the daemon knew.
func (r *run) sendable(step plan.Step) {
	v, source := r.Find(step.At), r.Find(step.Source)
	known := r.known(source)
	keeps := v.Received
	if v.Discards() {
		keeps = v.Executed
	}
	if keeps.Has(known) {
		return
	}
	if v.Received.Has(known) {
		r.hurt("relay logs that nobody can send again are not thrown away", "%v is moved to %v with %v of %v applied",
			v.Key, source.Key, v.Executed, v.Received)
		return
	}
	r.hurt("never moved to where it would stop", "%v has %v and is moved to %v, which has purged %v",
		v.Key, keeps, source.Key, known)
}

// known is what the daemon heard that a server has purged.
func (r *run) known(v *world.Server) world.Set {
	for _, s := range r.Snapshot().Servers {
		if s.Key == v.Key && s.Instance != nil && s.Instance.Purged.Same(r.GTIDs(v.Purged)) {
			return v.Purged
		}
	}
	return world.Set{}
}

// partial says that a server filters, or has its data from one that does, or from a replica that logs a part only.
func (r *run) partial(v *world.Server) bool {
	if r.policy.AllowFilters {
		return false
	}
	for range r.Servers {
		if v.Filters && v.Source >= 0 { // a primary has all by decree
			return true
		}
		if v.Source < 0 || v.Detached {
			return false
		}
		if v = r.Servers[v.Source]; v.LogFilters && v.Source >= 0 {
			return true
		}
	}
	return false
}

// followable holds that a server that does not log what it replicates is promoted above others that lack some of that
// only where no other could be that has as much.
func (r *run) followable(cand, failed *world.Server, failing []plan.Failing) {
	for _, v := range r.Servers {
		stays := v.Source >= 0 && v.Source != failed.N && r.reachable(r.Servers[v.Source])
		if !cand.LogUpdates && v != cand && !stays && r.reachable(v) && r.below(v, failed) && !v.Coordinates &&
			!v.Received.Has(cand.Received) && r.better(cand, failed, v, failing) {
			r.hurt("never a server that nobody can follow", "%v is promoted, and %v lacks what it has not logged",
				cand.Key, v.Key)
		}
	}
}

// better says that a direct replica that can be reached logs what it replicates and has as much as the candidate, and
// that one which lacks something can get that from it.
func (r *run) better(cand, failed, lacking *world.Server, failing []plan.Failing) bool {
	for _, v := range r.Servers {
		if v != cand && v.Source == failed.N && r.reachable(v) && v.LogUpdates &&
			!v.Detached && !r.partial(v) && v.Rule != topology.MustNot && v.Applies() && !v.Coordinates &&
			!v.LogFilters && r.Heard(v).Downtime == nil &&
			!slices.ContainsFunc(failing, func(f plan.Failing) bool { return f.Key == v.Key }) &&
			v.Executed.Has(cand.Received) && lacking.Received.Has(v.Purged) {
			return true
		}
	}
	return false
}

// one holds that a decision has a step of one work at a server at most.
func (r *run) one(d plan.Decision) {
	seen := map[topology.Key]plan.Work{}
	for _, w := range d.Works {
		for _, s := range w.Steps {
			if o, twice := seen[s.At]; twice {
				r.hurt("one step at a server", "%s of %v and %s of %v both act at %v",
					o.Kind, o.Failed, w.Kind, w.Failed, s.At)
			}
			seen[s.At] = w
		}
	}
}

// below says that v follows failed, directly or through others.
func (r *run) below(v, failed *world.Server) bool {
	for range r.Servers {
		if v.Source < 0 || v.Detached {
			return false
		}
		if v = r.Servers[v.Source]; v == failed {
			return true
		}
	}
	return false
}

// watch looks at the world after each turn.
func (r *run) watch() {
	n := 0
	for _, v := range r.Servers {
		if v.Open() && r.reachable(v) && v.Locked == 0 {
			n++
		}
		r.quiet(v)
	}
	if n < 2 || len(r.byHand) > 0 || r.off != "" { // what a person does is told, and not undone
		r.two = 0
		return
	}
	// A fence that is lost on the way is tried again 5 ticks later, and one step in 40 is lost: four in a row are the
	// most that a million worlds have. A poll interval is 20 ticks.
	if r.two++; r.two > 19 {
		r.hurt("never two writable for longer than it takes to fence", "for %d ticks", r.two)
	}
}

// held says that v was moved by half under a server that a person has to judge first: nothing is moved under that
// meanwhile, and it is said.
func (r *run) held(v *world.Server) bool {
	e := r.doubted()
	source := r.Servers[v.Source].Key
	return e != nil && (e.Failed == source || e.Candidate == source)
}

// finally holds what must be true once everything has come back.
func (r *run) finally() {
	writable := 0
	for _, v := range r.Servers {
		if v.Open() {
			writable++
		}
	}
	if writable != 1 && len(r.byHand) == 0 && !(writable == 0 && r.doubted() != nil) {
		r.hurt("in the end one server is writable", "%d are; refused: %v", writable, plan.Next(r.situation()).Refused())
	}
	lost := r.lostForGood()
	for _, v := range r.Servers {
		if v.Source >= 0 && !v.Detached && !v.IO && v.IOErrno != world.Purged && !lost[v.Key] &&
			!r.stopped[v.N] && !r.held(v) {
			r.hurt("in the end every replica receives, or is reported as lost", "%v does not", v.Key)
		}
		if v.Source >= 0 && !v.Detached && !v.SQL && !lost[v.Key] && !r.held(v) {
			r.hurt("in the end every replica applies, or is reported as lost", "%v does not", v.Key)
		}
	}
	for _, e := range r.episodes {
		told := r.doubted() != nil && r.doubted().ID == e.ID || r.Hangs(r.Find(e.Failed)) // for as long as it is so
		if e.Closed.IsZero() && !told {
			r.hurt("every recovery completes", "episode %s of %v is still open at stage %s: %s",
				e.ID, e.Failed, e.Stage, e.Blocked)
		}
	}
}
