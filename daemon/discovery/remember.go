package discovery

import (
	"reflect"
	"slices"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// Restore adds servers as a store remembered them, before Run. What they said in an earlier life tells who they are
// and who replicates from whom, but no server counts as up (its Probe is zero) before it has answered in this one.
func (f *Fleet) Restore(servers []topology.Server) {
	f.mu.Lock()
	defer f.unlock()
	servers = slices.Clone(servers)
	slices.SortFunc(servers, func(a, b topology.Server) int { return a.Key.Compare(b.Key) })
	owner := map[topology.Key]topology.Server{}
	for _, v := range servers {
		for _, n := range v.Names {
			owner[n] = v
		}
	}
	known := map[*server]string{}
	for _, v := range servers {
		if o, ok := owner[v.Key]; ok && !slices.Contains(v.Names, o.Key) { // from before it was found to be that one
			continue
		}
		if s := f.remembered(v.Key); s != nil {
			f.recall(s, v)
			known[s] = v.Cluster
		}
	}
	for s, cluster := range known {
		stored := storable(f.export(s))
		stored.Cluster = cluster
		s.stored = &stored
	}
}

// remembered is the server of a record, which is added where it is not known; nil where the key is a name of another
// one by now, or there is no room.
func (f *Fleet) remembered(k topology.Key) *server {
	s := f.at(k)
	if s == nil {
		if s = f.add(k, ""); s == nil {
			return nil
		}
		s.due = time.Now().Add(s.phase(min(f.o.Poll, time.Second)))
		f.queue.put(s)
	}
	if s.key != k || s.instance != nil {
		return nil
	}
	return s
}

// recall gives a server what is on record of it.
func (f *Fleet) recall(s *server, v topology.Server) {
	s.restored = true
	switch {
	case v.Stranger == nil || s.seed:
	case v.Stranger.Kind == topology.NotAdmitted: // the gate says whether it still is none
		s.unproved = true
	default:
		f.estrange(s, v.Stranger.Kind, v.Stranger.Why)
	}
	for _, n := range v.Doubtful {
		f.names.doubtful[n] = true
	}
	s.name = v.Cluster
	if v.Instance != nil {
		i := *v.Instance // nobody else changes what it points to: it was read for this
		for n := range i.Channels {
			c := &i.Channels[n]
			c.Source, c.Spelt = c.Written(), topology.Key{} // as the server says it
		}
		s.instance = &i
		f.learn(s, "")
		f.link(s)
	}
	for _, n := range v.Names {
		if f.at(n) == nil {
			s.names = insert(s.names, n)
			f.alias(n, s.key)
			f.relink(ref{key: n})
		}
	}
}

// Dirty returns the servers about which something changed since the last call that is worth storing: who they are,
// how they are set up, whom they replicate from, and whether they fail. Positions, lag and times are neither looked
// at nor returned, and nothing that people declared. Sorted.
func (f *Fleet) Dirty() []topology.Server {
	f.mu.Lock()
	defer f.unlock()
	f.name() // a new name touches
	var out []topology.Server
	for s := range f.touched {
		if s.trial {
			continue
		}
		delete(f.touched, s)
		v := storable(f.export(s))
		if s.stored != nil {
			if v.Instance != nil && s.stored.Instance != nil &&
				near(v.Instance.StartedAt, s.stored.Instance.StartedAt) {
				v.Instance.StartedAt = s.stored.Instance.StartedAt
			}
			if reflect.DeepEqual(v, *s.stored) {
				continue
			}
		}
		s.stored = &v
		out = append(out, v)
	}
	topology.Snapshot{Servers: out}.Sort()
	return out
}

// touch has Dirty look at a server.
func (f *Fleet) touch(s *server) { f.touched[s] = struct{}{} }

// near says that two starting times, each exact to a second, are one.
func near(a, b time.Time) bool { return a.Sub(b).Abs() <= 2*time.Second }

// storable leaves out what changes all the time.
func storable(v topology.Server) topology.Server {
	v.Probe, v.Left = topology.Probe{Failure: v.Probe.Failure, FailingSince: v.Probe.FailingSince}, nil
	if v.LeftOut = 0; v.Stranger != nil {
		v.Stranger = &topology.Stranger{Kind: v.Stranger.Kind}
	}
	if v.Instance == nil {
		return v
	}
	copied := *v.Instance
	i := &copied
	v.Instance, i.Channels = i, slices.Clone(i.Channels)
	i.Executed, i.Purged, i.BinlogWritten, i.BinlogFile, i.BinlogPos = gtid.Set{}, gtid.Set{}, gtid.Set{}, "", 0
	i.Registered, i.Readers, i.Stalled, i.SemiSync.Clients = nil, 0, nil, 0
	i.Registrations = nil
	i.StartedAt = i.StartedAt.UTC().Truncate(time.Second) // as it comes back from a store
	for n := range i.Channels {
		c := &i.Channels[n]
		c.Received, c.Lag, c.IOSince, c.IOError, c.SQLError = gtid.Set{}, nil, time.Time{}, "", ""
		c.ReadFile, c.ReadPos, c.ExecFile, c.ExecPos, c.Heartbeats = "", 0, "", 0, 0
	}
	return v
}
