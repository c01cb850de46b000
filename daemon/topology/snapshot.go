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

// Named returns the server that has the name, as its key or besides it; nil when there is none.
func (s Snapshot) Named(k Key) *Server {
	if v := s.Server(k); v != nil {
		return v
	}
	for i := range s.Servers {
		if slices.Contains(s.Servers[i].Names, k) {
			return &s.Servers[i]
		}
	}
	return nil
}

// Canonical is the snapshot in which every channel names its source, and every server its registered replicas, by their
// keys. A daemon's snapshots are so; one that people write may use any name that a server has.
func (s Snapshot) Canonical() Snapshot {
	names := map[Key]Key{}
	for _, v := range s.Servers {
		for _, n := range v.Names {
			names[n] = v.Key
		}
	}
	for _, v := range s.Servers {
		delete(names, v.Key)
	}
	if len(names) == 0 {
		return s
	}
	s.Servers = slices.Clone(s.Servers)
	for i := range s.Servers {
		v := &s.Servers[i]
		named := func(k Key) bool { return !names[k].IsZero() }
		if v.Instance == nil || !slices.ContainsFunc(v.Instance.Registered, named) && !slices.ContainsFunc(
			v.Instance.Channels, func(c Channel) bool { return named(c.Source.Attached()) }) {
			continue
		}
		instance := *v.Instance
		instance.Registered = canonical(names, instance.Registered)
		instance.Channels = slices.Clone(instance.Channels)
		for j := range instance.Channels {
			instance.Channels[j].resolve(names)
		}
		v.Instance = &instance
	}
	return s
}

// canonical has the key of each server once, in the place of its names.
func canonical(names map[Key]Key, keys []Key) []Key {
	var out []Key
	for _, k := range keys {
		if of, ok := names[k]; ok {
			k = of
		}
		if !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

// resolve gives a channel the key of the server that its source is a name of.
func (c *Channel) resolve(names map[Key]Key) {
	k, ok := names[c.Source.Attached()]
	if !ok {
		return
	}
	if c.Source.Detached() {
		k = k.Detach()
	}
	c.Source, c.Spelt = k, c.Written()
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

// Roots returns the servers whose source, if they have one, is not in the snapshot; sorted by key. In a circle of
// sources no server is a root: the writable members stand for it, or else the first.
func (s Snapshot) Roots() []Server {
	var out []Server
	for _, top := range s.links().tops() {
		for _, i := range top {
			out = append(out, s.Servers[i])
		}
	}
	slices.SortFunc(out, func(a, b Server) int { return a.Key.Compare(b.Key) })
	return out
}

// links are who follows whom, as indexes of Servers, so that large fleets are walked in no time.
type links struct {
	servers []Server
	sources [][]int // by server, in the order of its channels
	below   [][]int // by server, by key
}

func (s Snapshot) links() links {
	l := links{s.Servers, make([][]int, len(s.Servers)), make([][]int, len(s.Servers))}
	at := make(map[Key]int, len(s.Servers))
	for i := range s.Servers {
		at[s.Servers[i].Key] = i
	}
	followed := make([]bool, len(s.Servers))
	ties := func(use func(i, j int, c *Channel)) {
		for i := range s.Servers {
			v := &s.Servers[i]
			if v.Instance == nil {
				continue
			}
			for n := range v.Instance.Channels {
				c := &v.Instance.Channels[n]
				// a server that names itself is no source of itself
				if j, ok := at[c.Source]; ok && j != i {
					use(i, j, c)
				}
			}
		}
	}
	ties(func(_, j int, _ *Channel) { followed[j] = true })
	ties(func(i, j int, c *Channel) {
		if leftover := followed[i] && s.Servers[i].Unused(*c); !leftover && !slices.Contains(l.sources[i], j) {
			l.sources[i] = append(l.sources[i], j)
			l.below[j] = append(l.below[j], i)
		}
	})
	for i := range s.Servers {
		v := &s.Servers[i]
		if v.Instance == nil {
			continue
		}
		for _, k := range v.Instance.Registered { // one that never answered is known as a replica by that only
			if j, ok := at[k]; ok && j != i && l.tied(j) && l.followers(j) == 0 && !slices.Contains(l.sources[j], i) {
				l.sources[j] = append(l.sources[j], i)
				l.below[i] = append(l.below[i], j)
			}
		}
	}
	return l
}

// tied says that nothing but a registration tells where a server belongs: it never answered, or it is a stranger
// without a source in the snapshot.
func (l links) tied(j int) bool {
	return l.servers[j].Instance == nil || l.servers[j].Stranger != nil && len(l.sources[j]) == 0
}

// followers counts the servers that are known to follow one.
func (l links) followers(i int) (n int) {
	for _, j := range l.below[i] {
		if l.servers[j].Instance != nil && l.servers[j].Stranger == nil {
			n++
		}
	}
	return n
}

// tops returns whom the trees hang from: each root alone, and those that stand for a circle together.
func (l links) tops() [][]int {
	var out [][]int
	reached := make([]bool, len(l.servers))
	reach := func(from int) {
		for todo := []int{from}; len(todo) > 0; todo = todo[1:] {
			if i := todo[0]; !reached[i] {
				reached[i] = true
				todo = append(todo, l.below[i]...)
			}
		}
	}
	for i := range l.servers {
		if len(l.sources[i]) == 0 {
			out = append(out, []int{i})
			reach(i)
		}
	}
	for i := range l.servers {
		if reached[i] {
			continue
		}
		circle := l.circle(i)
		var stand []int
		for _, j := range circle {
			reach(j)
			if !l.servers[j].Instance.ReadOnly {
				stand = append(stand, j)
			}
		}
		if len(stand) == 0 {
			stand = circle[:1]
		}
		out = append(out, stand)
	}
	return out
}

// circle walks up from a server that no root is above of, until it comes round; sorted by key.
func (l links) circle(i int) []int {
	var path []int
	place := map[int]int{}
	for seen := false; !seen; _, seen = place[i] {
		place[i] = len(path)
		path = append(path, i)
		i = l.sources[i][0]
	}
	path = path[place[i]:]
	slices.SortFunc(path, func(a, b int) int { return l.servers[a].Key.Compare(l.servers[b].Key) })
	return path
}

// Primary returns the primary of a one-cluster snapshot: the one that was promoted last, unless it follows another
// server now; else the root that most servers follow; among equals one that is up and writable, then one that is up,
// then the first by key. A stranger is none beside others. nil when the snapshot is empty.
func (s Snapshot) Primary() *Server {
	l := s.links()
	best, most := -1, -1<<31
	for _, top := range l.tops() {
		for _, i := range top {
			v := &s.Servers[i]
			if k, ok := s.Promoted[v.Cluster]; ok && k == v.Key {
				return v
			}
			weight := 4 * l.followers(i)
			if v.Stranger != nil {
				weight = -1 << 16
			}
			if v.Up() {
				weight++
				if !v.Instance.ReadOnly {
					weight += 2
				}
			}
			if weight > most || weight == most && v.Key.Compare(s.Servers[best].Key) < 0 {
				best, most = i, weight
			}
		}
	}
	if best < 0 {
		return nil
	}
	return &s.Servers[best]
}

// Name gives every server its cluster: that of its source, up to the root. A root keeps the name that it had; one that
// never had any is named by its key; a live root that has replicas of its own does not keep a name that a better
// primary holds, unless one of the two only passed on what the other wrote: then the tree of one is a part of the
// other's, that has come off. A circle of sources is one cluster. before may be nil.
func (s Snapshot) Name(before map[Key]string) map[Key]string {
	l := s.links()
	names := map[Key]string{}
	holder := map[string]int{}
	var tops []int
	for _, top := range l.tops() {
		i := top[0]
		tops = append(tops, i)
		k := s.Servers[i].Key
		name := before[k]
		if name == "" {
			name = k.String()
		}
		names[k] = name
		if h, ok := holder[name]; !ok || l.followers(i) > l.followers(h) {
			holder[name] = i
		}
	}
	for _, i := range tops {
		v := s.Servers[i]
		h := holder[names[v.Key]]
		if h != i && v.Up() && s.Servers[h].Up() && l.followers(i) > 0 && !s.cameOff(&s.Servers[i], &s.Servers[h]) {
			names[v.Key] = v.Key.String()
		}
	}
	for range s.Servers { // each round names one tier more
		changed := false
		for i, v := range s.Servers {
			if names[v.Key] != "" {
				continue
			}
			for _, j := range l.sources[i] {
				if n := names[s.Servers[j].Key]; n != "" {
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
	return names
}

// Sort puts the servers in the order that every reader of a snapshot relies on.
func (s Snapshot) Sort() {
	slices.SortFunc(s.Servers, func(a, b Server) int { return a.Key.Compare(b.Key) })
}
