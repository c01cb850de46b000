package analysis

import (
	"fmt"
	"strings"

	"orchestrator/daemon/topology"
)

func replicaWritableSays(v *view) (string, []string) {
	if !writes(v.Server) || v.leads() {
		return "", nil
	}
	return fmt.Sprintf("%s takes writes from clients. Make it read-only.", v.is()),
		[]string{fmt.Sprintf("%v: read_only is off", v.Key)}
}

func replicaDeadSays(v *view) (string, []string) {
	if v.Instance == nil && v.f.registrar[v.Key] { // see UnknownReader
		return "", nil
	}
	switch v.verdict {
	case alone, unreachable: // nobody follows a leaf, so this is all that can be said, and the silence may be short
		return fmt.Sprintf("%s does not answer: %s.", v.is(), howFailed(v.Server, v.f.at)), []string{v.asked()}
	}
	return "", nil
}

// channelSays makes a rule of what is wrong with a channel; a line of evidence each.
// channelSays tells of all channels with which something is wrong, and then what to do.
func channelSays(what string, wrong func(*view, topology.Channel) string, then string) func(*view) (string, []string) {
	return func(v *view) (string, []string) {
		if !v.Up() {
			return "", nil
		}
		var out []string
		for _, c := range v.Instance.Channels {
			if text := wrong(v, c); text != "" {
				out = append(out, v.channel(c)+": "+text)
			}
		}
		if len(out) == 0 {
			return "", nil
		}
		return strings.TrimSpace(fmt.Sprintf("%s %s: %s. %s", v.is(), what, strings.Join(out, "; "), then)), out
	}
}

func stopped(_ *view, c topology.Channel) string {
	var out []string
	switch {
	case c.Source.Detached():
		out = append(out, "it was detached, and gets no new data: have it replicate from the primary, or rebuild it")
	case c.IO == topology.Stopped && c.IOErrno == 0:
		out = append(out, "IO thread stopped without an error")
	}
	if c.SQL == topology.Stopped && c.SQLErrno == 0 {
		out = append(out, "SQL thread stopped without an error")
	}
	return strings.Join(out, ", ")
}

func broken(v *view, c topology.Channel) string {
	var out []string
	if c.IO == topology.Stopped && c.IOErrno != 0 && !topology.ConnectionError(c.IOErrno) {
		out = append(out, "IO thread "+thread(c.IO, c.IOErrno, c.IOError)+v.purgedThere(c))
	}
	if c.SQL == topology.Stopped && c.SQLErrno != 0 {
		out = append(out, "SQL thread "+thread(c.SQL, c.SQLErrno, c.SQLError))
	}
	return strings.Join(out, ", ")
}

// failsToConnect leaves out what only follows from a source that is down, and a receiver that was started a moment ago
// and has met no error.
func (v *view) failsToConnect(c topology.Channel) string {
	fresh := c.IOErrno == 0 && !c.IOSince.IsZero() && v.Probe.Answered.Sub(c.IOSince) < settled
	if !cannotConnect(c) || fresh {
		return ""
	}
	if source := v.f.servers[c.Source]; source != nil && source.Probe.Failure != topology.OK &&
		!source.Probe.Failure.Alive() {
		if s, _ := (&view{Server: source, f: v.f}).testimony(v.Server, c); s != cannotTell {
			return ""
		}
	}
	said := "IO thread " + thread(c.IO, c.IOErrno, c.IOError)
	if c.IOErrno == unknownHost {
		said += fmt.Sprintf(", so its host can't resolve %s", c.Written().Host)
	}
	return said
}

func laggingSays(v *view) (string, []string) {
	c := v.late()
	if c == nil {
		return "", nil
	}
	text := fmt.Sprintf("%s: %d s behind", v.channel(*c), *c.Lag)
	if c.Delay > 0 {
		text += fmt.Sprintf(", %d s of that by configuration", c.Delay)
	}
	return fmt.Sprintf("%s lags: it is %d s behind %v, and the threshold is %s.", v.is(), *c.Lag-c.Delay, c.Source,
		span(v.f.t.Lag)), []string{text}
}

func errantSays(v *view) (string, []string) {
	set := v.errant()
	if set.Empty() {
		return "", nil
	}
	out := []string{fmt.Sprintf("%v: only here: %s", v.Key, set.Text())}
	for _, s := range v.sources {
		out = append(out, fmt.Sprintf("%v: its source, has %s", s.Key, s.Received()))
	}
	then := "clone it again"
	if v.Instance.Flavor == topology.MySQL {
		then += ", or, if they are harmless, commit empty transactions with these GTIDs at the primary"
	}
	return fmt.Sprintf("%s has transactions that did not come from its source: %s. Read in its binary log what they "+
		"are, and make it read-only; then %s.", v.is(), set.Text(), then), out
}

func multiSourceSays(v *view) (string, []string) {
	if !v.Up() || !v.MultiSource() {
		return "", nil
	}
	var out []string
	for _, c := range v.Instance.Channels {
		out = append(out, v.channel(c))
	}
	return fmt.Sprintf("%s replicates from %d sources: it is shown, and never moved or promoted.", v.is(),
		len(v.Instance.Channels)), out
}
