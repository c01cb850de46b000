package plan

import (
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/topology"
)

// Facts are what a situation is made of. They can be saved as JSON and replayed on a desk.
type Facts struct {
	Cluster    string              `json:"cluster"`
	Snapshot   topology.Snapshot   `json:"snapshot"` // of this cluster only; Situate fills in Promoted
	Policy     Policy              `json:"policy"`
	Thresholds analysis.Thresholds `json:"thresholds"`
	Episodes   []Episode           `json:"episodes,omitempty"` // of this cluster, newest first, open and ended
	Requests   []Request           `json:"requests,omitempty"` // of operators, about this cluster, that have not ended
	// Off says why recoveries are switched off everywhere; "" when they are on. What can't be known is off.
	Off string `json:"off,omitempty"`
	// OffUnknown says that nobody is known to have switched them off, and that it can't be read: the store does not
	// answer, say. Then nothing is begun, and what was begun goes on.
	OffUnknown bool `json:"off_unknown,omitempty"`
	// Claims are what Permit was last called with, for each work that needed it: the answers of the other daemons and
	// the locks. Next doesn't read them.
	Claims []Claim `json:"claims,omitempty"`
}

// Situation is all that a decision depends on: the facts, and what follows from them. Only Situate makes one, so that
// the two always agree. To change one, change its facts and call Situate again.
type Situation struct {
	Facts
	// Findings are what Analyze says of Snapshot.
	Findings []analysis.Finding `json:"findings"`
	// Promotions are those of ended episodes that nobody has acknowledged.
	Promotions []Promotion `json:"promotions,omitempty"`
}

// Promotion is one that finished.
type Promotion struct {
	At   time.Time    `json:"at"`
	From topology.Key `json:"from"`
	To   topology.Key `json:"to"`
}

// Request is what an operator asked for, from its declaration until it is done or withdrawn. It is planned like a
// finding: a daemon that takes over finds it on record and continues it.
type Request struct {
	ID   string      `json:"id"` // unique for ever; the work's episode carries it
	Kind RequestKind `json:"kind"`
	// Server is the one that the request is about.
	Server topology.Key `json:"server"`
	// Candidate is the only server that may be promoted; zero: the best one.
	Candidate topology.Key `json:"candidate,omitzero"`
	By        string       `json:"by"`
	Reason    string       `json:"reason,omitempty"`
	At        time.Time    `json:"at"`
}

// RequestKind is what can be asked for.
type RequestKind string

// Recover requests that the failover of a failed server, a primary or an intermediate source, is done now, although the
// policy does not do it automatically. It overrides the policy's recover_primary and recover_intermediate,
// anti-flapping, and downtime, and may name the server to promote. Everything else stays in force: the verdict,
// witnesses, the permit, vetoes, the loss bound, and the switch for all recoveries.
const Recover RequestKind = "recover"

// RequestKinds are all kinds.
func RequestKinds() []RequestKind { return []RequestKind{Recover} }

// Situate makes a situation of facts.
func Situate(f Facts) Situation {
	s := Situation{Facts: f.known()}
	f = s.Facts
	s.Snapshot.Promoted = nil
	if k := PromotedLast(f.Episodes); !k.IsZero() {
		s.Snapshot.Promoted = map[string]topology.Key{f.Cluster: k}
	} else if k, ok := f.Snapshot.Promoted[f.Cluster]; ok {
		s.Snapshot.Promoted = map[string]topology.Key{f.Cluster: k} // a saved snapshot without its episodes
	}
	s.Findings = analysis.Analyze(s.Snapshot, s.Thresholds)
	for _, e := range s.Episodes {
		if e.counts() && !e.Closed.IsZero() {
			s.Promotions = append(s.Promotions, Promotion{At: e.Promoted, From: e.Failed, To: e.Candidate})
		}
	}
	return s
}

// With is the situation as it would be with another snapshot of the cluster.
func (s Situation) With(snapshot topology.Snapshot) Situation {
	f := s.Facts
	f.Snapshot = snapshot
	return Situate(f)
}
