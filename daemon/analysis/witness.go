package analysis

import (
	"fmt"
	"slices"
	"time"

	"orchestrator/daemon/topology"
)

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
	says  string // the stand, as a line of evidence; "" of a source that answers: nobody asks for testimony then
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
		if out.stand = gone; !v.Up() {
			out.says = fmt.Sprintf("%v: does not answer either (%s)", r.Key, howFailed(r, v.f.at))
		}
		return out
	}
	weight := [...]int{cannotTell: 1, witnesses: 2, pending: 3, receives: 4}
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
	say := func(s stand, format string, args ...any) (stand, string) {
		if v.Up() { // as nearly always: the words cost more than all the rest
			return s, ""
		}
		return s, fmt.Sprintf("%v: IO thread is %s, asked %s after %v fell silent", r.Key,
			fmt.Sprintf(format, args...), span(r.Probe.Answered.Sub(since)), v.Key)
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
