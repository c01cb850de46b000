// Package plan decides what to do next about what analysis found, and says why, and why not.
//
// It does nothing itself (see recovery and mysql). The one idea: Next is a function of what is known now. It is asked again after
// every step, so a first try, a retry, and the continuation by another daemon are the same thing.
package plan

import (
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

// Promotion is one that finished.
type Promotion struct {
	At   time.Time    `json:"at"`
	From topology.Key `json:"from"`
	To   topology.Key `json:"to"`
}

// Situation is all that a decision rests on.
type Situation struct {
	Cluster    string              `json:"cluster"`
	Snapshot   topology.Snapshot   `json:"snapshot"` // of this cluster only
	Findings   []analysis.Finding  `json:"findings"`
	Policy     Policy              `json:"policy"`
	Thresholds analysis.Thresholds `json:"thresholds"`
	Episodes   []Episode           `json:"episodes,omitempty"`   // of this cluster, newest first; at most one is open
	Promotions []Promotion         `json:"promotions,omitempty"` // finished lately
	// Off says why recoveries are switched off everywhere; "" when they are on. What can't be known is off.
	Off string `json:"off,omitempty"`
}

// Kind of an episode.
type EpisodeKind string

const (
	PrimaryFailover      EpisodeKind = "primary_failover"
	IntermediateFailover EpisodeKind = "intermediate_failover"
)

// Episode is one incident, from the first verdict until the cluster is whole again.
type Episode struct {
	ID         string        `json:"id"`
	Kind       EpisodeKind   `json:"kind"`
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

// PromotedLast is the key that the last finished or ongoing promotion of these episodes gave its cluster; zero when there is none that
// still counts.
func PromotedLast(episodes []Episode) topology.Key {
	last := world{Situation{Episodes: episodes}}.lastPromoted()
	if last == nil || last.Acknowledged != nil {
		return topology.Key{}
	}
	return last.Candidate
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

// Decision is the answer of Next.
type Decision struct {
	// Episode is as it must be stored before any of Steps is done; nil when nothing is or was going on.
	Episode *Episode `json:"episode,omitempty"`
	// Update are ended episodes that have changed, to be stored too.
	Update []Episode `json:"update,omitempty"`
	Steps  []Step    `json:"steps,omitempty"` // all independent of each other, at most one a server
	Wait   string    `json:"wait,omitempty"`  // why nothing more can be done now, although something is going on
	// Refused are the reasons for not acting on what was found.
	Refused    []string    `json:"refused,omitempty"`
	Candidates []Candidate `json:"candidates,omitempty"` // in order
	// Bound states what may be lost, before acting.
	Bound string `json:"bound,omitempty"`
}
