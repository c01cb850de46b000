package swarm

import (
	"time"

	"orchestrator/daemon/topology"
)

// Polls is how a daemon has watched the fleet.
type Polls struct {
	Servers int
	Asked   int           // servers that were asked for their state at least once
	Longest time.Duration // between two polls of one server, since the last time that this was asked for
}

// Polls says how the fleet was watched since it was asked last; reset begins to measure again.
func (s *Swarm) Polls(reset bool) Polls {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	p := Polls{Servers: len(s.servers)}
	for _, v := range s.servers {
		if v.polled.IsZero() {
			continue
		}
		p.Asked++
		p.Longest = max(p.Longest, v.longest, now.Sub(v.polled))
		if reset {
			v.longest = 0
		}
	}
	return p
}

// Outcome is how far a cluster has recovered from the fault of its primary.
type Outcome struct {
	Done     bool
	Promoted time.Duration // from the fault until another server took writes; 0: none does
	Followed time.Duration // from the fault until every other living server received from it; 0: not yet
}

// Primary is the server that was opened for writes last.
func (c *Cluster) Primary() *Server {
	c.Servers[0].swarm.mu.Lock()
	defer c.Servers[0].swarm.mu.Unlock()
	return c.writer
}

// Outcome tells how far a cluster is, after Kill or Silence of its primary.
func (c *Cluster) Outcome(failed *Server) Outcome {
	failed.swarm.mu.Lock()
	defer failed.swarm.mu.Unlock()
	primary := c.writer
	if primary == failed || !primary.up() || !primary.primary() || primary.opened.Before(failed.fault) {
		return Outcome{}
	}
	o := Outcome{Promoted: primary.opened.Sub(failed.fault)}
	last := primary.opened
	for _, v := range c.Servers {
		if v == failed || v == primary || !v.up() {
			continue
		}
		if len(v.channels) != 1 || v.channels[0].link != primary {
			return o
		}
		if v.channels[0].since.After(last) {
			last = v.channels[0].since
		}
	}
	o.Followed, o.Done = last.Sub(failed.fault), true
	return o
}

// Behind are the living servers of the cluster that have something which its primary does not have.
func (c *Cluster) Behind() (out []topology.Key) {
	s := c.Servers[0].swarm
	s.mu.Lock()
	defer s.mu.Unlock()
	have := c.writer.all()
	for _, v := range c.Servers {
		if !v.up() || v == c.writer {
			continue
		}
		for _, ch := range v.channels {
			if all := have.with(ch.received).with(v.all()); all.String() != have.String() {
				out = append(out, v.Key)
			}
		}
	}
	return out
}

// ReadOnly says whether the server refuses writes.
func (v *Server) ReadOnly() bool {
	v.swarm.mu.Lock()
	defer v.swarm.mu.Unlock()
	return v.readOnly || v.superReadOnly
}
