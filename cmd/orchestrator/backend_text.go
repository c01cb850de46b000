package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"orchestrator/backend/pair"
	"orchestrator/daemon/plural"
)

// statusText returns a table with a column for each member, and what it means.
func statusText(s pair.Status) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range statusRows {
		cells, some := []string{r.name}, false
		for _, m := range s.Members {
			c := "?"
			if m.Up || r.ofDead {
				c = r.cell(s, m)
			}
			some = some || c != ""
			cells = append(cells, c)
		}
		if some {
			fmt.Fprintln(w, strings.Join(cells, "\t"))
		}
	}
	w.Flush()
	b.WriteByte('\n')
	writeChoice(&b, s)
	return b.String()
}

// statusRow is a line of the table. A line without a text for any member is left out.
type statusRow struct {
	name   string
	ofDead bool // known of a member that is down, too
	cell   func(pair.Status, pair.Member) string
}

var statusRows = []statusRow{
	{"", true, func(_ pair.Status, m pair.Member) string { return m.Key.String() }},
	{"role", true, role},
	{"server", false, func(_ pair.Status, m pair.Member) string {
		return fmt.Sprintf("%s %v, id %d", m.Flavor, m.Version, m.ServerID)
	}},
	{"identity", false, func(_ pair.Status, m pair.Member) string { return m.ID }},
	{"takes writes", false, func(_ pair.Status, m pair.Member) string { return yes(!m.ReadOnly) }},
	{"format", false, func(_ pair.Status, m pair.Member) string { return m.Format }},
	{"replicates from", false, sources},
	{"threads", false, func(_ pair.Status, m pair.Member) string {
		return channels(m, func(c pair.Channel) string { return fmt.Sprintf("receiver %s, applier %s", c.IO, c.SQL) })
	}},
	{"lag", false, func(_ pair.Status, m pair.Member) string { return channels(m, lag) }},
	{"lease", false, func(_ pair.Status, m pair.Member) string {
		if !m.Tables {
			return "no tables"
		}
		return fmt.Sprintf("%s, term %d, beat %d", or(m.Hold.Holder, "nobody"), m.Hold.Term, m.Hold.Beat)
	}},
	{"newest record", false, func(_ pair.Status, m pair.Member) string {
		if m.Newest == 0 {
			return "none"
		}
		return time.UnixMicro(m.Newest).UTC().Format("2006-01-02 15:04:05.000000")
	}},
	{"HAProxy", true, proxied},
}

func role(s pair.Status, m pair.Member) string {
	switch {
	case m.Key == s.Choice.Serve:
		return "active"
	case !m.Up:
		return "down"
	}
	return "passive"
}

func sources(_ pair.Status, m pair.Member) string {
	if m.Blind != "" {
		return "(not allowed to look)"
	}
	var from []string
	for _, c := range m.Channels {
		from = append(from, c.Source.String())
	}
	return or(strings.Join(from, ", "), "nobody")
}

func lag(c pair.Channel) string {
	if c.Lag == nil {
		return "unknown"
	}
	return fmt.Sprintf("%d s", *c.Lag)
}

func proxied(s pair.Status, m pair.Member) string {
	for _, server := range s.Proxy {
		if server.Key == m.Key {
			return fmt.Sprintf("%s, %s", server.State, plural.Count(server.Sessions, "session"))
		}
	}
	return ""
}

// writeChoice says who should serve, what is wrong with the other member, and how the two compare.
func writeChoice(b *strings.Builder, s pair.Status) {
	if s.Choice.Serve.IsZero() {
		fmt.Fprintf(b, "Nothing should serve: %s\n", s.Choice.Why)
	} else {
		fmt.Fprintf(b, "%v should serve: %s\n", s.Choice.Serve, s.Choice.Why)
	}
	for _, m := range s.Members {
		if why := s.Choice.Unfit[m.Key]; why != "" && !s.Choice.Serve.IsZero() {
			fmt.Fprintf(b, "%v is not fit: %s\n", m.Key, why)
		}
		if m.Up {
			for _, c := range m.Channels {
				if t := c.Trouble(); t != "" {
					fmt.Fprintf(b, "%v does not replicate from %v: %s\n", m.Key, c.Source, t)
				}
			}
		}
	}
	if s.ProxyErr != "" {
		fmt.Fprintf(b, "HAProxy was not asked: %s\n", s.ProxyErr)
	}
	if s.CompareErr != "" {
		fmt.Fprintf(b, "The members were not compared: %s\n", s.CompareErr)
	}
	if s.Compared != nil {
		b.WriteString(s.Compared.String())
	}
}

func channels(m pair.Member, say func(pair.Channel) string) string {
	var out []string
	for _, c := range m.Channels {
		out = append(out, say(c))
	}
	return strings.Join(out, "; ")
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no (read-only)"
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
