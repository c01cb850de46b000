package analysis

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

// verdict is what is known of a server's life.
type verdict int

const (
	lives       verdict = iota // it answers
	unknown                    // it was not asked yet, so nothing is reported about it
	refuses                    // the very failure shows that it lives: max_connections, access denied, TLS…
	alone                      // fails, and never had a replica that could be a witness
	deserted                   // fails, and so do all its replicas
	dead                       // fails, on the word of witnesses
	unwitnessed                // fails; replicas answer, and none of them can tell
	unreachable                // fails, and something is missing for dead: see missing
)

// decide gives the verdict. A server is dead only if all of this holds:
//
//   - our own probe failed in a way that does not show that the server is alive (Failure.Alive);
//   - a replica that was asked after the server fell silent has tried to reach it and could not: a witness;
//   - no replica that was asked after the server fell silent still receives from it;
//   - every reachable replica was asked after that moment, so that none is left that could contradict;
//   - we could ask at all: a name that we can't resolve is our own trouble, and no death;
//   - the witnesses of a primary that is only silent are a majority of its replicas: see minority;
//   - the silence has lasted Thresholds.Verdict(), unless the server's host itself said that no server is there
//     (refused, shutdown). A broken connection, or an answer of something else, says less than that, so it waits too.
func (v *view) decide() {
	switch {
	case v.Up():
		v.verdict = lives
		return
	case v.Probe.Failure == topology.OK:
		v.verdict = unknown
		return
	case v.Probe.Failure.Alive():
		v.verdict = refuses
		return
	}
	if unresolved(v.Server) {
		v.missing = append(v.missing, fmt.Sprintf("%v: this daemon can't resolve that name, which says nothing of the "+
			"server", v.Key))
	}
	if silence := v.silence(); !v.Probe.Failure.Dead() && silence < v.f.t.Verdict() {
		v.missing = append(v.missing, fmt.Sprintf("%v: silent for %s so far, of the %s after which silence counts",
			v.Key, span(silence), span(v.f.t.Verdict())))
	}
	for _, r := range v.replicas {
		if r.stand == receives || r.stand == pending {
			v.missing = append(v.missing, r.says)
		}
	}
	switch {
	case len(v.missing) > 0:
		v.verdict = unreachable
	case len(v.replicas) == 0:
		v.verdict = alone
	case v.count(witnesses) > 0:
		if v.verdict = dead; v.minority() {
			v.verdict = unreachable
			v.missing = append(v.missing, v.minoritySays())
		}
	case v.count(gone) == len(v.replicas):
		v.verdict = deserted
	default:
		v.verdict = unwitnessed
		v.missing = append(v.missing, fmt.Sprintf("no replica that answers has tried to reach %v", v.Key))
	}
}

// minority says that too few replicas witness the silence of a primary. The side of a cut that holds few of them must
// not promote one: the primary, and the others, live on the other side. A host that refuses the connection is on our
// side, so there one witness is enough; and no server is promoted for any other server than a primary.
func (v *view) minority() bool {
	yes, of := v.votes()
	return v.role == primary && !v.Probe.Failure.Dead() && 2*yes <= of
}

func (v *view) minoritySays() string {
	yes, of := v.votes()
	text := fmt.Sprintf("%d of %s can't reach %v, and it may be our side that is cut off: silence counts with %d",
		yes, many(of, "replica"), v.Key, of/2+1)
	var long []string
	for _, r := range v.replicas {
		if r.stand == gone && !v.downtimed(r.Server) && failingSince(r.Server).Before(v.since().Add(-time.Minute)) {
			long = append(long, r.Key.String())
		}
	}
	if len(long) > 0 {
		text += fmt.Sprintf(" (declare a downtime of those that are silent for another reason, so that they do not "+
			"count: %s)", strings.Join(long, ", "))
	}
	return text
}

// votes counts the witnesses among the replicas that were there before the viewed server fell silent. A replica in
// downtime has no vote, and neither has one whose process was proved to have ended a minute before. One that is silent
// itself has: it may be on the other side of a cut.
func (v *view) votes() (yes, of int) {
	for _, r := range v.replicas {
		long := failingSince(r.Server).Before(v.since().Add(-time.Minute))
		if v.downtimed(r.Server) || long && r.Probe.Failure.Dead() {
			continue
		}
		of++
		if r.stand == witnesses {
			yes++
		}
	}
	return yes, of
}

// allFail says that there are several replicas, some answer, and none that answers can reach the viewed server.
func (v *view) allFail() bool {
	up, idle := v.idle(2)
	return idle && up > 0 && !slices.ContainsFunc(v.replicas, func(r replica) bool { return r.Up() && !r.failing })
}

// unresolved says that we did not get as far as the server: we have no address for its name.
func unresolved(s *topology.Server) bool { return s.Probe.Failure == topology.NoHost }

// since is when the server began to fail.
func (v *view) since() time.Time { return failingSince(v.Server) }

func failingSince(s *topology.Server) time.Time {
	if s.Probe.FailingSince.IsZero() {
		return s.Probe.Asked
	}
	return s.Probe.FailingSince
}

func (v *view) silence() time.Duration {
	if v.since().IsZero() {
		return 0
	}
	return max(0, v.f.at.Sub(v.since()))
}
