package plan

import (
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/topology"
)

// Previewed is what would happen: the decisions in order until nothing is left to do.
type Previewed struct {
	// Dead is the server that the preview supposes to have died; zero when it starts from what is.
	Dead       topology.Key      `json:"dead,omitzero"`
	Candidates []Candidate       `json:"candidates,omitempty"`
	Refused    []string          `json:"refused,omitempty"`
	Wait       string            `json:"wait,omitempty"` // where it would stop
	Bound      string            `json:"bound,omitempty"`
	Steps      []Step            `json:"steps,omitempty"`
	Promoted   topology.Key      `json:"promoted,omitzero"`
	Outcome    string            `json:"outcome,omitempty"`
	Lost       []Lost            `json:"lost,omitempty"`
	After      topology.Snapshot `json:"-"` // the cluster as it would be then
}

// Ready says that nothing would have to be refused.
func (p Previewed) Ready() bool { return len(p.Refused) == 0 && p.Outcome != "" }

// Preview plays the decisions out on paper: every step is taken to succeed at once.
func Preview(s Situation) Previewed {
	var p Previewed
	waited := 0
	for range 30 { // a recovery takes some five rounds
		d := Next(s)
		if p.Candidates == nil {
			p.Candidates, p.Bound = d.Candidates, d.Bound
		}
		if d.Bound != "" {
			p.Bound = d.Bound
		}
		p.Refused, p.Wait = d.Refused, d.Wait
		p.Steps = append(p.Steps, d.Steps...)
		if e := d.Episode; e != nil {
			s.Episodes = replace(s.Episodes, *e)
			if e.Kind == PrimaryFailover && !e.Candidate.IsZero() {
				p.Promoted = e.Candidate
			}
			p.Outcome, p.Lost = e.Outcome, e.Lost
			if !e.Closed.IsZero() {
				break
			}
		}
		if len(d.Steps) == 0 {
			if waited++; d.Wait == "" || len(d.Refused) > 0 || waited > 6 {
				break // what only waits for time to pass goes on by itself
			}
			s.Snapshot.At = s.Snapshot.At.Add(500 * time.Millisecond)
		}
		s.Snapshot.Servers = slices.Clone(s.Snapshot.Servers)
		for _, step := range d.Steps {
			Pretend(&s.Snapshot, step)
		}
		s.Snapshot.At = s.Snapshot.At.Add(200 * time.Millisecond)
		s.Findings = analysis.Analyze(s.Snapshot, s.Thresholds)
	}
	p.After = s.Snapshot
	return p
}

// IfDies previews what would be done if a server died now, as a killed process does: it refuses connections, and every replica of it
// notices. This is the question of failover readiness.
func IfDies(s Situation, dead topology.Key) Previewed {
	s.Snapshot = Died(s.Snapshot, dead)
	s.Findings = analysis.Analyze(s.Snapshot, s.Thresholds)
	p := Preview(s)
	p.Dead = dead
	return p
}

// Died is the snapshot as it would be a moment after a server was killed.
func Died(s topology.Snapshot, dead topology.Key) topology.Snapshot {
	out := topology.Snapshot{At: s.At, Servers: slices.Clone(s.Servers)}
	for i := range out.Servers {
		v := &out.Servers[i]
		if v.Key == dead {
			v.Probe.Failure, v.Probe.Error = topology.Refused, "supposed to have died"
			v.Probe.FailingSince, v.Probe.Failures = s.At.Add(-time.Second), 3
			continue
		}
		if v.ChannelFrom(dead) == nil || !v.Up() {
			continue
		}
		v.Probe.Answered, v.Probe.Asked = s.At, s.At
		edit(v, func(i *topology.Instance) {
			for j := range i.Channels {
				if c := &i.Channels[j]; c.Source == dead && c.IO == topology.Running {
					c.IO, c.IOErrno = topology.Connecting, 2003
				}
			}
		})
	}
	return out
}

func replace(es []Episode, e Episode) []Episode {
	out := slices.Clone(es)
	for i := range out {
		if out[i].ID == e.ID {
			out[i] = e
			return out
		}
	}
	return append([]Episode{e}, out...)
}

// edit changes a copy of the instance, so that snapshots can share what did not change.
func edit(v *topology.Server, change func(*topology.Instance)) {
	i := *v.Instance
	i.Channels = slices.Clone(i.Channels)
	change(&i)
	v.Instance = &i
}

// Pretend does a step on paper, as a server would that obeys at once.
func Pretend(s *topology.Snapshot, step Step) {
	v := s.Server(step.At)
	if v == nil || v.Instance == nil {
		return
	}
	source := s.Server(step.Source)
	edit(v, func(i *topology.Instance) {
		channels := func(change func(*topology.Channel)) {
			for j := range i.Channels {
				change(&i.Channels[j])
			}
		}
		reaches := func(k topology.Key) topology.ThreadState {
			if to := s.Server(k); to != nil && !to.Up() {
				return topology.Connecting
			}
			return topology.Running
		}
		switch step.Kind {
		case RestartReceiver, StartReceiver:
			channels(func(c *topology.Channel) {
				c.IO, c.IOErrno = reaches(c.Source), 0
			})
		case StopReceiver:
			channels(func(c *topology.Channel) { c.IO = topology.Stopped }) // its last error stays
		case StartApplier:
			channels(func(c *topology.Channel) { c.SQL = topology.Running })
		case AwaitApplied:
			i.Executed = i.Executed.Union(step.Set)
		case Promote:
			i.Channels, i.ReadOnly, i.SuperReadOnly = nil, false, false
		case Repoint:
			channels(func(c *topology.Channel) {
				c.Source, c.IO, c.IOErrno, c.IOError = step.Source, topology.Running, 0, ""
				if source != nil && source.Instance != nil {
					c.SourceUUID = source.Instance.UUID
					c.Received = c.Received.Union(source.Instance.Executed)
					i.Executed = i.Executed.Union(source.Instance.Executed)
				}
			})
		case Fence:
			i.ReadOnly = true
			i.SuperReadOnly = i.Flavor == topology.MySQL
		case Detach:
			channels(func(c *topology.Channel) {
				c.IO = topology.Stopped
				if !strings.HasPrefix(c.Source.Host, "//") {
					c.Source.Host = "//" + c.Source.Host
				}
			})
		}
	})
}
