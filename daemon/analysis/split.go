package analysis

import (
	"fmt"

	"orchestrator/daemon/plural"
	"orchestrator/daemon/topology"
)

// twoWritableSays is silent while the primary answers and takes no writes: then the one that does is more likely what
// is being promoted. Beside a primary that does not answer, so is the only one that was its replica until then.
func twoWritableSays(v *view) (string, []string) {
	if !writes(v.Server) || !v.leads() {
		return "", nil
	}
	out := []string{fmt.Sprintf("%v: read_only is off, it has %s and %s", v.Key, many(len(v.replicas), "replica"),
		many(len(v.Instance.Channels), "source"))}
	switch {
	case writes(v.primary) && v.isWriter():
		return fmt.Sprintf("%v takes writes beside %v, which more servers follow. %s", v.Key, v.primary.Key,
			v.byRight()), append(out, fmt.Sprintf("%v: read_only is off", v.primary.Key))
	case writes(v.primary):
		return fmt.Sprintf("%v takes writes beside %v, the primary of cluster %s. Make the wrong one read-only at "+
			"once.", v.Key, v.primary.Key, v.Cluster), append(out, fmt.Sprintf("%v: read_only is off", v.primary.Key))
	case v.primary.Probe.Failure == topology.OK || len(v.Instance.Channels) > 0:
		return "", nil
	}
	silent := fmt.Sprintf("%v: %s", v.primary.Key, howFailed(v.primary, v.f.at))
	if !v.openedSince(v.Server) {
		return fmt.Sprintf("%v takes writes, and %v, the primary of cluster %s, does not answer. It was no replica "+
			"of that when that fell silent, so it is not taken for the new primary. Make it read-only, or take it "+
			"out of the fleet.", v.Key, v.primary.Key, v.Cluster), append(out, silent)
	}
	others := v.openedToo()
	if len(others) == 0 {
		return "", nil
	}
	out = append(out, silent, v.leftSays(v.Server))
	var names []string
	for _, o := range others {
		names = append(names, o.Key.String())
		out = append(out, v.leftSays(o), v.more(v.Server, o), v.more(o, v.Server))
	}
	return fmt.Sprintf("%v takes writes, and so %s %s: they were replicas of %v, the primary of cluster %s, and "+
		"were opened since that fell silent. None is taken for the new primary, because nothing tells which one "+
		"should be. Make all but one read-only at once; then have them follow it, and rebuild those that have what "+
		"it lacks.",
		v.Key, plural.Of(len(names), "does", "do"), plural.And(names), v.primary.Key, v.Cluster), out
}

// openedSince says that a server that takes writes was a replica when the primary fell silent.
func (v *view) openedSince(s *topology.Server) bool {
	return s.Left != nil && !s.Left.Seen.Before(failingSince(v.primary))
}

// openedToo are the other servers of the cluster that take writes, and were replicas when the primary fell silent.
func (v *view) openedToo() (out []*topology.Server) {
	for i := range v.f.members[v.Cluster] {
		o := &v.f.members[v.Cluster][i]
		if o.Key != v.Key && o.Key != v.primary.Key && writes(o) && len(o.Instance.Channels) == 0 && v.openedSince(o) {
			out = append(out, o)
		}
	}
	return out
}

func (v *view) leftSays(s *topology.Server) string {
	return fmt.Sprintf("%v: takes writes, and was last seen as a replica of %v %s ago", s.Key, s.Left.From,
		span(v.f.at.Sub(s.Left.Seen)))
}

// more says what a has that b lacks.
func (v *view) more(a, b *topology.Server) string {
	have, lacks := a.Instance.Executed, b.Instance.Executed
	if a.Instance.Flavor == topology.MariaDB && !have.SameWriters(lacks) {
		return fmt.Sprintf("%v: is at %s; what of that %v lacks can't be counted, because MariaDB names only the last "+
			"writer: read its binary log", a.Key, have, b.Key)
	}
	left := have.Subtract(lacks)
	if left.Empty() {
		return fmt.Sprintf("%v: has nothing that %v lacks", a.Key, b.Key)
	}
	return fmt.Sprintf("%v: has %s that %v lacks: %s", a.Key, many(int(left.Count()), "transaction"), b.Key,
		left.Text())
}
