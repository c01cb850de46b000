package drawing

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

// Draw prints the snapshot as Parse reads it: what a line does not say is as expected, and the version and whether a
// server takes writes are always said. Comments tell people what they would otherwise have to work out.
//
// It holds what decisions read, times to the millisecond. It leaves out what describes a server to people only (its own
// names, the user of its replication), coordinates where GTIDs speak, since when a receiver runs, errors and settings
// of further channels of a server with several, and, as long as every server answers, how many of the last two seconds
// ago each was asked. JSON holds it all.
func Draw(s topology.Snapshot) string { return Print(Saved{Snapshot: s}) }

// Print prints all that decisions rest on as Parse reads it. See Draw for what it leaves out of servers.
func Print(saved Saved) string {
	s := drawable(saved.Snapshot)
	p := newPicture()
	p.at = s.At
	actual := layout(s, p)
	said := map[*drawn][]string{}
	for pass := range passes {
		if pass > 0 {
			p.link()
		}
		for _, d := range p.lines {
			p.expect(d, pass)
			actual[d].base = d.base
			for i := range passes[pass] {
				said[d] = append(said[d], p.say(d, actual[d], &passes[pass][i])...)
			}
		}
	}
	var b strings.Builder
	if !s.At.Equal(At) {
		fmt.Fprintf(&b, "at=%s\n", s.At.Format(time.RFC3339Nano))
	}
	if saved.Off != "" {
		fmt.Fprintf(&b, "off %s\n", strconv.Quote(saved.Off))
	}
	if saved.Thresholds != nil {
		fmt.Fprintln(&b, strings.Join(append([]string{"thresholds"}, p.writeThresholds(*saved.Thresholds)...), " "))
	}
	p.print(&b, p.rows(actual, said, primaries(s)), saved.ByCluster)
	return b.String()
}

// say returns the words that make what is expected of an attribute what it is, having read them into d.
func (p *picture) say(d, actual *drawn, a *attribute) []string {
	want := p.differs(d, actual, a)
	if want == "" {
		return nil
	}
	var words []string
	values := []string{want}
	if a.repeats {
		values = strings.Split(want, between)
	}
	for _, value := range values {
		if a.name == "of" {
			value = p.ofCluster(value)
		}
		if p.apply(d, a, value) != nil { // nothing that the notation can say
			continue
		}
		d.given[a.name] = append(d.given[a.name], value)
		words = append(words, spelling(a.name, value))
	}
	switch a.name {
	case "mysql", "mariadb", "mode": // in columns of their own
		return nil
	}
	return words
}

// differs is the value of an attribute where that is not what is expected; "" where it is.
func (p *picture) differs(d, actual *drawn, a *attribute) string {
	if a.missing(actual) != nil || a.missing(d) != nil || a.name == "of" && actual.server.Cluster == "" {
		return ""
	}
	want := a.show(p, actual)
	expected := a.show(p, d)
	if a.name == "exec" && len(d.server.Instance.Channels) == 1 && len(actual.server.Instance.Channels) == 1 {
		// recv= says something about what is executed, too.
		received := actual.server.Instance.Channels[0].Received
		if recv := find("recv"); recv.show(p, actual) != recv.show(p, d) {
			expected = p.showSet(d, d.server.Instance.Executed.Intersect(received))
		}
	}
	if want == expected {
		return ""
	}
	return want
}

// spelling is the usual way to write an attribute.
func spelling(name, value string) string {
	for s, long := range short {
		if long == name+"="+value {
			return s
		}
	}
	return name + "=" + quoted(value)
}

func quoted(value string) string {
	plain := func(r rune) bool { return r > ' ' && r != '"' && strconv.IsPrint(r) }
	if strings.ContainsFunc(value, func(r rune) bool { return !plain(r) }) || strings.ContainsRune(value, '\uFFFD') {
		return strconv.Quote(value)
	}
	return value
}

// argument is a word that stands alone, which must be seen to be one.
func argument(text string) string {
	if text == "" || text[0] == '#' {
		return strconv.Quote(text)
	}
	return quoted(text)
}

// rows are the lines in their columns: name, version, mode, and the rest.
func (p *picture) rows(actual map[*drawn]*drawn, said map[*drawn][]string, primary map[topology.Key]bool) [][4]string {
	rows := make([][4]string, len(p.lines))
	for n, d := range p.lines {
		v := actual[d]
		rows[n][0] = strings.Repeat("  ", d.indent) + brief(d.server.Key)
		if i := v.server.Instance; i != nil {
			rows[n][1] = string(d.flavor) + "=" + d.version.String()
			rows[n][2] = find("mode").show(p, v)
		}
		rows[n][3] = strings.Join(said[d], " ")
		if notes := notes(d, v, primary[d.server.Key]); notes != "" {
			rows[n][3] = strings.TrimLeft(rows[n][3]+"  # "+notes, " ")
		}
	}
	return rows
}

// print aligns the columns, and leaves an empty line between clusters. What is known of a cluster besides stands below
// its servers.
func (p *picture) print(b *strings.Builder, rows [][4]string, clusters []Cluster) {
	var width [3]int
	for _, r := range rows {
		for c := range width {
			width[c] = max(width[c], len(r[c]))
		}
	}
	rest := map[string]Cluster{}
	for _, c := range clusters {
		rest[c.Cluster] = c
	}
	for n, r := range rows {
		line := fmt.Sprintf("%-*s  %-*s  %-*s  %s", width[0], r[0], width[1], r[1], width[2], r[2], r[3])
		b.WriteString(strings.TrimRight(line, " ") + "\n")
		last := n == len(rows)-1 || p.lines[n+1].indent == 0 && p.lines[n+1].server.Cluster != p.lines[n].server.Cluster
		if !last {
			continue
		}
		if c, ok := rest[p.lines[n].server.Cluster]; ok {
			p.writeStatements(b, c, p.lines[n])
			delete(rest, c.Cluster)
		}
		if n < len(rows)-1 {
			b.WriteByte('\n')
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rest)) {
		p.writeStatements(b, rest[name], nil)
	}
}

// notes are for people; they say nothing that is not in the line.
func notes(d, actual *drawn, primary bool) string {
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
