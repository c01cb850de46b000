// Package hook tells others about an episode: it runs commands and posts to URLs at the moments that an operator chose.
//
// It decides nothing about servers, and nothing waits for it but who says so. The one idea: what is owed follows from the episode and from what was
// run for it already (Owed, a pure function), so that a daemon that takes over owes the rest, and a hook whose daemon died in it is run again: at least
// once, and told which attempt it is.
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
	Blocked   Moment = "blocked"   // it has not gone on for BlockedFor
	Recovered Moment = "recovered" // the cluster is whole again, but for what was lost
	Withdrawn Moment = "withdrawn" // it ended and nobody was promoted
	Fenced    Moment = "fenced"    // the failed primary is back, and read-only
)

// Moments are all, in the order in which they come.
func Moments() []Moment {
	return []Moment{Opened, Blocked, Promoted, Recovered, Withdrawn, Fenced}
}

const (
	// BlockedFor is how long a recovery must have stood still: a refusal that passes within moments is part of most of them.
	BlockedFor = 5 * time.Second
	// Horizon is the age from which a moment is told to nobody: whoever looks has seen it.
	Horizon = 24 * time.Hour
	// pauses between attempts double, up to longest.
	shortest, longest = time.Second, 30 * time.Second
)

// Hook is one that the configuration names.
type Hook struct {
	Name    string
	Command []string // the program, an absolute path, and its arguments; no shell
	URL     string   // or where to post; it may be a secret, and is shown to nobody
	Token   string   // a bearer token for URL; "" is none
	// Func is called instead of either, where this program itself is to be told.
	Func     func(ctx context.Context, m Message) error
	On       []Moment
	Of       func(cluster, alias string) bool // the clusters that it is about; nil: every one
	Timeout  time.Duration                    // of an attempt
	Attempts int
}

// Run is what is on record about one hook at one moment: its last attempt.
type Run struct {
	Hook    string    `json:"hook"`
	Moment  Moment    `json:"moment"`
	Episode string    `json:"episode"`
	By      string    `json:"by"` // the daemon
	Attempt int       `json:"attempt"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"` // zero: it runs, or its daemon died in it
	Outcome Outcome   `json:"outcome,omitempty"`
	Says    string    `json:"says,omitempty"` // how it failed
}

// Newer says that the run was on record later than another of the same hook at the same moment.
func (r Run) Newer(than Run) bool {
	return r.Attempt > than.Attempt || r.Attempt == than.Attempt && r.Ended.After(than.Ended)
}

// Outcome of an attempt.
type Outcome string

const (
	OK          Outcome = "ok"
	Failed      Outcome = "failed"      // exit code other than 0, status other than 2xx, nobody there
	TimedOut    Outcome = "timeout"     // and was ended
	Interrupted Outcome = "interrupted" // its daemon stopped, or lost the lead, and ended it; or died in it
)

// Outcomes are all.
func Outcomes() []Outcome { return []Outcome{OK, Failed, TimedOut, Interrupted} }

// Key is that of the record of a run.
func Key(episode string, m Moment, hook string) string { return episode + "/" + string(m) + "/" + hook }

// Case is what is owed about one episode rests on.
type Case struct {
	Episode plan.Episode
	Blocked time.Time         // since when it has been blocked; zero: it isn't
	Others  []plan.Episode    // that are known; its own may be among them. They tell whether its candidate has been replaced
	Hooks   []Hook            // those that its cluster has, in the order of the configuration
	Tenures map[string]Tenure // by TenureKey; what began before is none of the hook's business
	Runs    map[string]Run    // by Key
	Now     time.Time
}

// Task is an attempt to be made.
type Task struct {
	Hook    Hook
	Moment  Moment
	Attempt int
	At      time.Time // not earlier
}

// Owed are the next attempts, one a hook at most, so that a hook hears of the moments in their order; a moment at which it failed for good holds up
// none. What runs now is owed, too, as its next attempt: who asks knows what he runs.
func Owed(c Case) []Task {
	var out []Task
	moments := reached(c)
	for _, h := range c.Hooks {
		for _, m := range concerning(c, h, moments) {
			if t, due := next(h, m, c.Runs[Key(c.Episode.ID, m.moment, h.Name)]); due {
				out = append(out, t)
				break
			}
		}
	}
	return out
}

// concerning are those of the moments that a hook is to hear of.
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

// outdated says that the moment names as new primary a server that has failed and been replaced since: who is told late would move an address to a
// dead server, and perhaps after he was told of its successor, because episodes don't wait for each other.
func outdated(c Case, m Moment) bool {
	e := c.Episode
	return (m == Promoted || m == Recovered) && slices.ContainsFunc(c.Others, func(o plan.Episode) bool {
		return o.Kind.Promotes() && o.Failed == e.Candidate && !o.Promoted.IsZero() && o.Opened.After(e.Opened)
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

// next is the attempt after the last one; none when it went well, or was the last that is made.
func next(h Hook, m reach, last Run) (Task, bool) {
	t := Task{Hook: h, Moment: m.moment, Attempt: last.Attempt + 1, At: m.at}
	switch {
	case last.Attempt == 0:
		return t, true
	case last.Outcome == OK, last.Attempt >= h.Attempts && !last.Ended.IsZero() && last.Outcome != Interrupted:
		return Task{}, false
	case last.Attempt >= h.Attempts+interruptions: // its daemon dies each time: perhaps of it
		return Task{}, false
	case last.Ended.IsZero():
		t.At = last.Started
	default:
		t.At = last.Ended.Add(min(longest, shortest<<min(last.Attempt-1, 10)))
	}
	return t, true
}

// GivenUp says that a run was the last attempt that is made, and has failed: the hook was not told of that moment, and won't be.
func (h Hook) GivenUp(r Run) bool {
	_, due := next(h, reach{}, r)
	return !due && r.Outcome != OK
}

// Died are runs that are not made again, and of which nobody has noted how they ended, as their daemons died in them. What runs now may be among them.
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

// interruptions is how many attempts more are made when daemons ended in the middle of them.
const interruptions = 3

// Message is what a hook is told: a command on its standard input, a URL in the body.
type Message struct {
	Hook     string         `json:"hook"`
	Moment   Moment         `json:"moment"`
	Attempt  int            `json:"attempt"`        // from 1: later ones may be repetitions
	Test     bool           `json:"test,omitempty"` // nothing has happened; somebody tries the hook
	Daemon   string         `json:"daemon"`
	Cluster  string         `json:"cluster"`
	Alias    string         `json:"alias,omitempty"`
	Episode  plan.Episode   `json:"episode"`
	Replicas []topology.Key `json:"replicas,omitempty"` // of the failed server, when it was lost
	Position string         `json:"position,omitempty"` // GTIDs that the candidate has executed
}

// Trial is a message about an episode that there never was: of db1.example, whose replica db2.example took its place. Each has another id, or a receiver
// that heeds the Idempotency-Key would take the second trial for a repetition of the first.
func Trial(name string, m Moment, daemon string, now time.Time) Message {
	failed, candidate := topology.Key{Host: "db1.example", Port: 3306}, topology.Key{Host: "db2.example", Port: 3306}
	e := plan.Episode{ID: fmt.Sprintf("trial-%d", now.UnixMilli()), Kind: plan.PrimaryFailover, Code: analysis.DeadPrimary, Cluster: failed.String(), Failed: failed, Opened: now,
		Evidence: []string{"this is a trial: nothing has happened"}}
	past := Moments()[:slices.Index(Moments(), m)+1]
	if m == Blocked {
		e.Blocked = "this is a trial"
	}
	if m != Withdrawn && slices.Contains(past, Promoted) {
		e.Candidate, e.Promoted = candidate, now
	}
	if slices.Contains(past, Recovered) {
		e.Closed, e.Outcome = now, "this was a trial"
	}
	if m == Fenced {
		e.Fenced = now
	}
	return Message{Hook: name, Moment: m, Attempt: 1, Test: true, Daemon: daemon, Cluster: e.Cluster, Episode: e, Replicas: []topology.Key{candidate}}
}

// Sort puts runs into the order in which they were begun.
func Sort(runs []Run) {
	slices.SortFunc(runs, func(a, b Run) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.Hook, b.Hook), cmp.Compare(a.Moment, b.Moment))
	})
}
