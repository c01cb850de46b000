package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

// Standing is where a daemon stands among the others, as it knows it now.
type Standing struct {
	ID   string `json:"id"`   // of the process: a daemon that was started anew is another one
	Name string `json:"name"` // of the daemon: the same at each start, and unlike all others'
	// Leading is its own leadership, which it would notice to have ended; Leader is the ID of whom it knows to hold the lease, itself or another.
	Leading bool   `json:"leading"`
	Leader  string `json:"leader,omitempty"`
	Term    int64  `json:"term"`
	Face    string `json:"face,omitempty"` // of the backend that it uses; "" when it has none
	// Farewells are the names of the daemons that stopped in order, as this one has on record.
	Farewells []string `json:"farewells,omitempty"`
	// Excused are the daemons of the configuration that may still have the farewell of this one's former life on record: to them it counts as stopped.
	Excused []string `json:"excused,omitempty"`
}

// Ruler is the leader whose backend all daemons are to use. After a split several lead, each on a backend of its own: then it is the one of the highest
// term, or of the highest ID among those, so that all say the same. Zero when nobody leads.
func Ruler(self Standing, peers []Peer) (ruler Standing) {
	all := []Standing{self}
	for _, p := range peers {
		if p.Answered {
			all = append(all, p.Standing)
		}
	}
	for _, s := range all {
		if s.Leading && (!ruler.Leading || cmp.Or(cmp.Compare(s.Term, ruler.Term), cmp.Compare(s.ID, ruler.ID)) > 0) {
			ruler = s
		}
	}
	return ruler
}

// Peer is another daemon of the configuration, and its word, given just now.
type Peer struct {
	Name     string `json:"name"` // by which the configuration knows it
	Answered bool   `json:"answered"`
	Why      string `json:"why,omitempty"`     // why it did not, in words
	Refused  bool   `json:"refused,omitempty"` // its machine answered, and refused the connection: it does not run
	// Standing is what it answered; of one that is silent only the Name, where a farewell of it is on record here.
	Standing `json:"status,omitzero"`
	Reaches  bool `json:"reaches,omitempty"` // it can reach the server that failed, or gets an answer that proves life
}

// Locks are the servers whose advisory lock this daemon holds, out of those that count.
type Locks struct {
	Held  []topology.Key `json:"held,omitempty"`
	Alive []topology.Key `json:"alive,omitempty"`
}

// majority counts each server once, and only those that count; missing names the others.
func (l Locks) majority() (held, alive int, missing string) {
	counted := map[topology.Key]bool{}
	var without []string
	for _, k := range l.Alive {
		if counted[k] {
			continue
		}
		counted[k] = true
		if slices.Contains(l.Held, k) {
			held++
		} else {
			without = append(without, k.String())
		}
	}
	return held, len(counted), strings.Join(without, ", ")
}

// Claim is what a daemon that wants to do an irreversible step shows for it.
type Claim struct {
	// Work is the ID of the work that the step belongs to.
	Work   string       `json:"work,omitempty"`
	Failed topology.Key `json:"failed"`
	// Promoted says that another took the place of the failed server already: that it can be reached again is no reason to leave the
	// replicas half moved.
	Promoted bool     `json:"promoted,omitempty"`
	Self     Standing `json:"self"`
	Peers    []Peer   `json:"peers,omitempty"` // all that the configuration names
	Locks    Locks    `json:"locks,omitzero"`
	// Transfer says why another daemon should lead and promote, after all was permitted; "" when none should. See Yield.
	Transfer string `json:"transfer,omitempty"`
}

// Permit says whether an irreversible step may be done, and why, or why not: either every daemon that the configuration names agrees, or
// the locks held cover a majority of the replicas that were alive before. Two sides of a split can't both have that:
//
//   - Agreement needs an answer of everybody, so two sides that can't talk to each other both lack it. One that stopped in order is excused, while
//     every daemon that answers has its farewell on record; started again, it may do nothing while anybody is silent before all have forgotten the farewell.
//   - Two majorities of the same servers share one, and a lock has one holder.
//   - Whoever leads in a higher term has replaced this one, and among equals (a split backend) the higher id goes first.
func Permit(c Claim) (bool, string) {
	if !c.Self.Leading {
		return false, "this daemon does not lead"
	}
	var against []string
	silent := false
	for _, p := range c.Peers {
		silent = silent || !p.Answered
		if p.Answered && p.Reaches && !c.Promoted {
			return false, fmt.Sprintf("%s can reach %v", p.Name, c.Failed)
		}
		if p.Answered && p.outranks(c.Self) {
			return false, fmt.Sprintf("%s leads in term %d, and this daemon in term %d", p.Name, p.Term, c.Self.Term)
		}
		if why := c.objection(p); why != "" {
			against = append(against, why)
		}
	}
	switch {
	case len(c.Peers) == 0:
		return true, "no other daemon is configured"
	case silent && len(c.Self.Excused) > 0:
		return false, fmt.Sprintf("to %s this daemon may count as stopped, because its former life said farewell there: it may act alone only when that is taken back"+
			" (a daemon that is gone for good must be removed from peers.daemons)", strings.Join(c.Self.Excused, ", "))
	case len(against) == 0:
		return true, "every daemon agrees"
	}
	said := strings.Join(against, "; ")
	held, alive, missing := c.Locks.majority()
	if 2*held <= alive {
		return false, fmt.Sprintf("%s; and locks are held on %d of the %d replicas that were alive, which is no majority (not on: %s)", said, held, alive, cmp.Or(missing, "there are none"))
	}
	return true, fmt.Sprintf("locks are held on %d of the %d replicas that were alive, although %s", held, alive, said)
}

// Refusals are the claims that are not permitted, or that another daemon should make: the reasons, by work.
func Refusals(claims []Claim) map[string]string {
	out := map[string]string{}
	for _, c := range claims {
		if ok, why := Permit(c); !ok {
			out[c.Work] = why
		} else if c.Transfer != "" {
			out[c.Work] = c.Transfer
		}
	}
	return out
}

// Decide is Next, less what the claims of the situation don't permit.
func Decide(s Situation) Decision { return Next(s).Withhold(Refusals(s.Claims)) }

// Withhold takes from works the steps that can't be taken back, and says why in their place. All other steps are done all the same.
func (d Decision) Withhold(refused map[string]string) Decision {
	works := slices.Clone(d.Works)
	for i := range works {
		w := &works[i]
		why := refused[w.ID()]
		if why == "" || !w.Irreversible() {
			continue
		}
		why = "not permitted: " + why
		w.Steps = slices.DeleteFunc(slices.Clone(w.Steps), func(s Step) bool { return s.Kind.Irreversible() })
		w.Refused = append(slices.Clone(w.Refused), why)
		w.Wait = why
		if w.Episode.Closed.IsZero() {
			e := *w.Episode
			e.Blocked = why
			w.Episode = &e
		}
	}
	return Decision{Works: works}
}

// Agreed says that no lock is needed for the claim, or that none would help.
func Agreed(c Claim) bool {
	c.Locks = Locks{}
	without, _ := Permit(c)
	c.Locks = Locks{Held: []topology.Key{c.Failed}, Alive: []topology.Key{c.Failed}}
	with, _ := Permit(c)
	return without == with
}

// outranks says that s leads, and goes first. What somebody only heard of another leader is no order, for that one may be gone; it keeps the daemons
// from agreement all the same.
func (s Standing) outranks(self Standing) bool {
	if s.Term != self.Term {
		return s.Leading && s.Term > self.Term
	}
	return s.Leading && s.ID > self.ID
}

// objection is why the word of a peer is not enough for agreement; "" when it is.
func (c Claim) objection(p Peer) string {
	switch {
	case !p.Answered && Excused(c, p):
		return ""
	case !p.Answered && p.Why != "":
		return fmt.Sprintf("%s does not answer (%s)", p.Name, p.Why)
	case !p.Answered:
		return p.Name + " does not answer"
	case p.Leading:
		return fmt.Sprintf("%s leads as well, in term %d", p.Name, p.Term)
	case p.Term > c.Self.Term || p.Term == c.Self.Term && p.Leader != c.Self.ID:
		// One that knows a lower term only has not heard of the new one yet; it does not lead, and the backend is the same.
		return fmt.Sprintf("%s knows %s as the leader of term %d", p.Name, cmp.Or(p.Leader, "nobody"), p.Term)
	case c.Self.Face == "" || p.Face != c.Self.Face:
		return fmt.Sprintf("%s uses another backend server (%s) than this daemon (%s)", p.Name, cmp.Or(p.Face, "none"), cmp.Or(c.Self.Face, "none"))
	case slices.Contains(p.Farewells, c.Self.Name):
		return p.Name + " still has a farewell of this daemon on record"
	}
	return ""
}

// Excused says that a silent peer stopped in order: its farewell is on record here, and with everybody who answers. Whoever is silent besides
// objects by that, or is excused in the same way.
func Excused(c Claim, p Peer) bool {
	if p.Standing.Name == "" || !slices.Contains(c.Self.Farewells, p.Standing.Name) {
		return false
	}
	for _, o := range c.Peers {
		if o.Answered && !slices.Contains(o.Farewells, p.Standing.Name) {
			return false
		}
	}
	return true
}

// deadBefore is how long before the incident a replica must have been proved dead so as not to count.
const deadBefore = time.Minute

// Electorate are the replicas of the failed server that were alive before the incident: a majority of them is what Permit counts locks on. All
// sides of a split must come to the same, so silence is no reason to leave one out (it may be this daemon that was cut off from it long
// before): only a process that was proved not to run a minute before the incident began, and what people declared to be in downtime.
func Electorate(s Situation, e Episode) []topology.Key {
	began := e.Opened
	if v := s.Snapshot.Server(e.Failed); v != nil && !v.Probe.FailingSince.IsZero() && (began.IsZero() || v.Probe.FailingSince.Before(began)) {
		began = v.Probe.FailingSince
	}
	var out []topology.Key
	for _, v := range s.Snapshot.Servers {
		touched := v.Key == e.Candidate || e.touched(v.Key) || slices.Contains(e.Abandoned, v.Key)
		if v.Key == e.Failed || v.ChannelFrom(e.Failed) == nil && !touched {
			continue
		}
		if d := v.Downtime; d != nil && d.Until.After(s.Snapshot.At) {
			continue
		}
		if p := v.Probe; proved(p.Failure) && !p.FailingSince.IsZero() && p.FailingSince.Before(began.Add(-deadBefore)) {
			continue
		}
		out = append(out, v.Key)
	}
	return out
}
