package analysis

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"orchestrator/daemon/plural"
	"orchestrator/daemon/topology"
)

// span prints a duration as people say it: hundredths below ten seconds, whole seconds from there on.
func span(d time.Duration) string {
	switch d = max(0, d); {
	case d < 10*time.Second:
		text := strconv.FormatFloat(d.Seconds(), 'f', 2, 64)
		return strings.TrimSuffix(strings.TrimRight(text, "0"), ".") + " s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	return d.Round(time.Second).String()
}

// many prints a number with its noun.
func many(n int, noun string) string { return plural.Count(n, noun) }

// failure prints an error of a replication thread on one line.
func failure(errno int, text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if text == "" {
		return fmt.Sprintf("error %d", errno)
	}
	return fmt.Sprintf("error %d: %s", errno, text)
}

var failureWords = map[topology.Failure]string{
	topology.Refused:  "connection refused",
	topology.Reset:    "the connection broke",
	topology.Timeout:  "no answer in time",
	topology.Shutdown: "it says that it is shutting down",
	topology.TooMany:  "too many connections",
	topology.Denied:   "access denied",
	topology.TLSError: "TLS failed",
	topology.Alien:    "what answers there is neither MySQL nor MariaDB",
	topology.NoHost:   "its host name does not resolve",
	topology.Other:    "an error of the server",
}

// howFailed says how asking a server failed, and for how long it has.
func howFailed(s *topology.Server, at time.Time) string {
	words := failureWords[s.Probe.Failure]
	if words == "" {
		words = string(s.Probe.Failure)
	}
	if since := failingSince(s); !since.IsZero() {
		words += ", for " + span(at.Sub(since))
	}
	if s.Probe.Failures > 1 {
		words += fmt.Sprintf(", %d times in a row", s.Probe.Failures)
	}
	return words
}

// asked is the line of evidence that our own probe gives.
func (v *view) asked() string {
	line := fmt.Sprintf("%v: %s", v.Key, howFailed(v.Server, v.f.at))
	if v.Instance == nil {
		line += "; it has never answered"
	}
	if v.Probe.Error != "" {
		line += "; " + strings.Join(strings.Fields(v.Probe.Error), " ")
	}
	return line
}

// is names the server and its place: "db1:3306, the primary of cluster main,".
func (v *view) is() string {
	place := ""
	switch v.role {
	case primary:
		place = "the primary of cluster " + v.Cluster
		if v.writer() != nil {
			place = "the server of cluster " + v.Cluster + " that most others follow"
		}
	case intermediate:
		place = fmt.Sprintf("the source of %s in cluster %s", many(len(v.replicas), "replica"), v.Cluster)
	case former:
		place = fmt.Sprintf("a former primary of cluster %s that %s still follow", v.Cluster,
			many(len(v.replicas), "server"))
		if len(v.replicas) == 1 {
			place += "s"
		}
	default:
		place = "a replica in cluster " + v.Cluster
		if len(v.sources) == 0 {
			place = fmt.Sprintf("a server of cluster %s that neither follows nor is followed", v.Cluster)
		}
	}
	return v.Key.String() + ", " + place + ","
}

// writer is the server that wrote what the replicas of the primary have, where that only passed it on; else nil.
func (v *view) writer() *topology.Server {
	return topology.Snapshot{Servers: v.f.members[v.Cluster], Promoted: v.f.promoted}.Writer(v.primary)
}

func (v *view) isWriter() bool {
	w := v.writer()
	return w != nil && w.Key == v.Key
}

// byRight says which server is the primary, and what to do, where most replicas follow another one; "" elsewhere.
func (v *view) byRight() string {
	w := v.writer()
	if w == nil {
		return ""
	}
	text := fmt.Sprintf("%v wrote what the replicas of %v have, so %v is the primary, and %v was between the two",
		w.Key, v.primary.Key, w.Key, v.primary.Key)
	if !w.Up() {
		return fmt.Sprintf("%s. Bring %v back.", text, w.Key)
	}
	return fmt.Sprintf("%s. Make %v read-only, and move its replicas under %v.", text, v.primary.Key, w.Key)
}

// testimonies are the lines of evidence about a server that does not answer: first ours, then one for each replica.
func (v *view) testimonies() []string {
	out := []string{v.asked()}
	for _, r := range v.replicas {
		out = append(out, r.says)
	}
	return out
}

// standings are the lines of evidence about the replicas of a server that does answer.
func (v *view) standings() []string {
	var out []string
	for _, r := range v.replicas {
		if !r.Up() {
			out = append(out, fmt.Sprintf("%v: does not answer (%s)", r.Key, howFailed(r.Server, v.f.at)))
			continue
		}
		for _, c := range r.Instance.Channels {
			if c.Source == v.Key {
				out = append(out, fmt.Sprintf("%v: IO thread %s, SQL thread %s", r.Key,
					thread(c.IO, c.IOErrno, c.IOError), thread(c.SQL, c.SQLErrno, c.SQLError)))
			}
		}
	}
	return out
}

func thread(s topology.ThreadState, errno int, text string) string {
	words := string(s)
	switch s {
	case topology.Running:
		return "running"
	case topology.Stopped:
		words = "stopped"
	}
	if errno != 0 {
		words += " (" + failure(errno, text) + ")"
	}
	return words
}

// channel names the way of replication that a line of evidence is about.
func (v *view) channel(c topology.Channel) string {
	source := c.Source.String()
	if c.Source.IsZero() { // what it says is no name: see UnusableName
		source = "an unknown source"
	}
	if len(v.Instance.Channels) == 1 || c.Name == "" {
		return fmt.Sprintf("%v from %s", v.Key, source)
	}
	return fmt.Sprintf("%v from %s (channel %s)", v.Key, source, c.Name)
}
