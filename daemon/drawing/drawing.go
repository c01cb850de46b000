// Package drawing is the text form of what decisions rest on: parsed (Parse), printed so that it can be parsed
// again (Draw, Print), and sketched for people (Sketch). It also reads what was saved as JSON (Decode).
//
// It holds no facts of its own (see topology and plan), judges nothing and reads no files. The one idea: a line says
// only what differs from what one would expect, and printing an attribute reads it back at once, so the two directions
// can't drift apart.
package drawing

import (
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// At is the moment of a drawing that names none.
var At = time.Date(2026, 1, 1, 0, 0, 10, 0, time.UTC)

// picture is a drawing that is being read or made.
type picture struct {
	at    time.Time
	lines []*drawn // sources before their replicas
	byKey map[topology.Key]*drawn
	// Known once all identities are:
	byUUID    map[string]*drawn
	followers map[topology.Key][]topology.Key

	// What is said besides the servers:
	statements []statement
	off        string
	thresholds *analysis.Thresholds
	clusters   map[string]*Cluster
	requests   map[string]map[string]*plan.Request // by cluster and ID; those too that only episodes know
}

// drawn is one line of it.
type drawn struct {
	number  int
	indent  int
	parent  *drawn // the line that it hangs below, nil for a root
	base    *drawn // the first root of its cluster, whose transactions it has
	flavor  topology.Flavor
	version topology.Version
	given   map[string][]string // attribute → values, as written
	stale   bool                // asked before anybody began to fail
	// promoted says that the last failover of the cluster ended at this server.
	promoted bool
	server   topology.Server
}

func newPicture() *picture {
	return &picture{at: At, byKey: map[topology.Key]*drawn{}, clusters: map[string]*Cluster{},
		requests: map[string]map[string]*plan.Request{}}
}

func (p *picture) add(d *drawn) {
	p.lines = append(p.lines, d)
	p.byKey[d.server.Key] = d
}

// clusterName lets people write of=db1 for the cluster db1:3306; ofCluster is the other way round.
func (p *picture) clusterName(text string) string {
	if k, err := topology.ParseKey(text); err == nil && p.byKey[k] != nil {
		return k.String()
	}
	return text
}

func (p *picture) ofCluster(name string) string {
	if k, err := topology.ParseKey(name); err == nil && p.byKey[k] != nil && k.String() == name {
		return brief(k)
	}
	return name
}

func (p *picture) snapshot() topology.Snapshot {
	s := topology.Snapshot{At: p.at}
	longest := 5 * time.Second
	for _, d := range p.lines {
		if d.server.Probe.Failure != topology.OK {
			longest = max(longest, p.at.Sub(d.server.Probe.FailingSince))
		}
	}
	for _, d := range p.lines {
		if d.stale {
			d.server.Probe.Asked = p.at.Add(-longest - time.Second)
			d.server.Probe.Answered = d.server.Probe.Asked
		}
		if d.promoted {
			if s.Promoted == nil {
				s.Promoted = map[string]topology.Key{}
			}
			s.Promoted[d.server.Cluster] = d.server.Key
		}
		s.Servers = append(s.Servers, d.server)
	}
	s.Sort()
	return s.Canonical()
}
