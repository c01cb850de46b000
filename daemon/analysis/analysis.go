// Package analysis says what is wrong in a snapshot. Analyze is a pure function over a table of rules; each Finding
// carries the evidence for it, in words, and several are reported where several hold.
//
// It never says what to do about it: that is package plan. The one idea: a primary is dead only on the word of
// witnesses other than ourselves, and a witness is a replica that was asked after the primary fell silent and that
// tried, itself, to reach it.
//
// Where to look: rules (the table: which finding, where, on what condition); view and fleet (what rules ask about a
// server, and about all); witness and verdict (what each replica proves, and what follows for its source); silent,
// split and writer (primaries); replication, lacking, errant, data and semisync (replicas); names, stranger, unfit,
// privileges and events (servers of any kind); deployment (the daemons and their backend); words.
package analysis

import (
	"cmp"
	"slices"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// Code names a kind of trouble. The strings are stable: they appear in the API, in metrics and in logs.
type Code string

const (
	// DeadPrimary: replicas witness it, none contradicts; all replicas reachable
	DeadPrimary Code = "DeadPrimary"
	// DeadPrimaryAndSomeReplicas: the same, some replicas unreachable
	DeadPrimaryAndSomeReplicas Code = "DeadPrimaryAndSomeReplicas"
	// DeadPrimaryAndReplicas: no replica is left to ask: no witness
	DeadPrimaryAndReplicas     Code = "DeadPrimaryAndReplicas"
	DeadPrimaryWithoutReplicas Code = "DeadPrimaryWithoutReplicas" // it has, and had, none
	// UnreachablePrimary: by us; replicas still receive, or can't tell
	UnreachablePrimary Code = "UnreachablePrimary"
	// UnreachablePrimaryWithLaggingReplicas: the same, all of them lagging or delayed
	UnreachablePrimaryWithLaggingReplicas Code = "UnreachablePrimaryWithLaggingReplicas"
	// PrimaryRefusesConnections: it is alive and does not accept our connection (max_connections, access denied…)
	PrimaryRefusesConnections Code = "PrimaryRefusesConnections"
	// PrimaryStalled: it answers, commits hang: disk full, semi-sync, unknown
	PrimaryStalled Code = "PrimaryStalled"
	// SemiSyncShort: commits wait for more acknowledgements than there are replicas that give them
	SemiSyncShort Code = "SemiSyncShort"
	// SemiSyncOff: set up to wait for acknowledgements, and does not
	SemiSyncOff                            Code = "SemiSyncOff"
	AllPrimaryReplicasNotReplicating       Code = "AllPrimaryReplicasNotReplicating"
	AllPrimaryReplicasNotReplicatingOrDead Code = "AllPrimaryReplicasNotReplicatingOrDead"
	PrimarySingleReplicaNotReplicating     Code = "PrimarySingleReplicaNotReplicating"
	PrimarySingleReplicaDead               Code = "PrimarySingleReplicaDead"
	PrimaryNotWritable                     Code = "PrimaryNotWritable"
	// TwoWritable: a server other than the primary, without a source, takes writes
	TwoWritable Code = "TwoWritable"
	// SourceLacksTransactions: it has not what all its replicas have
	SourceLacksTransactions Code = "SourceLacksTransactions"
	// FormerPrimaryBack: replaced by a promoted server, it answers and follows nobody
	FormerPrimaryBack Code = "FormerPrimaryBack"
	// FollowsNobody: a member without a source
	FollowsNobody Code = "FollowsNobody"

	// EventsNotRun: scheduled events that came by replication, which nobody runs since this server is the primary
	EventsNotRun Code = "EventsNotRun"

	DeadIntermediate                Code = "DeadIntermediate"
	DeadIntermediateAndSomeReplicas Code = "DeadIntermediateAndSomeReplicas"
	DeadIntermediateAndReplicas     Code = "DeadIntermediateAndReplicas"
	// DeadIntermediateWithSingleReplica: whose replica is stopped or can't tell
	DeadIntermediateWithSingleReplica                 Code = "DeadIntermediateWithSingleReplica"
	DeadIntermediateWithSingleReplicaFailingToConnect Code = "DeadIntermediateWithSingleReplicaFailingToConnect"
	UnreachableIntermediate                           Code = "UnreachableIntermediate"
	UnreachableIntermediateWithLaggingReplicas        Code = "UnreachableIntermediateWithLaggingReplicas"
	AllIntermediateReplicasNotReplicating             Code = "AllIntermediateReplicasNotReplicating"
	AllIntermediateReplicasFailingToConnectOrDead     Code = "AllIntermediateReplicasFailingToConnectOrDead"

	// A former primary is a root of the cluster other than its primary that still has replicas, as between the
	// promotion of another server and the moving of the last replica.
	//
	// DeadFormerPrimary: its replicas witness it, and the primary is alive, so that they can be moved there
	DeadFormerPrimary        Code = "DeadFormerPrimary"
	UnreachableFormerPrimary Code = "UnreachableFormerPrimary" // any other way of not answering

	ReplicaDead             Code = "ReplicaDead"
	ReplicaStopped          Code = "ReplicaStopped" // a thread was stopped, without an error
	ReplicaBroken           Code = "ReplicaBroken"  // a thread stopped with an error
	ReplicaFailingToConnect Code = "ReplicaFailingToConnect"
	ReplicaLagging          Code = "ReplicaLagging"
	ReplicaWritable         Code = "ReplicaWritable"
	// ReplicaBehind: it lacks many transactions, and its clock does not tell
	ReplicaBehind Code = "ReplicaBehind"
	// IncompleteSource: its replicas get only a part of what it has
	IncompleteSource Code = "IncompleteSource"
	// UnfitReplicas: some could not take the place of the primary with all others below them
	UnfitReplicas Code = "UnfitReplicas"
	// ReplicaRefusesConnections is for every server but the primary.
	ReplicaRefusesConnections Code = "ReplicaRefusesConnections"
	ErrantGTID                Code = "ErrantGTID"
	MultiSource               Code = "MultiSource" // shown, never touched

	// Who is who:

	// UnusableName: what a server says in the place of a name is none
	UnusableName Code = "UnusableName"
	// DoubtfulName: a name of the server has led to another one too
	DoubtfulName      Code = "DoubtfulName"
	SelfReplication   Code = "SelfReplication" // its source is a name of itself
	DuplicateServerID Code = "DuplicateServerID"
	DuplicateUUID     Code = "DuplicateUUID"
	UnknownReader     Code = "UnknownReader" // of its binary log
	// StrangeLock: a session that is no daemon's holds or held a lock of the daemons
	StrangeLock Code = "StrangeLock"
	// MissingPrivileges: our account lacks what a look or a recovery may need there
	MissingPrivileges Code = "MissingPrivileges"
	// Stranger: found by a registration alone, and no decision rests on it
	Stranger Code = "Stranger"
	// TooManyRegistered: more names than are looked at
	TooManyRegistered Code = "TooManyRegistered"
)

// Finding is one trouble at one server.
type Finding struct {
	Code Code `json:"code"`
	// the server; of a trouble of the deployment itself "", or the member of the backend
	At      topology.Key `json:"at"`
	Cluster string       `json:"cluster,omitempty"`
	// Says is the finding as a sentence; Evidence lists what it rests on, a line a fact.
	Says     string   `json:"says"`
	Evidence []string `json:"evidence,omitempty"`
	// Downtimed findings are shown, and not acted on.
	Downtimed bool `json:"downtimed,omitempty"`
	Replicas  int  `json:"replicas,omitempty"` // direct replicas of At
	// Transactions are, of ErrantGTID, those that only At has.
	Transactions gtid.Set `json:"transactions,omitzero"`
}

// Thresholds are the numbers that turn a fact into a trouble.
type Thresholds struct {
	Lag time.Duration `json:"lag"` // a replica further behind is ReplicaLagging
	// Silence is how long a primary that times out must have been silent before another is promoted; one that refuses
	// connections has proved it at once.
	Silence time.Duration `json:"silence"`
}

// Verdict is how long the silence must have lasted before a server can be called dead, given witnesses. It is shorter
// than Silence, because what follows first, the stopping of receivers, takes seconds on some servers and can be taken
// back.
func (t Thresholds) Verdict() time.Duration { return t.Silence * 3 / 5 }

// Defaults are the thresholds of a configuration that says nothing.
var Defaults = Thresholds{Lag: 10 * time.Second, Silence: 2500 * time.Millisecond}

// Analyze says what is wrong in a snapshot of a fleet, or of one cluster. The findings are sorted by cluster, server
// and code, and do not depend on the order of the servers. Given a whole fleet, a replica of several sources counts as
// evidence in the cluster of each, although it belongs to one.
func Analyze(s topology.Snapshot, t Thresholds) []Finding {
	f := newFleet(s, t)
	var out []Finding
	for _, cluster := range f.clusters() {
		for _, v := range f.views(cluster) {
			out = v.report(out)
		}
	}
	for _, s := range f.strangers {
		out = (&view{Server: s, f: f, role: outsider}).report(out)
	}
	slices.SortFunc(out, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), a.At.Compare(b.At), cmp.Compare(a.Code, b.Code))
	})
	return out
}

// report adds what the rules say of a server.
func (v *view) report(out []Finding) []Finding {
	for _, r := range rules {
		if r.of&v.role == 0 {
			continue
		}
		says, evidence := r.says(v)
		if says == "" {
			continue
		}
		found := Finding{
			Code: r.code, At: v.Key, Cluster: v.Cluster, Says: says, Evidence: evidence,
			Downtimed: v.downtimed(v.Server) || r.byReplicas && v.allReplicasDowntimed(),
			Replicas:  len(v.replicas),
		}
		if r.code == ErrantGTID {
			found.Transactions = v.errant()
		}
		out = append(out, found)
	}
	return out
}

// Codes are all codes, in the order of the documentation.
func Codes() []Code {
	var out []Code
	for _, r := range rules {
		out = append(out, r.code)
	}
	for _, r := range deploymentRules {
		out = append(out, r.code)
	}
	return out
}
