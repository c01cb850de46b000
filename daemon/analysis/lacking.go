package analysis

import (
	"fmt"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// lacked are the transactions that all replicas of a source in reach have, that none of them wrote, and that the source
// did not have when it last answered: it was emptied, or restored from an old copy. A source that was asked before its
// replicas may have written or received since what it seems to lack; that is left out.
func (f *fleet) lacked(source *topology.Server) (none gtid.Set) {
	if source.Instance == nil {
		return none
	}
	var common gtid.Set
	received, first, replicas := source.Received(), true, 0
	for _, r := range f.following[source.Key] {
		if !r.Up() || len(r.Instance.Channels) != 1 || r.Channel().Source != source.Key {
			continue
		}
		if received.Contains(r.Instance.Executed) { // as nearly always: nothing that all have can be lacking
			return none
		}
		have := r.Instance.Executed.Subtract(r.Instance.Executed.From(r.Instance.UUID))
		if !first {
			have = have.Intersect(common)
		}
		common, first = have, false
		replicas++
		if source.Probe.Answered.Before(r.Probe.Answered) && !source.Instance.Executed.Empty() {
			switch {
			case source.Receiving(), source.Instance.Flavor == topology.MariaDB:
				return none
			}
			common = common.Subtract(common.From(source.Instance.UUID))
		}
	}
	left := common.Subtract(received)
	if replicas == 1 && left.Count() <= source.Instance.Executed.Count() {
		return none // a single replica with some transactions of its own: see errant
	}
	return left
}

func sourceLacksSays(v *view) (string, []string) {
	if !v.Up() {
		return "", nil
	}
	left := v.f.lacked(v.Server)
	if left.Empty() {
		return "", nil
	}
	out := []string{fmt.Sprintf("%v: has %s", v.Key, orNothing(v.Received()))}
	for _, r := range v.replicas {
		if r.Up() {
			out = append(out, fmt.Sprintf("%v: has %s", r.Key, orNothing(r.Received())))
		}
	}
	text := fmt.Sprintf("%s lacks %s that all its replicas have: it was emptied, or restored from an old copy. "+
		"Do not clone from it.", v.is(), many(int(left.Count()), "transaction"))
	if why := v.byRight(); why != "" && v.role == primary {
		text += " " + why
	}
	return text, out
}

func orNothing(s gtid.Set) string {
	if s.Empty() {
		return "no transactions"
	}
	return s.Text()
}

// purgedThere says which transactions that a replica lacks its source has purged; "" when it is not known that any are.
func (v *view) purgedThere(c topology.Channel) string {
	source := v.f.servers[c.Source]
	if source == nil || source.Instance == nil || c.IOErrno != 1236 && c.IOErrno != 13114 {
		return ""
	}
	gone := source.Instance.Purged.Subtract(v.Received())
	if gone.Empty() {
		return ""
	}
	return fmt.Sprintf("; %v has purged %s that it lacks (%s): rebuild it, or have it follow a server that has them",
		source.Key, many(int(gone.Count()), "transaction"), gone.Text())
}
