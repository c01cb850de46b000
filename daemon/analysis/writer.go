package analysis

import (
	"fmt"
	"slices"
	"strings"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// notWritableSays of the primary of several servers, whoever follows whom. Only a source outside of the fleet excuses
// that nobody takes writes.
func notWritableSays(v *view) (string, []string) {
	if !v.Up() || !v.Instance.ReadOnly || v.followsOutside() || len(v.f.members[v.Cluster]) < 2 {
		return "", nil
	}
	out := []string{fmt.Sprintf("%v: read_only is on, super_read_only is %s", v.Key, onOff(v.Instance.SuperReadOnly))}
	var writers []string
	for _, o := range v.f.members[v.Cluster] {
		if o.Key != v.Key && writes(&o) {
			out = append(out, fmt.Sprintf("%v: takes writes", o.Key))
			writers = append(writers, o.Key.String())
		}
	}
	if why := v.byRight(); why != "" {
		return fmt.Sprintf("%s is read-only. %s", v.is(), why), out
	}
	if len(writers) > 0 {
		them := strings.Join(writers, " and ")
		return fmt.Sprintf("%s is read-only, and %s, which is not the primary, takes writes. Decide which one should "+
			"be the primary: make %s read-only before you set read_only to 0 at %v, or have %v and the others follow "+
			"the one that takes writes.", v.is(), them, them, v.Key, v.Key), out
	}
	return fmt.Sprintf("%s is read-only: nobody can write to the cluster. If it should be the primary, set its "+
		"read_only to 0.", v.is()), out
}

// followsOutside says that the server follows one that is not of its cluster.
func (v *view) followsOutside() bool {
	return slices.ContainsFunc(v.Instance.Channels, func(c topology.Channel) bool {
		source := v.f.servers[c.Source]
		return !c.Source.Detached() && c.Source != v.Key && (source == nil || source.Cluster != v.Cluster)
	})
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// apart says that a server is up, read-only, and has no part in its cluster.
func (v *view) apart() bool {
	return v.Up() && v.Instance.ReadOnly && len(v.Instance.Channels) == 0
}

// formerBackSays of a server that follows nobody in a cluster of which another server was promoted: what to do with it
// depends on whether it has transactions that the primary lacks.
func formerBackSays(v *view) (string, []string) {
	if _, promoted := v.f.promoted[v.Cluster]; !promoted || !v.apart() {
		return "", nil
	}
	out := []string{fmt.Sprintf("%v: has no source, and read_only is on", v.Key)}
	text := fmt.Sprintf("%v, which %v has replaced, is back, and follows nobody", v.Key, v.primary.Key)
	if v.primary.Instance == nil {
		return text + ".", out
	}
	extra := v.extra()
	if !extra.Empty() {
		out = append(out, fmt.Sprintf("%v: only here: %s", v.Key, extra.Text()))
		keep := "keep them if they matter"
		if extra.Count() == 1 {
			keep = "keep it if it matters"
		}
		return fmt.Sprintf("%s. It has %s that %v lacks: %s, then rebuild the server from a replica.",
			text, many(int(extra.Count()), "transaction"), v.primary.Key, keep), out
	}
	if !v.primary.Up() {
		return fmt.Sprintf("%s. %v does not answer now: bring that back first.", text, v.primary.Key), out
	}
	return fmt.Sprintf("%s. It has nothing that %v lacks: to rejoin it, have it replicate from %v by GTID.",
		text, v.primary.Key, v.primary.Key), out
}

// extra are the transactions of the server that the primary has not got.
func (v *view) extra() gtid.Set { return v.Instance.Executed.Subtract(v.primary.Received()) }

// followsNobodySays of a member that has no source. One that names itself as its source is SelfReplication.
func followsNobodySays(v *view) (string, []string) {
	if _, promoted := v.f.promoted[v.Cluster]; promoted || !v.apart() {
		return "", nil
	}
	return fmt.Sprintf("%v, in cluster %s, follows nobody, and %v is the primary: have it replicate, or take it "+
			"out of the fleet.", v.Key, v.Cluster, v.primary.Key),
		[]string{fmt.Sprintf("%v: has no source, and read_only is on", v.Key)}
}
