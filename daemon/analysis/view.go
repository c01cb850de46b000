package analysis

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

// settled is how long a receiver must have been seen connecting, without any error yet, to be a witness. One that was
// restarted says "connecting" for a moment even when its source is healthy. A crash does not wait for
// this: a receiver that loses its connection has error 2013 from the moment when it says "connecting" (seen on MariaDB
// 10.11 and MySQL 9.7).
const settled = 500 * time.Millisecond

// fleet is a snapshot, and who follows whom in it. Strangers are apart: nothing but what is said of them rests on them.
type fleet struct {
	at        time.Time
	t         Thresholds
	servers   map[topology.Key]*topology.Server
	following map[topology.Key][]*topology.Server // by source, sorted by key
	members   map[string][]topology.Server        // by cluster, sorted by key
	promoted  map[string]topology.Key             // by cluster
	followed  map[topology.Key]bool               // some channel names it, used or not
	marked    map[mark][]topology.Key             // who has the same
	strangers map[topology.Key]*topology.Server
	registrar map[topology.Key]bool // has registered as a replica of some server
}

func newFleet(s topology.Snapshot, t Thresholds) *fleet {
	f := &fleet{at: s.At, t: t, promoted: s.Promoted,
		servers:   make(map[topology.Key]*topology.Server, len(s.Servers)),
		following: map[topology.Key][]*topology.Server{},
		members:   map[string][]topology.Server{},
		followed:  map[topology.Key]bool{},
		marked:    map[mark][]topology.Key{},
		strangers: map[topology.Key]*topology.Server{},
		registrar: map[topology.Key]bool{},
	}
	s.Servers = slices.Clone(s.Servers)
	s.Sort()
	nameClusters(s)
	for _, v := range s.Strangers() {
		f.strangers[v.Key] = &v
	}
	s = s.Admitted()
	f.enter(s.Servers)
	for i := range s.Servers {
		v := &s.Servers[i]
		f.servers[v.Key] = v
		f.mark(v)
		if v.Instance == nil {
			continue
		}
		for _, c := range v.Instance.Channels {
			f.followed[c.Source] = f.followed[c.Source] || c.Source != v.Key
		}
	}
	for i := range s.Servers {
		v := &s.Servers[i]
		for _, source := range f.sourcesOf(v) {
			f.following[source.Key] = append(f.following[source.Key], v)
		}
	}
	for i := range s.Servers {
		v := &s.Servers[i]
		if v.Instance == nil {
			continue
		}
		for _, k := range v.Instance.Registered { // a replica that never answered us is known by its registration only
			f.registrar[k] = f.registrar[k] || k != v.Key
			if r := f.servers[k]; r != nil && r.Instance == nil && r != v && !slices.Contains(f.following[v.Key], r) {
				f.following[v.Key] = append(f.following[v.Key], r)
			}
		}
		slices.SortFunc(f.following[v.Key], func(a, b *topology.Server) int { return a.Key.Compare(b.Key) })
	}
	return f
}

// enter sorts out who is in which cluster. Nearly always all are in one.
func (f *fleet) enter(servers []topology.Server) {
	for len(servers) > 0 {
		cluster, n := servers[0].Cluster, 1
		for n < len(servers) && servers[n].Cluster == cluster {
			n++
		}
		if before := f.members[cluster]; before == nil {
			f.members[cluster] = servers[:n:n] // shared: nobody changes it
		} else {
			f.members[cluster] = append(before, servers[:n]...)
		}
		servers = servers[n:]
	}
}

// nameClusters fills in the clusters of a snapshot written by hand. A daemon's has them all.
func nameClusters(s topology.Snapshot) {
	if !slices.ContainsFunc(s.Servers, func(v topology.Server) bool { return v.Cluster == "" }) {
		return
	}
	given := map[topology.Key]string{}
	for _, v := range s.Servers {
		given[v.Key] = v.Cluster
	}
	names := s.Name(given)
	for i := range s.Servers {
		if v := &s.Servers[i]; v.Cluster == "" {
			v.Cluster = names[v.Key]
		}
	}
}

func (f *fleet) clusters() []string { return slices.Sorted(maps.Keys(f.members)) }

// sourcesOf returns the sources of v that are in the snapshot, each once. A server that names itself is no source of
// itself.
func (f *fleet) sourcesOf(v *topology.Server) []*topology.Server {
	if v.Instance == nil {
		return nil
	}
	var out []*topology.Server
	for _, c := range v.Instance.Channels {
		if f.followed[v.Key] && v.Unused(c) {
			continue // a leftover
		}
		if s := f.servers[c.Source]; s != nil && s.Key != v.Key && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// above returns all servers from which v receives, directly or through others; also v itself if it is in a circle.
func (f *fleet) above(v *topology.Server) map[topology.Key]*topology.Server {
	out := map[topology.Key]*topology.Server{}
	next := f.sourcesOf(v)
	for len(next) > 0 {
		s := next[0]
		next = next[1:]
		if out[s.Key] == nil {
			out[s.Key] = s
			next = append(next, f.sourcesOf(s)...)
		}
	}
	return out
}

// role is a server's place in its cluster; a bit, so that a rule can be for several.
type role int

const (
	primary      role = 1 << iota // Snapshot.Of(cluster).Primary()
	intermediate                  // has a source in its cluster, and replicas
	former                        // another root than the primary, with replicas
	leaf                          // neither the primary nor anybody's source
	outsider                      // a stranger: only what is said of strangers is said of it
)

// view is what the rules look at: a server, its place, and what its replicas say of it.
type view struct {
	*topology.Server
	f        *fleet
	role     role
	primary  *topology.Server // of its cluster
	sources  []*topology.Server
	replicas []replica
	verdict  verdict
	missing  []string // what keeps an unreachable server from being dead
}

func (f *fleet) views(cluster string) []*view {
	members := topology.Snapshot{At: f.at, Servers: f.members[cluster], Promoted: f.promoted}
	first := f.servers[members.Primary().Key]
	var out []*view
	for i := range members.Servers {
		v := &view{Server: f.servers[members.Servers[i].Key], f: f, primary: first}
		v.sources = f.sourcesOf(v.Server)
		for _, r := range f.following[v.Key] {
			v.replicas = append(v.replicas, v.judge(r))
		}
		inside := slices.ContainsFunc(v.sources, func(s *topology.Server) bool { return s.Cluster == cluster })
		switch {
		case v.Server == first:
			v.role = primary
		case len(v.replicas) == 0:
			v.role = leaf
		case inside:
			v.role = intermediate
		default:
			v.role = former
		}
		v.decide()
		out = append(out, v)
	}
	return out
}

// verdict is what is known of a server's life.
type verdict int

const (
	lives       verdict = iota // it answers
	unknown                    // it was not asked yet, so nothing is reported about it
	refuses                    // the very failure shows that it lives: max_connections, access denied, TLS…
	alone                      // fails, and never had a replica that could be a witness
	deserted                   // fails, and so do all its replicas
	dead                       // fails, on the word of witnesses
	unwitnessed                // fails; replicas answer, and none of them can tell
	unreachable                // fails, and something is missing for dead: see missing
)

// decide gives the verdict. A server is dead only if all of this holds:
//
//   - our own probe failed in a way that does not show that the server is alive (Failure.Alive);
//   - a replica that was asked after the server fell silent has tried to reach it and could not: a witness;
//   - no replica that was asked after the server fell silent still receives from it;
//   - every reachable replica was asked after that moment, so that none is left that could contradict;
//   - we could ask at all: a name that we can't resolve is our own trouble, and no death;
//   - the witnesses of a primary that is only silent are a majority of its replicas: see minority;
//   - the silence has lasted Thresholds.Verdict(), unless the server's host itself said that no server is there
//     (refused, shutdown). A broken connection, or an answer of something else, says less than that, so it waits too.
func (v *view) decide() {
	switch {
	case v.Up():
		v.verdict = lives
		return
	case v.Probe.Failure == topology.OK:
		v.verdict = unknown
		return
	case v.Probe.Failure.Alive():
		v.verdict = refuses
		return
	}
	if unresolved(v.Server) {
		v.missing = append(v.missing, fmt.Sprintf("%v: this daemon can't resolve that name, which says nothing of the "+
			"server", v.Key))
	}
	if silence := v.silence(); !v.Probe.Failure.Dead() && silence < v.f.t.Verdict() {
		v.missing = append(v.missing, fmt.Sprintf("%v: silent for %s so far, of the %s after which silence counts",
			v.Key, span(silence), span(v.f.t.Verdict())))
	}
	for _, r := range v.replicas {
		if r.stand == receives || r.stand == pending {
			v.missing = append(v.missing, r.says)
		}
	}
	switch {
	case len(v.missing) > 0:
		v.verdict = unreachable
	case len(v.replicas) == 0:
		v.verdict = alone
	case v.count(witnesses) > 0:
		if v.verdict = dead; v.minority() {
			v.verdict = unreachable
			v.missing = append(v.missing, v.minoritySays())
		}
	case v.count(gone) == len(v.replicas):
		v.verdict = deserted
	default:
		v.verdict = unwitnessed
		v.missing = append(v.missing, fmt.Sprintf("no replica that answers has tried to reach %v", v.Key))
	}
}

// minority says that too few replicas witness the silence of a primary. The side of a cut that holds few of them must
// not promote one: the primary, and the others, live on the other side. A host that refuses the connection is on our
// side, so there one witness is enough; and no server is promoted for any other server than a primary.
func (v *view) minority() bool {
	yes, of := v.votes()
	return v.role == primary && !v.Probe.Failure.Dead() && 2*yes <= of
}

func (v *view) minoritySays() string {
	yes, of := v.votes()
	text := fmt.Sprintf("%d of %s can't reach %v, and it may be our side that is cut off: silence counts with %d",
		yes, many(of, "replica"), v.Key, of/2+1)
	var long []string
	for _, r := range v.replicas {
		if r.stand == gone && !v.downtimed(r.Server) && failingSince(r.Server).Before(v.since().Add(-time.Minute)) {
			long = append(long, r.Key.String())
		}
	}
	if len(long) > 0 {
		text += fmt.Sprintf(" (declare a downtime of those that are silent for another reason, so that they do not "+
			"count: %s)", strings.Join(long, ", "))
	}
	return text
}

// votes counts the witnesses among the replicas that were there before the viewed server fell silent. A replica in
// downtime has no vote, and neither has one whose process was proved to have ended a minute before. One that is silent
// itself has: it may be on the other side of a cut.
func (v *view) votes() (yes, of int) {
	for _, r := range v.replicas {
		long := failingSince(r.Server).Before(v.since().Add(-time.Minute))
		if v.downtimed(r.Server) || long && r.Probe.Failure.Dead() {
			continue
		}
		of++
		if r.stand == witnesses {
			yes++
		}
	}
	return yes, of
}

// unresolved says that we did not get as far as the server: we have no address for its name.
func unresolved(s *topology.Server) bool { return s.Probe.Failure == topology.NoHost }

// since is when the server began to fail.
func (v *view) since() time.Time { return failingSince(v.Server) }

func failingSince(s *topology.Server) time.Time {
	if s.Probe.FailingSince.IsZero() {
		return s.Probe.Asked
	}
	return s.Probe.FailingSince
}

func (v *view) silence() time.Duration {
	if v.since().IsZero() {
		return 0
	}
	return max(0, v.f.at.Sub(v.since()))
}

// stand is what a replica says of its source, when the source does not answer us.
type stand int

const (
	cannotTell stand = iota // stopped, by somebody or by an error that proves nothing
	witnesses               // tries to reach it and can't
	receives                // still connected: it contradicts
	pending                 // answers us, and was not asked since, or has not tried long enough
	gone                    // does not answer us
)

// replica is a server that follows the viewed one, as seen from there. If several of its channels do, the one that says
// most for a living source speaks.
type replica struct {
	*topology.Server
	stand stand
	says  string // the stand, as a line of evidence
	// replicating is both threads running; failing is a receiver that can't reach its source. Both only of replicas
	// that answer.
	replicating, failing bool
	lagging              bool // further behind than the threshold, or delayed by configuration
}

func (v *view) judge(r *topology.Server) replica {
	out := replica{Server: r}
	switch {
	case r.Up():
	case r.Probe.Failure == topology.OK:
		out.stand, out.says = pending, fmt.Sprintf("%v: not asked yet", r.Key)
		return out
	default:
		// Also one that lives and refuses us: it may well receive, but it cannot tell us.
		out.stand, out.says = gone, fmt.Sprintf("%v: does not answer either (%s)", r.Key, howFailed(r, v.f.at))
		return out
	}
	weight := map[stand]int{cannotTell: 1, witnesses: 2, pending: 3, receives: 4}
	best := 0
	for _, c := range r.Instance.Channels {
		if c.Source != v.Key {
			continue
		}
		s, why := v.testimony(r, c)
		if weight[s] > best {
			best = weight[s]
			out.stand, out.says = s, why
		}
		out.replicating = out.replicating || c.IO == topology.Running && c.SQL == topology.Running
		out.failing = out.failing || cannotConnect(c)
		out.lagging = out.lagging || c.Delay > 0 || late(c, v.f.t) > 0
	}
	return out
}

// testimony is what one channel of a reachable replica says of the viewed server. The traps:
//
//   - What was read before the server fell silent says nothing about the server now.
//   - A receiver that is stopped without an error was stopped by somebody, and has not tried. One that stopped with a
//     connection error gave up trying. If it was seen stopped already while the server still answered us, that error is
//     an old one.
//   - "Connecting" with an error that only a server can send (access denied, too many connections…) proves that the
//     server was alive when the error was written. That time is not known, so it counts neither way.
//   - A replica that can't resolve the name (2005) has not tried to reach the server.
//   - A receiver that waits for space for its relay logs does not look at its connection, so it counts neither way.
//   - "Connecting" without an error is true of every receiver that was started a moment ago: it must have lasted.
//   - A name that has led to another server may do so now. That a replica can't reach what it leads to shows nothing of
//     a server that is only silent.
func (v *view) testimony(r *topology.Server, c topology.Channel) (stand, string) {
	s, why := v.channelSays(r, c)
	if s == witnesses && !v.Probe.Failure.Dead() && slices.Contains(v.Doubtful, c.Written()) {
		return cannotTell, fmt.Sprintf("%s; it knows %v by the name %v, which has led to another server too", why,
			v.Key, c.Written())
	}
	return s, why
}

// channelSays is testimony as it is without regard to names.
func (v *view) channelSays(r *topology.Server, c topology.Channel) (stand, string) {
	since := v.since()
	if r.Probe.Answered.Before(since) {
		return pending, fmt.Sprintf("%v: not asked since %v fell silent (last answered %s before)", r.Key, v.Key,
			span(since.Sub(r.Probe.Answered)))
	}
	asked := fmt.Sprintf("asked %s after %v fell silent", span(r.Probe.Answered.Sub(since)), v.Key)
	say := func(s stand, format string, args ...any) (stand, string) {
		return s, fmt.Sprintf("%v: IO thread is %s, %s", r.Key, fmt.Sprintf(format, args...), asked)
	}
	seen := r.Probe.Answered.Sub(c.IOSince)
	switch c.IO {
	case topology.Running:
		if c.Full {
			return say(cannotTell, "waiting until its applier has freed space for relay logs, so it reads nothing "+
				"from %v", v.Key)
		}
		return say(receives, "running, so it still receives from %v", v.Key)
	case topology.Connecting:
		switch {
		case c.IOErrno == unknownHost:
			return say(cannotTell, "connecting (%s): it can't resolve %v, so it has not tried to reach it",
				failure(c.IOErrno, ""), c.Written())
		case c.Rejected():
			return say(cannotTell, "connecting (%s), which does not show that %v is gone", failure(c.IOErrno, ""),
				v.Key)
		case c.IOErrno != 0:
			return say(witnesses, "connecting (%s)", failure(c.IOErrno, ""))
		case !c.IOSince.IsZero() && seen < settled:
			return say(pending, "connecting for %s only, of the %s after which that counts", span(seen), span(settled))
		}
		return say(witnesses, "connecting")
	}
	switch {
	case c.IOErrno == 0:
		return say(cannotTell, "stopped without an error, so it has not tried to reach %v", v.Key)
	case c.IOErrno == unknownHost, !topology.ConnectionError(c.IOErrno):
		return say(cannotTell, "stopped (%s), which is no failure to connect", failure(c.IOErrno, ""))
	case !c.IOSince.IsZero() && !v.Probe.Answered.Before(c.IOSince):
		return say(cannotTell, "stopped (%s), and was so already while %v still answered", failure(c.IOErrno, ""),
			v.Key)
	}
	return say(witnesses, "stopped (%s)", failure(c.IOErrno, ""))
}

// unknownHost is a receiver's error when the name of its source does not resolve.
const unknownHost = 2005

// cannotConnect says that a receiver tries to connect and can't, for any reason.
func cannotConnect(c topology.Channel) bool {
	return c.IO == topology.Connecting || c.IO == topology.Stopped && topology.ConnectionError(c.IOErrno)
}

// late is how much further behind than its configured delay and the threshold a channel is; 0 when it is not, or does
// not know.
func late(c topology.Channel, t Thresholds) time.Duration {
	if c.Lag == nil {
		return 0
	}
	behind := time.Duration(max(0, *c.Lag-c.Delay)) * time.Second
	return max(0, behind-t.Lag)
}

func (v *view) count(s stand) int {
	n := 0
	for _, r := range v.replicas {
		if r.stand == s {
			n++
		}
	}
	return n
}

// receiversLate says that all who still receive are behind: what they say of the source they may say late.
func (v *view) receiversLate() bool {
	n := 0
	for _, r := range v.replicas {
		if r.stand == receives {
			if !r.lagging {
				return false
			}
			n++
		}
	}
	return n > 0
}

// idle says that there are n replicas or more, all were asked, and none replicates. up is how many answer.
func (v *view) idle(n int) (up int, idle bool) {
	for _, r := range v.replicas {
		if r.replicating || !r.Up() && r.Probe.Failure == topology.OK {
			return 0, false
		}
		if r.Up() {
			up++
		}
	}
	return up, len(v.replicas) >= n
}

// allFail says that there are several replicas, some answer, and none that answers can reach the viewed server.
func (v *view) allFail() bool {
	up, idle := v.idle(2)
	return idle && up > 0 && !slices.ContainsFunc(v.replicas, func(r replica) bool { return r.Up() && !r.failing })
}

func (v *view) downtimed(s *topology.Server) bool {
	return s.Downtime != nil && s.Downtime.Until.After(v.f.at)
}

func (v *view) allReplicasDowntimed() bool {
	return len(v.replicas) > 0 && !slices.ContainsFunc(v.replicas,
		func(r replica) bool { return !v.downtimed(r.Server) })
}

// writes says that a server answers and takes writes.
func writes(s *topology.Server) bool { return s.Up() && !s.Instance.ReadOnly }

// leads says that no server of its cluster is above the server, or that it is in a circle with the primary.
func (v *view) leads() bool {
	inside := slices.ContainsFunc(v.sources, func(s *topology.Server) bool { return s.Cluster == v.Cluster })
	return !inside || v.f.above(v.primary)[v.Key] != nil
}

// late returns the channel that is furthest behind, nil when none is too far.
func (v *view) late() *topology.Channel {
	if !v.Up() {
		return nil
	}
	var worst *topology.Channel
	for i := range v.Instance.Channels {
		c := &v.Instance.Channels[i]
		if d := late(*c, v.f.t); d > 0 && (worst == nil || cmp.Compare(d, late(*worst, v.f.t)) > 0) {
			worst = c
		}
	}
	return worst
}
