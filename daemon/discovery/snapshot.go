package discovery

import (
	"reflect"
	"slices"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// Snapshot is a copy of the whole fleet: keys canonical, clusters named, what people declared filled in, sorted. It is the caller's.
func (f *Fleet) Snapshot() topology.Snapshot {
	f.mu.Lock()
	out := topology.Snapshot{At: time.Now(), Servers: make([]topology.Server, 0, len(f.servers))}
	for _, s := range f.servers {
		if !s.trial {
			out.Servers = append(out.Servers, f.export(s))
		}
	}
	f.unlock()
	for i := range out.Servers {
		f.o.Declared(&out.Servers[i])
	}
	out.Sort()
	return out
}

// export copies a server as others see it.
func (f *Fleet) export(s *server) topology.Server {
	out := topology.Server{Key: s.key, Cluster: f.clusters()[s.key], Probe: s.probe, Names: slices.Clone(s.names)}
	if s.instance == nil {
		return out
	}
	i := copyInstance(*s.instance)
	for n := range i.Channels {
		if n < len(s.sources) {
			i.Channels[n].Source = s.sources[n]
		}
	}
	for n, k := range i.Registered {
		i.Registered[n] = f.canon(k)
	}
	out.Instance = &i
	return out
}

// copyInstance shares nothing that can change; GTID sets are values.
func copyInstance(i topology.Instance) topology.Instance {
	i.Channels = slices.Clone(i.Channels)
	for n := range i.Channels {
		if lag := i.Channels[n].Lag; lag != nil {
			i.Channels[n].Lag = new(*lag)
		}
	}
	i.Registered = slices.Clone(i.Registered)
	if i.Stalled != nil {
		i.Stalled = new(*i.Stalled)
	}
	return i
}

// Dirty returns the servers about which something changed since the last call that is worth storing: who they are, how they are set
// up, whom they replicate from, and whether they fail. Positions, lag and times are neither looked at nor returned, and nothing that
// people declared. Sorted.
func (f *Fleet) Dirty() []topology.Server {
	f.mu.Lock()
	defer f.unlock()
	f.clusters() // a new name touches
	var out []topology.Server
	for _, s := range f.servers {
		if !s.touched || s.trial {
			continue
		}
		s.touched = false
		v := storable(f.export(s))
		if s.stored != nil {
			if v.Instance != nil && s.stored.Instance != nil && near(v.Instance.StartedAt, s.stored.Instance.StartedAt) {
				v.Instance.StartedAt = s.stored.Instance.StartedAt
			}
			if reflect.DeepEqual(v, *s.stored) {
				continue
			}
		}
		s.stored = &v
		again := v
		if v.Instance != nil {
			i := copyInstance(*v.Instance)
			again.Instance = &i
		}
		again.Names = slices.Clone(v.Names)
		out = append(out, again)
	}
	topology.Snapshot{Servers: out}.Sort()
	return out
}

// near says that two starting times, each exact to a second, are one.
func near(a, b time.Time) bool { return a.Sub(b).Abs() <= 2*time.Second }

// storable leaves out what changes all the time.
func storable(v topology.Server) topology.Server {
	v.Probe = topology.Probe{Failure: v.Probe.Failure, FailingSince: v.Probe.FailingSince}
	if v.Instance == nil {
		return v
	}
	i := v.Instance
	i.Executed, i.Purged, i.BinlogWritten, i.BinlogFile, i.BinlogPos = gtid.Set{}, gtid.Set{}, gtid.Set{}, "", 0
	i.Registered, i.Stalled, i.SemiSync.Clients = nil, nil, 0
	i.StartedAt = i.StartedAt.UTC().Truncate(time.Second) // as it comes back from a store
	for n := range i.Channels {
		c := &i.Channels[n]
		c.Received, c.Lag, c.IOSince, c.IOError, c.SQLError = gtid.Set{}, nil, time.Time{}, "", ""
		c.ReadFile, c.ReadPos, c.ExecFile, c.ExecPos, c.Heartbeats = "", 0, "", 0, 0
	}
	return v
}
