package topology

import (
	"slices"
)

// Server returns the server at k, or nil.
func (s Snapshot) Server(k Key) *Server {
	for i := range s.Servers {
		if s.Servers[i].Key == k {
			return &s.Servers[i]
		}
	}
	return nil
}

// Replicas returns the servers that replicate from k on any channel, sorted by key.
func (s Snapshot) Replicas(k Key) []Server {
	var out []Server
	for _, r := range s.Servers {
		if r.ChannelFrom(k) != nil {
			out = append(out, r)
		}
	}
	return out
}

// ChannelFrom returns the channel of s whose source is k, or nil.
func (s Server) ChannelFrom(k Key) *Channel {
	if s.Instance == nil {
		return nil
	}
	for i := range s.Instance.Channels {
		if s.Instance.Channels[i].Source == k {
			return &s.Instance.Channels[i]
		}
	}
	return nil
}

// Of returns the part of the snapshot that belongs to one cluster.
func (s Snapshot) Of(cluster string) Snapshot {
	out := Snapshot{At: s.At}
	if k, ok := s.Promoted[cluster]; ok {
		out.Promoted = map[string]Key{cluster: k}
	}
	for _, v := range s.Servers {
		if v.Cluster == cluster {
			out.Servers = append(out.Servers, v)
		}
	}
	return out
}

// Clusters returns the names of the clusters in the snapshot, sorted.
func (s Snapshot) Clusters() []string {
	var out []string
	for _, v := range s.Servers {
		out = append(out, v.Cluster)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Roots returns the servers whose source, if they have one, is not in the snapshot; sorted by key. In a circle of sources
// nobody is a root, so there the writable members stand for it, or else the first.
func (s Snapshot) Roots() []Server {
	var out []Server
	for _, v := range s.Servers {
		if !s.follows(v) {
			out = append(out, v)
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, v := range s.Servers {
		if v.Instance != nil && !v.Instance.ReadOnly {
			out = append(out, v)
		}
	}
	if len(out) == 0 && len(s.Servers) > 0 {
		out = s.Servers[:1]
	}
	return out
}

func (s Snapshot) follows(v Server) bool {
	if v.Instance == nil {
		return false
	}
	return slices.ContainsFunc(v.Instance.Channels, func(c Channel) bool { return s.Server(c.Source) != nil })
}

// Primary returns the primary of a one-cluster snapshot: the one that was promoted last, unless it follows another server now; else the root that most servers follow; among equals one that is up and
// writable, then one that is up, then the first by key. nil when the snapshot is empty.
func (s Snapshot) Primary() *Server {
	roots := s.Roots()
	if len(roots) == 0 {
		return nil
	}
	for _, r := range roots {
		if k, ok := s.Promoted[r.Cluster]; ok && k == r.Key {
			return s.Server(k)
		}
	}
	weight := func(v Server) int {
		w := 4 * len(s.Replicas(v.Key))
		if v.Up() {
			w++
			if !v.Instance.ReadOnly {
				w += 2
			}
		}
		return w
	}
	best := slices.MaxFunc(roots, func(a, b Server) int {
		if d := weight(a) - weight(b); d != 0 {
			return d
		}
		return b.Key.Compare(a.Key)
	})
	return s.Server(best.Key)
}

// Name gives every server its cluster: that of its source, up to the root. A root keeps the name that it had; one that never had
// any is named by its key; a live root that has replicas of its own does not keep a name that a better primary holds.
// before may be nil.
func (s Snapshot) Name(before map[Key]string) map[Key]string {
	names := map[Key]string{}
	holder := map[string]Key{}
	for _, r := range s.Roots() {
		name := before[r.Key]
		if name == "" {
			name = r.Key.String()
		}
		names[r.Key] = name
		if h, ok := holder[name]; !ok || s.weightier(r, *s.Server(h)) {
			holder[name] = r.Key
		}
	}
	for k, name := range names {
		r := s.Server(k)
		if holder[name] != k && r.Up() && s.Server(holder[name]).Up() && len(s.Replicas(k)) > 0 {
			names[k] = k.String()
		}
	}
	for range s.Servers { // each round names one tier more; the bound ends circles
		changed := false
		for _, v := range s.Servers {
			if names[v.Key] != "" || v.Instance == nil {
				continue
			}
			for _, c := range v.Instance.Channels {
				if n := names[c.Source]; n != "" {
					names[v.Key] = n
					changed = true
					break
				}
			}
		}
		if !changed {
			break
		}
	}
	for _, v := range s.Servers {
		if names[v.Key] == "" {
			names[v.Key] = v.Key.String()
		}
	}
	return names
}

func (s Snapshot) weightier(a, b Server) bool {
	return len(s.Replicas(a.Key)) > len(s.Replicas(b.Key))
}

// Sort puts the servers in the order that every reader of a snapshot relies on.
func (s Snapshot) Sort() {
	slices.SortFunc(s.Servers, func(a, b Server) int { return a.Key.Compare(b.Key) })
}
