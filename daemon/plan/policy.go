package plan

import (
	"time"

	"orchestrator/daemon/topology"
)

// Policy is what the operator allows in one cluster. The zero value allows nothing.
type Policy struct {
	Named               bool `json:"named"` // some policy of the configuration names the cluster
	RecoverPrimary      bool `json:"recover_primary"`
	RecoverIntermediate bool `json:"recover_intermediate"`
	// DrainTimeout is how long relay logs may take to be applied before the failover is reported as blocked. The
	// failover then keeps waiting, unless AllowReceivedLoss is set.
	DrainTimeout time.Duration `json:"drain_timeout"`
	// MaxLag vetoes candidates whose applier is further behind; 0 is no veto.
	MaxLag time.Duration `json:"max_lag"`
	// AllowReceivedLoss lets a promotion drop transactions that a replica received and can't apply in time.
	AllowReceivedLoss bool `json:"allow_received_loss"`
	// AllowUnfenced lets a promotion continue when the old primary can't be fenced and is not proved dead (silence
	// only).
	AllowUnfenced bool `json:"allow_unfenced"`
	AllowErrant   bool `json:"allow_errant"` // candidates and donors with errant transactions
	// AllowFilters counts a server that filters what it replicates or logs as one that has all data that its GTIDs
	// name: where every server has the same filters, say.
	AllowFilters bool `json:"allow_filters,omitempty"`
	// FenceOthers lets a failover make read-only any server of the cluster that takes writes and is neither its primary
	// nor its replica.
	FenceOthers bool `json:"fence_others"`
	// Heartbeat is the table, "database.table", to which one row is written after a promotion, so that a commit is seen
	// although no client writes; "" is none.
	Heartbeat string `json:"heartbeat,omitempty"`
	// AntiFlap is how long after a finished promotion the next automatic one is refused.
	AntiFlap time.Duration `json:"anti_flap"`
	// Members are all servers of the cluster. Where they are named, and all have answered this daemon, a primary that
	// never did is failed over like any other: no replica of it is unknown.
	Members []topology.Key `json:"members,omitempty"`
	// SameTag is the name of a tag: of candidates with the same promotion rule, those go first that have the same value
	// of it as the failed server. "" is none.
	SameTag string `json:"same_tag,omitempty"`
}

// allows says whether the policy recovers failures of a kind by itself, and the name of the setting that says so.
func (p Policy) allows(k Kind) (setting string, allowed bool) {
	if k.Promotes() {
		return "recover_primary", p.RecoverPrimary
	}
	return "recover_intermediate", p.RecoverIntermediate
}
