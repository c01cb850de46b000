package analysis

import (
	"fmt"
	"time"
)

// semiSyncShortSays also at a replica: what it applies waits for replicas of its own.
func semiSyncShortSays(v *view) (string, []string) {
	if !v.Up() || !v.Instance.SemiSync.SourceActive {
		return "", nil
	}
	s := v.Instance.SemiSync
	wanted := max(1, s.WaitCount)
	if s.Clients >= wanted {
		return "", nil
	}
	waits := span(time.Duration(min(s.TimeoutMillis, 1<<40)) * time.Millisecond)
	out := []string{fmt.Sprintf("%v: a commit waits for %s, for %s at most", v.Key, many(wanted, "acknowledgement"),
		waits)}
	return fmt.Sprintf("%s waits for %s of semi-synchronous replicas, and %s: its next commit hangs, for %s at most. "+
			"Bring back a replica that acknowledges, or lower the number that a commit waits for.", v.is(),
			many(wanted, "acknowledgement"), acknowledge(s.Clients), waits),
		append(out, v.acknowledgers()...)
}

// acknowledge says how many replicas do.
func acknowledge(n int) string {
	switch n {
	case 0:
		return "no replica acknowledges"
	case 1:
		return "only 1 replica acknowledges"
	}
	return fmt.Sprintf("only %d replicas acknowledge", n)
}

// acknowledgers are a line of evidence for each replica that is set up to acknowledge.
func (v *view) acknowledgers() []string {
	var out []string
	for _, r := range v.replicas {
		switch {
		case r.Instance == nil || !r.Instance.SemiSync.ReplicaEnabled:
		case r.Up():
			out = append(out, fmt.Sprintf("%v: is set up to acknowledge", r.Key))
		default:
			out = append(out, fmt.Sprintf("%v: is set up to acknowledge, and does not answer (%s)", r.Key,
				howFailed(r.Server, v.f.at)))
		}
	}
	return out
}

func semiSyncOffSays(v *view) (string, []string) {
	if !writes(v.Server) || v.Instance.SemiSync.SourceActive {
		return "", nil
	}
	s := v.Instance.SemiSync
	out := []string{fmt.Sprintf("%v: %s", v.Key, acknowledgeNow(s.Clients))}
	switch {
	case s.SourceEnabled:
		return fmt.Sprintf("%s has fallen back to asynchronous replication: its commits do not wait for "+
			"acknowledgements of semi-synchronous replicas. If it died now, what it committed last could be lost. "+
			"Bring back the replicas that acknowledge.", v.is()), append(out, v.acknowledgers()...)
	case s.ReplicaEnabled && len(v.replicas) > 0:
		return fmt.Sprintf("%s has the source side of semi-synchronous replication off: its commits do not wait for "+
			"acknowledgements. If it died now, what it committed last could be lost. Switch the source side on when "+
			"enough replicas acknowledge.", v.is()), v.acknowledgers()
	}
	return "", nil
}

func acknowledgeNow(n int) string { return many(n, "replica") + " connected that can acknowledge" }
