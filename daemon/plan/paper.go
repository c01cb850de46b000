package plan

import (
	"fmt"
	"slices"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

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

// settled is the situation with the positions that all servers would report at the same moment. Each server has
// everything that can have reached it since its probe.
func settled(s Situation) Situation {
	v := newView(s)
	snapshot := s.Snapshot
	snapshot.Servers = slices.Clone(snapshot.Servers)
	for i := range snapshot.Servers {
		r := &snapshot.Servers[i]
		if !r.Up() {
			continue
		}
		have := v.received(&s.Snapshot.Servers[i])
		if r.Received().Contains(have) {
			continue
		}
		edit(r, func(i *topology.Instance) {
			if len(i.Channels) == 0 {
				i.Executed = i.Executed.Union(have)
				return
			}
			for j := range i.Channels {
				if c := &i.Channels[j]; c.IO == topology.Running {
					c.Received = c.Received.Union(have)
					return
				}
			}
		})
	}
	return s.With(snapshot)
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
	v, row := s.Server(step.At), step.Kind.row()
	if v == nil || v.Instance == nil || row == nil {
		return
	}
	edit(v, func(i *topology.Instance) { row.does(paper{s, i}, step) })
}

// paper is a server on which a step is done on paper, and the snapshot that it belongs to.
type paper struct {
	s *topology.Snapshot
	*topology.Instance
}

// channels changes those that receive from a server, or all when none is named.
func (p paper) channels(from topology.Key, change func(*topology.Channel)) {
	for j := range p.Channels {
		if c := &p.Channels[j]; from.IsZero() || c.Source.Attached() == from || c.Written().Attached() == from {
			change(c)
		}
	}
}

func (p paper) startReceivers(step Step) {
	p.channels(step.From, func(c *topology.Channel) {
		c.IO, c.IOErrno = topology.Running, 0
		if to := p.s.Server(c.Source); to != nil && !to.Up() {
			c.IO = topology.Connecting
		}
	})
}

// stopReceivers leaves the last error, as servers do.
func (p paper) stopReceivers(step Step) {
	p.channels(step.From, func(c *topology.Channel) { c.IO = topology.Stopped })
}

func (p paper) startAppliers(step Step) {
	p.channels(step.From, func(c *topology.Channel) { c.SQL = topology.Running })
}

func (p paper) apply(step Step) { p.Executed = p.Executed.Union(step.Set) }

func (p paper) promote(step Step) {
	p.Channels, p.ReadOnly, p.SuperReadOnly = nil, false, false
	p.Scheduler = p.Scheduler || step.Events
	switch step.SemiSync {
	case On:
		p.semiSyncOn(step)
	case Off:
		p.semiSyncOff(step)
	}
}

func (p paper) semiSyncOn(Step) { p.SemiSync.SourceEnabled, p.SemiSync.SourceActive = true, true }

func (p paper) semiSyncOff(Step) { p.SemiSync.SourceEnabled, p.SemiSync.SourceActive = false, false }

func (p paper) repoint(step Step) {
	source := p.s.Named(step.Source)
	p.channels(topology.Key{}, func(c *topology.Channel) {
		c.Source, c.Spelt, c.IO, c.IOErrno, c.IOError = step.Source, topology.Key{}, topology.Running, 0, ""
		c.IOSince = time.Time{} // no time passes on paper, and nobody waits there
		if source != nil && source.Key != step.Source {
			c.Source, c.Spelt = source.Key, step.Source
		}
		if source != nil && source.Instance != nil {
			c.SourceUUID = source.Instance.UUID
			c.Received = c.Received.Union(source.Instance.Executed)
			p.Executed = p.Executed.Union(source.Instance.Executed)
		}
	})
}

func (p paper) fence(Step) {
	p.ReadOnly, p.SuperReadOnly, p.Scheduler = true, p.Flavor == topology.MySQL, false
}

// commit makes up a transaction that nobody has.
func (p paper) commit(Step) {
	const number = 1 << 50
	text := fmt.Sprintf("%s:%d", p.UUID, number)
	if p.Flavor == topology.MariaDB {
		text = fmt.Sprintf("0-%d-%d", p.ServerID, number)
	}
	if one, err := gtid.Parse(text); err == nil {
		p.Executed = p.Executed.Union(one)
	}
}

func (p paper) detach(step Step) {
	p.channels(step.From, func(c *topology.Channel) {
		c.IO = topology.Stopped
		if c.Source.Detached() {
			return
		}
		if c.Source = c.Source.Detach(); !c.Spelt.IsZero() {
			c.Spelt = c.Spelt.Detach()
		}
	})
}
