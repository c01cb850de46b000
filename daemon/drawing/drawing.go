// Package drawing is the text form of a snapshot: parsed (Parse), printed so that it can be parsed again (Draw), and sketched for
// people (Sketch). It also reads saved snapshots, which are JSON or a drawing (Decode).
//
// It holds no facts of its own (see topology), judges nothing and reads no files. The one idea: a line says only what differs from
// what one would expect, and printing an attribute reads it back at once, so the two directions can't drift apart.
package drawing

import (
	"time"

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

func newPicture() *picture { return &picture{at: At, byKey: map[topology.Key]*drawn{}} }

func (p *picture) add(d *drawn) {
	p.lines = append(p.lines, d)
	p.byKey[d.server.Key] = d
}

// clusterName lets people write of=db1 for the cluster db1:3306.
func (p *picture) clusterName(text string) string {
	if k, err := topology.ParseKey(text); err == nil && p.byKey[k] != nil {
		return k.String()
	}
	return text
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
	return s
}
