package world

import (
	"slices"

	"orchestrator/daemon/topology"
)

// SemiSync is the state of semi-synchronous replication on a server.
type SemiSync struct {
	Source  bool // commits wait for acknowledgements
	Replica bool // it acknowledges what it receives
	Wait    int  // for so many
	Timeout int  // ticks after which commits no longer wait; 0: never
	Fallen  bool // they do not wait now
	Hung    int  // for how many ticks they have waited
}

// acknowledgers are the replicas that acknowledge what the server writes.
func (w *World) acknowledgers(v *Server) (out []*Server) {
	for _, r := range w.Servers {
		if r.Semi.Replica && r.Health == Alive && r.Source == v.N && r.Connected && w.Reaches(r.N, v.N) {
			out = append(out, r)
		}
	}
	return out
}

// Hangs says that commits wait for acknowledgements that do not come.
func (w *World) Hangs(v *Server) bool {
	return v.Semi.Source && !v.Semi.Fallen && len(w.acknowledgers(v)) < v.Semi.Wait
}

// acknowledge tells clients what is committed, and lets a server give up waiting. What only a replica that filters has
// acknowledged is worth nothing.
func (w *World) acknowledge(v *Server) {
	if !v.Semi.Source || v.Health != Alive || v.ReadOnly {
		v.Semi.Hung, v.Semi.Fallen = 0, false
		return
	}
	by := w.acknowledgers(v)
	if len(by) < v.Semi.Wait {
		if v.Semi.Hung++; v.Semi.Fallen || v.Semi.Timeout > 0 && v.Semi.Hung > v.Semi.Timeout {
			v.Semi.Hung, v.Semi.Fallen = 0, true
		}
		return
	}
	v.Semi.Hung, v.Semi.Fallen = 0, false
	var levels []int
	whole := 0
	for _, r := range by {
		levels = append(levels, r.Received[v.Writer])
		if !r.Filters {
			whole = max(whole, r.Received[v.Writer])
		}
	}
	slices.Sort(levels)
	acked := min(whole, levels[len(levels)-v.Semi.Wait], v.Executed[v.Writer])
	w.Acked[v.Writer] = max(w.Acked[v.Writer], acked)
}

// told is what the server says of it.
func (w *World) told(v *Server) topology.SemiSync {
	s := v.Semi
	return topology.SemiSync{SourceEnabled: s.Source, SourceActive: s.Source && !s.Fallen, ReplicaEnabled: s.Replica,
		ReplicaActive: s.Replica && v.Connected, WaitCount: s.Wait, Clients: len(w.acknowledgers(v)),
		TimeoutMillis: uint64(s.Timeout) * uint64(Step.Milliseconds())}
}

// stalled is what a primary says of commits that hang.
func (w *World) stalled(v *Server) *topology.Stall {
	ticks, cause, state := v.Semi.Hung, "semi_sync", "Waiting for semi-sync ACK from replica"
	if v.Locked > 0 {
		ticks, cause, state = w.Tick-v.lockedAt, "lock", "Waiting for global read lock"
	}
	seconds := int64(ticks) * Step.Milliseconds() / 1000
	if v.Source >= 0 || seconds == 0 {
		return nil
	}
	return &topology.Stall{State: state, Seconds: seconds, Count: 1, Cause: cause}
}

// Lock has somebody lock a server for so many ticks.
func (w *World) Lock(v *Server, ticks int) {
	w.Say("%v is locked for %d ticks", v.Key, ticks)
	v.Locked, v.lockedAt = ticks, w.Tick
}
