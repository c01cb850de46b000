package discovery

import (
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

// change says how much a probe changed of what is known.
type change int

const (
	unchanged   change = iota // only times, and counters of heartbeats
	moved                     // positions, lag, texts of errors: worth showing, seldom worth a decision
	significant               // anything that a decision may rest on
)

// state is what is known of a server at one moment. It holds pointers to things that are never changed, only replaced.
type state struct {
	key      topology.Key
	failure  topology.Failure
	up       bool
	instance *topology.Instance
	sources  []topology.Key
	names    []topology.Key
	stranger *topology.Stranger
	leftOut  int
}

func (s *server) state() state {
	return state{s.key, s.probe.Failure, s.up(), s.instance, s.sources, s.names, s.stranger, s.leftOut}
}

// difference says how much b differs from a.
func difference(a, b state) change {
	switch {
	case a.key != b.key || a.failure != b.failure || a.up != b.up || len(a.names) != len(b.names),
		!equal(a.stranger, b.stranger) || a.leftOut != b.leftOut:
		return significant
	case a.instance == b.instance:
		return unchanged
	case a.instance == nil || b.instance == nil || !slices.Equal(a.sources, b.sources):
		return significant
	}
	return instanceDifference(a.instance, b.instance)
}

func instanceDifference(a, b *topology.Instance) change {
	switch {
	case a.UUID != b.UUID || a.ServerID != b.ServerID || a.Version != b.Version || a.Flavor != b.Flavor,
		a.Hostname != b.Hostname || a.ReportHost != b.ReportHost || a.Port != b.Port ||
			a.BinlogFormat != b.BinlogFormat,
		a.ReadOnly != b.ReadOnly || a.SuperReadOnly != b.SuperReadOnly || a.LogBin != b.LogBin,
		a.Scheduler != b.Scheduler || !slices.Equal(a.Dormant, b.Dormant),
		a.LogReplicaUpdates != b.LogReplicaUpdates || a.GTID != b.GTID || a.SemiSync != b.SemiSync,
		!slices.Equal(a.Strangers, b.Strangers),
		!slices.Equal(a.Unusable, b.Unusable) || !slices.Equal(a.Ungranted, b.Ungranted),
		cause(a.Stalled) != cause(b.Stalled) || len(a.Channels) != len(b.Channels), !near(a.StartedAt, b.StartedAt):
		return significant
	}
	out := unchanged
	for i := range a.Channels {
		out = max(out, channelDifference(&a.Channels[i], &b.Channels[i]))
	}
	if out == unchanged && (a.BinlogFile != b.BinlogFile || a.BinlogPos != b.BinlogPos ||
		!a.Executed.Same(b.Executed) ||
		!a.Purged.Same(b.Purged) || !a.BinlogWritten.Same(b.BinlogWritten) ||
		!slices.Equal(a.Registered, b.Registered) || !slices.Equal(a.Registrations, b.Registrations) ||
		a.Readers != b.Readers || !equal(a.Stalled, b.Stalled)) {
		return moved
	}
	return out
}

func channelDifference(a, b *topology.Channel) change {
	switch {
	case a.Name != b.Name || a.Source != b.Source || a.SourceUUID != b.SourceUUID || a.IO != b.IO || a.SQL != b.SQL,
		a.IOErrno != b.IOErrno || a.SQLErrno != b.SQLErrno || a.AutoPosition != b.AutoPosition || a.Delay != b.Delay:
		return significant
	case a.SourceID != b.SourceID || a.IOError != b.IOError || a.SQLError != b.SQLError || !equal(a.Lag, b.Lag),
		a.ReadFile != b.ReadFile || a.ReadPos != b.ReadPos || a.ExecFile != b.ExecFile || a.ExecPos != b.ExecPos,
		!a.Received.Same(b.Received) || a.HeartbeatSecs != b.HeartbeatSecs || a.Filters != b.Filters,
		a.SSL != b.SSL || a.User != b.User || !a.IOSince.Equal(b.IOSince):
		return moved
	}
	return unchanged
}

// sameHeartbeats says that no receiver has counted a heartbeat between two answers that differ in nothing else.
func sameHeartbeats(a, b *topology.Instance) bool {
	return slices.EqualFunc(a.Channels, b.Channels,
		func(x, y topology.Channel) bool { return x.Heartbeats == y.Heartbeats })
}

// cause tells a stall from none, and from one of another cause.
func cause(s *topology.Stall) string {
	if s == nil {
		return ""
	}
	return "stalled " + s.Cause
}

func equal[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// share lets a new answer keep the parts of the old one that are the same, so that each is held once: a fleet of
// thousands is asked every few seconds, and hardly anything of what it says is new. What is new is held apart from the
// rest of the answer, of which most is of no use.
func share(i, old *topology.Instance) {
	if old == nil {
		old = &topology.Instance{}
	}
	for _, t := range []struct{ now, before *string }{
		{&i.UUID, &old.UUID}, {&i.Hostname, &old.Hostname}, {&i.ReportHost, &old.ReportHost},
		{&i.BinlogFormat, &old.BinlogFormat}, {&i.BinlogFile, &old.BinlogFile},
	} {
		shareText(t.now, *t.before)
	}
	if i.Executed.Same(old.Executed) {
		i.Executed = old.Executed
	}
	if i.Purged.Same(old.Purged) {
		i.Purged = old.Purged
	}
	if i.BinlogWritten.Same(old.BinlogWritten) {
		i.BinlogWritten = old.BinlogWritten
	}
	if i.BinlogState.Equal(old.BinlogState) {
		i.BinlogState = old.BinlogState
	}
	if slices.Equal(i.Registered, old.Registered) {
		i.Registered = old.Registered
	}
	if slices.Equal(i.Registrations, old.Registrations) {
		i.Registrations = old.Registrations
	}
	for n := range i.Channels {
		before := &topology.Channel{}
		if n < len(old.Channels) {
			before = &old.Channels[n]
		}
		shareChannel(&i.Channels[n], before)
	}
}

func shareChannel(c, old *topology.Channel) {
	for _, t := range []struct{ now, before *string }{
		{&c.Name, &old.Name}, {&c.Source.Host, &old.Source.Host}, {&c.SourceUUID, &old.SourceUUID},
		{&c.ReadFile, &old.ReadFile}, {&c.ExecFile, &old.ExecFile}, {&c.User, &old.User},
		{&c.IOError, &old.IOError}, {&c.SQLError, &old.SQLError},
	} {
		shareText(t.now, *t.before)
	}
	if c.Received.Same(old.Received) {
		c.Received = old.Received
	}
	if equal(c.Lag, old.Lag) {
		c.Lag = old.Lag
	}
}

func shareText(now *string, before string) {
	if *now == before {
		*now = before
	} else {
		*now = strings.Clone(*now)
	}
}

// note takes notice of what a probe of a server has changed, and tells the subscribers.
func (f *Fleet) note(s *server, before state, asked, now time.Time) {
	much := difference(before, s.state())
	c := s.cluster
	if much == significant {
		f.touch(s)
	}
	switch {
	case much == significant || c == nil || f.inTrouble(c):
		f.tell(s, now)
	case much == moved:
		f.revise(c)
		c.moved, c.untold = now, true
	case asked.After(c.moved) && !s.settled.After(c.moved):
		// What it has compares with what others have only once it was asked after them.
		f.revise(c)
		c.untold = true
	default:
		c.fresh = false
	}
	s.settled = asked
	if c != nil && c.untold && now.Sub(c.told) >= f.o.Poll {
		f.tell(s, now)
	}
}
