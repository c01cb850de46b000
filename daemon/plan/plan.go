// Package plan decides what to do next about what analysis found, and says why, and why not.
//
// It does nothing itself (see recovery and mysql). The one idea: Next is a function of what is known now. It is asked again after
// every step, so a first try, a retry, and the continuation by another daemon are the same thing.
package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// Policy is what the operator allows in one cluster. The zero value allows nothing.
type Policy struct {
	Named               bool `json:"named"` // some policy of the configuration names the cluster
	RecoverPrimary      bool `json:"recover_primary"`
	RecoverIntermediate bool `json:"recover_intermediate"`
	// DrainTimeout is how long relay logs may take to be applied before the failover is called blocked. It goes on waiting then,
	// unless AllowReceivedLoss.
	DrainTimeout time.Duration `json:"drain_timeout"`
	// MaxLag vetoes candidates whose applier is further behind; 0 is no veto.
	MaxLag time.Duration `json:"max_lag"`
	// AllowReceivedLoss lets a promotion drop transactions that a replica received and can't apply in time.
	AllowReceivedLoss bool `json:"allow_received_loss"`
	// AllowUnfenced lets a promotion go on when the old primary can neither be fenced nor is proved dead (silence only).
	AllowUnfenced bool `json:"allow_unfenced"`
	AllowErrant   bool `json:"allow_errant"` // candidates with errant transactions
	// AntiFlap is how long after a finished promotion the next automatic one is refused.
	AntiFlap time.Duration `json:"anti_flap"`
}

// Kind of a work, and of its episode.
type Kind string

const (
	PrimaryFailover      Kind = "primary_failover"
	IntermediateFailover Kind = "intermediate_failover"
	// Aftercare is what a failover that has ended still needs: a former primary that comes back is fenced, a replica that
	// comes back is moved, a receiver that was left stopped is started. It has no episode of its own: its episode is the ended one.
	Aftercare Kind = "aftercare"
)

// Episode is one incident, from the first verdict until the cluster is whole again.
type Episode struct {
	ID         string        `json:"id"`
	Kind       Kind          `json:"kind"`
	Cluster    string        `json:"cluster"`
	Failed     topology.Key  `json:"failed"`
	FailedUUID string        `json:"failed_uuid,omitempty"`
	Code       analysis.Code `json:"code"`
	Evidence   []string      `json:"evidence,omitempty"`
	Opened     time.Time     `json:"opened"`
	// Stage says how far the commitment goes; it only rises.
	Stage Stage `json:"stage"`
	// Witnesses are the reachable replicas that the episode began with.
	Witnesses []topology.Key `json:"witnesses,omitempty"`
	// Candidate is whom we are committed to promote; zero until chosen.
	Candidate topology.Key `json:"candidate,omitzero"`
	Why       string       `json:"why,omitempty"` // why that candidate
	// Donor is whom the candidate was made to follow, to fetch what it lacked.
	Donor      topology.Key `json:"donor,omitzero"`
	DrainSince time.Time    `json:"drain_since,omitzero"`
	Promoted   time.Time    `json:"promoted,omitzero"`
	Lost       []Lost       `json:"lost,omitempty"`
	Closed     time.Time    `json:"closed,omitzero"`
	Outcome    string       `json:"outcome,omitempty"` // in words, when closed
	// Fenced is when the failed primary, back again, was last seen made read-only by us or following somebody; until then a finished
	// episode keeps asking it.
	Fenced       time.Time        `json:"fenced,omitzero"`
	Acknowledged *Acknowledgement `json:"acknowledged,omitempty"`
	// Challenged is when receivers were last restarted so that the replicas find out.
	Challenged time.Time `json:"challenged,omitzero"`
	// Abandoned were candidates once, and fell silent; should one come back writable, it is fenced.
	Abandoned []topology.Key `json:"abandoned,omitempty"`
	// Left are replicas whose receivers were to be started again, and that were out of reach; they are, when they are back.
	Left []topology.Key `json:"left,omitempty"`
	// Unfinished tells that the new primary fell silent before everybody was moved: what was done by half is finished when it is back.
	Unfinished bool `json:"unfinished,omitempty"`
	// Blocked is the present reason for not going on; "" while it goes on.
	Blocked string `json:"blocked,omitempty"`
}

// Stage of an episode.
type Stage string

const (
	Suspected Stage = "suspected" // receivers are restarted so that replicas find out; reversible
	Committed Stage = "committed" // receivers are being stopped
	Chosen    Stage = "chosen"    // Candidate is set
	Replaced  Stage = "promoted"  // Candidate takes writes; the others are moved under it
	Ended     Stage = "ended"
)

// Lost is a server that could not be kept in the cluster.
type Lost struct {
	Key topology.Key `json:"key"`
	Why string       `json:"why"`
}

// Acknowledgement ends what an episode still asks for (anti-flapping, fencing).
type Acknowledgement struct {
	By      string    `json:"by"`
	Comment string    `json:"comment"`
	At      time.Time `json:"at"`
}

// StepKind names an idempotent act at one server.
type StepKind string

const (
	RestartReceiver StepKind = "restart_receiver" // stop and start the IO thread, so that the replica finds out whether its source lives
	StopReceiver    StepKind = "stop_receiver"    // the IO thread; what was received stays, and goes on being applied
	StartReceiver   StepKind = "start_receiver"   // takes StopReceiver back
	StartApplier    StepKind = "start_applier"
	AwaitApplied    StepKind = "await_applied" // wait, a second at most, until Set is executed
	Promote         StepKind = "promote"       // stop and forget replication, open for writes
	Repoint         StepKind = "repoint"       // replicate from Source from now on
	Fence           StepKind = "fence"         // read-only
	Detach          StepKind = "detach"        // reversibly: stop, and spoil the source's host name with "//"
)

// StepKinds are all kinds.
func StepKinds() []StepKind {
	return []StepKind{RestartReceiver, StopReceiver, StartReceiver, StartApplier, AwaitApplied, Promote, Repoint, Fence, Detach}
}

// Irreversible says that Permit must be asked, and everybody be probed anew, before it.
func (k StepKind) Irreversible() bool { return k == Promote || k == Repoint || k == Detach }

// Step is one idempotent act at one server.
type Step struct {
	Kind   StepKind     `json:"kind"`
	At     topology.Key `json:"at"`
	Source topology.Key `json:"source,omitzero"` // Repoint
	Set    gtid.Set     `json:"set,omitzero"`    // AwaitApplied: what must be executed
	Expect Expect       `json:"expect,omitzero"`
	Why    string       `json:"why"`
}

// Expect is what must hold at the server, checked on the connection that acts, under its advisory lock.
type Expect struct {
	UUID     string       `json:"uuid,omitempty"`    // the same server still stands behind the key
	Executed gtid.Set     `json:"executed,omitzero"` // it has executed at least this
	Within   gtid.Set     `json:"within,omitzero"`   // what it received is at most this (Repoint); empty: not checked
	NotFrom  topology.Key `json:"not_from,omitzero"` // Promote: it does not receive from this server
	Source   topology.Key `json:"source,omitzero"`   // its configured source is this, or none
}

// Candidate is a server's place in the ranking.
type Candidate struct {
	Key       topology.Key `json:"key"`
	Eligible  bool         `json:"eligible"`
	Vetoes    []string     `json:"vetoes,omitempty"`  // why not; all of them
	Reasons   []string     `json:"reasons,omitempty"` // why it stands where it does
	Behind    uint64       `json:"behind"`            // transactions it lacks of what reachable servers have received
	Unapplied uint64       `json:"unapplied"`         // received and not yet applied
}

// Decision is the answer of Next: what to do now, work by work, in order of precedence. A server has a step of one work at most.
type Decision struct {
	Works []Work `json:"works,omitempty"`
}

// Work is one piece of work: what was found, or is under way, at one server, and what to do about it now.
type Work struct {
	Kind Kind `json:"kind"`
	// Failed is the server that the work is about.
	Failed topology.Key `json:"failed"`
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
	if w.Episode == nil || w.Episode.Kind != PrimaryFailover {
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
