package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"orchestrator/backend/pair"
	"orchestrator/daemon/plural"
)

// statusText returns a table with a column for each member.
func statusText(s pair.Status) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	line := func(name string, cell func(m pair.Member) string) {
		cells := []string{name}
		some := false
		for _, m := range s.Members {
			c := cell(m)
			some = some || c != ""
			cells = append(cells, c)
		}
		if some {
			fmt.Fprintln(w, strings.Join(cells, "\t"))
		}
	}
	up := func(cell func(m pair.Member) string) func(m pair.Member) string {
		return func(m pair.Member) string {
			if !m.Up {
				return "?"
			}
			return cell(m)
		}
	}
	line("", func(m pair.Member) string { return m.Key.String() })
	line("role", func(m pair.Member) string {
		if m.Key == s.Choice.Serve {
			return "active"
		}
		if !m.Up {
			return "down"
		}
		return "passive"
	})
	line("server", up(func(m pair.Member) string {
		return fmt.Sprintf("%s %v, id %d", m.Flavor, m.Version, m.ServerID)
	}))
	line("identity", up(func(m pair.Member) string { return m.ID }))
	line("takes writes", up(func(m pair.Member) string { return yes(!m.ReadOnly) }))
	line("format", up(func(m pair.Member) string { return m.Format }))
	line("replicates from", up(func(m pair.Member) string {
		if m.Blind != "" {
			return "(not allowed to look)"
		}
		var from []string
		for _, c := range m.Channels {
			from = append(from, c.Source.String())
		}
		return or(strings.Join(from, ", "), "nobody")
	}))
	line("threads", up(func(m pair.Member) string {
		return channels(m, func(c pair.Channel) string { return fmt.Sprintf("receiver %s, applier %s", c.IO, c.SQL) })
	}))
	line("lag", up(func(m pair.Member) string {
		return channels(m, func(c pair.Channel) string {
			if c.Lag == nil {
				return "unknown"
			}
			return fmt.Sprintf("%d s", *c.Lag)
		})
	}))
	line("lease", up(func(m pair.Member) string {
		if !m.Tables {
			return "no tables"
		}
		return fmt.Sprintf("%s, term %d, beat %d", or(m.Hold.Holder, "nobody"), m.Hold.Term, m.Hold.Beat)
	}))
	line("newest record", up(func(m pair.Member) string {
		if m.Newest == 0 {
			return "none"
		}
		return time.UnixMicro(m.Newest).UTC().Format("2006-01-02 15:04:05.000000")
	}))
	line("HAProxy", func(m pair.Member) string {
		for _, server := range s.Proxy {
			if server.Key == m.Key {
				return fmt.Sprintf("%s, %s", server.State, plural.Count(server.Sessions, "session"))
			}
		}
		return ""
	})
	w.Flush()
	b.WriteByte('\n')
	if s.Choice.Serve.IsZero() {
		fmt.Fprintf(&b, "Nothing should serve: %s\n", s.Choice.Why)
	} else {
		fmt.Fprintf(&b, "%v should serve: %s\n", s.Choice.Serve, s.Choice.Why)
	}
	for _, m := range s.Members {
		if why := s.Choice.Unfit[m.Key]; why != "" && !s.Choice.Serve.IsZero() {
			fmt.Fprintf(&b, "%v is not fit: %s\n", m.Key, why)
		}
		if m.Up {
			for _, c := range m.Channels {
				if t := c.Trouble(); t != "" {
					fmt.Fprintf(&b, "%v does not replicate from %v: %s\n", m.Key, c.Source, t)
				}
			}
		}
	}
	if s.ProxyErr != "" {
		fmt.Fprintf(&b, "HAProxy was not asked: %s\n", s.ProxyErr)
	}
	if s.CompareErr != "" {
		fmt.Fprintf(&b, "The members were not compared: %s\n", s.CompareErr)
	}
	if s.Compared != nil {
		b.WriteString(s.Compared.String())
	}
	return b.String()
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
