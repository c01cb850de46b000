// Package world is a fleet on paper that obeys, loses and half-obeys: servers die, hang, return (as they were, emptied,
// or as somebody else), are cut off, locked or delayed; names do not resolve; steps are done, lost, or done by half. It
// plays the part of both the servers and the network for the simulation.
//
// It is no model of MySQL: only of what decisions rest on, which is who has which transactions, who is connected to
// whom, and who takes writes. Time is counted in ticks by the caller; the same seed gives the same world.
package world

import (
	"fmt"
	"math/rand/v2"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// World is the truth about a cluster and its network.
type World struct {
	Rand    *rand.Rand
	Tick    int
	Servers []*Server
	// Cut holds the pairs that can't reach each other; daemons have the numbers -1, -2, …
	Cut map[[2]int]bool
	// Unresolved holds who can't resolve whose name.
	Unresolved map[[2]int]bool
	// Daemon is the number of the one that asks and acts now; each remembers what it heard itself.
	Daemon int
	Idle   bool // nobody writes, and nobody ever has
	Lags   bool // replicas tell for how long they have not applied all
	Acked  Set  // by identity, what a client was told to be committed and acknowledged
	Log    []string

	tells      bool                      // Say keeps what it is given
	identities int                       // how many there were
	probes     map[int][]topology.Server // what each daemon last heard
	sets       map[Set]gtid.Set          // as servers write them
}

// Step of time.
const Step = 50 * time.Millisecond

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Now is the time of the present tick.
func (w *World) Now() time.Time { return epoch.Add(time.Duration(w.Tick) * Step) }

// Tell has the world keep a log from now on, for anyone who has to understand a failing run. It begins with the
// servers.
func (w *World) Tell() {
	w.tells = true
	for _, v := range w.Servers {
		w.Say("%v", v)
	}
}

// Say keeps a line of the log. Most worlds keep none: to write it costs more than to play them.
func (w *World) Say(format string, args ...any) {
	if !w.tells {
		return
	}
	w.Log = append(w.Log, fmt.Sprintf("%5d ", w.Tick)+fmt.Sprintf(format, args...))
}

// Reaches says whether a can talk to b; daemons are -1, -2, …
func (w *World) Reaches(a, b int) bool {
	return len(w.Cut) == 0 || !w.Cut[[2]int{a, b}] && !w.Cut[[2]int{b, a}]
}

// Find returns the server behind a name, or nil.
func (w *World) Find(k topology.Key) *Server {
	for _, v := range w.Servers {
		if v.Key == k || v.Alias == k {
			return v
		}
	}
	return nil
}

// Advance lets one tick pass: clients write, replicas receive and apply.
func (w *World) Advance() {
	w.Tick++
	for _, v := range w.Servers {
		v.Locked = max(0, v.Locked-1)
		w.connect(v)
	}
	for _, v := range w.Servers {
		if !w.Idle && v.Writes() && !w.Hangs(v) && w.Tick-v.Booted > 2 {
			v.Executed[v.Writer] += 1 + w.Rand.IntN(3)
			v.Received = v.Received.With(v.Executed)
		}
	}
	for _, v := range w.Servers {
		w.receive(v)
	}
	for _, v := range w.Servers {
		switch {
		case v.Health != Alive:
		case v.LagTicks > 0:
			v.LagTicks--
		case v.Applies():
			v.Executed = v.Received
		}
		if v.Executed == v.Received {
			v.level = w.Tick
		}
	}
	for _, v := range w.Servers {
		w.acknowledge(v)
	}
}

// connect settles whether the IO thread of v has a connection. One to a hung or cut-off source stays, as TCP does,
// until it is made again.
func (w *World) connect(v *Server) {
	if v.Health != Alive || !v.IO || v.Source < 0 || v.Detached {
		v.Connected = false
		return
	}
	s := w.Servers[v.Source]
	switch {
	case !v.Connected && w.Unresolved[[2]int{v.N, s.N}]:
		v.IOErrno = UnknownHost
	case s.Health == Dead:
		v.Connected, v.IOErrno = false, Refused
	case s.Health == Alive && w.Reaches(v.N, s.N):
		v.Connected, v.IOErrno = true, 0
	}
}

// The errors of a receiver: nothing listens there, its name can't be resolved, its source no longer has what it asks
// for.
const (
	Refused     = 2003
	UnknownHost = 2005
	Purged      = 1236
)

// receive gives a replica what its source has, most of the time.
func (w *World) receive(v *Server) {
	if v.Health != Alive || !v.Connected || !w.Reaches(v.N, v.Source) || w.Rand.IntN(6) == 0 {
		return
	}
	s := w.Servers[v.Source]
	if !v.Received.Has(s.Purged) || v.Coordinates && v.Read != 0 && v.Read != s.Log {
		v.IO, v.Connected, v.IOErrno = false, false, Purged
		return
	}
	v.Read = s.Log
	have := s.Executed
	if w.Rand.IntN(3) == 0 { // the last of it is still under way
		have[s.Writer] = max(v.Received[s.Writer], have[s.Writer]-w.Rand.IntN(3))
	}
	v.Received = v.Received.With(have)
	v.ReadPos = v.Received.common(s.Executed).count()
}

// Purge has a server delete all its binary logs but the one that it begins now.
func (w *World) Purge(v *Server) {
	w.Say("%v purges its logs", v.Key)
	v.Purged = v.Executed
}
