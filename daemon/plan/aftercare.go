package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

// aftercare does what an ended failover still needs. The server that was promoted last is the rightful primary. Any
// other server that failed, or was a candidate, is fenced when it comes back writable, and the fence is repeated until
// it holds. A replica that was out of reach is moved when it is back. A receiver that was left stopped is started.
//
// While recoveries are switched off it changes nothing, not even a second server that takes writes: people work there.
// It says what it leaves to them. A failover that has told a server to take writes is finished all the same, and so is
// what it needs: half a failover would be worse than either end.
type aftercare struct {
	*view
	e Episode
}

// aftercares are those of all episodes. An open episode has one too: it fences a candidate that the episode gave up.
func aftercares(v *view) []work {
	var out []work
	for _, e := range v.Episodes {
		if len(e.Left) > 0 || e.counts() {
			out = append(out, &aftercare{v, e})
		}
	}
	return out
}

func (a *aftercare) failed() topology.Key { return a.e.Failed }

func (a *aftercare) claims() []topology.Key { return nil }

func (a *aftercare) next() Work {
	w := a.due()
	if !a.forbidden() || a.finishing() || len(w.Steps) == 0 {
		return w
	}
	var left []string
	for _, s := range w.Steps {
		left = append(left, s.Says()+": "+s.Why)
	}
	return Work{Refused: []string{fmt.Sprintf("%s; so this is not done: %s%s",
		a.off(), strings.Join(left, "; "), a.switchOn("do it by hand, or, "))}}
}

// finishing says that a failover goes on although recoveries are switched off.
func (a *aftercare) finishing() bool {
	return slices.ContainsFunc(a.open(PrimaryFailover), func(e Episode) bool {
		return e.Stage != Suspected && e.Blocked != a.switchedOff()
	})
}

// due is all that is left to do.
func (a *aftercare) due() Work {
	var w Work
	before := a.e
	a.startLeft(&w)
	if a.e.counts() && a.last != nil {
		a.fenceFormer(&w)
		a.bringHome(&w)
		a.reopen(&w)
		if !w.acts(a.e.Candidate) {
			a.acknowledgeAgain(&w)
		}
		if s := a.up(a.e.Candidate); s != nil && a.e.ID == a.last.ID && writable(s) && a.e.Had > 0 {
			a.sawCommit(&a.e, s)
			a.tryWrite(&w, s)
		}
	}
	if len(w.Steps)+len(w.Refused) == 0 && w.Wait == "" && same(before, a.e) {
		return Work{}
	}
	w.Episode = &a.e
	return w
}

// same compares what aftercare changes.
func same(a, b Episode) bool {
	return a.Fenced.Equal(b.Fenced) && a.Unfinished == b.Unfinished && len(a.Left) == len(b.Left) &&
		slices.Equal(a.Lost, b.Lost) && len(a.Touched) == len(b.Touched) &&
		a.Unacknowledged == b.Unacknowledged && slices.Equal(a.EventsOff, b.EventsOff) &&
		a.CandidateStart.Equal(b.CandidateStart) && a.Had == b.Had && a.Committed.Equal(b.Committed)
}

// acknowledgeAgain has the commits of the rightful primary wait for acknowledgements again, or no longer.
func (a *aftercare) acknowledgeAgain(w *Work) {
	if a.e.ID != a.last.ID || a.e.Closed.IsZero() || a.taken[a.e.Candidate] != nil {
		return
	}
	if step := a.waitAgain(&a.e); step != nil {
		w.Steps = append(w.Steps, *step)
	}
}

// goesOn is how long a statement may go on at a server after the session that waited for it has ended.
const goesOn = time.Minute

// startLeft starts the receivers that an episode left stopped, of replicas that are back. One that still follows the
// server which was replaced is moved instead.
func (a *aftercare) startLeft(w *Work) {
	left := a.e.Left
	a.e.Left = nil
	for _, k := range left {
		s := a.servers[k]
		if s == nil {
			continue
		}
		step := a.resume(s, a.e, fmt.Sprintf("it was stopped when %v seemed dead, and out of reach when the others "+
			"were started", a.e.Failed))
		switch {
		case step != nil:
			if a.e.Left = append(a.e.Left, k); !a.replacedSource(step.From) {
				w.Steps = append(w.Steps, *step)
			}
		case !s.Up(), a.e.failing(k) != nil && a.Snapshot.At.Sub(a.e.Closed) < goesOn:
			a.e.Left = append(a.e.Left, k)
		}
	}
}

// replacedSource says that the episode has replaced the server at k, and that nobody has promoted that since.
func (a *aftercare) replacedSource(k topology.Key) bool {
	return !a.e.Promoted.IsZero() && k == a.e.Failed && PromotedLast(a.Episodes) != k
}

// fenceFormer makes read-only whatever is not the rightful primary any more, whoever it follows: one that comes back in
// a circle follows the new primary and takes writes.
func (a *aftercare) fenceFormer(w *Work) {
	for _, k := range append(slices.Clone(a.e.Abandoned), a.e.Failed, a.e.Candidate) {
		s := a.up(k)
		if s == nil || k == a.last.Candidate || a.stranger(s) || a.reinstated(s) {
			continue
		}
		if a.acted[k] {
			continue
		}
		if a.unfenced(s, a.e) {
			w.Steps = append(w.Steps, a.fence(s, &a.e, replacedBy(a.last.Candidate)))
		} else if k == a.e.Failed && a.e.Fenced.IsZero() && !a.e.Closed.IsZero() {
			a.e.Fenced = a.Snapshot.At
		}
	}
}

// stranger says that another server stands at the address of the failed one, and serves replicas that were never in
// its cluster: the address was given to another cluster. One with an empty or a restored data directory, at the address
// that clients may still use, is none.
func (a *aftercare) stranger(s *topology.Server) bool {
	if s.Key != a.e.Failed || a.e.FailedUUID == "" || s.Instance.UUID == a.e.FailedUUID {
		return false
	}
	return slices.ContainsFunc(a.replicas[s.Key], func(r *topology.Server) bool {
		return !a.e.touched(r.Key) && !a.e.lost(r.Key)
	})
}

// reinstated says that people have made s the primary again: the server that was promoted last is a read-only replica
// below it now. To fence s would leave the cluster without a server that takes writes.
func (a *aftercare) reinstated(s *topology.Server) bool {
	promoted := a.up(a.last.Candidate)
	return promoted != nil && promoted.Instance.ReadOnly && a.primary == s && promoted.ChannelFrom(s.Key) != nil
}

// replacing says that the primary of the cluster is being replaced.
func (v *view) replacing() bool {
	return slices.ContainsFunc(v.open(PrimaryFailover), func(e Episode) bool { return e.Stage != Suspected })
}

// bringHome moves replicas that were out of reach during the failover, and are back now, under the primary. It does
// nothing while the primary of the cluster is being replaced, because the right source is not known yet.
func (a *aftercare) bringHome(w *Work) {
	primary := a.up(a.last.Candidate)
	if primary == nil || len(primary.Instance.Channels) > 0 || a.e.Failed == primary.Key ||
		a.last.Acknowledged != nil || primary.Instance.ReadOnly && a.exchanged(primary, *a.last) ||
		!a.Policy.RecoverPrimary && a.e.Request == nil || a.replacing() {
		return
	}
	for i := range a.Snapshot.Servers {
		r := &a.Snapshot.Servers[i]
		if !r.Up() || r.Key == primary.Key || a.taken[r.Key] != nil ||
			r.ChannelFrom(a.e.Failed) == nil && !a.e.Unfinished && !a.stoppedAsCandidate(r) ||
			slices.ContainsFunc(w.Steps, func(s Step) bool { return s.At == r.Key }) {
			continue
		}
		m := a.move(r, primary, a.e)
		if m.step != nil && m.step.Kind == Repoint {
			a.e.touch(r.Key) // should it be done by half only, it is known as ours, and both its threads are started
			if !slices.Contains(a.e.Left, r.Key) {
				a.e.Left = append(a.e.Left, r.Key)
			}
			a.e.Unfinished = true
			w.Steps = append(w.Steps, *m.step)
		} else if m.step != nil && m.step.Kind != Detach {
			w.Steps = append(w.Steps, *m.step)
		}
		if m.lost != "" {
			a.e.lose(r.Key, m.lost)
		}
	}
}

// stoppedAsCandidate says that the receiver of r from another replica was stopped when r was the candidate, and that r
// was given up then.
func (a *aftercare) stoppedAsCandidate(r *topology.Server) bool {
	c := r.Channel()
	return c != nil && c.Source != a.last.Candidate && slices.Contains(a.e.Abandoned, r.Key)
}
