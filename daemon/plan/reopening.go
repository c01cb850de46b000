package plan

import (
	"fmt"
	"time"

	"orchestrator/daemon/topology"
)

// startsDiffer is how far two times of a start are apart at least: each is exact to a second.
const startsDiffer = 3 * time.Second

// open notes the life of the promoted server in which it takes writes.
func (e *Episode) open(primary *topology.Server) {
	if at := primary.Instance.StartedAt; !at.IsZero() && at.Sub(e.CandidateStart).Abs() > startsDiffer {
		e.CandidateStart = at.Round(0)
	}
}

// reopen opens the server that was promoted last again when it has restarted read-only, as its configuration says, and
// nobody else has taken over: else nobody can write to the cluster until a person comes. One that was made read-only
// while it ran stays so.
func (a *aftercare) reopen(w *Work) {
	s := a.up(a.e.Candidate)
	if s == nil || a.e.ID != a.last.ID || len(s.Instance.Channels) > 0 || a.replacing() {
		return
	}
	if !s.Instance.ReadOnly {
		a.e.open(s)
		return
	}
	if !a.restartedShut(s, a.e) {
		return
	}
	if o := a.writesBeside(s, a.e); o != nil {
		w.Refused = append(w.Refused, fmt.Sprintf("%v was promoted and has restarted read-only, and is not opened "+
			"again: %v takes writes", s.Key, o.Key))
		return
	}
	if a.shut(s.Key) != "" { // that has an episode
		return
	}
	w.Steps = append(w.Steps, Step{Kind: Promote, At: s.Key, Events: a.schedulerOff(s.Key),
		Expect: Expect{UUID: s.Instance.UUID, Executed: s.Instance.Executed, NotFrom: a.e.Failed},
		Why: fmt.Sprintf("it was promoted in place of %v, has restarted read-only, and nobody else has taken over",
			a.e.Failed)})
}

// restartedShut says that s, which the episode promoted, was started since it was last seen to take writes, is
// read-only, and should be opened again if that is safe.
func (v *view) restartedShut(s *topology.Server, e Episode) bool {
	return s.Instance.ReadOnly && !e.CandidateStart.IsZero() &&
		s.Instance.StartedAt.Sub(e.CandidateStart) >= startsDiffer &&
		(v.Policy.RecoverPrimary || e.Request != nil) && !v.downtime(s)
}

// writesBeside is another server that takes writes; one that the episode has replaced is fenced first.
func (v *view) writesBeside(s *topology.Server, e Episode) *topology.Server {
	for i := range v.Snapshot.Servers {
		if o := &v.Snapshot.Servers[i]; o.Key != s.Key && o.Key != e.Failed && writable(o) {
			return o
		}
	}
	return nil
}

// shut says why the server at k, which was promoted last and has restarted read-only, is not opened again although
// nobody takes writes, and what a person can do; "" where that is not so. What it has may be less than what was
// committed there, and nobody could tell.
func (v *view) shut(k topology.Key) string {
	s, e := v.up(k), v.last
	if s == nil || e == nil || !e.counts() || e.Candidate != k || e.Closed.IsZero() || len(s.Instance.Channels) > 0 ||
		v.replacing() || !v.restartedShut(s, *e) || v.writesBeside(s, *e) != nil {
		return ""
	}
	why := v.doubted(s, *e)
	if why == "" {
		return ""
	}
	return fmt.Sprintf("%v was promoted in place of %v, has restarted and is read-only, so nobody can write to the "+
		"cluster; it is not opened again: %s. If it should be the primary all the same, set its read_only to 0; if "+
		"another server should be, acknowledge episode %s first, so that it is not made read-only, and set read_only "+
		"to 0 there",
		k, e.Failed, why, e.ID)
}

// doubted says why a promoted server that restarted may lack what was committed there; "" where it has all.
func (v *view) doubted(s *topology.Server, e Episode) string {
	if e.CandidateUUID != "" && s.Instance.UUID != e.CandidateUUID {
		return "another server stands at its address now, or one with another data directory, and whether that has " +
			"all that was committed at the promoted one is not known"
	}
	for _, o := range v.followers[s.Key] {
		have := o.Received()
		if n := s.Instance.Executed.Missing(have.Subtract(have.From(o.Instance.UUID))); n > 0 {
			return fmt.Sprintf("%v has %s that it lacks, and that would be lost", o.Key, count(n, "transaction"))
		}
	}
	return ""
}
