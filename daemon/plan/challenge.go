package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

// challengeAgain is how long replicas that found their source alive are left in peace.
const challengeAgain = 30 * time.Second

// challenge makes the replicas of a silent server find out for themselves whether it lives: a receiver that is
// restarted has to connect. All receivers are restarted at once, because a stop can take seconds (MariaDB with
// semi-sync notifies the source). If the source lives, they are back in milliseconds. They are restarted again only
// much later. finding says what is known. Where nobody can be asked, missing says what would help.
func (v *view) challenge(e *Episode, failed *topology.Server, finding string) (w Work, missing string) {
	if why := unresolved(failed); why != "" {
		return Work{}, why
	}
	silent := v.Snapshot.At.Sub(failed.Probe.FailingSince)
	patience, failures := v.Thresholds.Silence*2/5, 1 // one time-out is long enough in itself
	if failed.Probe.Failure.Dead() || failed.Probe.Failure == topology.Reset {
		patience, failures = 200*time.Millisecond, 2
	}
	if silent < patience || failed.Probe.Failures < failures {
		return v.waits(*e, "%v has been out of reach for only %s", e.Failed, silent.Round(time.Millisecond)), ""
	}
	if steps := v.restarts(*e); len(steps) > 0 {
		return Work{Episode: e, Steps: steps}, ""
	}
	asked, waiting := v.askable(e.Failed)
	since := v.Snapshot.At.Sub(e.Challenged)
	switch {
	case len(asked) == 0 && len(waiting) > 0:
		return v.waits(*e, "%s", strings.Join(waiting, "; ")), ""
	case len(asked) == 0:
		return Work{}, v.unanswered(*e, finding)
	case !e.Challenged.IsZero() && since >= 0 && since < challengeAgain:
		// since is negative when the clock of the daemon that restarted the receivers was ahead.
		return Work{Episode: v.stored(*e), Wait: v.answer(*e, asked, since)}, ""
	}
	e.Challenged = v.Snapshot.At
	then := "another server is promoted"
	if !e.Kind.Promotes() {
		then = "they are moved under another source"
	}
	w = Work{Episode: e, Wait: fmt.Sprintf("what is done next depends on whether they reach %v: if they do, nothing; "+
		"if they can't, %s", e.Failed, then)}
	for _, r := range asked {
		e.touch(r.Key)
		w.Steps = append(w.Steps, v.ask(r, e.Failed, silent))
	}
	return w, ""
}

// unresolved says that it is our own trouble that the server can't be reached; "" where it is not.
func unresolved(failed *topology.Server) string {
	if failed.Probe.Failure != topology.NoHost {
		return ""
	}
	return fmt.Sprintf("this daemon can't resolve the name of %v, which says nothing of the server: "+
		"fix its resolver, or add the server by its address", failed.Key)
}

// halfway are the starts of receivers that were stopped for a restart and not started again.
func (v *view) halfway(e Episode) (steps []Step) {
	for _, r := range v.followers[e.Failed] {
		if c := r.ChannelFrom(e.Failed); !r.MultiSource() && c.Halted() && e.touched(r.Key) {
			steps = append(steps, v.start(r, e.Failed,
				"its receiver was stopped for a restart, and the daemon that did that did not come to start it"))
		}
	}
	return steps
}

// restarts are those that lose nothing: MariaDB throws away what a receiver has brought when it starts, and a source
// that is silent may not send it again.
func (v *view) restarts(e Episode) []Step {
	return slices.DeleteFunc(v.halfway(e), func(s Step) bool {
		i := v.servers[s.At].Instance
		return i.Flavor == topology.MariaDB && !i.Channels[0].Drained(i.Executed)
	})
}

// restarted adds the starts of receivers that were stopped for a restart and not started again to a work that does
// nothing else: whatever else keeps it from going on, they must not stand still because of us.
func (v *view) restarted(w Work, e Episode) Work {
	if e.Stage != Suspected || len(w.Steps) > 0 || v.Off != "" || v.stored(e) == nil ||
		w.Episode != nil && !w.Episode.Closed.IsZero() {
		return w
	}
	if w.Steps = v.restarts(e); len(w.Steps) > 0 && w.Episode == nil {
		w.Episode = &e
	}
	return w
}

// askable are the replicas of a silent server whose receivers can be restarted, so that they find out whether it lives:
// those that seem connected, and those that the server has refused, which try again only after a while. waiting says
// why others can't be restarted yet.
func (v *view) askable(silent topology.Key) (asked []*topology.Server, waiting []string) {
	for _, r := range v.followers[silent] {
		c := r.ChannelFrom(silent)
		switch {
		case r.MultiSource(), c.IO != topology.Running && !c.Rejected():
		case r.Instance.Flavor == topology.MariaDB && !c.Drained(r.Instance.Executed):
			waiting = append(waiting, fmt.Sprintf(
				"%v must apply what it received first: a restart of its receiver would throw relay logs away", r.Key))
		default:
			asked = append(asked, r)
		}
	}
	return asked, waiting
}

// ask makes the step that has r find out whether its source lives.
func (v *view) ask(r *topology.Server, source topology.Key, silent time.Duration) Step {
	seems := "seems still connected: it has to connect again, and so finds out"
	if c := r.ChannelFrom(source); c.Rejected() {
		seems = fmt.Sprintf("was refused by it (error %d), and tries again only after a while: "+
			"a restart of its receiver shows at once", c.IOErrno)
	}
	return Step{Kind: RestartReceiver, At: r.Key, From: source,
		Expect: Expect{UUID: r.Instance.UUID, Source: source},
		Why: fmt.Sprintf("%v does not answer us (%s for %s) and %v %s whether its source lives",
			source, v.servers[source].Probe.Failure, silent.Round(time.Millisecond), r.Key, seems)}
}

// answer says what replicas have found out whose receivers were restarted.
func (v *view) answer(e Episode, asked []*topology.Server, since time.Duration) string {
	for _, r := range asked {
		if r.ChannelFrom(e.Failed).IO == topology.Running {
			return fmt.Sprintf("%v reconnected to %v %s ago, so %v is alive, and only this daemon can't reach it",
				r.Key, e.Failed, since.Round(time.Millisecond), e.Failed)
		}
	}
	return fmt.Sprintf("%v was asked to reconnect to %v %s ago, and was refused by it again: %v is alive, "+
		"and only this daemon can't reach it", asked[0].Key, e.Failed, since.Round(time.Millisecond), e.Failed)
}

// unanswered says what is missing where no replica can be asked, and what would help.
func (v *view) unanswered(e Episode, finding string) string {
	var stopped, broken, several []string
	for _, r := range v.followers[e.Failed] {
		switch c := r.ChannelFrom(e.Failed); {
		case c.IO == topology.Running && r.MultiSource():
			several = append(several, r.Key.String())
		case c.IO != topology.Stopped || topology.ConnectionError(c.IOErrno):
		case r.Instance.Flavor == topology.MariaDB && !c.Drained(r.Instance.Executed): // a start would cost relay logs
		case c.IOErrno == 0:
			stopped = append(stopped, r.Key.String())
		default:
			broken = append(broken, fmt.Sprintf("%v (error %d)", r.Key, c.IOErrno))
		}
	}
	const start = "(START REPLICA IO_THREAD, START SLAVE IO_THREAD), and it finds out whether"
	receiver, it := "receiver", "start it"
	if len(stopped)+len(broken) > 1 {
		receiver, it = "receivers", "start one of them"
	}
	switch {
	case len(several) > 0:
		return fmt.Sprintf("%s Replicas with several sources are left alone (%s): restart the receiver from %v there "+
			"by hand, and it finds out whether %v lives", finding, strings.Join(several, ", "), e.Failed, e.Failed)
	case len(stopped) > 0:
		return fmt.Sprintf("%s Somebody stopped the %s of %s: %s %s %v lives", finding, receiver,
			strings.Join(stopped, ", "), it, start, e.Failed)
	case len(broken) > 0:
		return fmt.Sprintf("%s The %s stopped at %s: %s %s %v lives", finding, receiver, strings.Join(broken, ", "),
			it, start, e.Failed)
	}
	return fmt.Sprintf("%s If you know that it is dead, stop its process or its host for good: "+
		"a refused connection counts at once", finding)
}
