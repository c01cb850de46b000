package plan

import (
	"cmp"
	"fmt"
	"slices"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// candidates are the pool, and then those below it: where no direct replica can be promoted, a replica of a replica may
// be.
func (v *view) candidates(e Episode, pool []*topology.Server) []*topology.Server {
	out := slices.Clone(pool)
	for _, s := range v.tree(e.Failed) {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// unfit are the vetoes of what the server has of the data, and of what others could get from it.
func (v *view) unfit(s *topology.Server, all choice, e Episode) (vetoes []string) {
	if k := v.between(s, e); !k.IsZero() && v.down(k) && !v.servers[k].Probe.Failure.Dead() {
		vetoes = append(vetoes, fmt.Sprintf("it follows %v, which is silent, and which others may have promoted", k))
	}
	if why := v.partial(s, e.Failed); why != "" {
		vetoes = append(vetoes, why)
	}
	if left := parted(s, all); !left.Empty() {
		vetoes = append(vetoes, fmt.Sprintf("its binary log shows that it lacks %s, although its position is further",
			left.Text()))
	}
	if s.Instance.BinlogFilters && !v.Policy.AllowFilters {
		vetoes = append(vetoes, "it logs only a part of its databases (binlog_do_db, binlog_ignore_db), "+
			"so servers below it would get only that part")
	}
	return vetoes
}

// parted is what s is shown to lack although its position is further.
func parted(s *topology.Server, all choice) (left gtid.Set) {
	for _, one := range all.writers {
		left = left.Union(s.Instance.ShownToLack(one))
	}
	return left
}

// noReplica says why a server that follows nobody can't be promoted; "" when it can: this work has taken it from its
// source, and it has all that is needed. Any other was given another life meanwhile, with an empty data directory, say.
func (v *view) noReplica(s *topology.Server, all choice, e Episode) string {
	if !s.Up() || len(s.Instance.Channels) > 0 {
		return ""
	}
	n := s.Instance.Executed.Missing(all.need)
	switch {
	case s.Key != e.Candidate && !slices.Contains(e.Abandoned, s.Key), s.Key == e.Candidate && v.exchanged(s, e):
		return fmt.Sprintf("it follows nobody, and no promotion of it was begun: it is no replica of %v now", e.Failed)
	case n > 0:
		return fmt.Sprintf("it follows nobody, so it has no account to fetch the %s with that it lacks",
			count(n, "transaction"))
	case v.passedOn(s, e).Empty() && v.failedHad(e):
		return fmt.Sprintf("it has nothing of what %v had", e.Failed)
	}
	return ""
}

// movable is a replica that can be moved under a promoted server, and what is asked of it for each candidate.
type movable struct {
	*topology.Server
	received gtid.Set
	below    topology.Key // the server that it follows in place of the failed one
	stays    bool         // below that, unless that is promoted
}

// movable are the donors that can be moved.
func (v *view) movable(donors []*topology.Server, e Episode) (out []movable) {
	for _, s := range donors {
		if s.MultiSource() || s.Channel() == nil || !s.Channel().AutoPosition {
			continue
		}
		k := v.between(s, e)
		out = append(out, movable{s, s.Received(), k, v.up(k) != nil})
	}
	return out
}

// unserved counts the servers that could not follow s, and says why the first can't. It is no veto: no data is lost,
// and servers that can't follow are named. But whoever keeps most of the cluster goes first.
func (v *view) unserved(s *topology.Server, all choice, e Episode) (n int, why string) {
	if !s.Up() || !s.Instance.LogBin {
		return 0, ""
	}
	for _, o := range all.movable {
		if o.Key == s.Key || o.stays && o.below != s.Key {
			continue
		}
		if text := unfollowing(o, s, all.need); text != "" {
			n++
			why = cmp.Or(why, text)
		}
	}
	if failed := v.servers[e.Failed]; failed != nil && failed.Instance != nil && failed.Key != s.Key {
		if text := alike(failed, s); text != "" {
			n++
			why = cmp.Or(why, fmt.Sprintf("%v could not follow it when it comes back: %s", failed.Key, text))
		}
	}
	return n, why
}

// unfollowing says why o could not follow s once s is promoted; "" when it could. What may have arrived at o since it
// was asked is not known to have. Before it is promoted, s fetches what it lacks of need.
func unfollowing(o movable, s *topology.Server, need gtid.Set) string {
	if s.Address().IsZero() {
		return unaddressed(s)
	}
	if why := alike(o.Server, s); why != "" {
		return fmt.Sprintf("%v could not follow it: %s", o.Key, why)
	}
	if !s.Instance.LogReplicaUpdates {
		if n := o.received.Missing(s.Received().Union(need)); n > 0 {
			return fmt.Sprintf("it does not log what it replicates (log_replica_updates is off), and %v, which lacks "+
				"%s of that, can't follow it", o.Key, count(n, "transaction"))
		}
		return ""
	}
	if purged := s.Instance.Purged; !o.received.Contains(purged) {
		if n := o.received.Missing(purged.Intersect(s.Received())); n > 0 {
			return fmt.Sprintf("it has purged %s that %v lacks, so that can't follow it", count(n, "transaction"),
				o.Key)
		}
	}
	return ""
}

// backlog is how many transactions a preferred candidate may still have to apply, while another has applied all.
const backlog = 10000

// slow are the candidates whose promotion would take long, where another could be promoted at once: a wish is no reason
// for an outage of hours.
func (v *view) slow(ranking []Candidate, e Episode) map[topology.Key]bool {
	if !slices.ContainsFunc(ranking, func(c Candidate) bool { return c.Eligible && c.Behind+c.Unapplied == 0 }) {
		return nil
	}
	out := map[topology.Key]bool{}
	for _, c := range ranking {
		if !c.Eligible || c.Unapplied == 0 {
			continue
		}
		lag := v.servers[c.Key].Channel().Lag
		late := c.Key == e.Candidate && !e.DrainSince.IsZero() &&
			v.Snapshot.At.Sub(e.DrainSince) > v.Policy.DrainTimeout
		out[c.Key] = late || c.Unapplied > backlog || lag != nil && seconds(*lag) > v.Policy.DrainTimeout
	}
	return out
}

// direct says that c is a candidate of the first tier: it followed the failed one itself.
func (all choice) direct(v *view, c Candidate) bool {
	return slices.Contains(all.pool, v.servers[c.Key])
}

// serves says that others can get from c what it replicated.
func (v *view) serves(c Candidate) bool {
	s := v.up(c.Key)
	return s != nil && s.Instance.LogReplicaUpdates
}
