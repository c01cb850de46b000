package plan

import (
	"slices"
	"time"

	"orchestrator/daemon/topology"
)

// deadBefore is how long before the incident a replica must have been proved dead so that it does not count.
const deadBefore = time.Minute

// Voters are the replicas of the failed server that were alive before the incident: Permit demands locks on a majority
// of them. All sides of a split must find the same voters, so silence is no reason to leave one out: this daemon may
// have been cut off from it long before. Only two kinds are left out: a process that was proved dead a minute before
// the incident began, and a server in downtime. A stranger has no vote.
func Voters(s Situation, e Episode) []topology.Key {
	began := e.Opened
	if v := s.Snapshot.Server(e.Failed); v != nil && !v.Probe.FailingSince.IsZero() &&
		(began.IsZero() || v.Probe.FailingSince.Before(began)) {
		began = v.Probe.FailingSince
	}
	var out []topology.Key
	for _, v := range s.Snapshot.Admitted().Servers {
		touched := v.Key == e.Candidate || e.touched(v.Key) || slices.Contains(e.Abandoned, v.Key)
		if v.Key == e.Failed || v.ChannelFrom(e.Failed) == nil && !touched {
			continue
		}
		if d := v.Downtime; d != nil && d.Until.After(s.Snapshot.At) {
			continue
		}
		if p := v.Probe; p.Failure.Dead() && !p.FailingSince.IsZero() &&
			p.FailingSince.Before(began.Add(-deadBefore)) {
			continue
		}
		out = append(out, v.Key)
	}
	return out
}
