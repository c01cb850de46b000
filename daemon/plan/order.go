package plan

import (
	"cmp"
	"fmt"
	"slices"

	"orchestrator/daemon/topology"
)

// order compares candidates; 0 where only their names can decide.
func (v *view) order(a, b Candidate, all choice, e Episode) int {
	rule := func(c Candidate) int {
		switch v.servers[c.Key].Rule {
		case topology.Prefer:
			return 0
		case topology.PreferNot:
			return 2
		}
		return 1
	}
	first := func(yes bool) int {
		if yes {
			return 0
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(first(a.Eligible), first(b.Eligible)),
		cmp.Compare(first(!e.fails(a.Key)), first(!e.fails(b.Key))),
		cmp.Compare(first(v.begun(a, e)), first(v.begun(b, e))),
		cmp.Compare(e.failures(a.Key), e.failures(b.Key)), // where all fail each has its turn
		cmp.Compare(first(!all.slow[a.Key]), first(!all.slow[b.Key])),
		cmp.Compare(first(all.direct(v, a)), first(all.direct(v, b))),
		cmp.Compare(all.left[a.Key], all.left[b.Key]),
		cmp.Compare(first(v.serves(a)), first(v.serves(b))),
		cmp.Compare(rule(a), rule(b)),
		cmp.Compare(first(v.near(a.Key, e)), first(v.near(b.Key, e))),
		cmp.Compare(a.Behind, b.Behind),
		cmp.Compare(a.Unapplied, b.Unapplied),
		cmp.Compare(first(refusedBy(v.servers[a.Key]) == ""), first(refusedBy(v.servers[b.Key]) == "")),
	)
}

// tie says of the chosen candidate that only its name puts it before others.
func (v *view) tie(c *choice, e Episode) {
	if c.chosen == nil || c.adopted != nil {
		return
	}
	first, same := &c.ranking[0], []topology.Key{c.ranking[0].Key}
	for _, r := range c.ranking[1:] {
		if r.Eligible && v.order(*first, r, *c, e) == 0 {
			same = append(same, r.Key)
		}
	}
	if len(same) > 1 && slices.MinFunc(same, topology.Key.Compare) == first.Key {
		first.Reasons = append(first.Reasons, fmt.Sprintf("it ties with %s, and its name is first", together(same[1:])))
	}
}

// near says that the server at k has the same value of the tag that the policy names as the failed one.
func (v *view) near(k topology.Key, e Episode) bool {
	s, failed := v.servers[k], v.servers[e.Failed]
	tag := v.Policy.SameTag
	return tag != "" && s != nil && failed != nil && failed.Tags[tag] != "" && s.Tags[tag] == failed.Tags[tag]
}

// begun says that the promotion of c was begun: it has forgotten its source already.
func (v *view) begun(c Candidate, e Episode) bool {
	s := v.up(c.Key)
	return c.Key == e.Candidate && s != nil && len(s.Instance.Channels) == 0 && !v.exchanged(s, e)
}

// keep leaves the candidate that the episode is committed to at the top, unless it still has to apply what another has
// applied, or others could follow the best one and can't follow it: the best one had a moment's trouble when it was
// chosen.
func keep(all choice, e Episode) {
	ranking := all.ranking
	at := slices.IndexFunc(ranking, func(c Candidate) bool { return c.Key == e.Candidate && c.Eligible })
	if at <= 0 || e.fails(e.Candidate) ||
		ranking[at].Unapplied > 0 && ranking[0].Unapplied == 0 && ranking[0].Behind == 0 ||
		all.left[e.Candidate] > 0 && all.left[ranking[0].Key] == 0 {
		return
	}
	kept := ranking[at]
	copy(ranking[1:at+1], ranking[:at])
	ranking[0] = kept
}
