package analysis

import (
	"cmp"
	"slices"

	"orchestrator/daemon/topology"
)

// role is a server's place in its cluster; a bit, so that a rule can be for several.
type role int

const (
	primary      role = 1 << iota // Snapshot.Of(cluster).Primary()
	intermediate                  // has a source in its cluster, and replicas
	former                        // another root than the primary, with replicas
	leaf                          // neither the primary nor anybody's source
	outsider                      // a stranger: only what is said of strangers is said of it
)

// view is what the rules look at: a server, its place, and what its replicas say of it.
type view struct {
	*topology.Server
	f        *fleet
	role     role
	primary  *topology.Server // of its cluster
	sources  []*topology.Server
	replicas []replica
	verdict  verdict
	missing  []string // what keeps an unreachable server from being dead
}

func (f *fleet) views(cluster string) []*view {
	members := topology.Snapshot{At: f.at, Servers: f.members[cluster], Promoted: f.promoted}
	first := f.servers[members.Primary().Key]
	var out []*view
	for i := range members.Servers {
		v := &view{Server: f.servers[members.Servers[i].Key], f: f, primary: first}
		v.sources = f.sourcesOf(v.Server)
		for _, r := range f.following[v.Key] {
			v.replicas = append(v.replicas, v.judge(r))
		}
		inside := slices.ContainsFunc(v.sources, func(s *topology.Server) bool { return s.Cluster == cluster })
		switch {
		case v.Server == first:
			v.role = primary
		case len(v.replicas) == 0:
			v.role = leaf
		case inside:
			v.role = intermediate
		default:
			v.role = former
		}
		v.decide()
		out = append(out, v)
	}
	return out
}

func (v *view) downtimed(s *topology.Server) bool {
	return s.Downtime != nil && s.Downtime.Until.After(v.f.at)
}

func (v *view) allReplicasDowntimed() bool {
	return len(v.replicas) > 0 && !slices.ContainsFunc(v.replicas,
		func(r replica) bool { return !v.downtimed(r.Server) })
}

// writes says that a server answers and takes writes.
func writes(s *topology.Server) bool { return s.Up() && !s.Instance.ReadOnly }

// leads says that no server of its cluster is above the server, or that it is in a circle with the primary.
func (v *view) leads() bool {
	inside := slices.ContainsFunc(v.sources, func(s *topology.Server) bool { return s.Cluster == v.Cluster })
	return !inside || v.f.above(v.primary)[v.Key] != nil
}

// late returns the channel that is furthest behind, nil when none is too far.
func (v *view) late() *topology.Channel {
	if !v.Up() {
		return nil
	}
	var worst *topology.Channel
	for i := range v.Instance.Channels {
		c := &v.Instance.Channels[i]
		if d := late(*c, v.f.t); d > 0 && (worst == nil || cmp.Compare(d, late(*worst, v.f.t)) > 0) {
			worst = c
		}
	}
	return worst
}
