package drawing

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/plural"
	"orchestrator/daemon/topology"
)

// Sketch draws a snapshot for people: who follows whom, and what is remarkable, and nothing else. Unlike what Draw
// prints, it can't be read back.
func Sketch(s topology.Snapshot) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	drawn := map[topology.Key]bool{}
	var draw func(v topology.Server, depth int)
	draw = func(v topology.Server, depth int) {
		if drawn[v.Key] { // a circle, or a second source
			return
		}
		drawn[v.Key] = true
		state := "never answered"
		version := ""
		if v.Instance != nil {
			version = fmt.Sprintf("%s %v", v.Instance.Flavor, v.Instance.Version)
			state = "writable"
			if v.Instance.ReadOnly {
				state = "read-only"
			}
		}
		if !v.Up() && v.Probe.Failure != topology.OK {
			state = "DOWN"
		}
		fmt.Fprintf(w, "%s%v\t%s\t%s\t%s\n", strings.Repeat("  ", depth), v.Key, state, version,
			strings.Join(remarks(v, s.At), ", "))
		for _, r := range s.Replicas(v.Key) {
			draw(r, depth+1)
		}
	}
	for _, v := range s.Roots() {
		draw(v, 0)
	}
	for _, v := range s.Servers { // the rest of a circle
		draw(v, 0)
	}
	w.Flush()
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// remarks are what is worth a word about a server.
func remarks(v topology.Server, at time.Time) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if !v.Up() && v.Probe.Failure != topology.OK {
		say("%s for %s", strings.ReplaceAll(string(v.Probe.Failure), "_", " "),
			at.Sub(v.Probe.FailingSince).Round(100*time.Millisecond))
		return out
	}
	if v.Instance == nil {
		return out
	}
	if len(v.Instance.Channels) > 1 {
		var sources []string
		for _, c := range v.Instance.Channels {
			sources = append(sources, c.Source.String())
		}
		slices.Sort(sources)
		say("sources %s", strings.Join(sources, " and "))
	}
	for _, c := range v.Instance.Channels {
		out = append(out, channelRemarks(c, v.Instance.Executed)...)
	}
	if !v.Instance.LogBin {
		say("no binary log")
	} else if !v.Instance.LogReplicaUpdates {
		say("does not log what it replicates")
	}
	if v.Instance.SemiSync.SourceActive {
		say("semi-sync")
	}
	if t := v.Instance.Stalled; t != nil {
		say("commits hang for %ds: %s", t.Seconds, strings.ReplaceAll(t.Cause, "_", " "))
	}
	if v.Rule != "" && v.Rule != topology.Neutral {
		say("%s", strings.ReplaceAll(string(v.Rule), "_", " "))
	}
	if d := v.Downtime; d != nil && d.Until.After(at) {
		say("in downtime")
	}
	return out
}

// channelRemarks are those about one replication of a server that has executed so much.
func channelRemarks(c topology.Channel, executed gtid.Set) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	switch {
	case c.Source.Detached():
		say("detached from %s", strings.TrimPrefix(c.Source.String(), "//"))
	case c.Source.IsZero():
		say("source unknown")
	case c.IO == topology.Running && c.SQL == topology.Running:
		say("replicating")
	}
	if c.IO != topology.Running && !c.Source.Detached() {
		say("receiver %s", threadWord(c.IO, c.IOErrno))
	}
	if c.SQL != topology.Running && !c.Source.Detached() {
		say("applier %s", threadWord(c.SQL, c.SQLErrno))
	}
	if n := executed.Missing(c.Received); n > 0 {
		say("%s to apply", plural.Count(n, "transaction"))
	}
	if c.Lag != nil && *c.Lag > 0 {
		say("%s behind", time.Duration(*c.Lag)*time.Second)
	}
	if c.Delay > 0 {
		say("delayed by %s", time.Duration(c.Delay)*time.Second)
	}
	return out
}

func threadWord(t topology.ThreadState, errno int) string {
	word := map[topology.ThreadState]string{topology.Stopped: "stopped", topology.Connecting: "connecting",
		topology.Running: "running"}[t]
	if errno != 0 {
		word += fmt.Sprintf(" (error %d)", errno)
	}
	return word
}
