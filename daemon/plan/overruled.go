package plan

import (
	"slices"

	"orchestrator/daemon/topology"
)

// What forbids a failover before it begins also stops one that was begun, as long as no server was told to take writes
// for it: a person who switches recoveries off, withdraws the request or declares a downtime may be about to promote a
// server by hand. Afterwards it is finished: half a failover helps nobody.

// overruled lists what people have said against a failover since it was begun; nothing once a promotion was begun.
func (p *primaryFailover) overruled(c choice) []string {
	failed := p.servers[p.e.Failed]
	switch {
	case failed == nil, p.e.Stage == Promoted,
		slices.ContainsFunc(c.ranking, func(o Candidate) bool { return p.begun(o, p.e) }):
		return nil
	case p.forbidden():
		return []string{p.switchedOff()}
	case p.request(p.e.Failed) != nil:
		return nil
	}
	no := p.unasked(p.e, failed)
	if len(no) > 0 {
		no[len(no)-1] += p.offer(p.e)
	}
	return no
}

// adoptsLater says why a server that somebody else opened for writes is not taken for the new primary now; "" when it
// is.
func (p *primaryFailover) adoptsLater(s *topology.Server) string {
	if !p.forbidden() || p.e.Stage == Promoted || s.Key == p.e.Candidate {
		return ""
	}
	return p.switchedOff()
}

// overrule puts on record what people have said against a failover that was begun.
func (p *primaryFailover) overrule(c choice, no ...string) Work {
	w := p.block(no...)
	w.Candidates, w.Wait = c.ranking, p.e.Blocked
	return w
}

// forbidden says that somebody has switched all recoveries off.
func (v *view) forbidden() bool { return v.Off != "" && !v.OffUnknown }

// switchedOff is the reason that forbids all recoveries, and last what lifts it.
func (v *view) switchedOff() string { return v.off() + v.switchOn("") }

// off says that recoveries are off, and why.
func (v *view) off() string {
	if v.OffUnknown {
		return v.Off
	}
	return "recoveries are switched off: " + v.Off
}

// switchOn is how a person switches recoveries on, as the end of a sentence; "" where nobody has switched them off.
func (v *view) switchOn(before string) string {
	if v.OffUnknown {
		return ""
	}
	return "; " + before + "to switch them on: orchestrator-client recoveries on"
}
