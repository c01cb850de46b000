package discovery

import (
	"slices"

	"orchestrator/daemon/topology"
)

// ref is something by which a replica names its source: its key, or its UUID. Whoever refers to it is linked again
// when it turns out to mean another server.
type ref struct {
	key  topology.Key
	uuid string
}

// link notes whom a server replicates from, under canonical keys.
func (f *Fleet) link(s *server) {
	if f.servers[s.key] != s || s.instance == nil {
		return
	}
	var space struct { // nearly always nothing has changed, and one channel is all
		sources [1]topology.Key
		refs    [2]ref
	}
	sources, refs := space.sources[:0], space.refs[:0]
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
	s.sources, s.refs = slices.Clone(sources), slices.Clone(refs)
	for _, r := range s.refs {
		put(f.refs, r, s)
	}
	for _, k := range sources {
		if k != s.key && s.stranger == nil {
			put(f.replicas, k, s)
		}
	}
	f.stale(s)
	f.touch(s)
	for _, k := range slices.Concat(before, sources) {
		if t := f.servers[k]; t != nil {
			f.stale(t)
			t.unsure()
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
			f.stale(t)
			t.unsure()
			f.watch(t)
		}
	}
}

// relink links again all those who refer to one of these.
func (f *Fleet) relink(refs ...ref) {
	for _, r := range refs {
		for _, s := range f.refs[r] {
			f.link(s)
		}
	}
}

// resolve says which server a channel means. A receiver that runs knows the UUID of whom it is connected to, on MariaDB
// the server id; one that does not may remember that of an earlier source, so a known server at the very address goes
// before it.
func (f *Fleet) resolve(c topology.Channel) topology.Key {
	k := f.canon(c.Source)
	s := f.servers[k]
	if s != nil && s.instance != nil && (c.IO != topology.Running || leadsTo(c, s)) {
		return k
	}
	if c.SourceUUID == "" {
		if v := f.vouched(c); v != nil {
			return v.key
		}
		return k
	}
	only := f.only(c.SourceUUID)
	if only == nil {
		return k
	}
	if id := only.instance.ServerID; c.SourceID == 0 || id == 0 || c.SourceID == id {
		return only.key
	}
	return k
}

// only is the one server of the fleet with a UUID; nil where there is none, or several.
func (f *Fleet) only(uuid string) (one *server) {
	for _, s := range f.byUUID[uuid] {
		if s.stranger != nil {
			continue
		}
		if one != nil {
			return nil
		}
		one = s
	}
	return one
}

// leadsTo says that what a running receiver says of its source fits a server.
func leadsTo(c topology.Channel, s *server) bool {
	if c.SourceUUID != "" {
		return s.instance.UUID == c.SourceUUID
	}
	return c.SourceID == 0 || s.instance.ServerID == 0 || s.instance.ServerID == c.SourceID
}

// put adds a server to those under a key, and take removes it. Most lists have one entry. They are never changed, only
// replaced, so that they may be walked meanwhile.
func put[K comparable](m map[K][]*server, k K, s *server) {
	if !slices.Contains(m[k], s) {
		m[k] = slices.Concat(m[k], []*server{s})
	}
}

func take[K comparable](m map[K][]*server, k K, s *server) {
	left := slices.DeleteFunc(slices.Clone(m[k]), func(o *server) bool { return o == s })
	if m[k] = left; len(left) == 0 {
		delete(m, k)
	}
}
