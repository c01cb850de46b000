package discovery

import (
	"maps"
	"slices"

	"orchestrator/daemon/topology"
)

// ref is something by which a replica names its source: its key, or its UUID. Whoever refers to it is linked anew when it turns out to
// mean another server.
type ref struct {
	key  topology.Key
	uuid string
}

// link notes whom a server replicates from, under canonical keys.
func (f *Fleet) link(s *server) {
	if f.servers[s.key] != s || s.instance == nil {
		return
	}
	var sources []topology.Key
	var refs []ref
	for _, c := range s.instance.Channels {
		sources = append(sources, f.resolve(c))
		refs = append(refs, ref{key: c.Source})
		if c.SourceUUID != "" {
			refs = append(refs, ref{uuid: c.SourceUUID})
		}
	}
	if slices.Equal(sources, s.sources) && slices.Equal(refs, s.refs) {
		return
	}
	before := s.sources
	f.unlink(s)
	s.sources, s.refs = sources, refs
	for _, r := range refs {
		put(f.refs, r, s)
	}
	for _, k := range sources {
		if k != s.key {
			put(f.replicas, k, s)
		}
	}
	f.stale, f.trouble = true, nil
	s.touched = true
	for _, k := range slices.Concat(before, sources) {
		if t := f.servers[k]; t != nil {
			f.watch(t)
		}
	}
}

func (f *Fleet) unlink(s *server) {
	for _, r := range s.refs {
		take(f.refs, r, s)
	}
	before := s.sources
	for _, k := range before {
		take(f.replicas, k, s)
	}
	s.sources, s.refs = nil, nil
	for _, k := range before {
		if t := f.servers[k]; t != nil {
			f.watch(t)
		}
	}
	f.stale, f.trouble = true, nil
}

// relink links anew all those who refer to one of these.
func (f *Fleet) relink(refs ...ref) {
	for _, r := range refs {
		for _, s := range slices.Collect(maps.Keys(f.refs[r])) {
			f.link(s)
		}
	}
}

// resolve says which server a channel means. A receiver that runs knows the UUID of whom it is connected to; one that does not may
// remember that of an earlier source, so a known server at the very address goes before it.
func (f *Fleet) resolve(c topology.Channel) topology.Key {
	k := f.canon(c.Source)
	if c.SourceUUID == "" {
		return k
	}
	if s := f.servers[k]; s != nil && s.instance != nil && (s.instance.UUID == c.SourceUUID || c.IO != topology.Running) {
		return k
	}
	if len(f.byUUID[c.SourceUUID]) != 1 {
		return k
	}
	for s := range f.byUUID[c.SourceUUID] {
		if c.SourceID == 0 || s.instance.ServerID == 0 || c.SourceID == s.instance.ServerID {
			return s.key
		}
	}
	return k
}

// clusters names the cluster of every server. Names stick: see topology.Snapshot.Name.
func (f *Fleet) clusters() map[topology.Key]string {
	if !f.stale {
		return f.names
	}
	f.stale, f.trouble = false, nil
	// Naming looks at every pair of servers, so it is done for each group of servers that have to do with each other: by
	// replication, or by a name that they share.
	group := map[topology.Key]topology.Key{}
	var find func(k topology.Key) topology.Key
	find = func(k topology.Key) topology.Key {
		p, ok := group[k]
		if !ok || p == k {
			return k
		}
		top := find(p)
		group[k] = top
		return top
	}
	join := func(a, b topology.Key) { group[find(a)] = find(b) }
	holder := map[string]topology.Key{}
	for k, s := range f.servers {
		if s.trial {
			continue
		}
		for _, source := range s.sources {
			if f.servers[source] != nil {
				join(k, source)
			}
		}
		if n := f.names[k]; n != "" {
			if h, ok := holder[n]; ok {
				join(k, h)
			} else {
				holder[n] = k
			}
		}
	}
	parts := map[topology.Key]*topology.Snapshot{}
	for k, s := range f.servers {
		if s.trial {
			continue
		}
		v := topology.Server{Key: k, Probe: s.probe}
		if s.instance != nil {
			v.Instance = &topology.Instance{ReadOnly: s.instance.ReadOnly}
			for _, source := range s.sources {
				v.Instance.Channels = append(v.Instance.Channels, topology.Channel{Source: source})
			}
		}
		top := find(k)
		if parts[top] == nil {
			parts[top] = &topology.Snapshot{}
		}
		parts[top].Servers = append(parts[top].Servers, v)
	}
	names := make(map[topology.Key]string, len(f.servers))
	for _, part := range parts {
		part.Sort()
		maps.Copy(names, part.Name(f.names))
	}
	for k, n := range names {
		if f.names[k] != n {
			f.servers[k].touched = true
		}
	}
	f.names = names
	return names
}

func put[K comparable](m map[K]map[*server]struct{}, k K, s *server) {
	if m[k] == nil {
		m[k] = map[*server]struct{}{}
	}
	m[k][s] = struct{}{}
}

func take[K comparable](m map[K]map[*server]struct{}, k K, s *server) {
	delete(m[k], s)
	if len(m[k]) == 0 {
		delete(m, k)
	}
}
