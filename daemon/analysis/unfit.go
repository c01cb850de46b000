package analysis

import (
	"fmt"
	"slices"
	"strings"

	"orchestrator/daemon/topology"
)

// CantFollow says why a server can't replicate from another with certainty, whatever the two have; "" when it can.
func CantFollow(r, source *topology.Instance) string {
	switch {
	case newer(source, r):
		return fmt.Sprintf("it runs %v and can't follow a server that runs %v", r.Version, source.Version)
	case r.Flavor == topology.MySQL && source.BinlogFormat == "ROW" && r.BinlogFormat == "STATEMENT" && r.LogBin &&
		r.LogReplicaUpdates:
		return "it logs in the format STATEMENT, and stops with error 1666 at what a source logs in the format ROW"
	}
	return ""
}

// newer says that a runs a later version than b, patches aside.
func newer(a, b *topology.Instance) bool {
	x, y := a.Version, b.Version
	x.Patch, y.Patch = 0, 0
	return x.Compare(y) > 0
}

// unfitSays names, before the primary fails, the replicas that could not take its place with all others below them.
// What people have excluded themselves is no news: a promotion rule, a downtime, a delay.
func unfitSays(v *view) (string, []string) {
	fit := slices.DeleteFunc(slices.Clone(v.replicas), func(r replica) bool {
		return r.Instance == nil || r.Rule == topology.MustNot || v.downtimed(r.Server) || r.MultiSource() ||
			slices.ContainsFunc(r.Instance.Channels, func(c topology.Channel) bool { return c.Delay > 0 })
	})
	if len(fit) == 0 || v.Instance == nil {
		return "", nil
	}
	var out []string
	unfit := 0
	for _, r := range fit {
		why := v.unfit(r)
		for _, line := range why {
			out = append(out, fmt.Sprintf("%v: %s", r.Key, line))
		}
		if len(why) > 0 {
			unfit++
		}
	}
	if unfit == 0 {
		return "", nil
	}
	text := fmt.Sprintf("%s has %s that could not take its place with all others below", v.is(),
		many(unfit, "replica"))
	if len(v.replicas) == 1 {
		text = fmt.Sprintf("%s has only 1 replica, and that could not take its place", v.is())
	}
	return fmt.Sprintf("%s: %s. Correct the configuration, or set the promotion rule must_not.", text,
		strings.Join(out, "; ")), out
}

// unfit is what keeps a replica from taking the place of its source with all others below it.
func (v *view) unfit(r replica) (why []string) {
	i := r.Instance
	switch {
	case len(v.f.following[r.Key]) > 0: // see IncompleteSource
		return v.unfollowed(r)
	case !i.LogBin:
		return []string{"it has no binary log (log_bin is off)"}
	case !i.LogReplicaUpdates:
		why = append(why, "it does not log what it replicates (log_replica_updates is off), so a server that lacks "+
			"something could not follow it")
	}
	if i.BinlogFilters {
		why = append(why, "it logs only a part of its databases (binlog_do_db, binlog_ignore_db)")
	}
	if slices.ContainsFunc(i.Channels, func(c topology.Channel) bool { return c.Filters }) {
		why = append(why, "it filters what it replicates, so it has only a part of the data")
	}
	if c := r.Channel(); c != nil && !c.AutoPosition && v.byGTID() {
		why = append(why, "it does not replicate by GTID, as others do")
	}
	return append(why, v.unfollowed(r)...)
}

// unfollowed names the other replicas that could not follow r.
func (v *view) unfollowed(r replica) (why []string) {
	for _, o := range v.replicas {
		if o.Instance == nil || o.Key == r.Key {
			continue
		}
		if text := CantFollow(o.Instance, r.Instance); text != "" {
			why = append(why, fmt.Sprintf("%v could not follow it: %s", o.Key, text))
		}
	}
	return why
}

// byGTID says that some replica replicates by GTID.
func (v *view) byGTID() bool {
	return slices.ContainsFunc(v.replicas, func(r replica) bool {
		return r.Channel() != nil && r.Channel().AutoPosition
	})
}
