package plan

import (
	"fmt"
	"slices"
	"strings"

	"orchestrator/daemon/topology"
)

// Decision is the result of Next: what to do now, work by work, in order of precedence. At most one work has a step at
// a server.
type Decision struct {
	Works []Work `json:"works,omitempty"`
}

// Work is one piece of work: what was found, or is under way, at one server, and what to do about it now.
type Work struct {
	Kind Kind `json:"kind"`
	// Failed is the server that the work is about.
	Failed topology.Key `json:"failed"`
	// Request is what an operator asked for; nil when the policy alone calls for the work.
	Request *Request `json:"request,omitempty"`
	// Episode must be stored as it is here before any of Steps is done. nil: nothing has begun, so there is no record.
	// That of an Aftercare has ended.
	Episode *Episode `json:"episode,omitempty"`
	Steps   []Step   `json:"steps,omitempty"`   // independent of each other
	Wait    string   `json:"wait,omitempty"`    // why nothing more can be done now, although something is going on
	Refused []string `json:"refused,omitempty"` // why nothing is done
	// Candidates are in order.
	Candidates []Candidate `json:"candidates,omitempty"`
	// Bound states what may be lost, before acting.
	Bound string `json:"bound,omitempty"`
}

// ID tells a work from the others of its cluster, from one decision to the next.
func (w Work) ID() string {
	if w.Episode != nil {
		return w.Episode.ID
	}
	return fmt.Sprintf("%s/%v", w.Kind, w.Failed)
}

// Irreversible says that some step can't be taken back, so that the work needs a permit.
func (w Work) Irreversible() bool {
	return slices.ContainsFunc(w.Steps, func(s Step) bool { return s.Kind.Irreversible() })
}

// Promotes says that a server is to be promoted now.
func (w Work) Promotes() bool {
	return slices.ContainsFunc(w.Steps, func(s Step) bool { return s.Kind == Promote })
}

// Promoted is the server that the work has promoted, or is about to; zero when there is none.
func (w Work) Promoted() topology.Key {
	if w.Episode == nil || !w.Kind.Promotes() {
		return topology.Key{}
	}
	return w.Episode.Candidate
}

// Outcome is how the work has ended, in words; "" while it has not.
func (w Work) Outcome() string {
	if w.Episode == nil {
		return ""
	}
	return w.Episode.Outcome
}

// Lost are the servers that the work could not keep in the cluster.
func (w Work) Lost() []Lost {
	if w.Episode == nil {
		return nil
	}
	return w.Episode.Lost
}

// Settling says that a server was promoted and that the others are about to replicate from it: to look again soon is
// worth while.
func (d Decision) Settling() bool {
	return slices.ContainsFunc(d.Works, func(w Work) bool {
		return w.Episode != nil && w.Episode.Stage == Promoted && w.Wait != ""
	})
}

// Steps are those of all works.
func (d Decision) Steps() (out []Step) {
	for _, w := range d.Works {
		out = append(out, w.Steps...)
	}
	return out
}

// Refused are the reasons of all works.
func (d Decision) Refused() (out []string) {
	for _, w := range d.Works {
		out = append(out, w.Refused...)
	}
	return out
}

// Wait is what the works wait for; "" when none waits.
func (d Decision) Wait() string {
	var out []string
	for _, w := range d.Works {
		if w.Wait != "" {
			out = append(out, w.Wait)
		}
	}
	return strings.Join(out, "; ")
}

// Episodes are those that must be stored before any step is done.
func (d Decision) Episodes() (out []Episode) {
	for _, w := range d.Works {
		if w.Episode != nil {
			out = append(out, *w.Episode)
		}
	}
	return out
}
