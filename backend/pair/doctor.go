package pair

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"orchestrator/daemon/plural"
	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// Facts are the input of Doctor.
type Facts struct {
	Members  []Exam
	Database string
	Backend  string // user name of the account of the daemons
	Proxied  bool   // there is a proxy
	Proxy    []ProxyServer
	ProxyErr string
}

// Doctor reports everything about the members and the proxy that makes a pair fail. It is pure.
func Doctor(f Facts) []Complaint {
	d := &doctor{Facts: f}
	for i := range f.Members {
		if !f.Members[i].Up {
			d.say(Complaint{At: f.Members[i].Key, Code: "down", Says: "it is out of reach: " + f.Members[i].Err,
				Do: "start it, or fix the network or the account; then: orchestrator backend rejoin " +
					f.Members[i].Key.String()})
			continue
		}
		d.alone(&f.Members[i])
	}
	if len(f.Members) == 2 {
		d.together(&f.Members[0], &f.Members[1])
	}
	d.proxy()
	return d.complaints
}

type doctor struct {
	Facts
	complaints []Complaint
}

func (d *doctor) say(c Complaint) { d.complaints = append(d.complaints, c) }

// set reports a variable that can be set on a running server.
func (d *doctor) set(e *Exam, code, name, value, says, needs string) {
	d.say(Complaint{At: e.Key, Code: code, Says: says,
		Statements: []string{fmt.Sprintf("SET GLOBAL %s = %s", name, value)},
		Config:     []string{name + " = " + strings.Trim(value, "'")}, Safe: true, Needs: needs})
}

// config reports a setting that needs a restart.
func (d *doctor) config(e *Exam, code, line, says string) {
	d.say(Complaint{At: e.Key, Code: code, Says: says, Config: []string{line},
		Do: "write it into my.cnf, and restart the server"})
}

func (e *Exam) maria() bool { return e.Flavor == topology.MariaDB }

// v returns the first of the variables that there is.
func (e *Exam) v(names ...string) string {
	for _, n := range names {
		if v, ok := e.Vars[n]; ok {
			return v
		}
	}
	return ""
}

func (e *Exam) on(names ...string) bool { return server.On(e.v(names...)) }

func (e *Exam) dialect() server.Dialect { return server.Dialect{Flavor: e.Flavor, Version: e.Version} }

func (e *Exam) number(names ...string) int64 {
	n, _ := strconv.ParseFloat(e.v(names...), 64) // expire_logs_days has a fraction
	return int64(n)
}

func (e *Exam) has(name string) bool {
	_, ok := e.Vars[name]
	return ok
}

// first returns the name by which the server knows a variable.
func (e *Exam) first(names ...string) string {
	for _, n := range names {
		if e.has(n) {
			return n
		}
	}
	return names[0]
}

const variablesAdmin = "SYSTEM_VARIABLES_ADMIN"

// privilege is what setting such a variable needs.
func (e *Exam) privilege(maria string) string {
	if e.maria() {
		return maria
	}
	return variablesAdmin
}

// alone checks the settings of one member.
func (d *doctor) alone(e *Exam) {
	if !e.LogBin {
		d.config(e, "log_bin", "log_bin = binlog", "it writes no binary log: what is written there does not reach "+
			"the other member")
	}
	if !strings.EqualFold(e.Format, "STATEMENT") {
		d.set(e, "binlog_format", "binlog_format", "'STATEMENT'",
			fmt.Sprintf("binlog_format is %s: rows overwrite what statements would merge, or stop the other member's "+
				"replication; open connections keep the old format", e.Format), e.privilege("BINLOG ADMIN"))
	}
	d.applier(e)
	if e.has("relay_log_recovery") && !e.on("relay_log_recovery") {
		d.config(e, "relay_log_recovery", "relay_log_recovery = ON",
			"after a crash, damaged relay logs would be applied; with it, they are received again")
	}
	if !e.on("log_replica_updates", "log_slave_updates") {
		d.config(e, e.first("log_replica_updates", "log_slave_updates"),
			e.first("log_replica_updates", "log_slave_updates")+" = ON",
			"replicated changes are not in its own binary log: a member that comes back could not get them from here")
	}
	if e.on("skip_replica_start", "skip_slave_start") {
		d.config(e, "skip_replica_start", e.first("skip_replica_start", "skip_slave_start")+" = OFF",
			"after a restart, it does not replicate until somebody starts replication")
	}
	if v := e.v("slave_skip_errors", "replica_skip_errors"); v != "" && v != "OFF" {
		d.config(e, "replica_skip_errors", e.first("replica_skip_errors", "slave_skip_errors")+" = OFF",
			"replication errors are skipped ("+v+"): the members diverge, and nobody notices")
	}
	d.gtid(e)
	d.durable(e)
	for _, c := range e.Channels {
		d.channel(e, c)
	}
	if e.Blind != "" {
		d.say(Complaint{At: e.Key, Code: "privileges", Says: "its replication status can't be read: " + e.Blind,
			Statements: d.lookGrant(e), Do: "use an admin account"})
	}
	d.backendGrants(e)
	if s := e.Ahead.Abs(); s > time.Second {
		d.say(Complaint{At: e.Key, Code: "clock",
			Says: fmt.Sprintf("its clock differs by %v from this machine's: logs are hard to compare (the order of "+
				"records does not depend on it)", s.Round(time.Millisecond)),
			Do: "run chrony or another NTP client on both"})
	}
}

func (d *doctor) applier(e *Exam) {
	name := e.first("replica_parallel_workers", "slave_parallel_workers")
	if e.maria() {
		name = "slave_parallel_threads"
	}
	workers := e.number(name)
	if workers < 2 {
		return
	}
	value := "1"
	if e.maria() {
		value = "0"
	}
	c := Complaint{At: e.Key, Code: "parallel_workers", Safe: true, Config: []string{name + " = " + value},
		Needs: e.privilege("REPLICATION SLAVE ADMIN"),
		Says: fmt.Sprintf("%s is %d: appliers that wait for each other's commits and for clients' row locks can "+
			"deadlock for ever; then STOP REPLICA hangs, too", name, workers)}
	set := fmt.Sprintf("SET GLOBAL %s = %s", name, value)
	if len(e.Channels) == 0 {
		c.Statements = []string{set}
	} else if e.maria() {
		c.Statements = []string{"STOP ALL SLAVES", set, "START ALL SLAVES"}
		c.Drain = true // starting the receiver discards what is not applied
	} else {
		c.Statements = []string{set}
		for _, ch := range e.Channels {
			c.Statements = append(c.Statements, e.toChannel(server.StopApplier, ch), e.toChannel(server.StartApplier,
				ch))
		}
	}
	d.say(c)
}

func (d *doctor) gtid(e *Exam) {
	if e.ServerID == 0 {
		d.set(e, "server_id", "server_id", "<a unique number>", "server_id is 0: it can't replicate, and no server "+
			"can replicate from it", variablesAdmin)
		d.complaints[len(d.complaints)-1].Safe = false
	}
	if e.maria() {
		if e.on("gtid_strict_mode") {
			d.set(e, "gtid_strict_mode", "gtid_strict_mode", "0", "gtid_strict_mode is on: transactions that arrive "+
				"in another order than they were written stop replication", "REPLICATION SLAVE ADMIN")
		}
		return
	}
	if !e.GTID {
		d.config(e, "gtid_mode", "gtid_mode = ON", "gtid_mode is off: it is not known where a member that comes back "+
			"must continue")
	}
	if !e.on("enforce_gtid_consistency") {
		d.config(e, "enforce_gtid_consistency", "enforce_gtid_consistency = ON",
			"statements without their own GTID are possible")
	}
}

func (d *doctor) durable(e *Exam) {
	if e.number("sync_binlog") != 1 {
		d.set(e, "sync_binlog", "sync_binlog", "1",
			fmt.Sprintf("sync_binlog is %s: a crash of the machine loses acknowledged records there, while the other "+
				"member has them", e.v("sync_binlog")), e.privilege("SUPER"))
	}
	if e.number("innodb_flush_log_at_trx_commit") != 1 {
		d.set(e, "innodb_flush_log_at_trx_commit", "innodb_flush_log_at_trx_commit", "1",
			fmt.Sprintf("innodb_flush_log_at_trx_commit is %s: a crash of the machine loses acknowledged records",
				e.v("innodb_flush_log_at_trx_commit")), e.privilege("SUPER"))
	}
	if n := e.number("replica_net_timeout", "slave_net_timeout"); n > 20 {
		name := e.first("replica_net_timeout", "slave_net_timeout")
		d.set(e, "replica_net_timeout", name, "10",
			fmt.Sprintf("%s is %d s: a cut connection to the other member goes unnoticed for that long; it applies "+
				"from the receiver's next start", name, n),
			e.privilege("REPLICATION SLAVE ADMIN"))
	}
	const day = 86400
	kept := e.number("binlog_expire_logs_seconds")
	name, value := "binlog_expire_logs_seconds", strconv.Itoa(7*day)
	if !e.has("binlog_expire_logs_seconds") {
		kept, name, value = e.number("expire_logs_days")*day, "expire_logs_days", "7"
	}
	if kept > 0 && kept < day {
		d.set(e, "retention", name, value, fmt.Sprintf("binary logs are kept for only %v: a member that is away for "+
			"longer can't catch up", time.Duration(kept)*time.Second), e.privilege("BINLOG ADMIN"))
	}
	if n := e.number("max_allowed_packet"); n > 0 && n < 4<<20 {
		d.set(e, "max_allowed_packet", "max_allowed_packet", strconv.Itoa(16<<20),
			fmt.Sprintf("max_allowed_packet is %d bytes, less than one write of many records needs", n),
			e.privilege("SUPER"))
	}
}

func (d *doctor) channel(e *Exam, c Channel) {
	if t := c.Trouble(); t != "" {
		say := Complaint{At: e.Key, Code: "replication", Says: fmt.Sprintf("it does not replicate from %v: %s",
			c.Source, t), Needs: e.dialect().Say(server.Start).Needs}
		switch {
		case c.SQLErrno != 0:
			say.Do = fmt.Sprintf("fix the cause; then: orchestrator backend rejoin %v, which merges what differs",
				e.Key)
			say.Statements = []string{e.toChannel(server.Start, c)}
		case server.MeansNumber(c.IOErrno, server.PositionPurged):
			say.Do = "one of the two has changed: orchestrator backend rejoin MEMBER, for the one that does not " +
				"serve; with --seed if that fails"
		case c.IO == topology.Connecting:
			say.Do = fmt.Sprintf("check %v, the network, and the account %q there", c.Source, c.User)
		default:
			say.Statements, say.Safe = []string{e.toChannel(server.Start, c)}, true
			say.Drain = e.maria() && c.SQL == topology.Running
		}
		d.say(say)
	}
	if c.ConnectRetry > 10 || c.RetryCount > 0 && c.RetryCount < 3600 {
		d.say(Complaint{At: e.Key, Code: "connect_retry", Safe: true, Drain: true,
			Needs: e.dialect().Change(server.RetryForLong).Needs,
			Says: fmt.Sprintf("after %v was away, it reconnects only every %d s%s", c.Source, c.ConnectRetry,
				givesUp(c)),
			Statements: []string{
				e.toChannel(e.restart(server.Stop, server.StopReceiver), c),
				e.dialect().Change(server.RetryForLong).ForChannel(c.Name).Text,
				e.toChannel(e.restart(server.Start, server.StartReceiver), c),
			}})
	}
	if !c.AutoPosition {
		d.say(Complaint{At: e.Key, Code: "auto_position",
			Says: fmt.Sprintf("it replicates from %v by file and position: after a crash, it may continue at the "+
				"wrong place", c.Source),
			Do: "orchestrator backend rejoin " + e.Key.String() + " sets it up by GTID"})
	}
	if c.Filters {
		d.say(Complaint{At: e.Key, Code: "filters", Says: "its replication is filtered: statements may be skipped " +
			"because of their current database", Do: "remove the replicate-… options"})
	}
	if c.Delay > 0 {
		d.say(Complaint{At: e.Key, Code: "delay",
			Says: fmt.Sprintf("its replication has a delay of %d s: it is never up to date enough to take over",
				c.Delay), Do: "set it to 0"})
	}
}

// toChannel writes a word about a channel out.
func (e *Exam) toChannel(w server.Word, c Channel) string {
	return e.dialect().Say(w).ForChannel(c.Name).Text
}

// restart returns the statements that are enough on MySQL, where a receiver can be changed while the applier runs.
func (e *Exam) restart(whole, receiver server.Word) server.Word {
	if e.maria() {
		return whole
	}
	return receiver
}

func givesUp(c Channel) string {
	if c.RetryCount > 0 && c.RetryCount < 3600 {
		return fmt.Sprintf(", and gives up after %d attempts (%v)", c.RetryCount,
			time.Duration(c.RetryCount*c.ConnectRetry)*time.Second)
	}
	return ""
}

func (d *doctor) lookGrant(e *Exam) []string {
	_, everywhere := BackendGrants(e.Flavor)
	return []string{server.Grant(strings.Join(everywhere, ", "), d.Backend+"@%")}
}

func (d *doctor) backendGrants(e *Exam) {
	if e.GrantsErr != "" {
		if d.Backend != "" {
			d.say(Complaint{At: e.Key, Code: "privileges",
				Says: fmt.Sprintf("it is not known whether the account %s of the daemons has its privileges: %s",
					d.Backend, e.GrantsErr),
				Do: "create it on both members, with the same password: see docs/backend.md"})
		}
		return
	}
	onDatabase, everywhere := BackendGrants(e.Flavor)
	user := d.Backend + "@%"
	if missing := server.MissingPrivileges(onDatabase, e.Grants, d.Database); len(missing) > 0 {
		d.say(Complaint{At: e.Key, Code: "privileges",
			Says: fmt.Sprintf("the account %s of the daemons lacks %s in the database", d.Backend,
				strings.Join(missing, ", ")),
			Statements: []string{grantOn(missing, d.Database, user)}})
	}
	if missing := server.MissingPrivileges(everywhere, e.Grants, ""); len(missing) > 0 {
		d.say(Complaint{At: e.Key, Code: "privileges",
			Says: fmt.Sprintf("the account %s of the daemons lacks %s: they can't see whether this member has "+
				"applied everything", d.Backend, strings.Join(missing, ", ")),
			Statements: []string{server.Grant(strings.Join(missing, ", "), user)}})
	}
}

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

// systemAccounts are created by the installation of a server; each server has its own.
var systemAccounts = []string{"mysql.", "mariadb.sys", "root", "debian-sys-maint", "mysql", ""}

// accounts compares the accounts. An account that one member lacks can't log in after a switch; and a statement that
// changes it stops replication.
func (d *doctor) accounts(e, other *Exam) {
	if e.AccountsErr != "" {
		d.say(Complaint{At: e.Key, Code: "accounts", Says: "its accounts can't be compared with the other member's: " +
			e.AccountsErr, Do: "use an account that may read mysql.user"})
		return
	}
	if other.AccountsErr != "" {
		return
	}
	for _, a := range other.Accounts {
		user, _, _ := strings.Cut(a, "@")
		system := slices.ContainsFunc(systemAccounts, func(s string) bool {
			return user == s || strings.HasSuffix(s, ".") && strings.HasPrefix(user, s)
		})
		if system || slices.Contains(e.Accounts, a) {
			continue
		}
		says := fmt.Sprintf("it lacks the account %s, which %v has", server.QuoteAccount(a), other.Key)
		if c := other.From(e.Key); user == d.Backend {
			says += ": no daemon can log in after a switch"
		} else if c != nil && c.User == user {
			says += ": the other member replicates with it"
		} else {
			says += ": a change of it there stops replication here"
		}
		d.say(Complaint{At: e.Key, Code: "accounts", Says: says,
			Do: fmt.Sprintf("copy it with its password: at %v SHOW CREATE USER %s; SHOW GRANTS FOR %s; here SET "+
				"SESSION sql_log_bin = 0, and then both",
				other.Key, server.QuoteAccount(a), server.QuoteAccount(a))})
	}
	if d.Backend != "" && !slices.ContainsFunc(e.Accounts,
		func(a string) bool { return strings.HasPrefix(a, d.Backend+"@") }) &&
		!slices.ContainsFunc(other.Accounts, func(a string) bool { return strings.HasPrefix(a, d.Backend+"@") }) {
		d.say(Complaint{At: e.Key, Code: "accounts", Says: fmt.Sprintf("it lacks the account %s of the daemons",
			d.Backend), Do: "create it, with the grants in docs/backend.md"})
	}
}

// proxy checks how HAProxy serves the members.
func (d *doctor) proxy() {
	if !d.Proxied {
		return
	}
	if d.ProxyErr != "" {
		d.say(Complaint{Code: "haproxy", Says: "HAProxy can't be asked: " + d.ProxyErr,
			Do: "check that it runs, and that haproxy.socket is its stats socket, with level admin"})
		return
	}
	var up []string
	for _, s := range d.Proxy {
		if s.Up {
			up = append(up, s.Key.String())
		}
		if s.Up && !slices.ContainsFunc(d.Members, func(e Exam) bool { return e.Key == s.Key }) {
			d.say(Complaint{Code: "haproxy", Says: fmt.Sprintf("HAProxy serves %v (%s), which is not a member", s.Key,
				s.Name), Do: "use the same members in backend.members and in HAProxy"})
		}
	}
	for _, e := range d.Members {
		i := slices.IndexFunc(d.Proxy, func(s ProxyServer) bool { return s.Key == e.Key })
		switch {
		case i < 0:
			d.say(Complaint{At: e.Key, Code: "haproxy", Says: "HAProxy does not know it",
				Do: "write the section with: orchestrator haproxy config"})
		case !d.Proxy[i].Up && d.Proxy[i].Sessions > 0:
			d.say(Complaint{At: e.Key, Code: "haproxy",
				Says: fmt.Sprintf("HAProxy does not serve it, but it still has %s", plural.Count(d.Proxy[i].Sessions,
					"session")), Do: "add on-marked-down shutdown-sessions to its server line"})
		}
	}
	if len(up) > 1 {
		d.say(Complaint{Code: "haproxy", Says: "HAProxy serves " + strings.Join(up, " and ") +
			" at once: a member that comes back is served before it has caught up",
			Do: "let agent checks decide (haproxy.agent); see: orchestrator haproxy check"})
	}
	if len(up) == 0 {
		d.say(Complaint{Code: "haproxy", Says: "HAProxy serves no member",
			Do: "check which member is fit (orchestrator backend status), and that a daemon answers agent checks " +
				"(haproxy.agent)"})
	}
}
