package sim

import (
	"strings"

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
				r.Reaches(v.N, failed.N) && r.Reaches(-1, v.N) {
				r.hurt("never dead while a reachable replica receives", "%v declared dead, %v receives from it",
					e.Failed, v.Key)
			}
		}
	}
	if step.Kind == plan.Repoint {
		r.sendable(step)
	}
	r.chosen(step)
	if step.Kind != plan.Promote {
		return
	}
	failed, cand := r.Find(e.Failed), r.Find(step.At)
	if cand.Rule == topology.MustNot {
		r.hurt("never against a must_not", "%v is promoted", cand.Key)
	}
	r.followable(cand, failed)
	if r.partial(cand) {
		r.hurt("never a server that has only a part of the data", "%v is promoted", cand.Key)
	}
	promises := strings.Contains(w.Bound, "no transaction that a reachable replica received is lost")
	all := true
	for _, v := range r.Servers {
		if v == cand || v == failed {
			continue
		}
		reachable := v.Health == world.Alive && r.Reaches(-1, v.N)
		all = all && reachable
		if reachable && r.below(v, failed) && !r.partial(v) && !cand.Executed.Has(v.Received) {
			r.hurt("never less advanced, nothing received is lost", "%v is promoted with %v, %v received %v",
				cand.Key, cand.Executed, v.Key, v.Received)
		}
		if reachable && promises && r.below(v, failed) && !cand.Executed.Has(v.Received) {
			r.hurt("a stated loss bound is true", "%v is promoted, %v received more: %s", cand.Key, v.Key, w.Bound)
		}
		if reachable && !v.ReadOnly && v.Source < 0 && !v.Stray {
			r.hurt("never two writable", "%v is promoted beside %v", cand.Key, v.Key)
		}
	}
	if failed.Health == world.Alive && r.Reaches(-1, failed.N) && !failed.ReadOnly {
		r.hurt("never two writable", "%v is promoted, and %v answers", cand.Key, failed.Key)
	}
	acked := r.Acked[failed.N]
	if all && r.SemiSync && cand.Executed[failed.N] < acked {
		r.hurt("with semi-sync nothing acknowledged is lost", "%v is promoted with %d of %d",
			cand.Key, cand.Executed[failed.N], acked)
	}
}

// chosen holds that nobody is promoted, or made the source of others, whom nobody chose.
func (r *run) chosen(step plan.Step) {
	k := step.At
	if step.Kind == plan.Repoint {
		k = step.Source
	}
	if (step.Kind == plan.Repoint || step.Kind == plan.Promote) && r.Find(k).Stray {
		r.hurt("never a server that nobody chose", "%s at %v: %v is a scratch copy", step.Kind, step.At, k)
	}
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
		if s.Key == v.Key && s.Instance != nil && s.Instance.Purged.Same(world.GTIDs(v.Purged)) {
			return v.Purged
		}
	}
	return world.Set{}
}

// partial says that a server filters, or has its data from one that does.
func (r *run) partial(v *world.Server) bool {
	for range r.Servers {
		if v.Filters {
			return true
		}
		if v.Source < 0 || v.Detached {
			return false
		}
		v = r.Servers[v.Source]
	}
	return false
}

// followable holds that a server that does not log what it replicates is promoted above others that lack some of that
// only where no other could be that has as much.
func (r *run) followable(cand, failed *world.Server) {
	for _, v := range r.Servers {
		if !cand.LogUpdates && v != cand && v.Health == world.Alive && r.Reaches(-1, v.N) && r.below(v, failed) &&
			!v.Received.Has(cand.Received) && r.better(cand, failed) {
			r.hurt("never a server that nobody can follow", "%v is promoted, and %v lacks what it has not logged",
				cand.Key, v.Key)
		}
	}
}

// better says that a direct replica that can be reached logs what it replicates and has as much as the candidate.
func (r *run) better(cand, failed *world.Server) bool {
	for _, v := range r.Servers {
		if v != cand && v.Source == failed.N && v.Health == world.Alive && r.Reaches(-1, v.N) && v.LogUpdates &&
			!v.Detached && !r.partial(v) && v.Rule != topology.MustNot && v.SQL && v.SQLErrno == 0 &&
			v.Executed.Has(cand.Received) {
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
		if v.Health == world.Alive && !v.ReadOnly && v.Source < 0 && !v.Stray && r.Reaches(-1, v.N) {
			n++
		}
	}
	if n < 2 {
		r.two = 0
		return
	}
	if r.two++; r.two > 10 { // a poll interval is 20 ticks; steps may be lost
		r.hurt("never two writable for longer than it takes to fence", "for %d ticks", r.two)
	}
}

// finally holds what must be true once everything has come back.
func (r *run) finally() {
	writable := 0
	for _, v := range r.Servers {
		if !v.ReadOnly && v.Source < 0 && !v.Stray {
			writable++
		}
	}
	if writable != 1 {
		r.hurt("in the end one server is writable", "%d are", writable)
	}
	lost := r.lost()
	for _, v := range r.Servers {
		if v.Source >= 0 && !v.Detached && !v.IO && v.IOErrno != world.Purged && !lost[v.Key] {
			r.hurt("in the end every replica receives, or is reported as lost", "%v does not", v.Key)
		}
	}
	for _, e := range r.episodes {
		if e.Closed.IsZero() {
			r.hurt("every recovery completes", "episode %s of %v is still open at stage %s: %s",
				e.ID, e.Failed, e.Stage, e.Blocked)
		}
	}
}
