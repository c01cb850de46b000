package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// Switch is what a promotion does with the source side of semi-synchronous replication. "" leaves it as it is.
type Switch string

const (
	On  Switch = "on"
	Off Switch = "off"
)

// acknowledgersComeWithin is how long after a promotion the replicas that are to acknowledge may take to follow the new
// primary. Its commits hang meanwhile.
const acknowledgersComeWithin = 2 * time.Second

// justNow is how long before its source a replica may have fallen silent and still have acknowledged what the source
// committed last.
const justNow = 10 * time.Second

// acknowledgement is what semi-synchronous replication tells of the last commits of a failed primary.
type acknowledgement struct {
	waited   int            // how many acknowledgements a commit waited for; 0: commits did not wait
	heard    int            // replicas that acknowledge and can be reached
	silent   []topology.Key // replicas that acknowledge, were there until the end, and can't be reached now
	departed []topology.Key // servers that were replicas until shortly before, and have more than any of them
	partial  []topology.Key // replicas that acknowledge, can be reached, and have only a part of the data
	unknown  int            // acknowledgers that the primary counted, and that are none of these
	long     []topology.Key // silent to this daemon for longer: they may be the unknown ones
}

// acknowledged reads what is known of it. Everything that was acknowledged is on one of the servers heard, unless as
// many as a commit waited for are out of reach.
func (v *view) acknowledged(e Episode, pool []*topology.Server) (a acknowledgement) {
	failed := v.servers[e.Failed]
	if failed == nil || failed.Instance == nil || !failed.Instance.SemiSync.SourceActive && !v.waitedAgain(failed) {
		return a
	}
	semi := failed.Instance.SemiSync
	a.waited = max(1, semi.WaitCount)
	counted := 0 // of those in reach, by the primary when it last answered
	for _, s := range pool {
		began := s.Probe.FailingSince
		switch {
		case s.Instance == nil || !s.Instance.SemiSync.ReplicaEnabled || v.followsAnother(s, e):
		case s.Up() && len(s.Instance.Channels) == 0 && s.Instance.Executed.Missing(failed.Instance.Executed) > 0:
			a.silent = append(a.silent, s.Key) // it came back, and without the data
		case s.Up() && v.partial(s, e.Failed) == "":
			if a.heard++; !s.Instance.StartedAt.After(failed.Probe.Answered) {
				counted++
			}
		case s.Up(): // what it acknowledged it has in part only
			a.partial = append(a.partial, s.Key)
		case began.IsZero() || !began.Before(failed.Probe.FailingSince.Add(-justNow)):
			a.silent = append(a.silent, s.Key)
		case !s.Probe.Failure.Dead():
			a.long = append(a.long, s.Key)
		}
	}
	if semi.Clients > 0 && semi.Clients <= counted {
		a.silent, a.partial = nil, nil // the primary counted those that we reach, and no others
	}
	a.unknown = max(0, semi.Clients-a.heard-len(a.silent)-len(a.partial))
	a.departed = v.departed(failed, pool)
	return a
}

// departed are the servers that acknowledged and were taken away from the failed one just before it fell silent, with
// something that no replica in reach has: a test server may have been made of one. Nobody gets that from them.
func (v *view) departed(failed *topology.Server, pool []*topology.Server) (out []topology.Key) {
	var have gtid.Set
	for _, s := range pool {
		if s.Up() {
			have = have.Union(s.Received())
		}
	}
	for i := range v.Snapshot.Servers {
		s := &v.Snapshot.Servers[i]
		if s.Instance != nil && s.Left != nil && s.Left.From == failed.Key && s.Instance.SemiSync.ReplicaEnabled &&
			!slices.Contains(pool, s) && s.Left.Seen.After(failed.Probe.FailingSince.Add(-justNow)) &&
			!have.Contains(s.Instance.Executed) {
			out = append(out, s.Key)
		}
	}
	return out
}

// followsAnother says that another server is between the failed one and s, which then has acknowledged nothing to the
// failed one. One that this episode has moved, or an earlier one, is none.
func (v *view) followsAnother(s *topology.Server, e Episode) bool {
	k := v.between(s, e)
	return !k.IsZero() && k != e.Candidate && !slices.Contains(e.Abandoned, k)
}

// waitedAgain says that a failed primary whose commits did not wait when it last answered may have waited since: more
// replicas that acknowledge were seen to receive from it later than it had counted (one may just have been moved), or
// it was promoted, or told to wait again, after that.
func (v *view) waitedAgain(failed *topology.Server) bool {
	came, follow := 0, 0
	for _, s := range v.replicas[failed.Key] {
		if !s.Instance.SemiSync.ReplicaEnabled || s.ChannelFrom(failed.Key).IO != topology.Running {
			continue
		}
		if follow++; !s.Probe.Answered.Before(failed.Probe.Answered) {
			came++
		}
	}
	semi := failed.Instance.SemiSync
	if semi.SourceEnabled {
		return came > semi.Clients
	}
	if v.last == nil || v.last.Candidate != failed.Key {
		return false
	}
	if v.last.Unacknowledged {
		return follow >= waitsFor(failed)
	}
	return semi.ReplicaEnabled && !failed.Probe.Answered.After(v.last.Promoted)
}

// mayBeElsewhere says that something may have been acknowledged by servers out of reach only.
func (a acknowledgement) mayBeElsewhere() bool {
	return a.waited > 0 && len(a.silent)+len(a.departed)+len(a.partial)+a.unknown >= a.waited
}

// unheard says that nobody who acknowledged can be reached: what was committed last is then on no server in reach.
func (a acknowledgement) unheard() bool { return a.mayBeElsewhere() && a.heard == 0 }

// elsewhere names the servers that may have what no server in reach has whole.
func (a acknowledgement) elsewhere() string {
	var out []string
	for _, k := range a.silent {
		out = append(out, k.String())
	}
	for _, k := range a.departed {
		out = append(out, fmt.Sprintf("%v, which follows nobody now,", k))
	}
	for _, k := range a.partial {
		out = append(out, fmt.Sprintf("%v, which filters what it replicates,", k))
	}
	switch {
	case a.unknown > 0 && len(a.long) >= a.unknown:
		out = append(out, fmt.Sprintf("%v, which this daemon has not reached for longer,", list(a.long)))
	case a.unknown > 0:
		out = append(out, count(a.unknown, "replica")+" that this daemon does not know")
	}
	return strings.Join(out, ", ")
}

// refusal says why a promotion is refused for the sake of what was acknowledged; "" when it is not.
func (a acknowledgement) refusal(failed topology.Key) string {
	if !a.unheard() {
		return ""
	}
	where := "that is out of reach"
	switch {
	case len(a.departed) > 0:
		where = "no replica in reach has it"
	case len(a.partial) > 0:
		where = "no server in reach has it whole"
	}
	return fmt.Sprintf("semi-sync: what %v committed last was acknowledged only by %s, and %s: "+
		"a promotion may lose acknowledged transactions; bring it back, or set allow_received_loss",
		failed, strings.TrimSuffix(a.elsewhere(), ","), where)
}

// bound says what may be lost of what was acknowledged; "" when nothing can be.
func (a acknowledgement) bound(failed topology.Key) string {
	if !a.mayBeElsewhere() {
		return ""
	}
	return fmt.Sprintf("%v waited for %s: what only %s acknowledged is lost",
		failed, count(a.waited, "acknowledgement"), a.elsewhere())
}

// waitsFor is how many acknowledgements a commit at the server waits for once its source side is on.
func waitsFor(s *topology.Server) int { return max(1, s.Instance.SemiSync.WaitCount) }

// acknowledges says that the server can be reached and acknowledges what it receives.
func acknowledges(s *topology.Server) bool { return s.Up() && s.Instance.SemiSync.ReplicaEnabled }

// semiSync says what the promotion of the candidate does with its source side, and why. It is switched on only if
// enough replicas that acknowledge are about to follow, since a commit that waits for anybody else hangs.
func (v *view) semiSync(e Episode, cand *topology.Server) (Switch, string) {
	semi := cand.Instance.SemiSync
	if !semi.SourceEnabled && !(semi.ReplicaEnabled && v.waited(e)) {
		return "", ""
	}
	coming := 0
	for _, s := range v.pool(e) {
		if s.Key != cand.Key && acknowledges(s) && v.move(s, cand, e).lost == "" {
			coming++
		}
	}
	if coming >= waitsFor(cand) {
		return On, ""
	}
	return Off, fmt.Sprintf("semi-sync: a commit would wait for %s and %s acknowledges, so its commits do not wait; "+
		"they do again when enough replicas that acknowledge follow it",
		count(waitsFor(cand), "acknowledgement"), numbered(coming, "replica"))
}

// numbered prints a number with its noun, and no for none.
func numbered(n int, noun string) string {
	if n == 0 {
		return "no " + noun
	}
	return "only " + count(n, noun)
}

// waited says that commits of the failed primary waited for acknowledgements, or would have if there had been enough.
func (v *view) waited(e Episode) bool {
	failed := v.servers[e.Failed]
	if failed == nil || failed.Instance == nil || failed.Instance.SemiSync.SourceEnabled {
		return true
	}
	return v.last != nil && v.last.Candidate == e.Failed && v.last.Unacknowledged
}

// following is how many replicas that acknowledge receive from the server.
func (v *view) following(k topology.Key) int {
	return len(slices.DeleteFunc(slices.Clone(v.followers[k]), func(s *topology.Server) bool {
		return !acknowledges(s) || s.ChannelFrom(k).IO != topology.Running
	}))
}

// stopWaiting is the step that frees the commits of a new primary from waiting for acknowledgements that do not come:
// nil when none is needed. Until the replicas have had the time to connect, it says what is waited for.
func (v *view) stopWaiting(primary *topology.Server, e *Episode) (step *Step, wait string) {
	n := v.following(primary.Key)
	if !primary.Up() || !primary.Instance.SemiSync.SourceEnabled || n >= waitsFor(primary) {
		return nil, ""
	}
	why := fmt.Sprintf("its commits wait for %s, and %s that acknowledges follows it",
		count(waitsFor(primary), "acknowledgement"), numbered(n, "replica"))
	if v.recent(e.Promoted, acknowledgersComeWithin) {
		return nil, fmt.Sprintf("%v: %s yet", primary.Key, why)
	}
	e.Unacknowledged = true
	return &Step{Kind: SemiSyncOff, At: primary.Key, Expect: Expect{UUID: primary.Instance.UUID}, Why: why}, ""
}

// waitAgain is the step that has the commits of a promoted primary wait for acknowledgements again: nil when they did
// not before, or when too few replicas acknowledge.
func (v *view) waitAgain(e *Episode) *Step {
	primary := v.up(e.Candidate)
	if !e.Unacknowledged || primary == nil || !writable(primary) {
		return nil
	}
	if primary.Instance.SemiSync.SourceEnabled {
		e.Unacknowledged = false
		return nil
	}
	n := v.following(primary.Key)
	if n < waitsFor(primary) {
		return nil
	}
	return &Step{Kind: SemiSyncOn, At: primary.Key, Expect: Expect{UUID: primary.Instance.UUID},
		Why: fmt.Sprintf("%s that acknowledge what they receive follow it again, and a commit waits for %d",
			count(n, "replica"), waitsFor(primary))}
}

// Doubts are what is wrong with the semi-synchronous replication of a primary that lives: people set it up to lose
// nothing of what was acknowledged, and that is not so now.
func Doubts(s Situation, primary topology.Key) (out []string) {
	for _, f := range s.Findings {
		if f.At == primary && (f.Code == analysis.SemiSyncShort || f.Code == analysis.SemiSyncOff) {
			out = append(out, "semi-sync: "+f.Says)
		}
	}
	return out
}
