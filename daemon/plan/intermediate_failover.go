package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/topology"
)

// deadIntermediate are the codes that are witnessed by replicas, so that these may be moved.
var deadIntermediate = []analysis.Code{
	analysis.DeadIntermediate, analysis.DeadIntermediateAndSomeReplicas,
	analysis.DeadIntermediateWithSingleReplicaFailingToConnect, analysis.AllIntermediateReplicasFailingToConnectOrDead,
	analysis.DeadFormerPrimary,
}

// silentIntermediate are those whose replicas must find out for themselves whether it lives.
var silentIntermediate = []analysis.Code{
	analysis.UnreachableIntermediate, analysis.UnreachableIntermediateWithLaggingReplicas,
}

// startedLongAgo is from when a server that answers us, and that no replica can connect to, has no excuse: a receiver
// tries once a minute where nobody has set it otherwise.
const startedLongAgo = 90 * time.Second

// intermediateFailover moves the replicas of a dead intermediate source under the nearest living server above it.
type intermediateFailover struct {
	*view
	e Episode
}

func intermediateFailovers(v *view) []work {
	var out []work
	known := map[topology.Key]bool{}
	for _, e := range v.open(IntermediateFailover) {
		known[e.Failed] = true
		out = append(out, &intermediateFailover{v, e})
	}
	for _, f := range v.Findings {
		if (slices.Contains(deadIntermediate, f.Code) || slices.Contains(silentIntermediate, f.Code)) && !known[f.At] {
			known[f.At] = true
			out = append(out, &intermediateFailover{v, v.begin(IntermediateFailover, f)})
		}
	}
	return out
}

func (i *intermediateFailover) failed() topology.Key { return i.e.Failed }

func (i *intermediateFailover) claims() []topology.Key {
	if i.e.Stage == Suspected || !i.e.Closed.IsZero() {
		return nil
	}
	return append([]topology.Key{i.e.Failed}, i.e.Touched...)
}

func (i *intermediateFailover) next() Work {
	if i.e.Stage == Suspected {
		if w, undecided := i.suspected(); undecided {
			return i.restarted(w, i.e)
		}
	}
	if s := i.servers[i.e.Failed]; s == nil || s.Up() && !i.deaf() {
		return i.answers()
	}
	if i.forbidden() {
		i.e.Blocked = i.switchedOff()
		return Work{Episode: &i.e, Refused: []string{i.e.Blocked}, Wait: i.e.Blocked}
	}
	above, why := i.place(i.e)
	if above == nil {
		steps := slices.DeleteFunc(i.unstarted(), func(s Step) bool { return i.taken[s.At] != nil })
		if len(steps) > 0 { // those that its own failover does not take
			return Work{Episode: &i.e, Steps: steps}
		}
		if len(i.replicas[i.e.Failed]) == 0 {
			return i.over()
		}
		if primary := i.replaced(); primary != nil {
			w := Work{Episode: &i.e, Wait: fmt.Sprintf(
				"%v is being replaced, and its replicas follow the new primary then", primary.Failed)}
			w.preempted(i.view)
			return w
		}
		i.e.Blocked = cmp.Or(why, fmt.Sprintf(
			"no living server above %v can take its replicas: bring it back, or a server above it", i.e.Failed))
		return Work{Episode: &i.e, Refused: []string{i.e.Blocked}, Wait: i.e.Blocked}
	}
	w := Work{Episode: &i.e}
	i.e.Blocked = ""
	for j := range i.Snapshot.Servers {
		r := &i.Snapshot.Servers[j]
		if c := r.ChannelFrom(i.e.Failed); !r.Up() || r.Key == i.e.Failed || r.Key == above.Key ||
			c != nil && c.IO == topology.Running {
			continue // it receives: its source lives after all
		}
		m := i.move(r, above, i.e)
		if m == (moved{}) {
			m = i.arrived(r, above, i.e)
		}
		i.take(&w, m, r)
	}
	if i.e.Candidate != above.Key {
		i.e.abandon(i.e.Candidate)
	}
	i.e.Candidate = above.Key
	i.e.Why = fmt.Sprintf("it is the nearest living server above %v", i.e.Failed)
	if len(w.Steps) > 0 || w.Wait != "" {
		return w
	}
	return i.over()
}

// replaced is the failover of a primary that goes on now; nil when there is none.
func (v *view) replaced() *Episode {
	for _, e := range v.open(PrimaryFailover) {
		if e.Blocked == "" {
			return &e
		}
	}
	return nil
}

// suspected says whether the replicas may be moved: undecided is what is done, or waited for, as long as they may not.
func (i *intermediateFailover) suspected() (w Work, undecided bool) {
	if s := i.servers[i.e.Failed]; i.finding(i.e.Failed, deadIntermediate...) == nil && (s == nil || s.Up()) {
		return i.answers(), true
	}
	if len(i.replicas[i.e.Failed]) == 0 {
		return i.over(), true
	}
	var nobody []string
	if _, why := i.place(i.e); why != "" {
		nobody = append(nobody, why)
	}
	if no := i.gate(i.e, nobody...); len(no) > 0 {
		return i.block(no...), true
	}
	if w, undecided := i.undecided(); undecided {
		return w, true
	}
	i.touchAll(&i.e)
	i.e.Stage = Committed
	return Work{}, false
}

// block puts on record why nothing is done about a source that is of no use to its replicas. Each turn weighs the
// reasons again. A mere suspicion is no record.
func (i *intermediateFailover) block(reasons ...string) Work {
	f := i.finding(i.e.Failed, deadIntermediate...)
	if f == nil {
		return Work{Episode: i.stored(i.e), Refused: reasons}
	}
	i.note(f)
	i.e.Blocked = strings.Join(reasons, "; ")
	return Work{Episode: &i.e, Refused: reasons}
}

// note keeps what was found first, else the record would change with each probe.
func (i *intermediateFailover) note(f *analysis.Finding) {
	if i.stored(i.e) == nil || i.e.Code != f.Code {
		i.e.Code, i.e.Evidence = f.Code, f.Evidence
	}
}

// undecided waits, or has the replicas find out, as long as the server is not known to be of no use to them.
func (i *intermediateFailover) undecided() (Work, bool) {
	s := i.servers[i.e.Failed]
	if f := i.finding(i.e.Failed, deadIntermediate...); f != nil {
		i.note(f)
		if up := i.Snapshot.At.Sub(started(s)); s.Up() && up < startedLongAgo {
			return i.waits(i.e, "%v was started %s ago: its replicas are given time to connect", i.e.Failed,
				up.Round(time.Second)), true
		}
		return Work{}, false
	}
	if f := i.finding(i.e.Failed, silentIntermediate...); f != nil {
		w, missing := i.challenge(&i.e, s, f.Says)
		if missing != "" {
			w = i.waits(i.e, "%s", missing)
		}
		return w, true
	}
	return i.waits(i.e, "%v does not answer, and none of its replicas can be asked", i.e.Failed), true
}

// deaf says that the server answers us, and that its replicas could not connect to it: those that are still below it
// can't.
func (i *intermediateFailover) deaf() bool {
	return i.e.Code == analysis.AllIntermediateReplicasFailingToConnectOrDead &&
		!slices.ContainsFunc(i.followers[i.e.Failed], func(r *topology.Server) bool {
			return r.ChannelFrom(i.e.Failed).IO == topology.Running
		})
}

// started is when the server was started; long ago where nobody knows.
func started(s *topology.Server) time.Time {
	if s.Instance == nil {
		return time.Time{}
	}
	return s.Instance.StartedAt
}

// take records how r is moved. A replica that has more than the server above stays where it is: it continues when its
// source comes back.
func (i *intermediateFailover) take(w *Work, m moved, r *topology.Server) {
	switch {
	case m.step != nil && m.step.Kind == Repoint:
		i.e.touch(r.Key)
		w.Steps = append(w.Steps, *m.step)
	case m.step != nil && m.step.Kind != Detach:
		w.Steps = append(w.Steps, *m.step)
	case m.wait != "":
		w.Wait = m.wait
	case m.lost != "":
		i.e.lose(r.Key, m.lost)
	}
}

// answers ends the work on a server that can be reached again: what was moved and not started yet is started.
func (i *intermediateFailover) answers() Work {
	if steps := i.unresumed(); len(steps) > 0 {
		return Work{Episode: &i.e, Steps: steps}
	}
	i.leave(&i.e, false)
	return i.close(i.e, fmt.Sprintf("%v answers again", i.e.Failed))
}

// unresumed are the starts of what was stopped for a restart, or for a move that was not finished.
func (i *intermediateFailover) unresumed() (steps []Step) {
	const why = "it was stopped for a restart or a move, which was not finished"
	for _, source := range []topology.Key{i.e.Failed, i.e.Candidate} {
		for _, r := range i.followers[source] {
			if step := i.resume(r, i.e, why); step != nil && i.e.touched(r.Key) {
				steps = append(steps, *step)
			}
		}
	}
	return steps
}

// unstarted are the starts of receivers that were moved and not started: the daemon was killed between the two.
func (i *intermediateFailover) unstarted() (steps []Step) {
	for _, r := range i.followers[i.e.Candidate] {
		if c := r.ChannelFrom(i.e.Candidate); i.e.touched(r.Key) && !r.MultiSource() && c.Halted() {
			steps = append(steps, i.start(r, i.e.Candidate, "it was moved, and not started yet"))
		}
	}
	return steps
}

// over ends the work when nothing is left to move. A failover of the primary may have taken replicas from it, so the
// outcome says which server they follow.
func (i *intermediateFailover) over() Work {
	if !i.began() && len(i.e.Lost) > 0 {
		return i.stuck()
	}
	for _, r := range i.replicas[i.e.Failed] {
		if !r.Up() {
			i.e.lose(r.Key, fmt.Sprintf(outOfReach+"%s)", r.Probe.Failure))
		}
	}
	var follow []string
	for _, k := range i.e.Touched {
		if s := i.up(k); s != nil && s.Channel() != nil && s.Channel().Source != i.e.Failed {
			follow = append(follow, s.Channel().Source.String())
		}
	}
	if len(follow) == 0 && !i.e.Candidate.IsZero() {
		follow = append(follow, i.e.Candidate.String())
	}
	slices.Sort(follow)
	i.leave(&i.e, false)
	outcome := fmt.Sprintf("no replica follows %v any more", i.e.Failed)
	if len(follow) > 0 {
		outcome = fmt.Sprintf("the replicas of %v follow %s", i.e.Failed, strings.Join(slices.Compact(follow), ", "))
	}
	return i.close(i.e, withLost(outcome, i.e))
}

// began says that the record shows more than a suspicion.
func (i *intermediateFailover) began() bool {
	return slices.ContainsFunc(i.Episodes, func(o Episode) bool { return o.ID == i.e.ID && o.Stage != Suspected })
}

// stuck puts on record why no replica can be moved. It does not repeat what another episode has as lost.
func (i *intermediateFailover) stuck() Work {
	var why []string
	for _, l := range i.e.Lost {
		if !slices.ContainsFunc(i.Episodes, func(o Episode) bool { return o.ID != i.e.ID && o.lost(l.Key) }) {
			why = append(why, fmt.Sprintf("%v can't be moved: %s", l.Key, l.Why))
		}
	}
	if len(why) == 0 {
		return Work{Episode: i.stored(i.e)}
	}
	i.e.Stage, i.e.Touched, i.e.Lost, i.e.Candidate, i.e.Why = Suspected, nil, nil, topology.Key{}, ""
	for _, o := range i.Episodes {
		if o.ID == i.e.ID {
			i.e.Touched = o.Touched // some may have been stopped to be asked
		}
	}
	return i.block(why...)
}
