package plan

import (
	"fmt"
	"slices"

	"orchestrator/daemon/topology"
)

// undo takes back what was done before anything irreversible: the primary answers again.
func (p *primaryFailover) undo() Work { return p.undoFor(p.e.Failed) }

func (p *primaryFailover) undoFor(k topology.Key) Work {
	e := &p.e
	if i := slices.IndexFunc(e.Opening, p.down); i >= 0 {
		e.Blocked = fmt.Sprintf(
			"%v answers again, and %v, which may have been opened for writes already, does not: both may take writes",
			k, e.Opening[i])
		return Work{Episode: e, Wait: e.Blocked, Refused: []string{e.Blocked}}
	}
	for _, o := range e.Opening {
		if s := p.up(o); s != nil && writable(s) {
			why := fmt.Sprintf("%v answers again, and %v, which was opened in its place, is not taken for the new "+
				"primary", k, o)
			return Work{Episode: e, Wait: why, Steps: []Step{p.fence(s, e, why)}}
		}
	}
	return p.withdraw(fmt.Sprintf("%v answers again before another server was promoted: the replicas go back to it", k),
		fmt.Sprintf("%v answered again before another server was promoted", k))
}

// withdraw starts the receivers that were stopped, and closes the episode without a promotion.
func (p *primaryFailover) withdraw(why, outcome string) Work {
	e := &p.e
	w := Work{Episode: e, Wait: why}
	for i := range p.Snapshot.Servers { // also a candidate that fetches from another what it lacks
		r := &p.Snapshot.Servers[i]
		if step := p.resume(r, *e, why); step != nil && e.touched(r.Key) {
			w.Steps = append(w.Steps, *step)
		}
	}
	if len(w.Steps) > 0 {
		return w
	}
	p.leave(e, false)
	return p.close(*e, outcome)
}

// touchAll notes, when the work is committed, the replicas whose replication it changes from now on.
func (v *view) touchAll(e *Episode) {
	e.Touched = slices.DeleteFunc(slices.Clone(e.Touched), func(k topology.Key) bool { return !v.down(k) })
	for _, r := range v.followers[e.Failed] {
		e.touch(r.Key)
	}
}

// leave notes the servers whose receivers the episode may have stopped: those that are out of reach, and those where a
// step has failed. A session that timed out may go on there, and stop the receiver only now. Where the work ends by
// half, those too that stand still now: they may have been moved, and not started.
func (v *view) leave(e *Episode, half bool) {
	for _, k := range e.Touched {
		promoted := k == e.Candidate && !e.Promoted.IsZero()
		if !promoted && (v.down(k) || e.failing(k) != nil || half && v.halted(k)) {
			e.Left = append(slices.Clip(e.Left), k)
		}
	}
}

// resume is the step that starts again what the episode may have stopped at r, which it has touched: the receiver, then
// the applier. nil when there is nothing to start.
func (v *view) resume(r *topology.Server, e Episode, why string) *Step {
	c := r.Channel()
	switch {
	case !r.Up() || c == nil || c.Source.Detached():
		return nil
	case c.Halted():
		step := v.start(r, c.Source, why)
		return &step
	case e.stoppedWhole(r) && c.SQL == topology.Stopped && c.SQLErrno == 0:
		return &Step{Kind: StartApplier, At: r.Key, From: c.Source, Why: why,
			Expect: Expect{UUID: r.Instance.UUID, Source: c.Source}}
	}
	return nil
}

// stoppedWhole says that the episode may have stopped both threads of r: a promotion does, and on MariaDB a move.
func (e Episode) stoppedWhole(r *topology.Server) bool {
	moves := !e.Promoted.IsZero() || !e.Kind.Promotes() && e.Stage != Suspected
	opens := e.Candidate == r.Key || slices.Contains(e.Opening, r.Key) || slices.Contains(e.Abandoned, r.Key)
	return opens || moves && r.Instance.Flavor == topology.MariaDB
}

// start makes the step that starts the receiver of r again.
func (v *view) start(r *topology.Server, source topology.Key, why string) Step {
	return Step{Kind: StartReceiver, At: r.Key, From: source, Expect: Expect{UUID: r.Instance.UUID, Source: source},
		Why: why}
}

// close ends an episode that is on record; one that never began leaves nothing.
func (v *view) close(e Episode, outcome string) Work {
	if v.stored(e) == nil {
		return Work{}
	}
	e.Closed, e.Outcome, e.Blocked = v.Snapshot.At, outcome, ""
	if e.Stage == Promoted {
		e.Stage = Ended
	}
	return Work{Episode: &e}
}
