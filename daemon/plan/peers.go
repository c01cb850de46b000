package plan

import "cmp"

// PeerStatus is the state of a daemon as it knows it now. The JSON names are those of the messages between daemons, and
// daemons of different versions exchange these.
type PeerStatus struct {
	ID   string `json:"id"`   // of the process: a daemon that was restarted has another one
	Name string `json:"name"` // of the daemon: the same after each restart, and different from all others'
	// Leading is its own leadership, which ends when it can't confirm it. Leader is the ID of the daemon that holds the
	// lease, as far as this daemon knows.
	Leading bool   `json:"leading"`
	Leader  string `json:"leader,omitempty"`
	Term    int64  `json:"term"`
	// Identity is that of the backend that it uses; "" when it has none.
	Identity string `json:"face,omitempty"`
	// Left are the names of the daemons that left gracefully, as this one has on record.
	Left []string `json:"farewells,omitempty"`
	// Excused are the daemons of the configuration that may still list this one as having left, before its restart.
	Excused []string `json:"excused,omitempty"`
}

// Ruler is the leader whose backend all daemons should use. After a split several daemons lead, each on its own
// backend. Then the ruler is the one with the highest term, and among equals the highest ID, so that all daemons choose
// the same one. It is zero when no daemon leads.
func Ruler(self PeerStatus, peers []Peer) (ruler PeerStatus) {
	all := []PeerStatus{self}
	for _, p := range peers {
		if p.Answered {
			all = append(all, p.PeerStatus)
		}
	}
	for _, s := range all {
		if s.Leading && (!ruler.Leading || cmp.Or(cmp.Compare(s.Term, ruler.Term), cmp.Compare(s.ID, ruler.ID)) > 0) {
			ruler = s
		}
	}
	return ruler
}

// Peer is another daemon of the configuration, and what it answered just now.
type Peer struct {
	Name     string `json:"name"` // by which the configuration knows it
	Answered bool   `json:"answered"`
	Why      string `json:"why,omitempty"`     // why it did not answer, in words
	Refused  bool   `json:"refused,omitempty"` // its machine answered, and refused the connection: it does not run
	// PeerStatus is what it answered; of one that is silent only the Name, where it is on record as having left.
	PeerStatus `json:"status,omitzero"`
	// Reaches says that it can reach the server that failed, or gets an answer that proves that the server is alive.
	Reaches bool `json:"reaches,omitempty"`
}
