package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// claim reads "names: state, …" as the claim of daemon a, leading in term 5 on backend x, with locks on held of alive
// replicas.
//
//	ok           it answers, and agrees
//	silent       it does not answer
//	gone         it does not answer, and its farewell is on record here
//	+words       ok, changed: reaches, leads=TERM, knows=LEADER/TERM, face=FACE, forgot (the farewells),
//	             kept (our own farewell)
func claim(peers string, held, alive int) plan.Claim {
	c := plan.Claim{Failed: key("db1"), Self: plan.PeerStatus{ID: "a#1", Name: "a", Leading: true, Leader: "a#1",
		Term: 5, Identity: "x"}}
	var gone []string
	for _, part := range strings.Split(peers, ",") {
		name, state, found := strings.Cut(strings.TrimSpace(part), " ")
		if !found {
			continue
		}
		p := plan.Peer{Name: name, Answered: true,
			PeerStatus: plan.PeerStatus{ID: name + "#1", Name: name, Leader: "a#1", Term: 5, Identity: "x"}}
		for _, word := range strings.Fields(state) {
			what, value, _ := strings.Cut(word, "=")
			switch what {
			case "silent":
				p.Answered, p.PeerStatus = false, plan.PeerStatus{}
			case "gone":
				p.Answered, p.PeerStatus = false, plan.PeerStatus{Name: name}
				gone = append(gone, name)
			case "reaches":
				p.Reaches = true
			case "leads":
				p.Leading, p.Leader = true, p.ID
				fmt.Sscan(value, &p.Term)
			case "knows":
				leader, term, _ := strings.Cut(value, "/")
				p.Leader = leader
				fmt.Sscan(term, &p.Term)
			case "face":
				p.Identity = value
			case "kept":
				p.Left = []string{"a"}
			}
		}
		c.Peers = append(c.Peers, p)
	}
	c.Self.Left = gone
	for i := range c.Peers {
		if c.Peers[i].Answered && !strings.Contains(peers, "forgot") {
			c.Peers[i].Left = append(c.Peers[i].Left, gone...)
		}
	}
	for i := range alive {
		c.Locks.Alive = append(c.Locks.Alive, key(fmt.Sprint("r", i)))
	}
	c.Locks.Held = slices.Clone(c.Locks.Alive[:held])
	return c
}

func TestPermit(t *testing.T) {
	for _, c := range []struct {
		name, peers string
		held, alive int
		want        string // what the reason must hold; "no: …" for a refusal
	}{
		{"alone", "", 0, 0, "no other daemon is configured"},
		{"all agree", "b ok, c ok", 0, 3, "every daemon agrees"},
		{"one reaches the primary", "b reaches", 3, 3, "no: b can reach db1:3306"},
		{"one is silent", "b silent, c ok", 0, 3, "no: b does not answer; and locks are held on 0 of the 3"},
		{"one is silent, most replicas are locked", "b silent", 2, 3,
			"locks are held on 2 of the 3 replicas that were alive, although b does not answer"},
		{"one is silent, half of the replicas are locked", "b silent", 2, 4,
			"no: b does not answer; and locks are held on 2 of the 4"},
		{"one is silent, and there was no replica to lock", "b silent", 0, 0, "no: b does not answer"},
		{"one said farewell to all", "b gone, c ok", 0, 3, "every daemon agrees"},
		{"all others said farewell", "b gone, c gone", 0, 3, "every daemon agrees"},
		{"one said farewell, and not everybody has it on record", "b gone, c forgot", 0, 3, "no: b does not answer"},
		{"one leads in a higher term", "b leads=6", 3, 3, "no: b leads in term 6, and this daemon in term 5"},
		{"one leads in the same term, and its name is higher", "b leads=5", 3, 3, "no: b leads in term 5"},
		{"one leads in a lower term", "b leads=4", 0, 3, "no: b leads as well, in term 4"},
		{"one leads in a lower term, and most replicas are locked", "b leads=4", 2, 3, "although b leads as well"},
		{"one knows another leader", "b knows=z#1/5", 0, 3, "no: b knows z#1 as the leader of term 5"},
		{"one has heard of a later leader", "b knows=z#1/7", 0, 3, "no: b knows z#1 as the leader of term 7"},
		{"one has not heard of the new leader yet", "b knows=z#1/4", 0, 3, "every daemon agrees"},
		{"another backend", "b face=y", 0, 3, "no: b uses another backend server (y) than this daemon (x)"},
		{"no backend", "b face=", 0, 3, "no: b uses another backend server (none)"},
		{"one counts this daemon as stopped", "b kept", 0, 3, "no: b still lists this daemon as stopped"},
	} {
		t.Run(c.name, func(t *testing.T) {
			want, no := strings.CutPrefix(c.want, "no: ")
			if got, why := plan.Permit(claim(c.peers, c.held, c.alive)); got == no ||
				!strings.HasPrefix(why, want) && !strings.Contains(why, want) {
				t.Errorf("got %v (%s), want %v (%s)", got, why, !no, want)
			}
		})
	}
	for name, change := range map[string]func(*plan.Claim){
		"who does not lead may nothing":                   func(c *plan.Claim) { c.Self.Leading = false },
		"a majority is no right while one counts as gone": func(c *plan.Claim) { c.Self.Excused = []string{"b"} },
		"a lock twice is one": func(c *plan.Claim) {
			c.Locks.Held = []topology.Key{key("r0"), key("r0")}
		},
		"a lock on another server is none": func(c *plan.Claim) {
			c.Locks.Held = []topology.Key{key("r0"), key("db9")}
		},
	} {
		c := claim("b silent", 2, 3)
		change(&c)
		if got, why := plan.Permit(c); got {
			t.Errorf("%s: permitted: %s", name, why)
		}
	}
	promoted := claim("b reaches", 0, 3)
	promoted.Promoted = true
	if got, why := plan.Permit(promoted); !got {
		t.Errorf("replicas stay half moved, because the primary that was replaced can be reached again: %s", why)
	}
	for peers, want := range map[string]bool{"b ok": true, "b reaches": true, "b leads=6": true, "b silent": false} {
		if plan.Agreed(claim(peers, 0, 3)) != want {
			t.Errorf("%s: locks are of use: %v", peers, want)
		}
	}
}

func TestElectorate(t *testing.T) {
	for _, c := range []struct{ name, drawing, want string }{
		{"direct replicas, reachable or silent",
			"db1 down\n  db2 io=connecting ioerr=2003\n    db4\n  db3 down=timeout since=2h", "db2 db3"},
		{"one that was dead long before does not count",
			"db1 down\n  db2 io=connecting ioerr=2003\n  db3 down since=2h", "db2"},
		{"one that died in the incident counts", "db1 down\n  db2 io=connecting ioerr=2003\n  db3 down", "db2 db3"},
		{"in downtime", "db1 down\n  db2 io=connecting ioerr=2003\n  db3 downtime=1h io=connecting ioerr=2003", "db2"},
		{"the candidate and those that were moved count on", "db1 down of=c\ndb2 of=c rw exec=db1:1-100\n  db3\n  db5",
			"db2 db3"},
	} {
		s := situation(c.drawing)
		var got []string
		for _, k := range plan.Voters(s, plan.Episode{Failed: key("db1"), Opened: s.Snapshot.At, Candidate: key("db2"),
			Touched: []topology.Key{key("db3")}}) {
			got = append(got, k.Host)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %v, want %s", c.name, got, c.want)
		}
	}
}

// However the daemons and the replicas are split, and whichever daemons lead or left before, at most one side is
// permitted.
func TestNeverTwoSides(t *testing.T) {
	one := 0
	rapid.Check(t, func(t *rapid.T) {
		daemons, replicas := rapid.IntRange(2, 4).Draw(t, "daemons"), rapid.IntRange(0, 5).Draw(t, "replicas")
		parts := rapid.IntRange(1, 3).Draw(t, "parts")
		side := func(what string) int { return rapid.IntRange(1, parts).Draw(t, what) }
		type daemon struct {
			plan.PeerStatus
			side    int
			running bool
		}
		var ds []daemon
		for i := range daemons {
			name := string(rune('a' + i))
			id := fmt.Sprint(name, "#", rapid.IntRange(1, 3).Draw(t, "life of "+name))
			d := daemon{PeerStatus: plan.PeerStatus{Name: name, ID: id}, side: side(name), running: true}
			d.Leading = rapid.Bool().Draw(t, name+" leads")
			d.Term = rapid.Int64Range(1, 3).Draw(t, "term of "+name)
			d.Identity = rapid.SampledFrom([]string{"x", "y", ""}).Draw(t, "face of "+name)
			d.Leader = "z#1"
			ds = append(ds, d)
		}
		for i := range ds { // one backend has one leader a term
			d := &ds[i]
			if d.Leading {
				d.Leader = d.ID
			} else if l := rapid.IntRange(0, daemons-1).Draw(t, "whom "+d.Name+" follows"); ds[l].Leading {
				d.Leader, d.Term = ds[l].ID, ds[l].Term
			}
		}
		// Left: when a daemon stopped, every daemon confirmed that its farewell is on record. After a restart, those
		// that it reaches clear the record.
		for i := range ds {
			fates := rapid.SampledFrom([]string{"never stopped", "stopped", "stopped and started"})
			fate := fates.Draw(t, "fate of "+ds[i].Name)
			if fate == "never stopped" {
				continue
			}
			ds[i].running = fate == "stopped and started"
			for j := range ds {
				if i == j || ds[i].running && ds[i].side == ds[j].side {
					continue
				}
				ds[j].Left = append(ds[j].Left, ds[i].Name)
				if ds[i].running {
					ds[i].Excused = append(ds[i].Excused, ds[j].Name)
				}
			}
		}
		sides := make([]int, replicas)
		var alive []topology.Key
		for r := range sides {
			sides[r] = rapid.IntRange(0, parts).Draw(t, fmt.Sprint("side of replica ", r)) // 0: everybody reaches it
			alive = append(alive, key(fmt.Sprint("r", r)))
		}
		// A lock has one holder: the highest term, among equals whoever was first.
		holder := map[int]int{}
		for _, i := range rapid.Permutation(numbers(daemons)).Draw(t, "who locks first") {
			d := ds[i]
			for r, s := range sides {
				if !d.running || !d.Leading || s != 0 && s != d.side {
					continue
				}
				if h, ok := holder[r]; !ok || d.Term > ds[h].Term {
					holder[r] = i
				}
			}
		}
		var permitted []string
		for i, d := range ds {
			if !d.running {
				continue
			}
			c := plan.Claim{Failed: key("db1"), Self: d.PeerStatus, Locks: plan.Locks{Alive: alive}}
			for r, h := range holder {
				if h == i {
					c.Locks.Held = append(c.Locks.Held, alive[r])
				}
			}
			for j, o := range ds {
				if i == j {
					continue
				}
				p := plan.Peer{Name: o.Name, Answered: o.running && o.side == d.side, PeerStatus: o.PeerStatus}
				if !p.Answered {
					p.PeerStatus = plan.PeerStatus{Name: o.Name}
				}
				c.Peers = append(c.Peers, p)
			}
			if ok, why := plan.Permit(c); ok {
				permitted = append(permitted, d.Name+": "+why)
			}
		}
		if len(permitted) > 1 {
			t.Fatalf("two are permitted: %q", permitted)
		}
		one += len(permitted)
	})
	if one == 0 {
		t.Error("nobody was ever permitted: this proves nothing")
	}
}

func numbers(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func TestRuler(t *testing.T) {
	leads := func(id string, term int64) plan.PeerStatus {
		return plan.PeerStatus{ID: id, Leading: true, Term: term, Identity: "of " + id}
	}
	heard := func(s plan.PeerStatus) plan.Peer { return plan.Peer{Answered: true, PeerStatus: s} }
	for _, c := range []struct {
		name  string
		self  plan.PeerStatus
		peers []plan.Peer
		want  string
	}{
		{"nobody leads", plan.PeerStatus{ID: "a"}, []plan.Peer{heard(plan.PeerStatus{ID: "b"})}, ""},
		{"I do", leads("a", 3), []plan.Peer{heard(plan.PeerStatus{ID: "b", Term: 3})}, "a"},
		{"another does", plan.PeerStatus{ID: "a"}, []plan.Peer{heard(leads("b", 3))}, "b"},
		{"two lead, and I am of before", leads("z", 2), []plan.Peer{heard(leads("b", 3))}, "b"},
		{"two lead, and the other is of before", leads("a", 4), []plan.Peer{heard(leads("b", 3))}, "a"},
		{"a tie", leads("a", 3), []plan.Peer{heard(leads("b", 3))}, "b"},
		{"the same tie, seen from a third", plan.PeerStatus{ID: "c"},
			[]plan.Peer{heard(leads("b", 3)), heard(leads("a", 3))}, "b"},
		{"who is silent doesn't rule", leads("a", 3), []plan.Peer{{PeerStatus: leads("b", 9)}}, "a"},
	} {
		if got := plan.Ruler(c.self, c.peers); got.ID != c.want {
			t.Errorf("%s: %q rules; want %q", c.name, got.ID, c.want)
		}
	}
}
