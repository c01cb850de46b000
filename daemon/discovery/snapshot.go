package discovery

import (
	"maps"
	"slices"
	"time"

	"orchestrator/daemon/topology"
)

// Snapshot is the whole fleet: keys canonical, clusters named, what people declared filled in, sorted. It is shared by
// all readers, who must not change what is in it.
func (f *Fleet) Snapshot() topology.Snapshot {
	f.mu.Lock()
	f.name()
	out := topology.Snapshot{At: time.Now(), Servers: make([]topology.Server, 0, len(f.servers))}
	for _, c := range f.clusters {
		out.Servers = append(out.Servers, f.published(c)...)
	}
	out.Revision = f.revisions
	f.unlock()
	out.Sort()
	return out
}

// Cluster is one cluster, as Snapshot has it; empty when there is none of that name. Its Revision is the same as long
// as its content is, and no other cluster ever has it; the times of probes are no content, and always the latest.
func (f *Fleet) Cluster(name string) topology.Snapshot {
	f.mu.Lock()
	defer f.unlock()
	f.name()
	c := f.clusters[name]
	if c == nil {
		return topology.Snapshot{At: time.Now()}
	}
	servers := f.published(c)
	return topology.Snapshot{At: time.Now(), Revision: c.revision, Servers: servers}
}

// Clusters are the names of all clusters, sorted. The list is shared, and must not be changed.
func (f *Fleet) Clusters() []string {
	f.mu.Lock()
	defer f.unlock()
	f.name()
	if f.clusterNames == nil {
		f.clusterNames = slices.Sorted(maps.Keys(f.clusters))
	}
	return f.clusterNames
}

// Find looks a server up by any of its names: it returns the key by which it goes, and the name of its cluster. false
// where nobody has that name.
func (f *Fleet) Find(k topology.Key) (canonical topology.Key, cluster string, found bool) {
	f.mu.Lock()
	defer f.unlock()
	s := f.at(k)
	if s == nil || s.trial {
		return topology.Key{}, "", false
	}
	f.name()
	return s.key, s.name, true
}

// published is a cluster as readers see it. It is made when somebody asks and something has changed since.
func (f *Fleet) published(c *cluster) []topology.Server {
	declared := f.o.Edition()
	if c.fresh && c.declared == declared && c.aliases == f.aliasEdition {
		return c.servers
	}
	servers := make([]topology.Server, 0, len(c.members))
	for _, s := range c.members {
		v := f.export(s)
		f.o.Declared(&v)
		servers = append(servers, v)
	}
	if c.declared != declared && !sameDeclarations(c.servers, servers) || c.aliases != f.aliasEdition {
		f.revise(c)
		f.announce(c.name)
	}
	c.servers, c.fresh, c.aliases, c.declared = servers, true, f.aliasEdition, declared
	return servers
}

// sameDeclarations says that people declared the same about two lists of the same servers.
func sameDeclarations(a, b []topology.Server) bool {
	return slices.EqualFunc(a, b, func(x, y topology.Server) bool {
		return x.Key == y.Key && x.Rule == y.Rule && equal(x.Downtime, y.Downtime) && maps.Equal(x.Tags, y.Tags)
	})
}

// declare has the clusters hear of what people have declared since the last time.
func (f *Fleet) declare() {
	edition := f.o.Edition()
	if f.declared == edition {
		return
	}
	f.declared = edition
	for _, c := range f.clusters {
		f.published(c)
	}
}

// export shows a server as others see it. What it points to is shared, and never changed.
func (f *Fleet) export(s *server) topology.Server {
	return topology.Server{Key: s.key, Cluster: s.name, Probe: s.probe, Names: s.names, Doubtful: f.doubtful(s),
		Instance: f.canonical(s), Left: s.left, Stranger: s.stranger, LeftOut: s.leftOut}
}

// canonical is what a server said, with the keys of the others as the fleet has them: mostly just that.
func (f *Fleet) canonical(s *server) *topology.Instance {
	i := s.instance
	if i == nil {
		return nil
	}
	sourcesDiffer := false
	for n := range min(len(i.Channels), len(s.sources)) {
		sourcesDiffer = sourcesDiffer || i.Channels[n].Source != s.sources[n]
	}
	othersDiffer := len(f.aliases) > 0 && slices.ContainsFunc(i.Registered,
		func(k topology.Key) bool { return f.canon(k) != k })
	if !sourcesDiffer && !othersDiffer {
		return i
	}
	out := *i
	if sourcesDiffer {
		out.Channels = slices.Clone(i.Channels)
		for n := range min(len(out.Channels), len(s.sources)) {
			if c := &out.Channels[n]; c.Source != s.sources[n] {
				c.Source, c.Spelt = s.sources[n], c.Source
			}
		}
	}
	if othersDiffer {
		out.Registered = slices.Clone(i.Registered)
		for n, k := range out.Registered {
			out.Registered[n] = f.canon(k)
		}
	}
	return &out
}
