package analysis

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

func unusableSays(v *view) (string, []string) {
	if v.Instance == nil || len(v.Instance.Unusable) == 0 {
		return "", nil
	}
	return fmt.Sprintf("%s says what can't be a name: %s.", v.is(), strings.Join(v.Instance.Unusable, "; ")),
		slices.Clone(v.Instance.Unusable)
}

func doubtfulSays(v *view) (string, []string) {
	if len(v.Doubtful) == 0 {
		return "", nil
	}
	var names, out []string
	for _, k := range v.Doubtful {
		names = append(names, k.String())
		for _, r := range v.replicas {
			if c := r.ChannelFrom(v.Key); c != nil && c.Written() == k {
				out = append(out, fmt.Sprintf("%v: follows it by the name %v", r.Key, k))
			}
		}
	}
	return fmt.Sprintf("%s has a name that has led to another server too: %s.", v.is(), strings.Join(names, ", ")), out
}

func selfSays(v *view) (string, []string) {
	c := v.ChannelFrom(v.Key)
	if c == nil || !v.Up() {
		return "", nil
	}
	return fmt.Sprintf("%s follows itself: its source %v leads to it.", v.is(), c.Written()),
		[]string{fmt.Sprintf("%v: IO thread %s", v.Key, thread(c.IO, c.IOErrno, c.IOError))}
}

// mark is what must be a server's own in its cluster: its server id, or its UUID.
type mark struct {
	cluster string
	id      uint32
	uuid    string
}

// mark notes the marks of a server, so that others with the same are found.
func (f *fleet) mark(v *topology.Server) {
	if v.Instance == nil {
		return
	}
	for _, m := range marks(v) {
		if m.id != 0 || m.uuid != "" {
			f.marked[m]++
		}
	}
}

func marks(v *topology.Server) [2]mark {
	return [2]mark{{v.Cluster, v.Instance.ServerID, ""}, {v.Cluster, 0, v.Instance.UUID}}
}

func duplicateIDSays(v *view) (string, []string) {
	if v.Instance == nil || v.f.marked[marks(v.Server)[0]] < 2 {
		return "", nil
	}
	return v.duplicate("server_id", fmt.Sprint(v.Instance.ServerID), 0,
		"Set another server_id at one of them, also in its configuration, and restart its replication")
}

func duplicateUUIDSays(v *view) (string, []string) {
	if v.Instance == nil || v.f.marked[marks(v.Server)[1]] < 2 {
		return "", nil
	}
	return v.duplicate("server UUID", v.Instance.UUID, 1,
		"Stop one of them, remove auto.cnf from its data directory, and start it")
}

// duplicate says that other servers of the cluster have the same of what must be a server's own, which is one of its
// two marks, and then what to do.
func (v *view) duplicate(what, value string, which int, then string) (string, []string) {
	var others, out []string
	for _, s := range v.f.members[v.Cluster] {
		if s.Instance == nil || marks(&s)[which] != marks(v.Server)[which] {
			continue
		}
		out = append(out, fmt.Sprintf("%v: %s %s", s.Key, what, value))
		if s.Key != v.Key {
			others = append(others, s.Key.String())
		}
	}
	return fmt.Sprintf("%s has %s %s, and so has %s: neither can follow the other. %s.", v.is(), what, value,
		strings.Join(others, " and "), then), out
}

// lingers is how long a source may keep the thread that served a replica which has left it. It notices at the next
// event, or at the next heartbeat: half a minute by default.
const lingers = time.Minute

// leavers counts the servers that may have followed the viewed one a moment ago: those that were connected anew to
// another source, or that follow nobody since.
func (v *view) leavers() (n int) {
	recent := func(t time.Time) bool { return !t.IsZero() && v.f.at.Sub(t) < lingers }
	for _, s := range v.f.servers {
		if s.Key == v.Key || s.Instance == nil || s.ChannelFrom(v.Key) != nil {
			continue
		}
		if s.Left != nil && s.Left.From == v.Key && recent(s.Left.Seen) ||
			slices.ContainsFunc(s.Instance.Channels, func(c topology.Channel) bool { return recent(c.IOSince) }) {
			n++
		}
	}
	return n
}

func readerSays(v *view) (string, []string) {
	if v.Instance == nil {
		return "", nil
	}
	channels := 0
	var never, out []string
	heard := func(r *topology.Server) {
		if r.Instance == nil && r.Probe.Failure == topology.OK {
			channels++ // not asked yet
			return
		}
		if r.Instance == nil {
			never = append(never, r.Key.String())
			out = append(out, fmt.Sprintf("%v: registered as a replica, and never answered (%s)", r.Key,
				howFailed(r, v.f.at)))
			return
		}
		for _, c := range r.Instance.Channels {
			if c.Source == v.Key {
				channels++
			}
		}
	}
	for _, r := range v.replicas {
		heard(r.Server)
	}
	for _, k := range v.Instance.Registered {
		switch s := v.f.strangers[k]; {
		case s == nil:
		case s.Stranger.Kind == topology.NotAdmitted:
			channels++ // it is known that nothing is known of it
		default:
			heard(s)
		}
	}
	more := v.Instance.Readers - channels
	switch {
	case more > len(never) && more > len(never)+v.leavers():
		return fmt.Sprintf("%s has %s of its binary log and %s. %s The process list of %v shows the address of each "+
				"reader: discover a replica that is missing here; where it has the server_id of another replica, give "+
				"it one of its own.", v.is(), many(v.Instance.Readers, "reader"), many(channels, "known replica"),
				unknownReaders(more), v.Key),
			append(out, fmt.Sprintf("%v: %s, and %s of known replicas", v.Key,
				many(v.Instance.Readers, "binary log dump thread"), many(channels, "channel")))
	case len(never) > 0:
		return fmt.Sprintf("%s has replicas that registered and never answered this daemon, or readers that are no "+
			"servers: %s. What they have received is not known. Let the daemon reach them, or set their report_host.",
			v.is(), some(never)), out
	}
	return "", nil
}

// shown is how many names a sentence lists.
const shown = 10

// some lists names: the first of them, and how many more there are.
func some(names []string) string {
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}

func unknownReaders(n int) string {
	if n == 1 {
		return "This daemon does not know 1 of the readers. If that is a replica, it may have received more than all " +
			"others."
	}
	return fmt.Sprintf("This daemon does not know %d of the readers. If one of them is a replica, it may have "+
		"received more than all others.", n)
}
