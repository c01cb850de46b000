package world

import (
	"fmt"
	"math/rand/v2"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// New makes a primary (number 0) with replicas, some of them below others.
func New(seed uint64) *World { return grow(seed, 4) }

// NewTree makes one in which most replicas have others below them or above them; there is always an intermediate
// source, and a direct replica besides.
func NewTree(seed uint64) *World { return grow(seed, 1) }

// grow makes a world of which one server in so many, from the third on, is below another replica.
func grow(seed uint64, tier int) *World {
	r := rand.New(rand.NewPCG(seed, 1))
	w := &World{Rand: r, Idle: seed%20 == 0, Cut: map[[2]int]bool{}, Unresolved: map[[2]int]bool{}, Daemon: -1,
		probes: map[int][]topology.Server{}, sets: map[Set]gtid.Set{}}
	maria, semi, wait := r.IntN(2) == 0, r.IntN(2) == 0, 1+r.IntN(5)/4
	timeout := [...]int{0, 5, 40}[r.IntN(3)]
	n := 2 + r.IntN(5)
	if tier == 1 {
		n = 4 + r.IntN(4)
	}
	w.identities = n
	for i := range n {
		v := &Server{N: i, Key: topology.Key{Host: fmt.Sprintf("db%d", i+1), Port: 3306}, Source: 0, IO: true, Log: 1,
			Writer: i, SQL: true, Connected: true, ReadOnly: true, LogUpdates: r.IntN(12) > 0, Maria: maria}
		w.Servers = append(w.Servers, v)
		switch {
		case i == 0:
			v.Source, v.IO, v.SQL, v.Connected, v.ReadOnly, v.LogUpdates = -1, false, false, false, false, true
		case tier == 1 && i == 2, tier == 1 && i > 3 && r.IntN(2) == 0, tier > 1 && i > 1 && r.IntN(tier) == 0:
			if s := w.Servers[1+r.IntN(i-1)]; s.LogUpdates || i == 2 {
				v.Source, s.LogUpdates = s.N, true // a second tier, or a third
			}
		}
		w.vary(v)
		if semi {
			v.Semi = SemiSync{Source: i == 0, Replica: r.IntN(4) > 0, Wait: wait, Timeout: timeout}
		}
	}
	if w.Hangs(w.Servers[0]) {
		w.Servers[0].Semi.Timeout = 5
	}
	late := map[*Server]bool{} // they get some of the data first
	for _, v := range w.Servers {
		late[v], v.Delayed = v.Delayed, false
	}
	for i := range 20 {
		w.Advance()
		for _, v := range w.Servers {
			v.Delayed = late[v] && i > 10
		}
	}
	if n > 3 && r.IntN(6) == 0 {
		w.stray(w.Servers[n-1])
	}
	w.meet()
	return w
}

// vary gives a server some oddities: most have few.
func (w *World) vary(v *Server) {
	one := func(in int) bool { return w.Rand.IntN(in) == 0 }
	replica := v.Source >= 0
	v.Scheduler = !replica && one(3)
	v.LogFilters = one(50)
	v.Filters = replica && one(20)
	v.Delayed = replica && one(24)
	v.Coordinates = replica && one(24)
	if one(3) {
		v.Alias = topology.Key{Host: "name-of-" + v.Key.Host, Port: 3306}
	}
	switch w.Rand.IntN(12) {
	case 0:
		v.Rule = topology.Prefer
	case 1:
		v.Rule = topology.PreferNot
	case 2:
		v.Rule = topology.MustNot
	}
	if replica && one(2) {
		v.Spelt = w.Servers[v.Source].Alias
	}
}

// stray makes a replica a scratch copy, before any daemon has looked.
func (w *World) stray(v *Server) {
	v.Stray, v.Source, v.IO, v.SQL, v.Connected, v.ReadOnly = true, -1, false, false, false, false
	for range 5 {
		w.Advance()
	}
}

// meet has the first daemon get to know the servers.
func (w *World) meet() {
	for _, v := range w.Servers {
		s := topology.Server{Key: v.Key, Cluster: "c", Rule: v.Rule}
		if !v.Alias.IsZero() {
			s.Names = []topology.Key{v.Alias}
		}
		if v.doubtful() {
			s.Doubtful = []topology.Key{v.Key}
		}
		if w.Rand.IntN(40) == 0 {
			s.Downtime = &topology.Downtime{Owner: "ann", Reason: "disks", Until: w.Now().Add(time.Hour)}
		}
		w.probes[-1] = append(w.probes[-1], s)
	}
	w.ProbeAll()
}
