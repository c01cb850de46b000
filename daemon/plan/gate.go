package plan

import (
	"fmt"
	"slices"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// gate lists what forbids a recovery of this failure before anything is touched, and last the other reasons against it.
func (v *view) gate(e Episode, others ...string) []string {
	var off, unasked, unsafe []string
	if v.Off != "" {
		off = append(off, v.switchedOff())
	}
	failed := v.servers[e.Failed]
	if failed == nil {
		return append(off, fmt.Sprintf("%v is not in the fleet any more", e.Failed))
	}
	if v.request(e.Failed) == nil {
		unasked = v.unasked(e, failed)
	}
	if why := v.misnamed(e); why != "" {
		unsafe = append(unsafe, why)
	}
	if e.Kind.Promotes() {
		unsafe = append(unsafe, v.unsafe(e, failed)...)
	}
	for _, why := range others { // each reason once
		if !slices.Contains(unsafe, why) {
			unsafe = append(unsafe, why)
		}
	}
	if len(unasked) > 0 && len(off) == 0 && len(unsafe) == 0 {
		unasked[len(unasked)-1] += v.offer(e)
	}
	return slices.Concat(off, unasked, unsafe)
}

// offer says how an operator has what is only not automatic done.
func (v *view) offer(e Episode) string {
	what := fmt.Sprintf("--server %v", e.Failed)
	if e.Kind.Promotes() {
		what = "[--candidate SERVER]"
	}
	return fmt.Sprintf("; to have it done all the same: orchestrator-client recover %s %s --reason TEXT", v.Cluster,
		what)
}

// unasked lists what forbids a recovery that nobody asked for: an operator who asks for it lifts just these.
func (v *view) unasked(e Episode, failed *topology.Server) []string {
	var no []string
	if !v.Policy.Named {
		no = append(no, fmt.Sprintf("policy: no policy of the configuration names cluster %s", v.Cluster))
	} else if name, allowed := v.Policy.allows(e.Kind); !allowed {
		no = append(no, fmt.Sprintf("policy: %s is false for cluster %s", name, v.Cluster))
	}
	if v.downtime(failed) {
		d := failed.Downtime
		no = append(no, fmt.Sprintf("downtime: %v is in downtime until %s (%s: %s)",
			e.Failed, d.Until.UTC().Format(time.RFC3339), d.Owner, d.Reason))
	}
	if why := v.antiFlap(); why != "" && e.Kind.Promotes() {
		no = append(no, why)
	}
	if e.Kind.Promotes() && failed.Instance == nil && e.Stage == Suspected {
		if why := v.unlisted(e.Failed); why != "" {
			no = append(no, why)
		}
	}
	return no
}

// unlisted says why a replica that is not known may have received more from a primary that never answered; "" where the
// policy names all members of the cluster, and all others have answered.
func (v *view) unlisted(failed topology.Key) string {
	if len(v.Policy.Members) == 0 {
		return fmt.Sprintf("%v has never answered this daemon, so no server has told which replicas it has: "+
			"one that is not known may have received more; check that all its replicas are listed, "+
			"and request the failover, or name all members of the cluster in the policy (members)", failed)
	}
	named := map[topology.Key]bool{}
	for _, k := range v.Policy.Members {
		s := v.Snapshot.Named(k)
		if s == nil || s.Instance == nil && s.Key != failed {
			return fmt.Sprintf("%v has never answered this daemon, and nor has %v, which the policy names as a "+
				"member: it may have received more; bring it back, or take it out of members", failed, k)
		}
		named[s.Key] = true
	}
	for i := range v.Snapshot.Servers {
		if k := v.Snapshot.Servers[i].Key; !named[k] {
			return fmt.Sprintf("%v has never answered this daemon, and %v is not among the members that the policy "+
				"names, so there may be others that have received more: add it to members", failed, k)
		}
	}
	return ""
}

// antiFlap says that the last promotion was too short a time ago.
func (v *view) antiFlap() string {
	var last *Promotion
	for i, p := range v.Promotions {
		if last == nil || p.At.After(last.At) {
			last = &v.Promotions[i]
		}
	}
	if v.Policy.AntiFlap == 0 || last == nil || v.Snapshot.At.Sub(last.At) >= v.Policy.AntiFlap {
		return ""
	}
	note := ""
	if last.At.After(v.Snapshot.At) {
		note = ", which is yet to come by the clock of this daemon"
	}
	at := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	return fmt.Sprintf("anti-flapping: %v was promoted at %s%s, and the policy demands %s between promotions, so "+
		"another is made from %s on (acknowledge that episode to allow it now)",
		last.To, at(last.At), note, v.Policy.AntiFlap, at(last.At.Add(v.Policy.AntiFlap)))
}

// unsafe lists what forbids a promotion, whoever asks for it.
func (v *view) unsafe(e Episode, failed *topology.Server) []string {
	var no []string
	if !v.Policy.AllowUnfenced && !failed.Probe.Failure.Dead() {
		no = append(no, fmt.Sprintf(
			"policy: %v is silent, not proved dead, and can't be fenced; allow_unfenced is false", e.Failed))
	}
	if failed.Instance != nil {
		for _, c := range failed.Instance.Channels {
			if v.servers[c.Source] == nil && !failed.Unused(c) {
				no = append(no, fmt.Sprintf("%v itself replicates from %v, which is outside the fleet: "+
					"a promotion would cut the cluster off from it", e.Failed, c.Source))
			}
		}
	}
	if why := v.stillPrimary(e); why != "" {
		no = append(no, why)
	}
	return append(no, v.notCompared(e, gtid.Set{})...)
}
