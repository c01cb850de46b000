package drawing

import (
	"fmt"
	"slices"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// claimFields say what this daemon showed for an irreversible step.
var claimFields = slices.Concat([]field[plan.Claim]{
	{"work", "ID", words(func(c *plan.Claim) *string { return &c.Work })},
	{"promoted", yesOrNo, truth(func(c *plan.Claim) *bool { return &c.Promoted })},
	{"locks", "HOST+HOST", keys(func(c *plan.Claim) *[]topology.Key { return &c.Locks.Held })},
	{"alive", "HOST+HOST", keys(func(c *plan.Claim) *[]topology.Key { return &c.Locks.Alive })},
	{"transfer", "REASON", words(func(c *plan.Claim) *string { return &c.Transfer })},
}, statusFields(func(c *plan.Claim) *plan.PeerStatus { return &c.Self }))

// peerFields say what another daemon answered.
var peerFields = slices.Concat([]field[plan.Peer]{
	{"silent", yesOrNo, codec[plan.Peer]{read: func(_ *picture, o *plan.Peer, v string) error {
		var silent bool
		if err := yes(v, &silent); err != nil || !silent {
			return err
		}
		o.Answered, o.PeerStatus = false, plan.PeerStatus{}
		return nil
	}, show: func(_ *picture, o *plan.Peer) string { return yesNo(!o.Answered) }}},
	{"why", "REASON", words(func(o *plan.Peer) *string { return &o.Why })},
	{"refused", yesOrNo, truth(func(o *plan.Peer) *bool { return &o.Refused })},
	{"reaches", yesOrNo, truth(func(o *plan.Peer) *bool { return &o.Reaches })},
}, statusFields(func(o *plan.Peer) *plan.PeerStatus { return &o.PeerStatus }))

// statusFields say where a daemon stands among the others.
func statusFields[T any](at func(*T) *plan.PeerStatus) []field[T] {
	return []field[T]{
		{"name", "NAME", words(func(t *T) *string { return &at(t).Name })},
		{"id", "ID", words(func(t *T) *string { return &at(t).ID })},
		{"leading", yesOrNo, truth(func(t *T) *bool { return &at(t).Leading }).then(func(_ *picture, t *T) {
			if at(t).Leading {
				at(t).Leader = at(t).ID
			}
		})},
		{"leader", "ID", words(func(t *T) *string { return &at(t).Leader })},
		{"term", "5", number(63, func(t *T) *int64 { return &at(t).Term })},
		{"identity", "UUID", words(func(t *T) *string { return &at(t).Identity })},
		{"farewell", "NAME", list(func(t *T) *[]string { return &at(t).Left })},
		{"excused", "NAME", list(func(t *T) *[]string { return &at(t).Excused })},
	}
}

func (p *picture) readClaim(st statement) error {
	cluster, err := p.clusterOf(&st)
	if err != nil {
		return err
	}
	failed, err := topology.ParseKey(st.args[0])
	if err != nil {
		return err
	}
	c := expectClaim(*cluster, failed)
	if err := readFields(p, claimFields, st.fields, &c); err != nil {
		return err
	}
	for _, peer := range st.peers {
		o := expectPeer(c, peer.args[0])
		if err := readFields(p, peerFields, peer.fields, &o); err != nil {
			return fmt.Errorf("peer on line %d: %w", peer.number, err)
		}
		c.Peers = append(c.Peers, o)
	}
	cluster.Claims = append(cluster.Claims, c)
	return nil
}

// expectClaim is that of a daemon called a, which leads in its first term, for the newest episode of a server.
func expectClaim(cluster Cluster, failed topology.Key) plan.Claim {
	c := plan.Claim{Failed: failed,
		Self: plan.PeerStatus{ID: "a#1", Name: "a", Leading: true, Leader: "a#1", Term: 1, Identity: "backend"}}
	for _, e := range cluster.Episodes {
		if e.Failed == failed {
			c.Work, c.Promoted = e.ID, !e.Promoted.IsZero()
			break
		}
	}
	return c
}

// expectPeer is one that answers, and agrees with the claim.
func expectPeer(c plan.Claim, name string) plan.Peer {
	return plan.Peer{Name: name, Answered: true,
		PeerStatus: plan.PeerStatus{ID: name + "#1", Name: name, Leader: c.Self.Leader, Term: c.Self.Term,
			Identity: c.Self.Identity}}
}

func (p *picture) writeClaim(cluster Cluster, actual plan.Claim) (words []string, peers [][]string) {
	c := expectClaim(cluster, actual.Failed)
	words = append([]string{brief(actual.Failed)}, writeFields(p, claimFields, &actual, &c)...)
	for _, actual := range actual.Peers {
		o := expectPeer(c, actual.Name)
		peers = append(peers, append([]string{argument(actual.Name)}, writeFields(p, peerFields, &actual, &o)...))
	}
	return words, peers
}
