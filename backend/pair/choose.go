package pair

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/plural"
	"orchestrator/daemon/topology"
)

// Grace is how long a member must have been out of reach before the other one counts as the only one left although it
// lacks something; and before a member that does not answer counts as down.
const Grace = time.Second

// Known is what a daemon knows in addition to what it sees. Term and Newest must be read *before* the look at the
// members: anything acknowledged since would make the serving member look stale.
type Known struct {
	Term   int64 // the highest that this daemon has seen of the lease
	Newest int64 // the highest version of a record that was acknowledged to it
	// Previous is the previous choice of this daemon; zero: none yet.
	Previous topology.Key
	// Leader is the member that the leader serves, as it has just said; zero: not known, or we are the leader.
	Leader topology.Key
	// Away: this daemon has not looked for a while, because it was not running, or frozen. Previous may have died
	// meanwhile and come back stale. So it is judged like any other, and our memory, which is as old, counts for
	// nothing.
	Away bool
}

// keeps says whether a member may serve without having everything that the other one has: records are written to it.
func (k Known) keeps(m topology.Key) bool { return m == k.Leader || m == k.Previous && !k.Away }

// Choice says which member should serve.
type Choice struct {
	Serve topology.Key            `json:"serve,omitzero"` // zero: nobody
	Why   string                  `json:"why"`
	Unfit map[topology.Key]string `json:"unfit,omitempty"` // and why not
}

// Fit says whether a member is the one that should serve, and if not, why.
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

// Choose says which member should serve. The serving member stays while it is fit; there is no failing back. The
// leader's member comes first, so that all daemons serve the same one. A daemon that can't reach that member serves
// none rather than the other one.
func Choose(members []Member, k Known) Choice {
	w := weigh(members, k)
	if c, chosen := w.stay(); chosen {
		return c
	}
	return w.anew()
}

// weighed are the members, each judged.
type weighed struct {
	Known
	members []Member
	fit     []Member
	unfit   map[topology.Key]string // why not
	despite map[topology.Key]string // what is wrong with one that is fit
}

func weigh(members []Member, k Known) weighed {
	w := weighed{Known: k, members: members, unfit: map[topology.Key]string{}, despite: map[topology.Key]string{}}
	for i, m := range members {
		var other *Member
		if len(members) == 2 {
			other = &members[1-i]
		}
		unfit, although := judge(m, other, k)
		if unfit != "" {
			w.unfit[m.Key] = unfit
			continue
		}
		w.fit = append(w.fit, m)
		w.despite[m.Key] = although
	}
	return w
}

func (w weighed) serve(m Member, why string, args ...any) Choice {
	why = fmt.Sprintf(why, args...)
	if although := w.despite[m.Key]; although != "" {
		why += "; " + although
	}
	return Choice{Serve: m.Key, Why: why, Unfit: w.unfit}
}

func (w weighed) nobody(why string, args ...any) Choice {
	return Choice{Why: fmt.Sprintf(why, args...), Unfit: w.unfit}
}

// stay chooses the member that serves already, the leader's or else ours, or nobody while that one may come back.
func (w weighed) stay() (c Choice, chosen bool) {
	if m := find(w.fit, w.Leader); m != nil {
		return w.serve(*m, "the leader serves it"), true
	}
	previous := w.silent()
	if previous != nil && !w.Away && previous.ID != "" && (w.Leader.IsZero() || w.Leader == w.Previous) {
		// A slow look on a busy machine must not end a working service. Clients that wait there now would wait as long
		// for the other one.
		return w.serve(*previous, "it serves, and has not answered for only %v: %s",
			previous.Unreachable.Round(time.Millisecond), previous.Err), true
	}
	if find(w.members, w.Leader) != nil {
		return w.nobody("the leader serves %v, which is not fit from here: %s", w.Leader, w.unfit[w.Leader]), true
	}
	if m := find(w.fit, w.Previous); m != nil {
		return w.serve(*m, "it serves, and is fit"), true
	}
	if previous != nil {
		return w.nobody("%v served, and has not answered for only %v: %s", w.Previous,
			previous.Unreachable.Round(time.Millisecond), previous.Err), true
	}
	return Choice{}, false
}

// silent is the member that this daemon chose before, if it doesn't answer and may only be slow.
func (w weighed) silent() *Member {
	if m := find(w.members, w.Previous); m != nil && !m.Up && !gone(*m) {
		return m
	}
	return nil
}

// anew chooses when no member serves: the fit one that holds most.
func (w weighed) anew() Choice {
	if len(w.fit) == 0 {
		var why []string
		for _, m := range w.members {
			why = append(why, fmt.Sprintf("%v: %s", m.Key, w.unfit[m.Key]))
		}
		return w.nobody("no member is fit: %s", strings.Join(why, "; "))
	}
	best := slices.MaxFunc(w.fit, farther) // the first of equals
	if find(w.members, w.Previous) != nil {
		return w.serve(best, "%v, which served, is not fit: %s", w.Previous, w.unfit[w.Previous])
	}
	return w.serve(best, "it is fit, and no member served yet")
}

// Behind returns the member with an identity, or zero. A member that is out of reach keeps its identity; one that
// never answered here counts as having any identity that is not the other's.
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

// gone says whether a member is down: it refuses connections, or has not answered for long.
func gone(m Member) bool {
	return !m.Up && (m.Failure == topology.Refused || m.Unreachable >= Grace)
}

// farther compares the progress of two members: positive if a holds what b lacks.
func farther(a, b Member) int {
	return cmp.Or(cmp.Compare(a.Hold.Term, b.Hold.Term), cmp.Compare(a.Newest, b.Newest))
}

// judge says why a member must not serve; or, if it may, what is wrong with it all the same.
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
	case !m.Tables && other != nil && other.Up: // a new pair: the serving member gets them
		return "", "it has no tables yet"
	case !m.Tables:
		lacks = "it has no tables"
	case m.Hold.Term < k.Term:
		lacks = fmt.Sprintf("it is stale: its lease has term %d, and this daemon has seen %d", m.Hold.Term, k.Term)
	case m.Newest < k.Newest:
		lacks = fmt.Sprintf("it is stale: its newest record has version %d, and this daemon has seen %d", m.Newest,
			k.Newest)
	}
	if other == nil {
		return "", lacks // all there is
	}
	if other.Up {
		return judgeBeside(m, *other, k, lacks)
	}
	if c := m.From(other.Key); lacks == "" && !k.keeps(m.Key) && c != nil && !c.drained(m) {
		lacks = fmt.Sprintf("it has not applied everything that it received from %v", other.Key)
		if t := c.Trouble(); c.SQL != topology.Running {
			lacks += ": " + t
		}
	}
	switch {
	case lacks == "":
		return "", ""
	case k.Leader == other.Key: // it is alive: another daemon reaches it
		return lacks + fmt.Sprintf("; and %v, which is out of reach from here, serves the leader", other.Key), ""
	case other.Unreachable < Grace:
		return lacks + fmt.Sprintf("; and %v has been out of reach for only %v", other.Key,
			other.Unreachable.Round(time.Millisecond)), ""
	}
	return "", fmt.Sprintf("%s; but no other member is left: %v has been out of reach for %v", lacks, other.Key,
		other.Unreachable.Round(time.Millisecond))
}

// judgeBeside judges a member while the other one answers as well.
func judgeBeside(m, other Member, k Known, lacks string) (unfit, although string) {
	if k.keeps(m.Key) {
		// Records are written to the serving member. Anything else that the other one has comes by replication, or by
		// the merge after a switch.
		if lacks == "" || farther(other, m) <= 0 {
			return "", lacks
		}
		return lacks + fmt.Sprintf("; and %v has more", other.Key), ""
	}
	if lacks != "" && farther(other, m) > 0 {
		return lacks + fmt.Sprintf("; and %v has more", other.Key), ""
	}
	if unfit, although = behind(m, other); unfit == "" && lacks != "" {
		although = fmt.Sprintf("%s; but no better member is left: %v lacks it, too", lacks, other.Key)
	}
	return unfit, although
}

// behind says what a member still has to get from the other one, or why that does not matter.
func behind(m, other Member) (unfit, although string) {
	c := m.From(other.Key)
	missing, itsOwn := m.Executed.Missing(other.Executed), other.Executed.Missing(m.Executed)
	if m.Blind != "" {
		missing, itsOwn = 0, 0 // it is not known whether replication runs, so the records decide
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
		return fmt.Sprintf("it is catching up: %s of %v %s not applied", plural.Count(missing, "transaction"),
			other.Key, plural.Of(missing, "is", "are")), ""
	case c != nil:
		why = c.Trouble()
	}
	if itsOwn > 0 && cmp.Or(farther(m, other), other.Key.Compare(m.Key)) > 0 {
		// Neither can get what it lacks. If both were refused for that, no member would ever serve.
		return "", fmt.Sprintf("it lacks %s of %v, which lacks %d of its own, and %s: see orchestrator backend verify",
			plural.Count(missing, "transaction"), other.Key, itsOwn, why)
	}
	return fmt.Sprintf("%v has %s that it lacks, and %s", other.Key, plural.Count(missing, "transaction"), why), ""
}
