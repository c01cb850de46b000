package pair

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

// Grace is for how long a member must have been out of reach before the other one, although it lacks something, counts as all that is left;
// and before silence, which proves nothing, counts as being down.
const Grace = time.Second

// Known is what a daemon knows besides what it sees. Term and Newest must have been read *before* the members were looked at: what
// was acknowledged since then would make the serving member look stale.
type Known struct {
	Term   int64 // the highest that this daemon has seen of the lease
	Newest int64 // the highest version of a record that was acknowledged to it
	// Previous is what this daemon chose before; zero: nothing yet.
	Previous topology.Key
	// Leader is what the leading daemon serves, as it has just said; zero: not known, or we are the leader.
	Leader topology.Key
	// Away: nobody looked for a while, because this daemon was not running, or frozen. Previous may have died meanwhile, and come back stale: it is
	// judged like any other, and what we remember, which is as old, doesn't vouch for it.
	Away bool
}

// keeps says that a member need not prove that it has what the other one has: it is the one that records are written to.
func (k Known) keeps(m topology.Key) bool { return m == k.Leader || m == k.Previous && !k.Away }

// Choice is who is to serve.
type Choice struct {
	Serve topology.Key            `json:"serve,omitzero"` // zero: nobody
	Why   string                  `json:"why"`
	Unfit map[topology.Key]string `json:"unfit,omitempty"` // and why not
}

// Fit says whether a member is the one that is to serve, and else why not.
func (c Choice) Fit(k topology.Key) (bool, string) {
	if k == c.Serve && !k.IsZero() {
		return true, c.Why
	}
	if why := c.Unfit[k]; why != "" {
		return false, why
	}
	if c.Serve.IsZero() {
		return false, c.Why
	}
	return false, fmt.Sprintf("%v serves", c.Serve)
}

// Choose says which member is to serve. The one that serves keeps its place while it is fit; there is no failing back. What the leader
// serves comes first, so that all daemons serve the same; whoever can't reach that serves nobody rather than the other one.
func Choose(members []Member, k Known) Choice {
	c := Choice{Unfit: map[topology.Key]string{}}
	var fit []Member
	reasons := map[topology.Key]string{}
	for i, m := range members {
		var other *Member
		if len(members) == 2 {
			other = &members[1-i]
		}
		unfit, although := judge(m, other, k)
		if unfit != "" {
			c.Unfit[m.Key] = unfit
			continue
		}
		fit = append(fit, m)
		reasons[m.Key] = although
	}
	serve := func(m Member, why string) Choice {
		c.Serve, c.Why = m.Key, why
		if although := reasons[m.Key]; although != "" {
			c.Why += "; " + although
		}
		return c
	}
	for _, m := range fit {
		if m.Key == k.Leader {
			return serve(m, "the leader serves it")
		}
	}
	previous := find(members, k.Previous)
	silent := previous != nil && !previous.Up && !gone(*previous)
	if silent && !k.Away && previous.ID != "" && (k.Leader.IsZero() || k.Leader == k.Previous) {
		// A look that takes long on a busy machine must not end what works. Whoever waits there now would wait for the other one as long.
		return serve(*previous, fmt.Sprintf("it serves, and has been silent for %v only: %s", previous.Unreachable.Round(time.Millisecond), previous.Err))
	}
	if leads := find(members, k.Leader); leads != nil {
		c.Why = fmt.Sprintf("the leader serves %v, which is not fit from here: %s", k.Leader, c.Unfit[k.Leader])
		return c
	}
	for _, m := range fit {
		if m.Key == k.Previous {
			return serve(m, "it serves, and is fit")
		}
	}
	if silent {
		c.Why = fmt.Sprintf("%v served, and has been silent for %v only: %s", k.Previous, previous.Unreachable.Round(time.Millisecond), previous.Err)
		return c
	}
	switch len(fit) {
	case 0:
		var why []string
		for _, m := range members {
			why = append(why, fmt.Sprintf("%v: %s", m.Key, c.Unfit[m.Key]))
		}
		c.Why = "no member is fit: " + strings.Join(why, "; ")
		return c
	case 2:
		if farther(fit[1], fit[0]) > 0 {
			fit[0], fit[1] = fit[1], fit[0]
		}
	}
	if previous != nil {
		return serve(fit[0], fmt.Sprintf("%v, which served, is not fit: %s", k.Previous, c.Unfit[k.Previous]))
	}
	return serve(fit[0], "it is fit, and nobody served yet")
}

// Behind is the member with an identity, zero where none has it. One that is out of reach has the identity that it had; one that never answered here has
// whatever identity is not the other's.
func Behind(members []Member, identity string) topology.Key {
	var nameless []Member
	for _, m := range members {
		switch {
		case m.ID == identity && identity != "":
			return m.Key
		case m.ID == "":
			nameless = append(nameless, m)
		}
	}
	if identity != "" && len(nameless) == 1 {
		return nameless[0].Key
	}
	return topology.Key{}
}

func find(members []Member, k topology.Key) *Member {
	for i := range members {
		if members[i].Key == k && !k.IsZero() {
			return &members[i]
		}
	}
	return nil
}

// gone says that a member is down: it refuses, or has long been silent.
func gone(m Member) bool {
	return !m.Up && (m.Failure == topology.Refused || m.Unreachable >= Grace)
}

// farther compares how far two members have come: positive when a holds what b lacks.
func farther(a, b Member) int {
	return cmp.Or(cmp.Compare(a.Hold.Term, b.Hold.Term), cmp.Compare(a.Newest, b.Newest))
}

// judge says why a member must not serve; or, when it may, what is wrong with it all the same.
func judge(m Member, other *Member, k Known) (unfit, although string) {
	switch {
	case !m.Up:
		return "it is out of reach: " + m.Err, ""
	case m.ReadOnly:
		return "it is read-only", ""
	case m.LogBin && !strings.EqualFold(m.Format, "STATEMENT"):
		return fmt.Sprintf("its binlog_format is %s, and must be STATEMENT", m.Format), ""
	}
	lacks := ""
	switch {
	case !m.Tables && (k.Term > 0 || k.Newest > 0):
		return "it has no tables, and this daemon remembers records", ""
	case !m.Tables && other != nil && other.Up && other.Tables:
		return fmt.Sprintf("it has no tables, and %v has", other.Key), ""
	case !m.Tables && other != nil && other.Up: // a new pair: whoever serves gets them
		return "", "it has no tables yet"
	case !m.Tables:
		lacks = "it has no tables"
	case m.Hold.Term < k.Term:
		lacks = fmt.Sprintf("it is stale: its lease has term %d, and this daemon has seen %d", m.Hold.Term, k.Term)
	case m.Newest < k.Newest:
		lacks = fmt.Sprintf("it is stale: its newest record has version %d, and this daemon has seen %d", m.Newest, k.Newest)
	}
	if other == nil {
		return "", lacks // all there is
	}
	if other.Up {
		return judgeBeside(m, *other, k, lacks)
	}
	if c := m.From(other.Key); lacks == "" && !k.keeps(m.Key) && c != nil && !c.drained(m) {
		lacks = fmt.Sprintf("it has not applied all that it received from %v", other.Key)
		if t := c.Trouble(); c.SQL != topology.Running {
			lacks += ": " + t
		}
	}
	switch {
	case lacks == "":
		return "", ""
	case k.Leader == other.Key: // it lives, and somebody sees it
		return lacks + fmt.Sprintf("; and %v, which is out of reach from here, serves the leader", other.Key), ""
	case other.Unreachable < Grace:
		return lacks + fmt.Sprintf("; and %v has been out of reach for %v only", other.Key, other.Unreachable.Round(time.Millisecond)), ""
	}
	return "", fmt.Sprintf("%s; but it is all that is left, for %v has been out of reach for %v", lacks, other.Key, other.Unreachable.Round(time.Millisecond))
}

// judgeBeside judges a member while the other one can be asked as well.
func judgeBeside(m, other Member, k Known, lacks string) (unfit, although string) {
	if k.keeps(m.Key) {
		// What serves is where records are written; what the other has besides comes by replication, and by the merge after a switch.
		if lacks == "" || farther(other, m) <= 0 {
			return "", lacks
		}
		return lacks + fmt.Sprintf("; and %v has more", other.Key), ""
	}
	if lacks != "" && farther(other, m) > 0 {
		return lacks + fmt.Sprintf("; and %v has more", other.Key), ""
	}
	if unfit, although = behind(m, other); unfit == "" && lacks != "" {
		although = fmt.Sprintf("%s; but nothing better is left, for %v lacks it too", lacks, other.Key)
	}
	return unfit, although
}

// behind says what a member still has to get from the other one, or why that does not matter.
func behind(m, other Member) (unfit, although string) {
	c := m.From(other.Key)
	missing, itsOwn := m.Executed.Missing(other.Executed), other.Executed.Missing(m.Executed)
	if m.Blind != "" {
		missing, itsOwn = 0, 0 // what runs is not known, so what is missing may come, or not; the records speak
	}
	if missing == 0 && farther(other, m) <= 0 {
		return "", ""
	}
	missing = max(missing, 1)
	why := "it does not replicate from there"
	switch {
	case m.Blind != "":
		why = "its replication is not known: " + m.Blind
	case c != nil && c.Running():
		return fmt.Sprintf("it is catching up: %d transactions of %v are not applied", missing, other.Key), ""
	case c != nil:
		why = c.Trouble()
	}
	if itsOwn > 0 && cmp.Or(farther(m, other), other.Key.Compare(m.Key)) > 0 {
		// Neither can get what it lacks, and if both were refused for it nobody would ever serve.
		return "", fmt.Sprintf("it lacks %d transactions of %v, which lacks %d of its own, and %s: see orchestrator backend verify", missing, other.Key, itsOwn, why)
	}
	return fmt.Sprintf("%v has %d transactions that it lacks, and %s", other.Key, missing, why), ""
}
