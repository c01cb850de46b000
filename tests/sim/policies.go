package sim

import (
	"time"

	"orchestrator/daemon/plan"
)

// permissive is a policy that lets everything be recovered.
var permissive = plan.Policy{Named: true, RecoverPrimary: true, RecoverIntermediate: true, DrainTimeout: time.Second,
	AllowUnfenced: true}

// anyPolicy is most often the permissive one, and else differs in one thing.
func (r *run) anyPolicy() plan.Policy {
	p := permissive
	switch r.Rand.IntN(20) {
	case 0:
		p.RecoverPrimary = false
	case 1:
		p.RecoverIntermediate = false
	case 2:
		p.AllowUnfenced = false
	case 3:
		p.AllowReceivedLoss = true
	case 4:
		p.AllowFilters = true
	case 5:
		p.FenceOthers = true
	case 6:
		p.AntiFlap = 2 * time.Second
	case 7:
		p.AllowErrant = true
	case 8:
		p.MaxLag, r.Lags = time.Second, true
	}
	r.Say("policy: %+v", p)
	return p
}
