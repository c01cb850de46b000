package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// bound states, before anything is done, what the failover may lose. Each sentence of it must be true.
func (v *view) bound(c *choice, e Episode) {
	if c.chosen == nil {
		return
	}
	silent := v.silent(e)
	acked := v.acknowledged(e, v.pool(e)).bound(e.Failed)
	unheard := v.unheard(e.Failed)
	uncompared, unproved := v.incomparable(e, c.need), v.unproved(e.Failed)
	said := v.kept(c, e, len(silent)+len(unheard)+len(uncompared)+len(unproved) == 0 && acked == "")
	if failed := v.servers[e.Failed]; failed != nil && failed.Instance != nil {
		if n := c.need.Missing(failed.Instance.Executed); n > 0 && c.need.Count() > 0 {
			said = append(said, fmt.Sprintf("%v was seen to have %s that no reachable replica received",
				e.Failed, count(n, "transaction")))
		}
		if failed.Instance.BinlogFilters {
			said = append(said, fmt.Sprintf("%v logs only a part of its databases, and the rest is nowhere else",
				e.Failed))
		}
		said = append(said, fmt.Sprintf("what %v committed in its last moments and sent to no server can't be known",
			e.Failed))
	}
	if acked != "" {
		said = append(said, acked)
	}
	if len(silent) > 0 {
		said = append(said, fmt.Sprintf("%s out of reach may have received more (%s)",
			count(len(silent), "replica"), list(silent)))
	}
	if len(unproved) > 0 {
		said = append(said, fmt.Sprintf("what %s says it has does not count: registered as a replica, and not "+
			"confirmed (%s)", count(len(unproved), "server"), list(unproved)))
	}
	for _, k := range silent {
		if s := v.servers[k]; s != nil && s.Instance != nil && !s.Instance.ReadOnly {
			said = append(said, fmt.Sprintf("%v took writes when it last answered, and can't be made read-only: what "+
				"it takes is on no other server", k))
		}
	}
	said = append(append(said, unheard...), uncompared...)
	c.bound = strings.Join(said, "; ")
}

// kept says what becomes of what the reachable replicas received. The plain promise is made only where all of them are
// known, have all that their GTIDs name, and nothing may be dropped later.
func (v *view) kept(c *choice, e Episode, allKnown bool) []string {
	failed := v.servers[e.Failed]
	plain := allKnown && !v.Policy.AllowReceivedLoss &&
		(failed == nil || failed.Instance == nil || !failed.Instance.BinlogFilters)
	var said, unknown []string
	var lost gtid.Set
	var holders []topology.Key
	for _, s := range v.below(e, v.pool(e)) {
		if filters(s) || v.sieve(s, e.Failed) != "" {
			plain = false
		}
		if left := v.passedOn(s, e).Subtract(c.need); !left.Empty() {
			lost, holders = lost.Union(left), append(holders, s.Key)
		}
		if from := v.between(s, e); !from.IsZero() && v.up(from) == nil && !s.Channel().AutoPosition {
			plain = false
			unknown = append(unknown, fmt.Sprintf("%v does not replicate by GTID: what only it received from %v, "+
				"which is out of reach, can't be known, and is lost", s.Key, from))
		}
	}
	switch {
	case !lost.Empty():
		said = append(said, fmt.Sprintf("%s lost: only %s received %s",
			are(lost.Count(), "received transaction"), list(holders), itThem(lost.Count())))
	case plain:
		return []string{"no transaction that a reachable replica received is lost"}
	default:
		said = append(said, fmt.Sprintf("%v has, or fetches before it is opened, all that the replicas in reach "+
			"received", c.chosen.Key))
	}
	said = append(said, unknown...)
	if v.Policy.AllowReceivedLoss {
		said = append(said, fmt.Sprintf("what it can't apply within %s is dropped, as allow_received_loss says",
			v.Policy.DrainTimeout))
	}
	return said
}

// silent are the replicas, of all tiers, that can't be reached: also those that are registered and never answered.
func (v *view) silent(e Episode) []topology.Key {
	var out []topology.Key
	for _, s := range append(v.tree(e.Failed), v.pool(e)...) {
		if !s.Up() && !slices.Contains(out, s.Key) {
			out = append(out, s.Key)
		}
	}
	if failed := v.servers[e.Failed]; failed != nil && failed.Instance != nil {
		for _, k := range failed.Instance.Registered {
			s := cmp.Or(v.servers[k], v.outside[k])
			if (s == nil || s.Instance == nil && !barred(s)) && !slices.Contains(out, k) {
				out = append(out, k)
			}
		}
	}
	slices.SortFunc(out, topology.Key.Compare)
	return out
}

// unproved are the strangers that say that they follow the server at k: they may be its replicas.
func (v *view) unproved(k topology.Key) (out []topology.Key) {
	for _, s := range v.outside {
		if s.ChannelFrom(k) != nil && !barred(s) {
			out = append(out, s.Key)
		}
	}
	slices.SortFunc(out, topology.Key.Compare)
	return out
}

// listed is how many servers a sentence names.
const listed = 10

func list(keys []topology.Key) string {
	var out []string
	for _, k := range keys {
		out = append(out, k.String())
	}
	if len(out) > listed {
		return fmt.Sprintf("%s and %d more", strings.Join(out[:listed], ", "), len(out)-listed)
	}
	return strings.Join(out, ", ")
}
