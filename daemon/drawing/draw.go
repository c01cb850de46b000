package drawing

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

// Draw prints the snapshot as Parse reads it: what a line does not say is as expected, and the version and whether a
// server takes writes are always said. Comments tell people what they would otherwise have to work out.
//
// It holds what decisions read, times to the millisecond. It leaves out what describes a server to people only
// (its own names, the user of its replication), coordinates where GTIDs speak,
// since when a receiver runs, errors and settings of further channels of a server with several, and, as long as
// every server answers, how many of the last two seconds ago each was asked. JSON holds it all.
func Draw(s topology.Snapshot) string {
	s = drawable(s)
	p := newPicture()
	p.at = s.At
	actual := layout(s, p)
	said := map[*drawn][]string{}
	for _, second := range []bool{false, true} {
		if second {
			p.link()
		}
		for _, d := range p.lines {
			if !second {
				p.begin(d)
				actual[d].base = d.base
			} else {
				p.fill(d)
			}
			for i := range attributes {
				if a := &attributes[i]; a.second == second {
					said[d] = append(said[d], p.say(d, actual[d], a)...)
				}
			}
		}
	}
	var b strings.Builder
	if !s.At.Equal(At) {
		fmt.Fprintf(&b, "at=%s\n", s.At.Format(time.RFC3339Nano))
	}
	primaries := map[topology.Key]bool{}
	for _, part := range parts(s) {
		if v := part.Primary(); v != nil {
			primaries[v.Key] = true
		}
	}
	rows := make([][4]string, len(p.lines))
	var width [3]int
	for n, d := range p.lines {
		v := actual[d]
		rows[n][0] = strings.Repeat("  ", d.indent) + brief(d.server.Key)
		if i := v.server.Instance; i != nil {
			rows[n][1] = string(d.flavor) + "=" + d.version.String()
			rows[n][2] = find("mode").show(p, v)
		}
		rows[n][3] = strings.Join(said[d], " ")
		if notes := p.notes(d, v, primaries[d.server.Key]); notes != "" {
			rows[n][3] = strings.TrimLeft(rows[n][3]+"  # "+notes, " ")
		}
		for c := range width {
			width[c] = max(width[c], len(rows[n][c]))
		}
	}
	for n, r := range rows {
		if n > 0 && p.lines[n].indent == 0 && p.lines[n].server.Cluster != p.lines[n-1].server.Cluster {
			b.WriteByte('\n')
		}
		line := fmt.Sprintf("%-*s  %-*s  %-*s  %s", width[0], r[0], width[1], r[1], width[2], r[2], r[3])
		b.WriteString(strings.TrimRight(line, " "))
		b.WriteByte('\n')
	}
	return b.String()
}

// say returns the words that make what is expected of an attribute what it is, having read them into d.
func (p *picture) say(d, actual *drawn, a *attribute) []string {
	if a.missing(actual) != nil || a.missing(d) != nil || a.name == "of" && actual.server.Cluster == "" {
		return nil
	}
	want := a.show(p, actual)
	differs := want != a.show(p, d)
	if a.name == "exec" && len(d.server.Instance.Channels) == 1 && len(actual.server.Instance.Channels) == 1 {
		// recv= says something about what is executed, too.
		received := actual.server.Instance.Channels[0].Received
		if recv := find("recv"); recv.show(p, actual) != recv.show(p, d) {
			differs = p.showSet(d, d.server.Instance.Executed.Intersect(received)) != want
		}
	}
	if !differs || want == "" {
		return nil
	}
	var words []string
	values := []string{want}
	if a.repeats {
		values = strings.Split(want, between)
	}
	for _, value := range values {
		if a.name == "of" {
			if k, err := topology.ParseKey(value); err == nil && p.byKey[k] != nil && k.String() == value {
				value = brief(k)
			}
		}
		if p.apply(d, a, value) != nil { // nothing that the notation can say
			continue
		}
		d.given[a.name] = append(d.given[a.name], value)
		word := a.name + "=" + quoted(value)
		for s, long := range short {
			if long == a.name+"="+value {
				word = s
			}
		}
		words = append(words, word)
	}
	switch a.name {
	case "mysql", "mariadb", "mode": // in columns of their own
		return nil
	}
	return words
}

func quoted(value string) string {
	plain := func(r rune) bool { return r > ' ' && r != '"' && strconv.IsPrint(r) }
	if strings.ContainsFunc(value, func(r rune) bool { return !plain(r) }) || strings.ContainsRune(value, '\uFFFD') {
		return strconv.Quote(value)
	}
	return value
}

// notes are for people; they say nothing that is not in the line.
func (p *picture) notes(d, actual *drawn, primary bool) string {
	i := actual.server.Instance
	if i == nil {
		return ""
	}
	var out []string
	if primary {
		out = append(out, "primary")
	}
	for _, c := range i.Channels {
		if n := i.Executed.Missing(c.Received); n > 0 {
			out = append(out, fmt.Sprintf("%d to apply", n))
		}
	}
	if root := d.base.server.Instance; d.base != d && root != nil && root.Flavor == i.Flavor {
		if n := actual.server.Received().Missing(root.Executed); n > 0 {
			out = append(out, fmt.Sprintf("lacks %d of %s", n, brief(d.base.server.Key)))
		}
		if n := root.Executed.Missing(i.Executed); n > 0 {
			out = append(out, fmt.Sprintf("has %d more than %s", n, brief(d.base.server.Key)))
		}
	}
	return strings.Join(out, ", ")
}

// layout gives each server its line: the primary's tree of a cluster before its other roots. It returns what each line must say.
func layout(s topology.Snapshot, p *picture) map[*drawn]*drawn {
	actual := map[*drawn]*drawn{}
	below := map[topology.Key][]topology.Server{}
	known := map[topology.Key]bool{}
	for _, v := range s.Servers {
		known[v.Key] = true
	}
	var roots []topology.Server
	for _, v := range s.Servers {
		if v.Instance != nil && len(v.Instance.Channels) > 0 {
			if source := v.Instance.Channels[0].Source; known[source] && source != v.Key {
				below[source] = append(below[source], v)
				continue
			}
		}
		roots = append(roots, v)
	}
	primary := map[topology.Key]bool{}
	for _, part := range parts(s) {
		if v := part.Primary(); v != nil {
			primary[v.Key] = true
		}
	}
	first := func(a, b topology.Server) int {
		rank := func(v topology.Server) int {
			switch {
			case primary[v.Key]:
				return 0
			case v.Instance != nil && !v.Instance.ReadOnly:
				return 1
			}
			return 2
		}
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(rank(a), rank(b)), a.Key.Compare(b.Key))
	}
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
	for _, list := range [][]topology.Server{roots, s.Servers} { // then those who stand in a circle
		list = slices.Clone(list)
		slices.SortFunc(list, first)
		for _, v := range list {
			draw(v, nil)
		}
	}
	return actual
}

// parts are the clusters, sorted by name.
func parts(s topology.Snapshot) []topology.Snapshot {
	by := map[string]int{}
	var out []topology.Snapshot
	for _, name := range s.Clusters() {
		by[name] = len(out)
		out = append(out, topology.Snapshot{At: s.At, Promoted: s.Promoted})
	}
	for _, v := range s.Servers {
		part := &out[by[v.Cluster]]
		part.Servers = append(part.Servers, v)
	}
	return out
}

// drawable returns a copy without what a drawing does not hold.
func drawable(s topology.Snapshot) topology.Snapshot {
	out := topology.Snapshot{At: s.At, Promoted: s.Promoted}
	follower := map[topology.Key]bool{} // by coordinates
	quiet := true
	for _, v := range s.Servers {
		quiet = quiet && v.Probe.Failure == topology.OK
		if v.Instance == nil {
			continue
		}
		for _, c := range v.Instance.Channels {
			follower[c.Source] = follower[c.Source] || !c.AutoPosition
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
		if v.Instance != nil {
			i := *v.Instance
			i.Hostname, i.ReportHost, i.Port = v.Key.Host, "", v.Key.Port
			if i.StartedAt = near(i.StartedAt); s.At.Sub(i.StartedAt) > 10*time.Minute {
				i.StartedAt = time.Time{}
			}
			if i.LogBin && i.GTID && !follower[v.Key] {
				i.BinlogFile, i.BinlogPos = "binlog.000001", 10000
			}
			i.Channels = nil
			for _, c := range v.Instance.Channels {
				if c.Source.IsZero() {
					continue
				}
				if c.AutoPosition && !c.Received.Empty() {
					c.ReadFile, c.ReadPos, c.ExecFile, c.ExecPos = "binlog.000001", 10000, "binlog.000001", 10000
				}
				if c.IOSince = near(c.IOSince); c.IO == topology.Running {
					c.IOSince = time.Time{}
				}
				c.HeartbeatSecs, c.Heartbeats, c.User = 0, 0, ""
				i.Channels = append(i.Channels, c)
			}
			v.Instance = &i
		}
		out.Servers = append(out.Servers, v)
	}
	out.Sort()
	return out
}
