// Package hook notifies others of an episode: it runs commands and posts to URLs at the moments that an operator chose.
//
// It decides nothing about servers, and no recovery waits for it. The one idea: which notifications are pending follows
// from the episode and from what was run for it before (Pending, a pure function). So a daemon that takes over makes
// the rest of them, and a hook whose daemon died while it ran is run again. Each is notified at least once, and is told
// which attempt it is.
package hook

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// Moment of an episode.
type Moment string

const (
	Opened    Moment = "opened"    // a failure was found
	Promoted  Moment = "promoted"  // the new primary takes writes; others may still have to be moved
	Blocked   Moment = "blocked"   // the recovery has not gone on for BlockedFor
	Recovered Moment = "recovered" // the cluster is whole again, except for what was lost
	Withdrawn Moment = "withdrawn" // the episode ended without a promotion
	Fenced    Moment = "fenced"    // the failed primary is back, and read-only
)

// Moments are all moments, in the order in which they come.
func Moments() []Moment {
	return []Moment{Opened, Blocked, Promoted, Recovered, Withdrawn, Fenced}
}

const (
	// BlockedFor is how long a recovery must have stood still. In most of them something is refused for a moment.
	BlockedFor = 5 * time.Second
	// Horizon is the age from which nobody is notified of a moment any more.
	Horizon = 24 * time.Hour
	// Pauses between attempts double, up to longest.
	shortest, longest = time.Second, 30 * time.Second
)

// Hook is a hook of the configuration.
type Hook struct {
	Name    string
	Command []string // the program, an absolute path, and its arguments; no shell
	URL     string   // or where to post; it may be secret, and is never shown
	Token   string   // a bearer token for URL; "" for none
	// Func is called instead of either, in this process.
	Func     func(ctx context.Context, m Message) error
	On       []Moment
	Of       func(cluster, alias string) bool // whether it concerns a cluster; nil: every one
	Timeout  time.Duration                    // of an attempt
	Attempts int
}

// Run is the record of one hook at one moment: its last attempt.
type Run struct {
	Hook    string    `json:"hook"`
	Moment  Moment    `json:"moment"`
	Episode string    `json:"episode"`
	By      string    `json:"by"` // the daemon
	Attempt int       `json:"attempt"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"` // zero: it is running, or its daemon died while it ran
	Outcome Outcome   `json:"outcome,omitempty"`
	Says    string    `json:"says,omitempty"` // how it failed
}

// Newer says that the run was recorded after another one of the same hook at the same moment.
func (r Run) Newer(than Run) bool {
	return r.Attempt > than.Attempt || r.Attempt == than.Attempt && r.Ended.After(than.Ended)
}

// Outcome of an attempt.
type Outcome string

const (
	OK       Outcome = "ok"
	Failed   Outcome = "failed"  // an exit code other than 0, a status other than 2xx, or no answer
	TimedOut Outcome = "timeout" // it was stopped
	// its daemon stopped or lost the leadership, and stopped it; or died while it ran
	Interrupted Outcome = "interrupted"
)

// Outcomes are all outcomes.
func Outcomes() []Outcome { return []Outcome{OK, Failed, TimedOut, Interrupted} }

// Key is the key of the record of a run.
func Key(episode string, m Moment, hook string) string { return episode + "/" + string(m) + "/" + hook }

// Case is all that the pending notifications of one episode follow from.
type Case struct {
	Episode plan.Episode
	Blocked time.Time         // since when it has been blocked; zero: it is not
	Others  []plan.Episode    // known episodes, perhaps this one too; they show whether its candidate was replaced
	Hooks   []Hook            // those of its cluster, in the order of the configuration
	Tenures map[string]Tenure // by TenureKey; a hook is not notified of what began before
	Runs    map[string]Run    // by Key
	Now     time.Time
}

// Task is an attempt to make.
type Task struct {
	Hook    Hook
	Moment  Moment
	Attempt int
	At      time.Time // not earlier
}

// Pending are the next attempts, at most one for each hook, so that a hook is notified of the moments in their order. A
// moment whose last attempt failed does not hold up the next one. What is running now is pending too, as its next
// attempt: the caller knows what it runs.
func Pending(c Case) []Task {
	var out []Task
	moments := reached(c)
	for _, h := range c.Hooks {
		for _, m := range concerning(c, h, moments) {
			if t, due := next(h, m, c.Runs[Key(c.Episode.ID, m.moment, h.Name)]); due {
				if t.At.Sub(c.Now) > longest { // by a clock that was ahead: nobody waits until that time has come
					t.At = c.Now
				}
				out = append(out, t)
				break
			}
		}
	}
	return out
}

// concerning are the moments that a hook must be notified of.
func concerning(c Case, h Hook, moments []reach) []reach {
	var out []reach
	for _, m := range moments {
		if t, ok := c.Tenures[TenureKey(h.Name, m.moment)]; !ok || c.Episode.Opened.Before(t.Since) {
			continue
		}
		if slices.Contains(h.On, m.moment) && c.Now.Sub(m.at) <= Horizon && !outdated(c, m.moment) {
			out = append(out, m)
		}
	}
	return out
}

// outdated says that the moment names as new primary a server that has failed and been replaced since. Somebody who is
// notified late would move an address to a dead server, perhaps after having been notified of its successor, because
// episodes do not wait for each other.
func outdated(c Case, m Moment) bool {
	e := c.Episode
	return (m == Promoted || m == Recovered) && slices.ContainsFunc(c.Others, func(o plan.Episode) bool {
		later := o.Promoted.After(e.Promoted) // the times of promotions rise, however clocks are set
		if e.Promoted.IsZero() {
			later = o.Opened.After(e.Opened)
		}
		return o.Kind.Promotes() && o.Failed == e.Candidate && !o.Promoted.IsZero() && later
	})
}

type reach struct {
	moment Moment
	at     time.Time
}

// reached are the moments that the episode has had, in their order.
func reached(c Case) []reach {
	e := c.Episode
	out := []reach{{Opened, e.Opened}}
	if !c.Blocked.IsZero() && e.Closed.IsZero() && c.Now.Sub(c.Blocked) >= BlockedFor {
		out = append(out, reach{Blocked, c.Blocked})
	}
	if !e.Promoted.IsZero() {
		out = append(out, reach{Promoted, e.Promoted})
	}
	switch {
	case e.Closed.IsZero():
	case e.Withdrawn():
		out = append(out, reach{Withdrawn, e.Closed})
	default:
		out = append(out, reach{Recovered, e.Closed})
	}
	if !e.Fenced.IsZero() {
		out = append(out, reach{Fenced, e.Fenced})
	}
	slices.SortStableFunc(out, func(a, b reach) int { return a.at.Compare(b.at) })
	return out
}

// next is the attempt after the last one; none if that succeeded, or was the last that is made.
func next(h Hook, m reach, last Run) (Task, bool) {
	t := Task{Hook: h, Moment: m.moment, Attempt: last.Attempt + 1, At: m.at}
	switch {
	case last.Attempt == 0:
		return t, true
	case last.Outcome == OK, last.Attempt >= h.Attempts && !last.Ended.IsZero() && last.Outcome != Interrupted:
		return Task{}, false
	case last.Attempt >= h.Attempts+interruptions: // its daemon dies each time, perhaps because of it
		return Task{}, false
	case last.Ended.IsZero():
		t.At = last.Started
	default:
		t.At = last.Ended.Add(min(longest, shortest<<min(last.Attempt-1, 10)))
	}
	return t, true
}

// GivenUp says that a run was the last attempt, and failed: the hook was not notified of that moment, and will not be.
func (h Hook) GivenUp(r Run) bool {
	_, due := next(h, reach{}, r)
	return !due && r.Outcome != OK
}

// Died are runs that are not repeated and that have no recorded end, because their daemons died. What is running now
// may be among them.
func Died(c Case) []Run {
	var out []Run
	for _, h := range c.Hooks {
		for _, m := range h.On {
			r := c.Runs[Key(c.Episode.ID, m, h.Name)]
			if r.Attempt > 0 && r.Ended.IsZero() && h.GivenUp(r) && c.Now.Sub(r.Started) <= Horizon {
				out = append(out, r)
			}
		}
	}
	return out
}

// interruptions is how many more attempts are made when daemons ended in the middle of them.
const interruptions = 3

// Message is what is sent to a hook: to a command on its standard input, to a URL in the body.
type Message struct {
	Hook     string         `json:"hook"`
	Moment   Moment         `json:"moment"`
	Attempt  int            `json:"attempt"`        // from 1; later ones may be repetitions
	Test     bool           `json:"test,omitempty"` // nothing has happened; somebody tests the hook
	Daemon   string         `json:"daemon"`
	Cluster  string         `json:"cluster"`
	Alias    string         `json:"alias,omitempty"`
	Episode  plan.Episode   `json:"episode"`
	Replicas []topology.Key `json:"replicas,omitempty"` // of the failed server, when it was lost
	Position string         `json:"position,omitempty"` // GTIDs that the candidate has executed
}

// Trial is a message about an episode that never happened: db1.example failed, and its replica db2.example was
// promoted. Each has another ID: otherwise a receiver that uses the Idempotency-Key would take the second trial for a
// repetition of the first.
func Trial(name string, m Moment, daemon string, now time.Time) Message {
	failed, candidate := topology.Key{Host: "db1.example", Port: 3306}, topology.Key{Host: "db2.example", Port: 3306}
	e := plan.Episode{ID: fmt.Sprintf("trial-%d", now.UnixMilli()), Kind: plan.PrimaryFailover,
		Code: analysis.DeadPrimary, Cluster: failed.String(), Failed: failed, Opened: now,
		Evidence: []string{"this is a test: nothing has happened"}}
	past := Moments()[:slices.Index(Moments(), m)+1]
	if m == Blocked {
		e.Blocked = "this is a test"
	}
	if m != Withdrawn && slices.Contains(past, Promoted) {
		e.Candidate, e.Promoted = candidate, now
	}
	if slices.Contains(past, Recovered) {
		e.Closed, e.Outcome = now, "this was a test"
	}
	if m == Fenced {
		e.Fenced = now
	}
	return Message{Hook: name, Moment: m, Attempt: 1, Test: true, Daemon: daemon, Cluster: e.Cluster, Episode: e,
		Replicas: []topology.Key{candidate}}
}

// Sort sorts runs by the time at which they began.
func Sort(runs []Run) {
	slices.SortFunc(runs, func(a, b Run) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.Hook, b.Hook), cmp.Compare(a.Moment, b.Moment))
	})
}
