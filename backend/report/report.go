// Package report is what working on a pair of backend servers tells: how the members compare, which steps were done,
// what is wrong with them. Package pair makes it, the API answers with it, both commands print it; the JSON is the same
// everywhere.
//
// It knows no server and does nothing. The one idea: what is told is a type of its own, below all that tell it, so that
// nothing has to be copied from one form into another.
package report

import (
	"context"
	"fmt"

	"orchestrator/backend"
	"orchestrator/daemon/topology"
)

// Comparison is how the two members compare.
type Comparison struct {
	Equal       bool         `json:"equal"`
	Records     int64        `json:"records" doc:"the most that a member has"`
	Kinds       []Kind       `json:"kinds"`
	Differences []Difference `json:"differences,omitempty" doc:"those that remain when every write has reached both"`
	Arrived     []Difference `json:"arrived,omitempty" doc:"those that were being replicated, and have arrived"`
	Merged      []Difference `json:"merged,omitempty" doc:"those that remained, and were merged"`
	Note        string       `json:"note,omitempty" doc:"what the comparison can't say"`
}

// Kind is one kind of records on both members.
type Kind struct {
	Kind    string   `json:"kind"`
	Records [2]int64 `json:"records" doc:"in the order of the members"`
	Differ  int      `json:"differ" doc:"parts, of 16, whose checksums differed before all had been replicated"`
}

// Difference is one record that differs.
type Difference struct {
	Kind string   `json:"kind"`
	Key  string   `json:"key"`
	Held [2]*Held `json:"held" doc:"in the order of the members; null: this member does not have it"`
	// Conflict: no write of ours causes that.
	Conflict bool `json:"conflict,omitempty" doc:"the same version of the same writer with different content"`

	Stored [2]*backend.Record `json:"-"` // as the members have it, for merging
}

// Of says whether it is about the same record.
func (d Difference) Of(o Difference) bool { return d.Kind == o.Kind && d.Key == o.Key }

// Same says whether it is still the same difference.
func (d Difference) Same(o Difference) bool {
	if !d.Of(o) {
		return false
	}
	for i := range d.Held {
		if (d.Held[i] == nil) != (o.Held[i] == nil) || d.Held[i] != nil && *d.Held[i] != *o.Held[i] {
			return false
		}
	}
	return true
}

// Winner is what both must hold. For a conflict, it is what the first one has, with a version that wins over both.
func (d Difference) Winner() backend.Record {
	a, b := d.Stored[0], d.Stored[1]
	switch {
	case a == nil:
		return *b
	case b == nil || a.Wins(*b):
		return *a
	case d.Conflict:
		r := *a
		r.Version++
		return r
	}
	return *b
}

// Held is how a member holds a record.
type Held struct {
	Version int64  `json:"version" doc:"a time in microseconds"`
	Writer  string `json:"writer"`
	Deleted bool   `json:"deleted,omitempty"`
}

func (h *Held) String() string {
	switch {
	case h == nil:
		return "not there"
	case h.Deleted:
		return fmt.Sprintf("deleted in version %d by %s", h.Version, h.Writer)
	}
	return fmt.Sprintf("version %d by %s", h.Version, h.Writer)
}

// Report is what promoting or rejoining a member has done, or would do.
type Report struct {
	DryRun       bool        `json:"dry_run,omitempty"`
	Steps        []Step      `json:"steps"`
	Seen         []string    `json:"seen,omitempty" doc:"what was seen afterwards"`
	Verification *Comparison `json:"verification,omitempty" doc:"the members at the end, if both answer"`
	Next         []string    `json:"next,omitempty" doc:"what is left for somebody to do"`
}

// Step is one step of it. Each may be repeated: what is done already is skipped.
type Step struct {
	At         topology.Key `json:"at,omitzero" doc:"absent: the proxy, or both members"`
	Does       string       `json:"does"`
	Statements []string     `json:"statements,omitempty"`
	Done       bool         `json:"done"`
	Took       string       `json:"took,omitempty"`

	Run func(context.Context) error `json:"-"` // does it
}

func (s Step) String() string {
	if s.At.IsZero() {
		return s.Does
	}
	return s.At.String() + ": " + s.Does
}

// Examination is what is wrong with the pair, and what was fixed.
type Examination struct {
	Mended     []Complaint `json:"mended,omitempty" doc:"what was fixed"`
	Complaints []Complaint `json:"complaints"`
}

// Complaint is one thing that makes a pair fail, or will.
type Complaint struct {
	At         topology.Key `json:"at,omitzero" doc:"absent: the pair as a whole"`
	Code       string       `json:"code"`
	Says       string       `json:"says" doc:"what is wrong, and its consequence"`
	Statements []string     `json:"statements,omitempty" doc:"that fix it on the running server"`
	Config     []string     `json:"config,omitempty" doc:"the lines for my.cnf that make the fix permanent"`
	Do         string       `json:"do,omitempty" doc:"what to do where no statement fixes it"`
	// Safe statements are those that --fix runs.
	Safe  bool `json:"safe" doc:"the statements never do harm"`
	Drain bool `json:"drain,omitempty" doc:"what was received must be applied first"`

	Needs string `json:"-"` // the privilege that the statements need
}

// ProxyServer is a member as the HAProxy of this daemon's machine sees it.
type ProxyServer struct {
	Key      topology.Key `json:"key"`
	Name     string       `json:"name" doc:"in HAProxy"`
	Up       bool         `json:"up" doc:"new connections may go there"`
	State    string       `json:"state" doc:"in HAProxy's words"`
	Sessions int          `json:"sessions"`
}
