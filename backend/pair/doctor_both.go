package pair

import (
	"fmt"
	"strconv"
	"time"

	"orchestrator/daemon/server"
)

// together checks what two members must agree in, and how they replicate from each other.
func (d *doctor) together(a, b *Exam) {
	if !a.Up || !b.Up {
		return
	}
	if a.Flavor != b.Flavor {
		d.say(Complaint{Code: "flavors", Says: fmt.Sprintf("%v is %s, %v is %s: neither can replicate everything "+
			"that the other writes", a.Key, a.Flavor, b.Key, b.Flavor), Do: "use two of one flavour"})
		return
	}
	d.identities(a, b)
	mutual := a.From(b.Key) != nil && b.From(a.Key) != nil
	for _, side := range [][2]*Exam{{a, b}, {b, a}} {
		e, other := side[0], side[1]
		d.follows(e, other)
		if e.ReadOnly && (mutual || other.ReadOnly) {
			d.opens(e)
		}
		d.accounts(e, other)
	}
	if a.Tables != b.Tables {
		e := a
		if a.Tables {
			e = b
		}
		d.say(Complaint{At: e.Key, Code: "tables", Says: "it has no tables of orchestrator, but the other member has",
			Do: "orchestrator backend rejoin --seed " + e.Key.String()})
	}
	if lead := a.Ahead - b.Ahead; lead.Abs() > time.Second {
		d.say(Complaint{Code: "clock", Says: fmt.Sprintf("the clocks of %v and %v differ by %v", a.Key, b.Key,
			lead.Abs().Round(time.Millisecond)), Do: "run chrony or another NTP client on both"})
	}
}

// identities checks that two members are two, also to replication.
func (d *doctor) identities(a, b *Exam) {
	if a.ID == b.ID {
		d.say(Complaint{Code: "one_server", Says: fmt.Sprintf("%v and %v are the same server, or copies with the "+
			"same identity", a.Key, b.Key),
			Do: "name two servers in backend.members; on a copy, remove auto.cnf (MySQL), or give it a unique " +
				"server_id"})
	}
	if a.ServerID == b.ServerID {
		n := b.ServerID%4294967295 + 1
		d.say(Complaint{At: b.Key, Code: "server_id",
			Says: fmt.Sprintf("both members have server_id %d: each takes the other's writes for its own, and "+
				"skips them", a.ServerID),
			Statements: []string{fmt.Sprintf("SET GLOBAL server_id = %d", n)},
			Config:     []string{fmt.Sprintf("server_id = %d", n)}, Safe: false,
			Do: "choose a unique number, and restart replication on both"})
	}
	if a.maria() && a.v("gtid_domain_id") == b.v("gtid_domain_id") {
		for _, e := range []*Exam{a, b} {
			id := strconv.FormatUint(uint64(e.ServerID), 10)
			if id != e.v("gtid_domain_id") && a.ServerID != b.ServerID {
				d.set(e, "gtid_domain_id", "gtid_domain_id", id,
					fmt.Sprintf("both members have gtid_domain_id %s: when both have written, it is not known where "+
						"one continues in the other's log", e.v("gtid_domain_id")),
					"REPLICATION SLAVE ADMIN")
			}
		}
	}
}

// follows checks that a member replicates from the other one.
func (d *doctor) follows(e, other *Exam) {
	if e.Blind != "" || e.From(other.Key) != nil || other.From(e.Key) != nil && e.ReadOnly {
		return
	}
	does := "no replication from there is configured"
	if len(e.Channels) > 0 {
		does += fmt.Sprintf(" (it replicates from %v: name the other member in backend.members as this "+
			"server does, or change its source)", e.Channels[0].Source)
	}
	say := Complaint{At: e.Key, Code: "replication", Says: fmt.Sprintf("it does not replicate from %v: %s",
		other.Key, does)}
	say.Do = fmt.Sprintf("orchestrator backend rejoin --mutual %v", e.Key)
	if other.From(e.Key) != nil {
		say.Do = fmt.Sprintf("orchestrator backend rejoin --mutual %v", other.Key)
	}
	d.say(say)
}

// opens says how a member takes writes.
func (d *doctor) opens(e *Exam) {
	say := Complaint{At: e.Key, Code: "read_only", Says: "it is read-only: it can't serve, nor take over " +
		"automatically", Config: []string{"read_only = OFF"},
		Do: "when it has caught up: orchestrator backend rejoin " + e.Key.String() +
			"; to make it the active one: orchestrator backend promote --to " + e.Key.String()}
	for _, q := range e.dialect().SayAll(server.TakeWrites) {
		say.Statements = append(say.Statements, q.Text)
	}
	d.say(say)
}
