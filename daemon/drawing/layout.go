package drawing

import (
	"cmp"
	"slices"
	"time"

	"orchestrator/daemon/topology"
)

// layout gives each server its line: the primary's tree of a cluster before its other roots. It returns what each line
// must say.
func layout(s topology.Snapshot, p *picture) map[*drawn]*drawn {
	actual := map[*drawn]*drawn{}
	roots, below := forest(s)
	var draw func(v topology.Server, parent *drawn)
	draw = func(v topology.Server, parent *drawn) {
		if p.byKey[v.Key] != nil {
			return
		}
		d := &drawn{parent: parent, server: topology.Server{Key: v.Key}, given: map[string][]string{}}
		show := &drawn{server: v, promoted: s.Promoted[v.Cluster] == v.Key}
		if v.Instance != nil {
			show.flavor, show.version = v.Instance.Flavor, v.Instance.Version
		}
		if parent != nil {
			d.indent = parent.indent + 1
		} else if v.Cluster != "" && v.Cluster != v.Key.String() {
			d.given["of"] = []string{v.Cluster}
		}
		p.add(d)
		actual[d] = show
		for _, r := range below[v.Key] {
			draw(r, d)
		}
	}
	primary := primaries(s)
	for _, list := range [][]topology.Server{roots, s.Servers} { // then those who stand in a circle
		list = slices.Clone(list)
		slices.SortFunc(list, func(a, b topology.Server) int {
			return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(rootRank(a, primary), rootRank(b, primary)),
				a.Key.Compare(b.Key))
		})
		for _, v := range list {
			draw(v, nil)
		}
	}
	return actual
}

// forest is who is drawn below whom: below the source of the first channel, where that is in the snapshot.
func forest(s topology.Snapshot) (roots []topology.Server, below map[topology.Key][]topology.Server) {
	below = map[topology.Key][]topology.Server{}
	known := map[topology.Key]bool{}
	for _, v := range s.Servers {
		known[v.Key] = true
	}
	for _, v := range s.Servers {
		if v.Instance != nil && len(v.Instance.Channels) > 0 {
			if source := v.Instance.Channels[0].Source; known[source] && source != v.Key {
				below[source] = append(below[source], v)
				continue
			}
		}
		roots = append(roots, v)
	}
	return roots, below
}

// rootRank draws the primary of a cluster first, then what takes writes.
func rootRank(v topology.Server, primary map[topology.Key]bool) int {
	switch {
	case primary[v.Key]:
		return 0
	case v.Instance != nil && !v.Instance.ReadOnly:
		return 1
	}
	return 2
}

// primaries are those of all clusters.
func primaries(s topology.Snapshot) map[topology.Key]bool {
	parts := map[string]*topology.Snapshot{}
	for _, v := range s.Servers {
		if parts[v.Cluster] == nil {
			parts[v.Cluster] = &topology.Snapshot{At: s.At, Promoted: s.Promoted}
		}
		parts[v.Cluster].Servers = append(parts[v.Cluster].Servers, v)
	}
	out := map[topology.Key]bool{}
	for _, part := range parts {
		if v := part.Primary(); v != nil {
			out[v.Key] = true
		}
	}
	return out
}

// drawable returns a copy without what a drawing does not hold.
func drawable(s topology.Snapshot) topology.Snapshot {
	s = s.Canonical()
	out := topology.Snapshot{At: s.At, Promoted: s.Promoted}
	byPosition := map[topology.Key]bool{} // somebody follows it by coordinates
	quiet := true
	for _, v := range s.Servers {
		quiet = quiet && v.Probe.Failure == topology.OK
		if v.Instance == nil {
			continue
		}
		for _, c := range v.Instance.Channels {
			byPosition[c.Source] = byPosition[c.Source] || !c.AutoPosition
		}
	}
	near := func(t time.Time) time.Time { // monotone, so that what was before stays not after
		if t.IsZero() {
			return t
		}
		return s.At.Add(-s.At.Sub(t).Round(time.Millisecond))
	}
	seen := map[topology.Key]bool{}
	for _, v := range s.Servers {
		if v.Key.IsZero() || seen[v.Key] {
			continue
		}
		seen[v.Key] = true
		if quiet && v.Up() && s.At.Sub(v.Probe.Answered).Abs() <= 2*time.Second {
			v.Probe = topology.Probe{Asked: s.At, Answered: s.At}
		}
		out.Servers = append(out.Servers, drawableServer(v, s.At, near, byPosition[v.Key]))
	}
	out.Sort()
	return out
}

func drawableServer(v topology.Server, at time.Time, near func(time.Time) time.Time, byPosition bool) topology.Server {
	v.Probe.Asked, v.Probe.Answered = near(v.Probe.Asked), near(v.Probe.Answered)
	v.Probe.FailingSince = near(v.Probe.FailingSince)
	if v.Rule == topology.Neutral {
		v.Rule = ""
	}
	if v.Downtime != nil {
		d := *v.Downtime
		d.Until = near(d.Until)
		v.Downtime = &d
	}
	if v.Instance == nil {
		return v
	}
	i := *v.Instance
	i.Hostname, i.ReportHost, i.Port = v.Key.Host, "", v.Key.Port
	if i.StartedAt = near(i.StartedAt); at.Sub(i.StartedAt) > 10*time.Minute {
		i.StartedAt = time.Time{}
	}
	if i.LogBin && i.GTID && !byPosition {
		i.BinlogFile, i.BinlogPos = usualFile, usualPos
	}
	i.Channels = nil
	for _, c := range v.Instance.Channels {
		if c.AutoPosition && !c.Received.Empty() {
			c.ReadFile, c.ReadPos, c.ExecFile, c.ExecPos = usualFile, usualPos, usualFile, usualPos
		}
		if c.IOSince = near(c.IOSince); c.IO == topology.Running {
			c.IOSince = time.Time{}
		}
		c.HeartbeatSecs, c.Heartbeats, c.User = 0, 0, ""
		i.Channels = append(i.Channels, c)
	}
	v.Instance = &i
	return v
}
