package analysis

import (
	"maps"
	"slices"
	"time"

	"orchestrator/daemon/topology"
)

// settled is how long a receiver must have been seen connecting, without any error yet, to be a witness. One that was
// restarted says "connecting" for a moment even when its source is healthy. A crash does not wait for
// this: a receiver that loses its connection has error 2013 from the moment when it says "connecting" (seen on MariaDB
// 10.11 and MySQL 9.7).
const settled = 500 * time.Millisecond

// fleet is a snapshot, and who follows whom in it. Strangers are apart: nothing but what is said of them rests on them.
type fleet struct {
	at        time.Time
	t         Thresholds
	servers   map[topology.Key]*topology.Server
	following map[topology.Key][]*topology.Server // by source, sorted by key
	members   map[string][]topology.Server        // by cluster, sorted by key
	promoted  map[string]topology.Key             // by cluster
	followed  map[topology.Key]bool               // some channel names it, used or not
	marked    map[mark]int                        // how many have the same
	strangers map[topology.Key]*topology.Server
	registrar map[topology.Key]bool // has registered as a replica of some server
}

func newFleet(s topology.Snapshot, t Thresholds) *fleet {
	f := &fleet{at: s.At, t: t, promoted: s.Promoted,
		servers:   make(map[topology.Key]*topology.Server, len(s.Servers)),
		following: map[topology.Key][]*topology.Server{},
		members:   map[string][]topology.Server{},
		followed:  map[topology.Key]bool{},
		marked:    make(map[mark]int, 2*len(s.Servers)),
		strangers: map[topology.Key]*topology.Server{},
		registrar: map[topology.Key]bool{},
	}
	s.Servers = slices.Clone(s.Servers)
	s.Sort()
	nameClusters(s)
	for _, v := range s.Strangers() {
		f.strangers[v.Key] = &v
	}
	s = s.Admitted()
	f.enter(s.Servers)
	for i := range s.Servers {
		v := &s.Servers[i]
		f.servers[v.Key] = v
		f.mark(v)
		if v.Instance == nil {
			continue
		}
		for _, c := range v.Instance.Channels {
			f.followed[c.Source] = f.followed[c.Source] || c.Source != v.Key
		}
	}
	for i := range s.Servers {
		v := &s.Servers[i]
		for _, source := range f.sourcesOf(v) {
			f.following[source.Key] = append(f.following[source.Key], v)
		}
	}
	for i := range s.Servers {
		v := &s.Servers[i]
		if v.Instance == nil {
			continue
		}
		for _, k := range v.Instance.Registered { // a replica that never answered us is known by its registration only
			f.registrar[k] = f.registrar[k] || k != v.Key
			if r := f.servers[k]; r != nil && r.Instance == nil && r != v && !slices.Contains(f.following[v.Key], r) {
				f.following[v.Key] = append(f.following[v.Key], r)
			}
		}
		slices.SortFunc(f.following[v.Key], func(a, b *topology.Server) int { return a.Key.Compare(b.Key) })
	}
	return f
}

// enter sorts out who is in which cluster. Nearly always all are in one.
func (f *fleet) enter(servers []topology.Server) {
	for len(servers) > 0 {
		cluster, n := servers[0].Cluster, 1
		for n < len(servers) && servers[n].Cluster == cluster {
			n++
		}
		if before := f.members[cluster]; before == nil {
			f.members[cluster] = servers[:n:n] // shared: nobody changes it
		} else {
			f.members[cluster] = append(before, servers[:n]...)
		}
		servers = servers[n:]
	}
}

// nameClusters fills in the clusters of a snapshot written by hand. A daemon's has them all.
func nameClusters(s topology.Snapshot) {
	if !slices.ContainsFunc(s.Servers, func(v topology.Server) bool { return v.Cluster == "" }) {
		return
	}
	given := map[topology.Key]string{}
	for _, v := range s.Servers {
		given[v.Key] = v.Cluster
	}
	names := s.Name(given)
	for i := range s.Servers {
		if v := &s.Servers[i]; v.Cluster == "" {
			v.Cluster = names[v.Key]
		}
	}
}

func (f *fleet) clusters() []string { return slices.Sorted(maps.Keys(f.members)) }

// sourcesOf returns the sources of v that are in the snapshot, each once. A server that names itself is no source of
// itself.
func (f *fleet) sourcesOf(v *topology.Server) []*topology.Server {
	if v.Instance == nil {
		return nil
	}
	var out []*topology.Server
	for _, c := range v.Instance.Channels {
		if f.followed[v.Key] && v.Unused(c) {
			continue // a leftover
		}
		if s := f.servers[c.Source]; s != nil && s.Key != v.Key && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// above returns all servers from which v receives, directly or through others; also v itself if it is in a circle.
func (f *fleet) above(v *topology.Server) map[topology.Key]*topology.Server {
	out := map[topology.Key]*topology.Server{}
	next := f.sourcesOf(v)
	for len(next) > 0 {
		s := next[0]
		next = next[1:]
		if out[s.Key] == nil {
			out[s.Key] = s
			next = append(next, f.sourcesOf(s)...)
		}
	}
	return out
}
