package sim

import (
	"strings"

	"orchestrator/daemon/plan"
	"orchestrator/tests/world"
)

// bound holds what a promotion says that it may lose against what it does lose.
func (r *run) bound(w plan.Work, cand, failed *world.Server) {
	if !w.Episode.Promoted.IsZero() { // it was promoted before, and is opened again
		return
	}
	promises := strings.Contains(w.Bound, "no transaction that a reachable replica received is lost")
	drops := strings.Contains(w.Bound, " dropped") || strings.Contains(w.Bound, " lost: only")
	for _, v := range r.Servers {
		if v == cand || v == failed || !r.below(v, failed) || cand.Executed.Has(v.Received) || r.unknown(w, v, failed) {
			continue
		}
		switch {
		case r.reachable(v) && promises, r.reachable(v) && !drops && !r.partial(v) && !r.afresh(v):
			r.hurt("a stated loss bound is true", "%v is promoted, %v received more: %s", cand.Key, v.Key, w.Bound)
		case !r.reachable(v) && !strings.Contains(w.Bound, "out of reach may have received more"):
			r.hurt("a stated loss bound is true", "%v is promoted, %v may have more, and nothing is said of it: %s",
				cand.Key, v.Key, w.Bound)
		}
	}
	r.acknowledged(w, cand, failed)
}

// unknown says that what v has received can't be compared, and that this is said.
func (r *run) unknown(w plan.Work, v, failed *world.Server) bool {
	return v.Coordinates && v.Source != failed.N && !r.reachable(r.Servers[v.Source]) &&
		strings.Contains(w.Bound, v.Key.String()+" does not replicate by GTID")
}

// afresh says that the server came back with another identity: what it wrote itself does not count.
func (r *run) afresh(v *world.Server) bool { return v.Writer != v.N }

// acknowledged holds that what clients were told to be safe is not lost: unless as many as have acknowledged it are out
// of reach. Then it is said, and where nobody who acknowledged is left, only the policy allows it.
func (r *run) acknowledged(w plan.Work, cand, failed *world.Server) {
	have, acked := cand.Executed[failed.Writer], r.Acked[failed.Writer]
	if !failed.Semi.Source || have >= acked || strings.Contains(w.Bound, " dropped") {
		return
	}
	silent, heard := 0, 0
	for _, v := range r.Servers {
		switch {
		case v == failed || !v.Semi.Replica:
		case r.reachable(v) && !v.Stray && (v.Source >= 0 || !r.afresh(v)):
			if heard++; r.partial(v) { // what it acknowledged is worth nothing
				silent++
			}
		default:
			silent++
		}
	}
	switch {
	case silent < failed.Semi.Wait:
		r.hurt("with semi-sync nothing acknowledged is lost", "%v is promoted with %d of %d", cand.Key, have, acked)
	case heard == 0 && !r.policy.AllowReceivedLoss && w.Episode.Stage == plan.Chosen && cand.Source >= 0:
		r.hurt("with semi-sync nothing acknowledged is lost",
			"%v is promoted with %d of %d, and nobody who acknowledged is in reach", cand.Key, have, acked)
	case !strings.Contains(w.Bound, "acknowledged is lost") && !strings.Contains(w.Bound, "out of reach") &&
		!strings.Contains(w.Bound, " lost: only") && !strings.Contains(w.Bound, "that no reachable replica received"):
		r.hurt("a stated loss bound is true", "%v is promoted with %d of %d acknowledged: %s", cand.Key, have, acked,
			w.Bound)
	}
}
