package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"orchestrator/daemon/topology"
)

// adopted is a server that takes writes already, and that is therefore the new primary: the candidate of the episode,
// one that a promotion on record names, or a replica of the failed server that somebody opened for writes since that
// fell silent. The last must pass every veto and have all that is needed. No other server is ever adopted, whatever it
// holds: a scratch copy or a test server has the data, too, and writes of its own.
func (v *view) adopted(e Episode, all choice) *topology.Server {
	for _, o := range []*Episode{&e, v.recorded(e)} {
		if o == nil {
			continue
		}
		s := v.servers[o.Candidate]
		if s != nil && (writable(s) || v.half(s, e)) && s.Key != e.Failed && !v.exchanged(s, *o) &&
			!(o == &e && v.openedByOthers(s, all, e)) {
			return s
		}
	}
	// Beside one that this work has promoted, and that is silent now, nobody is adopted: it may take writes, too.
	if s := v.opened(e); e.Stage != Promoted && len(s) == 1 && v.notTaken(s[0], all, e) == "" {
		return s[0]
	}
	return nil
}

// opened are the replicas of the failed server that take writes, although this work did not choose them. Where there
// are several, nothing tells which one people want to be the primary.
func (v *view) opened(e Episode) []*topology.Server {
	return slices.DeleteFunc(v.writers(e), func(s *topology.Server) bool { return !v.wasReplica(s, e) })
}

// openedByOthers says that the candidate was not told to take writes before it had all that is needed: somebody else
// opened it, and threw away what it had received and not applied.
func (v *view) openedByOthers(cand *topology.Server, all choice, e Episode) bool {
	return e.Stage != Promoted && !v.Policy.AllowReceivedLoss && !slices.Contains(e.Opening, cand.Key) &&
		cand.Instance.Executed.Missing(all.need) > 0
}

// recorded is the episode of another promotion after this one began; nil when there was none.
func (v *view) recorded(e Episode) *Episode {
	if v.last == nil || !v.last.counts() || v.last.ID == e.ID || !v.last.Promoted.After(e.Opened) {
		return nil
	}
	return v.last
}

// exchanged says that another server stands where the candidate of the episode stood, or one with an empty data
// directory: nobody has chosen that.
func (v *view) exchanged(s *topology.Server, e Episode) bool {
	i := s.Instance
	emptied := i.Executed.Empty() && len(i.Channels) == 0 && v.failedHad(e)
	return emptied || e.CandidateUUID != "" && i.UUID != e.CandidateUUID
}

// failedHad says that the failed server is known to have had transactions. If it had none, as in a cluster that nobody
// has written to yet, it proves nothing that another has none.
func (v *view) failedHad(e Episode) bool {
	s := v.servers[e.Failed]
	return s != nil && s.Instance != nil && !s.Instance.Executed.Empty()
}

// writers are the servers of the cluster that follow nobody and take writes, without the failed one and the candidates
// of this episode. A former candidate counts that was told to take writes, until another has been promoted.
func (v *view) writers(e Episode) []*topology.Server {
	var out []*topology.Server
	for i := range v.Snapshot.Servers {
		s := &v.Snapshot.Servers[i]
		former := slices.Contains(e.Abandoned, s.Key) &&
			(e.Stage == Promoted || !slices.Contains(e.Opening, s.Key))
		if writable(s) && s.Key != e.Failed && s.Key != e.Candidate && !former {
			out = append(out, s)
		}
	}
	return out
}

// wasReplica says that s followed the failed server, or a replica of it, when that fell silent.
func (v *view) wasReplica(s *topology.Server, e Episode) bool {
	if e.touched(s.Key) {
		return true
	}
	failed := v.servers[e.Failed]
	if s.Left == nil || failed == nil || s.Left.Seen.Before(cmp.Or(failed.Probe.FailingSince, e.Opened)) {
		return false
	}
	from := v.servers[s.Left.From]
	// A donor that it fetched from has been moved under it since.
	return s.Left.From == e.Failed ||
		from != nil && (from.ChannelFrom(e.Failed) != nil || from.ChannelFrom(s.Key) != nil)
}

// notTaken says why a server that takes writes already can't be the new primary; "" when it can.
func (v *view) notTaken(s *topology.Server, all choice, e Episode) string {
	why := slices.Clone(v.weigh(s, all, e).Vetoes)
	have, need := s.Instance.Executed, all.need
	switch n := have.Missing(need); {
	case n > 0:
		why = append(why, fmt.Sprintf("it lacks %s that others of its cluster have", count(n, "transaction")))
	case need.Empty():
		why = append(why, "what it must have is not known, because no other replica answers")
	case !have.SameWriters(need) && !(s.Instance.LogReplicaUpdates && s.Instance.BinlogState.Has(need)):
		// A position is a number and the last writer: a higher number of another writer says nothing of the first.
		// The state of its binary log may.
		why = append(why, "whether it has what others of its cluster have is not known, because MariaDB names only "+
			"the last writer, and it has written since")
	}
	return strings.Join(why, "; ")
}

// openedBeside says which replica of the failed server takes writes, although we did not open it, and can't be adopted.
// Another daemon on the other side of a split opened it, or a person did, or it is a former candidate. A server that
// was no replica is no reason to wait: it was never a part of what is replaced.
func (p *primaryFailover) openedBeside(all choice) string {
	switch opened := p.opened(p.e); len(opened) {
	case 0:
		return ""
	case 1:
		s := opened[0]
		return fmt.Sprintf("%v takes writes already, opened by somebody else since %v fell silent, and is not "+
			"taken for the new primary: %s. To promote another server beside it would split the cluster: "+
			"make %v read-only, or stop it",
			s.Key, p.e.Failed, p.notTaken(s, all, p.e), s.Key)
	default:
		var keys []topology.Key
		for _, s := range opened {
			keys = append(keys, s.Key)
		}
		return fmt.Sprintf("%s take writes already, opened by somebody else since %v fell silent, and none is taken "+
			"for the new primary, because nothing tells which one should be: make all but one of them read-only, "+
			"or stop them", list(keys), p.e.Failed)
	}
}

// fenceWriters makes every other server that takes writes read-only before the candidate is opened: the replicas of the
// failed server, in all tiers, and, where the policy says so, any other server of the cluster. It is tried for
// Policy.DrainTimeout. Then the promotion goes on: one replica that can't be fenced must not keep the cluster without a
// primary.
func (p *primaryFailover) fenceWriters(w *Work) {
	var steps []Step
	for _, s := range p.fenceable() {
		if s.Key == p.e.Candidate || slices.ContainsFunc(w.Steps, func(o Step) bool { return o.At == s.Key }) {
			continue
		}
		steps = append(steps, p.fence(s, &p.e, fmt.Sprintf(
			"it takes writes, and %v is opened in place of %v: one server of a cluster takes writes",
			p.e.Candidate, p.e.Failed)))
	}
	if len(steps) == 0 {
		return
	}
	if p.e.FenceSince.IsZero() {
		p.e.FenceSince = p.Snapshot.At
	}
	if p.Snapshot.At.Sub(p.e.FenceSince) <= p.Policy.DrainTimeout {
		w.Steps = append(w.Steps, steps...)
	}
}

// fenceable are the servers that take writes beside the failed one. A server with several sources is never changed, and
// one that was never a replica is left alone while it is in downtime.
func (p *primaryFailover) fenceable() []*topology.Server {
	var out []*topology.Server
	for _, s := range p.below(p.e, p.pool(p.e)) {
		if len(s.Instance.Channels) == 1 && !s.Instance.ReadOnly {
			out = append(out, s)
		}
	}
	for _, k := range p.e.Abandoned { // a former candidate, or another server at its address
		replaced := slices.ContainsFunc(p.Episodes, func(o Episode) bool { return o.counts() && o.Failed == k })
		if s := p.up(k); s != nil && writable(s) && k != p.e.Candidate && !replaced { // else aftercare does it
			out = append(out, s)
		}
	}
	if p.Policy.FenceOthers {
		for _, s := range p.writers(p.e) {
			if !p.downtime(s) && !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}
