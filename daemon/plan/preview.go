package plan

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

// Previewed is what would happen: the decisions in order until nothing is left to do.
type Previewed struct {
	// Dead is the server that the preview supposes to have died; zero when it starts from what is.
	Dead topology.Key `json:"dead,omitzero"`
	// Works are in order of precedence. Each has the candidates as they were ranked first, all its steps, and the episode, refusals
	// and wait of its end.
	Works []Work `json:"works,omitempty"`
	// Steps are those of all works, in the order in which they would be done.
	Steps []Step            `json:"steps,omitempty"`
	After topology.Snapshot `json:"-"` // the cluster as it would be then
}

// Main is the work about the server that is supposed to have died; the foremost where none is. Zero when nothing would be done.
func (p Previewed) Main() Work {
	for _, w := range p.Works {
		if w.Failed == p.Dead {
			return w
		}
	}
	if len(p.Works) == 0 || !p.Dead.IsZero() {
		return Work{}
	}
	return p.Works[0]
}

// Ready says that the main work would come to its end, and nothing of it would have to be refused.
func (p Previewed) Ready() bool { return len(p.Main().Refused) == 0 && p.Main().Outcome() != "" }

// add takes up a decision.
func (p *Previewed) add(d Decision) {
	for _, w := range d.Works {
		i := slices.IndexFunc(p.Works, func(o Work) bool { return o.Kind == w.Kind && o.Failed == w.Failed })
		if i < 0 {
			p.Works = append(p.Works, w)
			continue
		}
		before := p.Works[i]
		w.Steps = append(slices.Clone(before.Steps), w.Steps...)
		if before.Candidates != nil {
			w.Candidates = before.Candidates
		}
		w.Bound = cmp.Or(w.Bound, before.Bound)
		p.Works[i] = w
	}
	p.Steps = append(p.Steps, d.Steps()...)
}

// Preview plays the decisions out on paper: every step is taken to succeed at once.
func Preview(s Situation) Previewed {
	var p Previewed
	waited := 0
	for range 30 { // a recovery takes some five rounds
		d := Next(s)
		p.add(d)
		changed := false
		for _, e := range d.Episodes() {
			at := slices.IndexFunc(s.Episodes, func(o Episode) bool { return o.ID == e.ID })
			changed = changed || at < 0 || !reflect.DeepEqual(s.Episodes[at], e)
			s.Episodes = replace(s.Episodes, e)
		}
		if len(d.Steps()) == 0 && !changed {
			if waited++; d.Wait() == "" || waited > 6 {
				break // what only waits for time to pass goes on by itself
			}
			s.Snapshot.At = s.Snapshot.At.Add(500 * time.Millisecond)
		}
		s.Snapshot.Servers = slices.Clone(s.Snapshot.Servers)
		for _, step := range d.Steps() {
			Pretend(&s.Snapshot, step)
		}
		s.Snapshot.At = s.Snapshot.At.Add(200 * time.Millisecond)
		s = Situate(s.Facts)
	}
	p.After = s.Snapshot
	return p
}

// IfDies previews what would be done if a server died now, as a killed process does: it refuses connections, and every replica of it
// notices. This is the question of failover readiness.
func IfDies(s Situation, dead topology.Key) Previewed {
	p := Preview(s.With(Died(s.Snapshot, dead)))
	p.Dead = dead
	return p
}

// Died is the snapshot as it would be a moment after a server was killed.
func Died(s topology.Snapshot, dead topology.Key) topology.Snapshot {
	out := topology.Snapshot{At: s.At, Promoted: s.Promoted, Servers: slices.Clone(s.Servers)}
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
