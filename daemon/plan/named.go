package plan

import (
	"fmt"
	"slices"

	"orchestrator/daemon/topology"
)

// named is the server that an operator wants promoted in the place of the failed one; zero when none is named, or
// when the promotion of a server was begun already.
func (v *view) named(c *choice, e Episode) (k topology.Key, by string) {
	r := v.request(e.Failed)
	if r == nil || r.Candidate.IsZero() ||
		slices.ContainsFunc(c.ranking, func(o Candidate) bool { return v.begun(o, e) }) {
		return k, ""
	}
	return r.Candidate, r.By
}

// refuseUnnamed vetoes all candidates but the one that an operator named. What stands against that one still does.
func (v *view) refuseUnnamed(c *choice, e Episode) {
	k, by := v.named(c, e)
	if k.IsZero() {
		return
	}
	c.unnamed = fmt.Sprintf("%s named %v to be promoted, which is no replica of %v: name another server, or none",
		by, k, e.Failed)
	for i := range c.ranking {
		r := &c.ranking[i]
		if r.Key == k {
			c.unnamed = fmt.Sprintf("%s named %v to be promoted, and it can't be: %s", by, k, v.against(*r))
			r.Reasons = append([]string{fmt.Sprintf("%s named it", by)}, r.Reasons...)
			continue
		}
		r.Eligible = false
		r.Vetoes = append(r.Vetoes, fmt.Sprintf("%s named %v to be promoted", by, k))
	}
}

// Misnamed says why the server that an operator named can't be promoted in the place of the failed one, as far as is
// known now; "" when it can, or when none is named. It is asked when the request comes, which may be before the failed
// one is found dead: until then no plan weighs a candidate.
func Misnamed(s Situation, failed topology.Key) string {
	v := newView(s)
	e := Episode{Kind: PrimaryFailover, Failed: failed}
	for _, o := range v.Episodes {
		if o.Failed == failed && o.Closed.IsZero() {
			e = o
		}
	}
	if v.primary != nil && v.primary.Key != failed && v.stored(e) == nil {
		e.Kind = IntermediateFailover
	}
	if !e.Kind.Promotes() {
		return v.misnamed(e)
	}
	if c := v.choice(e); slices.Contains(c.refused, c.unnamed) {
		return c.unnamed
	}
	return ""
}

// misnamed says why a request can't name a candidate for a work of this kind; "" when it does not, or can.
func (v *view) misnamed(e Episode) string {
	if r := v.request(e.Failed); r != nil && !r.Candidate.IsZero() && !e.Kind.Promotes() {
		return fmt.Sprintf("%s named %v, and no server is promoted for %v, which is not the primary: request the "+
			"failover without a candidate", r.By, r.Candidate, e.Failed)
	}
	return ""
}
