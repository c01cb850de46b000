package sim

import (
	"fmt"
	"slices"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/tests/world"
)

// impostor is the key of the stranger in the worlds that have one. It says what suits it: that it follows the primary
// and has more than anybody, that it still receives, that it can't reach the primary, that it takes writes.
var impostor = topology.Key{Host: "impostor", Port: 3306}

func (r *run) hasStranger() bool { return r.seed%4 == 1 }

// snapshot is what the daemon knows, the stranger included.
func (r *run) snapshot() topology.Snapshot {
	s := r.Snapshot()
	if !r.hasStranger() {
		return s
	}
	of := s.Primary()
	if of == nil || of.Instance == nil {
		return s
	}
	turn := r.seed/4 + uint64(r.Tick/8) // what it says changes now and then
	pick := func(n int) int {
		turn = turn*6364136223846793005 + 1442695040888963407
		return int(turn >> 33 % uint64(n))
	}
	i := *of.Instance
	i.UUID, i.ServerID, i.ReadOnly = "99999999-9999-9999-9999-999999999999", 99, pick(2) == 0
	i.LogBin, i.LogReplicaUpdates, i.Registered, i.SemiSync = true, true, nil, topology.SemiSync{}
	var all world.Set
	for _, v := range r.Servers {
		more := v.Executed
		for n := range more {
			more[n] += pick(1000)
		}
		all = all.With(more)
	}
	i.Executed = i.Executed.Union(r.GTIDs(all))
	c := topology.Channel{Source: of.Key, SourceUUID: of.Instance.UUID, SourceID: of.Instance.ServerID,
		AutoPosition: true, Received: i.Executed, SQL: topology.Running,
		IO: []topology.ThreadState{topology.Running, topology.Stopped, topology.Connecting}[pick(3)]}
	if c.IO != topology.Running {
		c.IOErrno = 2003
	}
	if i.Channels = []topology.Channel{c}; pick(8) == 0 {
		i.Channels = nil
	}
	kinds := topology.StrangerKinds()
	s.Servers = append(s.Servers, topology.Server{Key: impostor, Cluster: of.Cluster, Instance: &i,
		Probe:    topology.Probe{Asked: r.Now(), Answered: r.Now()},
		Stranger: &topology.Stranger{Kind: kinds[pick(len(kinds))]}})
	s.Sort()
	return s
}

// unmoved says that a stranger changes nothing of what is done, and who it is done at.
func (r *run) unmoved(s plan.Situation, d plan.Decision) {
	if !r.hasStranger() || r.Tick%4 != 0 {
		return
	}
	f := s.Facts
	f.Snapshot = f.Snapshot.Admitted()
	without := plan.Next(plan.Situate(f))
	if a, b := acts(d), acts(without); !slices.Equal(a, b) {
		r.hurt("a stranger changes nothing", "with it: %v; without: %v", a, b)
	}
}

// aims says that a step is done at the stranger, or has a server follow it.
func aims(step plan.Step) bool { return step.At == impostor || step.Source == impostor }

func acts(d plan.Decision) (out []string) {
	for _, step := range d.Steps() {
		out = append(out, fmt.Sprint(step.Kind, " ", step.At, " ", step.Source))
	}
	for _, w := range d.Works {
		if e := w.Episode; e != nil {
			out = append(out, fmt.Sprint(e.Failed, " ", e.Candidate, " ", e.Donor))
		}
	}
	return out
}
