package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"orchestrator/daemon/topology"
)

// Locks are the servers whose advisory lock this daemon holds, out of the voters.
type Locks struct {
	Held  []topology.Key `json:"held,omitempty"`
	Alive []topology.Key `json:"alive,omitempty"`
}

// majority counts each voter once; missing names those without a lock.
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

// Claim is what a daemon has to show for an irreversible step.
type Claim struct {
	// Work is the ID of the work that the step belongs to.
	Work   string       `json:"work,omitempty"`
	Failed topology.Key `json:"failed"`
	// Promoted says that another server has already replaced the failed one. If the failed one can be reached again,
	// that is then no reason to leave half of the replicas unmoved.
	Promoted bool       `json:"promoted,omitempty"`
	Self     PeerStatus `json:"self"`
	Peers    []Peer     `json:"peers,omitempty"` // all that the configuration names
	Locks    Locks      `json:"locks,omitzero"`
	// Transfer says why another daemon should lead and promote, after everything was permitted. It is "" when none
	// should. See Transfer.
	Transfer string `json:"transfer,omitempty"`
}

// Permit says whether an irreversible step may be done, and why or why not. Either every daemon that the configuration
// names agrees, or the held locks cover a majority of the replicas that were alive before. Two sides of a split can't
// both have that:
//
//   - Agreement needs an answer from every daemon, so two sides that can't communicate both lack it. A daemon that
//     left gracefully is excused while every daemon that answers has that on record. After its restart it does
//     nothing while another daemon is silent, until no daemon lists it as left.
//   - Two majorities of the same servers share one server, and a lock has one holder.
//   - A daemon that leads in a higher term has replaced this one. Among equals (a split backend) the higher ID goes
//     first.
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
		return false, fmt.Sprintf(
			"%s may still list this daemon as stopped, because it left gracefully before its restart. "+
				"This daemon acts alone once that is cleared "+
				"(remove a daemon that is gone for good from peers.daemons)",
			strings.Join(c.Self.Excused, ", "))
	case len(against) == 0:
		return true, "every daemon agrees"
	}
	said := strings.Join(against, "; ")
	held, alive, missing := c.Locks.majority()
	if 2*held <= alive {
		return false, fmt.Sprintf(
			"%s; and locks are held on %d of the %d replicas that were alive, which is no majority (not on: %s)",
			said, held, alive, cmp.Or(missing, "there are none"))
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

// Withhold replaces the irreversible steps of works that are not permitted with the reason. All other steps are still
// done.
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

// outranks says that s leads, and goes first. A daemon that has only heard of another leader does not outrank, because
// that leader may be gone. Even so, the daemons do not agree.
func (s PeerStatus) outranks(self PeerStatus) bool {
	if s.Term != self.Term {
		return s.Leading && s.Term > self.Term
	}
	return s.Leading && s.ID > self.ID
}

// objection is why the answer of a peer is not enough for agreement; "" when it is.
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
		// A daemon that knows only a lower term has not heard of the new one yet. It does not lead, and the backend is
		// the same.
		return fmt.Sprintf("%s knows %s as the leader of term %d", p.Name, cmp.Or(p.Leader, "nobody"), p.Term)
	case c.Self.Identity == "" || p.Identity != c.Self.Identity:
		return fmt.Sprintf("%s uses another backend server (%s) than this daemon (%s)",
			p.Name, cmp.Or(p.Identity, "none"), cmp.Or(c.Self.Identity, "none"))
	case slices.Contains(p.Left, c.Self.Name):
		return p.Name + " still lists this daemon as stopped"
	}
	return ""
}

// Excused says that a silent peer left gracefully, and that this daemon and every daemon that answers have that on
// record. Another silent peer objects by its silence, unless it is excused in the same way.
func Excused(c Claim, p Peer) bool {
	if p.PeerStatus.Name == "" || !slices.Contains(c.Self.Left, p.PeerStatus.Name) {
		return false
	}
	for _, o := range c.Peers {
		if o.Answered && !slices.Contains(o.Left, p.PeerStatus.Name) {
			return false
		}
	}
	return true
}
