package discovery

import (
	"slices"
	"time"

	"orchestrator/daemon/topology"
)

// cluster is the servers that bear one cluster's name. Everything in it belongs to Fleet.mu.
type cluster struct {
	name    string
	members []*server // sorted by key; never empty

	// servers is what readers were last given: it is shared by all of them and never changed, only replaced.
	servers  []topology.Server
	fresh    bool   // servers is as the members are
	revision uint64 // rises with the content; a mere probe, which only renews times, doesn't raise it
	declared uint64 // edition of the declarations in servers
	aliases  uint64 // edition of the aliases in servers

	moved   time.Time // when positions changed last
	untold  bool      // something changed that subscribers were not told yet
	told    time.Time // when they were told last
	trouble ternary   // a member with replicas fails
}

// ternary is an answer that may have to be found again.
type ternary int

const (
	unknown ternary = iota
	no
	yes
)

// revise says that the content of a cluster has changed.
func (f *Fleet) revise(c *cluster) {
	f.revisions++
	c.revision, c.fresh = f.revisions, false
}

// inTrouble says whether a server with replicas fails in a cluster: its members' probes are news then, all of them.
func (f *Fleet) inTrouble(c *cluster) bool {
	if c.trouble == unknown {
		c.trouble = no
		if slices.ContainsFunc(c.members, func(s *server) bool { return s.failing() && len(f.replicas[s.key]) > 0 }) {
			c.trouble = yes
		}
	}
	return c.trouble == yes
}

// unsure has inTrouble looked into again: a server began or ceased to fail, or to have replicas.
func (s *server) unsure() {
	if s != nil && s.cluster != nil {
		s.cluster.trouble = unknown
	}
}

// stale says that the cluster of a server, and of those that have to do with it, may have another name by now.
func (f *Fleet) stale(s *server) {
	if s != nil {
		f.unnamed[s] = struct{}{}
	}
}

// rounds bounds how often names are looked into again because a group took a name that another group has.
const rounds = 3

// name gives every server its cluster. Names stick: see topology.Snapshot.Name. That looks at every pair of servers, so
// it is done only for the groups of servers in which something has changed.
func (f *Fleet) name() {
	for range rounds {
		if len(f.unnamed) == 0 {
			return
		}
		todo := f.unnamed
		f.unnamed = map[*server]struct{}{}
		done := map[*server]bool{}
		for s := range todo {
			if f.servers[s.key] == s && !s.trial && !done[s] {
				f.nameGroup(f.group(s, done))
			}
		}
	}
}

// group is everybody who has to do with a server: by replication, or by the name of a cluster that they share. It
// marks them in done.
func (f *Fleet) group(of *server, done map[*server]bool) []*server {
	var out []*server
	seen := map[*cluster]bool{}
	visit := func(s *server) {
		if s != nil && !s.trial && !done[s] {
			done[s] = true
			out = append(out, s)
		}
	}
	visit(of)
	for i := 0; i < len(out); i++ {
		s := out[i]
		for _, k := range s.sources {
			visit(f.servers[k])
		}
		for _, r := range f.replicas[s.key] {
			visit(r)
		}
		for _, t := range f.strangers(s) {
			visit(t)
		}
		if c := s.cluster; c != nil && !seen[c] {
			seen[c] = true
			for _, o := range c.members {
				visit(o)
			}
		}
	}
	return out
}

func (f *Fleet) nameGroup(group []*server) {
	before := make(map[topology.Key]string, len(group))
	part := topology.Snapshot{Servers: make([]topology.Server, 0, len(group))}
	for _, s := range group {
		if s.name != "" {
			before[s.key] = s.name
		}
		v := topology.Server{Key: s.key, Probe: s.probe, Stranger: s.stranger}
		if s.instance != nil {
			v.Instance = &topology.Instance{ReadOnly: s.instance.ReadOnly, UUID: s.instance.UUID,
				ServerID: s.instance.ServerID, Executed: s.instance.Executed}
			for _, source := range s.sources {
				v.Instance.Channels = append(v.Instance.Channels, topology.Channel{Source: source})
			}
			for _, t := range f.strangers(s) {
				v.Instance.Registered = append(v.Instance.Registered, t.key)
			}
		}
		part.Servers = append(part.Servers, v)
	}
	part.Sort()
	names := part.Name(before)
	for _, s := range group {
		if n := names[s.key]; s.cluster == nil || s.cluster.name != n {
			f.leave(s)
		}
	}
	for _, s := range group {
		if s.cluster != nil {
			continue
		}
		if c := f.clusters[names[s.key]]; c != nil {
			// the name is that of another group: from now on the two are one
			if _, ours := names[c.members[0].key]; !ours {
				f.stale(s)
			}
		}
		f.enter(s, names[s.key])
	}
}

// enter makes a server a member of the cluster with a name.
func (f *Fleet) enter(s *server, name string) {
	c := f.clusters[name]
	if c == nil {
		c = &cluster{name: name}
		f.clusters[name] = c
		f.clusterNames = nil
	}
	at, _ := slices.BinarySearchFunc(c.members, s, func(a, b *server) int { return a.key.Compare(b.key) })
	c.members = slices.Insert(c.members, at, s)
	if s.name != name {
		s.name = name
		f.touch(s)
	}
	s.cluster, c.trouble = c, unknown
	f.revise(c)
	f.announce(name)
}

// leave takes a server out of its cluster; the server keeps the name, by which the next one is found.
func (f *Fleet) leave(s *server) {
	c := s.cluster
	if c == nil {
		return
	}
	s.cluster = nil
	c.members = slices.DeleteFunc(c.members, func(o *server) bool { return o == s })
	c.trouble = unknown
	if len(c.members) == 0 {
		delete(f.clusters, c.name)
		f.clusterNames = nil
	}
	f.revise(c)
	f.announce(c.name)
}
