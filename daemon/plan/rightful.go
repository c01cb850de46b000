package plan

import (
	"fmt"
	"slices"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// What this file knows: which server is the primary is a matter of counting replicas where no promotion is on record.
// Before anything rests on it, the data must agree: who wrote what the replicas have (topology.PassedThrough), and who
// chose it.

// stillPrimary names another server that is the primary of the failed one's replicas, although they follow the failed
// one: that was between the two, and has lost its source, or all its data. A promotion in its place would open a second
// server. "" when there is none, or when the failed one was promoted.
//
// The other one is as good as alive where it is silent: no replica of it is left to witness that it is dead.
func (v *view) stillPrimary(e Episode) string {
	failed := v.servers[e.Failed]
	if failed.Instance == nil || v.onRecord(e.Failed) {
		return ""
	}
	for i := range v.Snapshot.Servers {
		s := &v.Snapshot.Servers[i]
		if s.Key == e.Failed || !v.tookWrites(s) {
			continue
		}
		for _, r := range v.followers[e.Failed] {
			if r.MultiSource() || !topology.PassedThrough(s, failed, r, v.receivedBy) {
				continue
			}
			if s.Up() {
				return fmt.Sprintf("%v takes writes, and %v has from it what it has: it is the primary, and %v was "+
					"between the two. Move the replicas of %v under %v by hand",
					s.Key, r.Key, e.Failed, e.Failed, s.Key)
			}
			may := fmt.Sprintf("It may still take writes (%s), and nobody can witness that it is dead", s.Probe.Failure)
			if s.Probe.Failure.Dead() {
				may = "It takes writes again when it is started"
			}
			return fmt.Sprintf("%v took writes when it answered last, and %v has from it what it has: it is the "+
				"primary, and %v was between the two. %s. Bring it back; if it is gone for good, have it forgotten: "+
				"orchestrator-client forget %v", s.Key, r.Key, e.Failed, may, s.Key)
		}
	}
	return ""
}

func (v *view) receivedBy(s topology.Server) gtid.Set { return v.received(&s) }

// onRecord says that the server at k was promoted last.
func (v *view) onRecord(k topology.Key) bool {
	return v.last != nil && v.last.Candidate == k || v.Snapshot.Promoted[v.Cluster] == k
}

// tookWrites says that a server follows nobody and takes writes, as far as is known, and was not replaced.
func (v *view) tookWrites(s *topology.Server) bool {
	return s.TookWrites() && (s.Up() || !slices.ContainsFunc(v.Episodes, func(o Episode) bool {
		return o.Failed == s.Key && o.Kind.Promotes() && !o.Promoted.IsZero()
	}))
}

// place is where the replicas of a dead source are moved: the nearest server above it that can serve them, else the
// primary. why says what speaks against the primary where that is so only by the number of its replicas; both are zero
// where no server lives that could serve them.
func (v *view) place(e Episode) (place *topology.Server, why string) {
	serves := func(s *topology.Server) bool {
		return s != nil && s.Key != e.Failed && s.Up() && s.Instance.LogBin &&
			(len(s.Instance.Channels) == 0 || s.Instance.LogReplicaUpdates)
	}
	top := v.servers[e.Failed]
	for range v.Snapshot.Servers {
		if top == nil || top.Instance == nil || len(top.Instance.Channels) == 0 {
			break
		}
		source := v.servers[top.Instance.Channels[0].Source]
		if serves(source) {
			return source, ""
		}
		if source == nil {
			break
		}
		top = source
	}
	if !serves(v.primary) {
		return nil, ""
	}
	if why := v.unchosen(v.primary, top, e); why != "" {
		return nil, why
	}
	return v.primary, ""
}

// unchosen says why replicas of the failed server are not moved to a primary that is not above it; "" where they may
// be: its promotion is on record, or it would be adopted in the place of the server at the top of their tree.
func (v *view) unchosen(primary, top *topology.Server, e Episode) string {
	if v.tree(primary.Key); v.onRecord(primary.Key) || top == nil || v.trees[primary.Key].in[e.Failed] {
		return ""
	}
	failed := Episode{Kind: PrimaryFailover, Failed: top.Key, Opened: e.Opened}
	says, why := "takes writes", fmt.Sprintf("it was no replica of %v when that fell silent", top.Key)
	if !writable(primary) {
		says = "follows nobody and is read-only"
	} else if v.wasReplica(primary, failed) {
		why = v.notTaken(primary, v.choice(failed), failed)
	}
	if why == "" {
		return ""
	}
	return fmt.Sprintf("%v %s, and no promotion of it is on record; it is not taken for the new primary: %s. Move the "+
		"replicas of %v by hand to the server that is to be the primary", primary.Key, says, why, e.Failed)
}
