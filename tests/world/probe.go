package world

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// ProbeAll has the daemon ask every server.
func (w *World) ProbeAll() {
	for _, v := range w.Servers {
		w.Probe(v.N)
	}
}

// Probe has the daemon ask one server.
func (w *World) Probe(n int) {
	v, p := w.Servers[n], &w.view()[n]
	p.Probe.Asked = w.Now()
	fail := topology.OK
	switch {
	case w.Unresolved[[2]int{w.Daemon, n}]:
		fail = topology.NoHost
	case !w.Reaches(w.Daemon, n), v.Health == Hung:
		fail = topology.Timeout
	case v.Health == Dead:
		fail = topology.Refused
	}
	if fail != topology.OK {
		if p.Probe.Failure == topology.OK {
			p.Probe.FailingSince, p.Probe.Failures = w.Now(), 0
		}
		p.Probe.Failure = fail
		p.Probe.Failures++
		return
	}
	p.Probe = topology.Probe{Asked: w.Now(), Answered: w.Now()}
	old := p.Instance
	switch p.Instance = w.instance(v); {
	case v.Source >= 0, old != nil && old.UUID != p.Instance.UUID:
		p.Left = nil
	case old != nil && len(old.Channels) > 0:
		p.Left = &topology.Departure{From: old.Channels[0].Source.Attached(), Seen: w.Now(),
			Filters: old.Channels[0].Filters}
	}
}

// view is what the daemon last heard; another one begins with what the first knew of the servers.
func (w *World) view() []topology.Server {
	if w.probes[w.Daemon] == nil {
		w.probes[w.Daemon] = slices.Clone(w.probes[-1])
	}
	return w.probes[w.Daemon]
}

// Snapshot is what the daemon knows.
func (w *World) Snapshot() topology.Snapshot {
	return topology.Snapshot{At: w.Now(), Servers: slices.Clone(w.view())}
}

// Heard is what the daemon knows of one server.
func (w *World) Heard(v *Server) *topology.Server { return &w.view()[v.N] }

// GTIDs writes a set as the servers would; MariaDB's are told in one domain a writer, which keeps the order of each.
func (w *World) GTIDs(s Set) gtid.Set {
	if known, ok := w.sets[s]; ok {
		return known
	}
	var text []byte
	for i, n := range s {
		if n > 0 {
			text = strconv.AppendInt(append(append(text, uuid(i)...), ":1-"...), int64(n), 10)
			text = append(text, ',')
		}
	}
	if len(w.sets) > 100 {
		clear(w.sets)
	}
	known := gtid.MustParse(string(text))
	w.sets[s] = known
	return known
}

func (w *World) instance(v *Server) *topology.Instance {
	i := &topology.Instance{UUID: uuid(v.Writer), ServerID: uint32(v.N + 1), Flavor: topology.MySQL,
		Version: topology.Version{Major: 8, Minor: 4}, ReadOnly: v.ReadOnly, SuperReadOnly: v.ReadOnly,
		LogBin: true, LogReplicaUpdates: v.LogUpdates, BinlogFilters: v.LogFilters, GTID: true, Scheduler: v.Scheduler,
		Executed: w.GTIDs(v.Executed), Purged: w.GTIDs(v.Purged), SemiSync: w.told(v), Stalled: w.stalled(v),
		StartedAt: epoch.Add(time.Duration(v.Booted) * Step)}
	if v.Booted == 0 {
		i.StartedAt = epoch.Add(-time.Hour)
	}
	if v.Maria {
		i.Flavor, i.Version, i.SuperReadOnly = topology.MariaDB, topology.Version{Major: 10, Minor: 11}, false
	}
	if v.Source >= 0 {
		i.Channels = []topology.Channel{w.channel(v)}
	}
	return i
}

func (w *World) channel(v *Server) topology.Channel {
	s := w.Servers[v.Source]
	c := topology.Channel{Source: s.Key, Spelt: v.Spelt, SourceUUID: uuid(s.Writer), AutoPosition: !v.Coordinates,
		SQLErrno: v.SQLErrno, Filters: v.Filters, IO: topology.Stopped, SQL: topology.Stopped, IOErrno: v.IOErrno}
	file := fmt.Sprintf("binlog.%06d", min(v.Read, 1)) // a new data directory begins with that again
	c.ReadFile, c.ReadPos = file, uint64(v.ReadPos)
	c.ExecFile, c.ExecPos = file, uint64(max(0, v.ReadPos-v.Received.count()+v.Executed.count()))
	if !v.Coordinates {
		c.Received = w.GTIDs(v.Received)
	}
	if w.Lags {
		lag := int64(w.Tick-v.level) * Step.Milliseconds() / 1000
		c.Lag = &lag
	}
	if v.Delayed {
		c.Delay = 3600
	}
	if v.Detached {
		c.Source, c.SourceUUID = c.Source.Detach(), ""
		if !c.Spelt.IsZero() {
			c.Spelt = c.Spelt.Detach()
		}
	}
	switch {
	case v.Connected:
		c.IO = topology.Running
	case v.IO:
		c.IO = topology.Connecting
	}
	if v.SQL && v.SQLErrno == 0 {
		c.SQL = topology.Running
	}
	return c
}
