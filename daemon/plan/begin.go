package plan

import (
	"fmt"
	"slices"
	"strings"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/topology"
)

// forlorn says why a primary is not replaced that is out of reach and has no replica in reach, and what would help; ""
// where there is nobody to be promoted.
func (v *view) forlorn(k topology.Key) string {
	switch {
	case v.finding(k, analysis.DeadPrimaryAndReplicas) != nil:
		return v.deserted(k)
	case v.finding(k, analysis.DeadPrimaryWithoutReplicas) != nil:
		return v.stranded(k)
	}
	return ""
}

// deserted is that of a primary whose replicas are all out of reach.
func (v *view) deserted(k topology.Key) string {
	for i := range v.Snapshot.Servers {
		if s := &v.Snapshot.Servers[i]; s.Up() {
			return fmt.Sprintf("no witness: %v and all its replicas are out of reach; %v answers, so not all of our "+
				"network is down, but it did not follow %v itself, so it can't tell whether that lives: bring one of "+
				"the replicas back, or, if you know that %v is dead for good, promote %v or another by hand",
				k, s.Key, k, k, s.Key)
		}
	}
	return fmt.Sprintf("no witness: %v and all its replicas are out of reach, so it may be our own network that is "+
		"down: look from another host, and bring one of the servers back", k)
}

// stranded is that of a dead primary that no server follows, although other servers of its cluster live; "" when none
// does. They follow a server that it has replaced, and nothing tells what it wrote since.
func (v *view) stranded(k topology.Key) string {
	var alive []string
	for i := range v.Snapshot.Servers {
		if s := &v.Snapshot.Servers[i]; s.Up() && s.Key != k {
			alive = append(alive, s.Key.String())
		}
	}
	if len(alive) == 0 {
		return ""
	}
	one := alive[0]
	if len(alive) > 1 {
		one = "one of " + strings.Join(alive, ", ")
	}
	return fmt.Sprintf("%v is the primary and dead, and no server follows it: what it wrote is on no other server; "+
		"bring it back, or promote %s by hand and lose that", k, one)
}

// begin makes the episode of a failure that was found. It is on record only once the work has done something.
func (v *view) begin(kind Kind, f analysis.Finding) Episode {
	e := Episode{Kind: kind, Cluster: v.Cluster, Failed: f.At, Code: f.Code, Evidence: f.Evidence,
		Opened: v.Snapshot.At, Stage: Suspected, Request: v.request(f.At)}
	since := v.Snapshot.At
	if s := v.servers[f.At]; s != nil {
		if !s.Probe.FailingSince.IsZero() {
			since = s.Probe.FailingSince
		}
		if s.Instance != nil {
			e.FailedUUID = s.Instance.UUID
		}
	}
	id := fmt.Sprintf("%s-%d-%d", strings.NewReplacer(":", "_", "%", "_").Replace(f.At.Host), f.At.Port,
		since.UnixMilli())
	e.ID = id
	for n := 2; v.stored(e) != nil; n++ { // the same failure has had an episode that ended too early
		for _, o := range v.Episodes {
			if o.ID == e.ID {
				e.Challenged = o.Challenged // the replicas need not be asked again at once
			}
		}
		e.ID = fmt.Sprintf("%s-%d", id, n)
	}
	return e
}

// orphaned says that k died after it was promoted and before any server that lives followed it. Its future replicas
// still point to the previous primary and can't be witnesses. That k refuses connections must be enough, and another of
// them is promoted.
func (v *view) orphaned(k topology.Key) bool {
	return v.last != nil && v.last.Candidate == k && v.last.Acknowledged == nil &&
		v.servers[k].Probe.Failure.Dead() && len(v.followers[v.last.Failed]) > 0
}

func (v *view) beginOrphaned(f analysis.Finding) Episode {
	e := v.begin(PrimaryFailover, f)
	e.Failed, e.FailedUUID, e.Abandoned = v.last.Failed, v.last.FailedUUID, slices.Clone(v.last.Abandoned)
	e.abandon(v.last.Candidate)
	return e
}

// orphanOf is the verdict on an open episode that beginOrphaned began, and that has been blocked since.
func (v *view) orphanOf(e Episode) analysis.Code {
	if v.last == nil || v.last.Failed != e.Failed || !slices.Contains(e.Abandoned, v.last.Candidate) ||
		v.servers[v.last.Candidate] == nil || !v.orphaned(v.last.Candidate) {
		return ""
	}
	if f := v.finding(v.last.Candidate, lonely...); f != nil {
		return f.Code
	}
	return ""
}
