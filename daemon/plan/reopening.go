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
	if a.e.CandidateStart.IsZero() || s.Instance.StartedAt.Sub(a.e.CandidateStart) < startsDiffer ||
		!a.Policy.RecoverPrimary && a.e.Request == nil || a.downtime(s) {
		return
	}
	if why := a.staysShut(s); why != "" {
		w.Refused = append(w.Refused, fmt.Sprintf("%v was promoted and has restarted read-only, and is not opened "+
			"again: %s", s.Key, why))
		return
	}
	w.Steps = append(w.Steps, Step{Kind: Promote, At: s.Key, Events: a.schedulerOff(s.Key),
		Expect: Expect{UUID: s.Instance.UUID, Executed: s.Instance.Executed, NotFrom: a.e.Failed},
		Why: fmt.Sprintf("it was promoted in place of %v, has restarted read-only, and nobody else has taken over",
			a.e.Failed)})
}

// staysShut says why a promoted server that restarted read-only must not be opened again; "" when it may.
func (a *aftercare) staysShut(s *topology.Server) string {
	if a.e.CandidateUUID != "" && s.Instance.UUID != a.e.CandidateUUID {
		return "another server stands at its address now"
	}
	for i := range a.Snapshot.Servers {
		o := &a.Snapshot.Servers[i]
		if !o.Up() || o.Key == s.Key {
			continue
		}
		if writable(o) && o.Key != a.e.Failed { // that one is fenced first
			return fmt.Sprintf("%v takes writes", o.Key)
		}
		if o.ChannelFrom(s.Key) == nil {
			continue
		}
		have := o.Received()
		if n := s.Instance.Executed.Missing(have.Subtract(have.From(o.Instance.UUID))); n > 0 {
			return fmt.Sprintf("%v has %s that it lacks", o.Key, count(n, "transaction"))
		}
	}
	return ""
}
