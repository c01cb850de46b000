package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/topology"
)

// Episode is the record of a work, from the first verdict until the cluster is whole again. Every daemon knows it by
// the same ID. Check verifies the invariants that stand on the fields.
type Episode struct {
	ID   string `json:"id"`   // never changes, and is never used again
	Kind Kind   `json:"kind"` // never changes; not Aftercare
	// Cluster, Failed and FailedUUID never change. FailedUUID is "" while nothing identifies the server.
	Cluster    string        `json:"cluster"`
	Failed     topology.Key  `json:"failed"`
	FailedUUID string        `json:"failed_uuid,omitempty"`
	Code       analysis.Code `json:"code"` // of the finding that called for the work last
	Evidence   []string      `json:"evidence,omitempty"`
	Opened     time.Time     `json:"opened"`
	// Request is what an operator asked for; nil when the policy alone called for the work.
	Request *Request `json:"request,omitempty"`
	// Stage says how far the commitment goes; it only rises.
	Stage Stage `json:"stage"`
	// Touched are the servers whose replication this work has changed, or may have changed. If the receiver of one of
	// them stands still, we stopped it, and we start it again. Each server is in here before its first step is done.
	// The list only grows, except when the work is committed: then it is set to the replicas that can be reached, and
	// those in it that can't: nobody knows whether they were left half done.
	Touched []topology.Key `json:"witnesses,omitempty"`
	// Candidate is the server that we are committed to promote, so it is set from Chosen on. For an
	// IntermediateFailover it is the server that takes the replicas. It is on record before it is touched.
	Candidate topology.Key `json:"candidate,omitzero"`
	Why       string       `json:"why,omitempty"` // why that candidate
	// CandidateUUID is the identity of the candidate of a promotion: another server at its address, or one with a new
	// data directory, is not it. Set together with Candidate, and "" where nothing identifies the server.
	CandidateUUID string `json:"candidate_uuid,omitempty"`
	// CandidateStart is when that process of the promoted server began which was last seen to take writes: one that
	// restarts read-only is opened again, one that a person has made read-only is not. Set after the promotion.
	CandidateStart time.Time `json:"candidate_start,omitzero"`
	// Donor is the server that the candidate was made to follow, to fetch what it lacked. Set before the step.
	Donor topology.Key `json:"donor,omitzero"`
	// DrainSince is when the candidate began to apply what it had received, or to connect to its donor, by the clock of
	// the daemon that wrote it.
	DrainSince time.Time `json:"drain_since,omitzero"`
	// Unreached are the donors to which a candidate did not connect within the policy's drain_timeout, each pair once.
	// It is not waited for again until it has connected: else two candidates that reach no donor would take turns.
	Unreached []Unreached `json:"unreached,omitempty"`
	// FenceSince is when the first writable replica was to be made read-only, so that the candidate could be opened.
	FenceSince time.Time `json:"fence_since,omitzero"`
	// Promoted is when the candidate was seen to take writes; only for kinds that promote. It is never before an
	// earlier promotion of the cluster, whatever clocks say: the latest one names the rightful primary.
	Promoted time.Time `json:"promoted,omitzero"`
	// Opening are candidates that were read-only when they were told to take writes. One that takes writes was opened
	// by this work, also where the channel from its source is not removed yet. One that is silent since may take
	// writes.
	Opening []topology.Key `json:"opening,omitempty"` // each once
	// Had is how many transactions the candidate had when it was seen to take writes; what came since was committed
	// there. Committed is when that was first seen. Only after Promoted.
	Had       uint64    `json:"had,omitempty"`
	Committed time.Time `json:"committed,omitzero"`
	Lost      []Lost    `json:"lost,omitempty"` // each server once
	// Closed is set once, together with Outcome (in words); Blocked is "" from then on.
	Closed  time.Time `json:"closed,omitzero"`
	Outcome string    `json:"outcome,omitempty"`
	// Fenced is when the failed primary, back again, was last seen made read-only by us or following another server.
	// Only after Promoted. Until then a finished episode keeps probing it.
	Fenced       time.Time        `json:"fenced,omitzero"`
	Acknowledged *Acknowledgement `json:"acknowledged,omitempty"`
	// EventsOff are the servers whose event scheduler a fence turned off, each once. It is turned on again when the
	// server is promoted.
	EventsOff []EventsOff `json:"events_off,omitempty"`
	// Challenged is when receivers were last restarted so that the replicas find out whether their source lives.
	Challenged time.Time `json:"challenged,omitzero"`
	// Failing are servers at which steps fail for a reason of the server's own. A step that succeeds there ends it.
	Failing []Failing `json:"failing,omitempty"`
	// Abandoned were candidates once, and fell silent; should one come back writable after a promotion, it is fenced.
	Abandoned []topology.Key `json:"abandoned,omitempty"`
	// Left are replicas whose receivers we may have stopped and could not start again: they were out of reach when the
	// episode closed, or a step failed there and may go on at the server. They are started when they are back.
	Left []topology.Key `json:"left,omitempty"`
	// Unfinished says that the new primary became silent before all replicas were moved, or that a replica is being
	// moved after the end. A half-done move is then known as ours. Only after Promoted.
	Unfinished bool `json:"unfinished,omitempty"`
	// Unacknowledged says that the commits of the promoted server do not wait for acknowledgements, although those of
	// the failed one did, because too few replicas acknowledge. They wait again once enough do.
	Unacknowledged bool `json:"unacknowledged,omitempty"`
	// Blocked is the present reason for not going on; "" while it goes on.
	Blocked string `json:"blocked,omitempty"`
}

// Stage of an episode. They rise in this order.
type Stage string

const (
	Suspected Stage = "suspected" // receivers are restarted so that replicas find out; reversible
	Committed Stage = "committed" // receivers are being stopped; reversible
	Chosen    Stage = "chosen"    // Candidate is set
	Promoted  Stage = "promoted"  // Candidate takes writes; the others are moved under it
	Ended     Stage = "ended"     // closed after a promotion
)

var stages = []Stage{Suspected, Committed, Chosen, Promoted, Ended}

// Lost is a server that could not be kept in the cluster.
type Lost struct {
	Key topology.Key `json:"key"`
	Why string       `json:"why"`
}

// Unreached is that a candidate did not connect to its donor in time.
type Unreached struct {
	Key   topology.Key `json:"key"` // the candidate
	Donor topology.Key `json:"donor"`
}

// EventsOff is that a fence turned the event scheduler of a server off, or tried to.
type EventsOff struct {
	Key   topology.Key `json:"key"`
	At    time.Time    `json:"at"`             // the last try
	Since time.Time    `json:"since,omitzero"` // the first of the tries that followed each other
}

// Failing is a server at which steps of a work fail: it refuses them, or does not do them in time.
type Failing struct {
	Key   topology.Key `json:"key"`
	Times int          `json:"times"` // in a row; one that took long counts twice
	Why   string       `json:"why"`
}

// failsAfter is how many steps must have failed at a server before another is taken, if there is one: what fails once
// may have been a moment's trouble.
const failsAfter = 2

// Acknowledgement ends what an episode still asks for (anti-flapping, fencing).
type Acknowledgement struct {
	By      string    `json:"by"`
	Comment string    `json:"comment"`
	At      time.Time `json:"at"`
}

// Check returns the first invariant that the episode breaks, or nil. It is called where episodes are written.
func (e Episode) Check() error {
	broken := func(bad bool, says string) error {
		if !bad {
			return nil
		}
		return fmt.Errorf("episode %q of %v at stage %s: %s", e.ID, e.Failed, e.Stage, says)
	}
	promoted, closed := !e.Promoted.IsZero(), !e.Closed.IsZero()
	for _, err := range []error{
		broken(e.ID == "" || e.Cluster == "" || e.Failed.IsZero() || e.Opened.IsZero(),
			"it lacks its ID, cluster, failed server or time"),
		broken(e.Kind.row() == nil || e.Kind == Aftercare, fmt.Sprintf("no episode is of kind %q", e.Kind)),
		broken(!slices.Contains(stages, e.Stage), "there is no such stage"),
		broken((e.Stage == Chosen || promoted) && e.Candidate.IsZero(), "it has no candidate"),
		broken(promoted && !e.Kind.Promotes(), fmt.Sprintf("a work of kind %s promotes no server", e.Kind)),
		broken(promoted != (e.Stage == Promoted || e.Stage == Ended),
			"the time of the promotion and the stage disagree"),
		broken(e.Stage == Ended && !closed, "it has ended and is open"),
		broken(closed != (e.Outcome != ""), "it must have an outcome when it is closed, and only then"),
		broken(closed && e.Blocked != "", "it is closed and blocked"),
		broken(!promoted && (!e.Fenced.IsZero() || e.Unfinished || !e.Committed.IsZero()),
			"nothing was promoted, and it tells what came after that"),
		broken(len(e.Left) > 0 && !closed, "receivers are left stopped only by an episode that is closed"),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// Withdrawn says that the episode was to promote a server, and closed without that.
func (e Episode) Withdrawn() bool {
	return e.Kind.Promotes() && !e.Closed.IsZero() && e.Promoted.IsZero()
}

// counts says that the episode promoted a server, and that nobody has acknowledged it. What it left undone is still
// done.
func (e Episode) counts() bool {
	return e.Kind.Promotes() && !e.Promoted.IsZero() && e.Acknowledged == nil
}

// Awaited are the servers that the work has left behind, and that must be seen at once when they come back.
func (e Episode) Awaited() []topology.Key {
	if !e.Kind.Promotes() || e.Acknowledged != nil || e.Withdrawn() {
		return nil
	}
	out := append([]topology.Key{e.Failed}, e.Abandoned...)
	for _, l := range e.Lost {
		out = append(out, l.Key)
	}
	return out
}

// touched says that the work has changed the replication of k, or may have.
func (e Episode) touched(k topology.Key) bool { return slices.Contains(e.Touched, k) }

// touch notes that the work changes the replication of k.
func (e *Episode) touch(k topology.Key) {
	if !e.touched(k) {
		e.Touched = append(slices.Clip(e.Touched), k)
	}
}

func (e Episode) failing(k topology.Key) *Failing {
	for i := range e.Failing {
		if e.Failing[i].Key == k {
			return &e.Failing[i]
		}
	}
	return nil
}

// fails says that steps at k have failed so often that the work goes on without it where it can.
func (e Episode) fails(k topology.Key) bool {
	f := e.failing(k)
	return f != nil && f.Times >= failsAfter
}

// failures is how often steps at k have failed in a row, once that is no moment's trouble.
func (e Episode) failures(k topology.Key) int {
	if f := e.failing(k); f != nil && e.fails(k) {
		return f.Times
	}
	return 0
}

// unreached says that the candidate did not connect to the donor in time.
func (e Episode) unreached(candidate, donor topology.Key) bool {
	return slices.Contains(e.Unreached, Unreached{candidate, donor})
}

// lost says that the server at k could not be kept.
func (e Episode) lost(k topology.Key) bool {
	return slices.ContainsFunc(e.Lost, func(l Lost) bool { return l.Key == k })
}

// lose notes that the server at k could not be kept, and why. One that was only out of reach may turn out to be lost
// for good when it is back.
func (e *Episode) lose(k topology.Key, why string) {
	at := slices.IndexFunc(e.Lost, func(l Lost) bool { return l.Key == k })
	switch {
	case at < 0:
		e.Lost = append(slices.Clip(e.Lost), Lost{k, why})
	case strings.HasPrefix(e.Lost[at].Why, outOfReach) && !strings.HasPrefix(why, outOfReach):
		e.Lost = slices.Clone(e.Lost)
		e.Lost[at].Why = why
	}
}

// outOfReach is how the reason of a loss begins that ends when the server is back.
const outOfReach = "out of reach ("

// opening notes that k is told to take writes.
func (e *Episode) opening(k topology.Key) {
	if !slices.Contains(e.Opening, k) {
		e.Opening = append(slices.Clip(e.Opening), k)
	}
}

// abandon notes that k was the candidate and fell silent.
func (e *Episode) abandon(k topology.Key) {
	if !k.IsZero() && !slices.Contains(e.Abandoned, k) {
		e.Abandoned = append(slices.Clip(e.Abandoned), k)
	}
}

// PromotedLast is the server that the last finished or ongoing promotion of these episodes gave their cluster. It is
// zero when no promotion still counts.
func PromotedLast(episodes []Episode) topology.Key {
	if last := lastPromoted(episodes); last != nil && last.counts() {
		return last.Candidate
	}
	return topology.Key{}
}

// lastPromoted is the episode of the latest promotion.
func lastPromoted(episodes []Episode) *Episode {
	var last *Episode
	for i, e := range episodes {
		if e.Kind.Promotes() && !e.Promoted.IsZero() && (last == nil || e.Promoted.After(last.Promoted)) {
			last = &episodes[i]
		}
	}
	return last
}

// replace returns the episodes with e in the place of the one that has its ID, or before all others.
func replace(episodes []Episode, e Episode) []Episode {
	out := slices.Clone(episodes)
	for i := range out {
		if out[i].ID == e.ID {
			out[i] = e
			return out
		}
	}
	return append([]Episode{e}, out...)
}
