package pair

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

// Facts are what Doctor judges.
type Facts struct {
	Members  []Exam
	Database string
	Backend  string // user name of the account of the daemons
	Proxied  bool   // there is a proxy
	Proxy    []ProxyServer
	ProxyErr string
}

// Complaint is one thing that makes a pair fail, or will.
type Complaint struct {
	At   topology.Key `json:"at,omitzero"` // zero: the pair as a whole
	Code string       `json:"code"`
	Says string       `json:"says"` // what is wrong, and what comes of it
	// Statements mend it while the server runs; Config is what its my.cnf must say, so that it stays so.
	Statements []string `json:"statements,omitempty"`
	Config     []string `json:"config,omitempty"`
	Do         string   `json:"do,omitempty"` // where no statement does it
	// Safe: the statements do no harm whatever goes on, and --fix runs them.
	Safe bool `json:"safe"`
	// Drain: what was received must be applied before.
	Drain bool `json:"drain,omitempty"`

	needs string
}

// Doctor says everything about the members and the proxy that makes a pair fail. It is pure.
func Doctor(f Facts) []Complaint {
	d := &doctor{Facts: f}
	for i := range f.Members {
		if !f.Members[i].Up {
			d.say(Complaint{At: f.Members[i].Key, Code: "down", Says: "it is out of reach: " + f.Members[i].Err,
				Do: "start it, or see to the network and the account; then: orchestrator backend rejoin " + f.Members[i].Key.String()})
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

// set complains of a variable that a running server takes.
func (d *doctor) set(e *Exam, code, name, value, says, needs string) {
	d.say(Complaint{At: e.Key, Code: code, Says: says, Statements: []string{fmt.Sprintf("SET GLOBAL %s = %s", name, value)},
		Config: []string{name + " = " + strings.Trim(value, "'")}, Safe: true, needs: needs})
}

// config complains of what only a restart changes.
func (d *doctor) config(e *Exam, code, line, says string) {
	d.say(Complaint{At: e.Key, Code: code, Says: says, Config: []string{line}, Do: "write it into its my.cnf, and restart it"})
}

func (e *Exam) maria() bool { return e.Flavor == topology.MariaDB }

// v returns the first of the variables that there is.
func (e *Exam) v(names ...string) string { return row(e.Vars).get(names...) }

func (e *Exam) on(names ...string) bool { return row(e.Vars).on(names...) }

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

// alone is about what one member says of itself.
func (d *doctor) alone(e *Exam) {
	if !e.LogBin {
		d.config(e, "log_bin", "log_bin = binlog", "it writes no binary log: nothing that is written there comes to the other member")
	}
	if !strings.EqualFold(e.Format, "STATEMENT") {
		d.set(e, "binlog_format", "binlog_format", "'STATEMENT'", fmt.Sprintf("binlog_format is %s: rows overwrite what statements would merge, or stop the other member's replication; "+
			"connections that are open keep the old one", e.Format), e.privilege("BINLOG ADMIN"))
	}
	d.applier(e)
	if e.has("relay_log_recovery") && !e.on("relay_log_recovery") {
		d.config(e, "relay_log_recovery", "relay_log_recovery = ON", "after a crash torn relay logs would be applied; with it they are received anew")
	}
	if !e.on("log_replica_updates", "log_slave_updates") {
		d.config(e, e.first("log_replica_updates", "log_slave_updates"), e.first("log_replica_updates", "log_slave_updates")+" = ON",
			"what it replicates is not in its own binary log: a member that comes back could not get it from here")
	}
	if e.on("skip_replica_start", "skip_slave_start") {
		d.config(e, "skip_replica_start", e.first("skip_replica_start", "skip_slave_start")+" = OFF", "after a restart it does not replicate until somebody starts it")
	}
	if v := e.v("slave_skip_errors", "replica_skip_errors"); v != "" && v != "OFF" {
		d.config(e, "replica_skip_errors", e.first("replica_skip_errors", "slave_skip_errors")+" = OFF", "errors of replication are skipped ("+v+"): the members part, and nobody hears of it")
	}
	d.gtid(e)
	d.durable(e)
	for _, c := range e.Channels {
		d.channel(e, c)
	}
	if e.Blind != "" {
		d.say(Complaint{At: e.Key, Code: "privileges", Says: "its replication can't be looked at: " + e.Blind, Statements: d.lookGrant(e), Do: "run it as an administrator"})
	}
	d.backendGrants(e)
	if s := e.Ahead.Abs(); s > time.Second {
		d.say(Complaint{At: e.Key, Code: "clock", Says: fmt.Sprintf("its clock is off by %v against this machine's: logs are hard to read together (records are not ordered by it)", s.Round(time.Millisecond)),
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
	c := Complaint{At: e.Key, Code: "parallel_workers", Safe: true, Config: []string{name + " = " + value}, needs: e.privilege("REPLICATION SLAVE ADMIN"),
		Says: fmt.Sprintf("%s is %d: appliers that wait for each other's commits and for clients' row locks can lock up for good; STOP REPLICA hangs then, too", name, workers)}
	set := fmt.Sprintf("SET GLOBAL %s = %s", name, value)
	if len(e.Channels) == 0 {
		c.Statements = []string{set}
	} else if e.maria() {
		c.Statements = []string{"STOP ALL SLAVES", set, "START ALL SLAVES"}
		c.Drain = true // the receiver's start throws away what is not applied
	} else {
		words := speak(e.Flavor, e.Version)
		c.Statements = []string{set}
		for _, ch := range e.Channels {
			c.Statements = append(c.Statements, ofChannel(words.stopApplier, ch.Name), ofChannel(words.startApplier, ch.Name))
		}
	}
	d.say(c)
}

// ofChannel writes a statement out that has one argument: the name of a channel.
func ofChannel(q statement, channel string) string {
	return strings.Replace(q.text, "?", quote(channel), 1)
}

func (d *doctor) gtid(e *Exam) {
	if e.ServerID == 0 {
		d.set(e, "server_id", "server_id", "<a number of its own>", "server_id is 0: it neither replicates nor is replicated from", variablesAdmin)
		d.complaints[len(d.complaints)-1].Safe = false
	}
	if e.maria() {
		if e.on("gtid_strict_mode") {
			d.set(e, "gtid_strict_mode", "gtid_strict_mode", "0", "gtid_strict_mode is on: transactions that come in another order than they were written in stop replication", "REPLICATION SLAVE ADMIN")
		}
		return
	}
	if !e.GTID {
		d.config(e, "gtid_mode", "gtid_mode = ON", "gtid_mode is off: where a member that comes back has to go on can't be told")
	}
	if !e.on("enforce_gtid_consistency") {
		d.config(e, "enforce_gtid_consistency", "enforce_gtid_consistency = ON", "statements that have no GTID of their own are possible")
	}
}

func (d *doctor) durable(e *Exam) {
	if e.number("sync_binlog") != 1 {
		d.set(e, "sync_binlog", "sync_binlog", "1", fmt.Sprintf("sync_binlog is %s: a crash of the machine loses acknowledged records there, while the other member has them", e.v("sync_binlog")), e.privilege("SUPER"))
	}
	if e.number("innodb_flush_log_at_trx_commit") != 1 {
		d.set(e, "innodb_flush_log_at_trx_commit", "innodb_flush_log_at_trx_commit", "1",
			fmt.Sprintf("innodb_flush_log_at_trx_commit is %s: a crash of the machine loses acknowledged records", e.v("innodb_flush_log_at_trx_commit")), e.privilege("SUPER"))
	}
	if n := e.number("replica_net_timeout", "slave_net_timeout"); n > 20 {
		name := e.first("replica_net_timeout", "slave_net_timeout")
		d.set(e, "replica_net_timeout", name, "10", fmt.Sprintf("%s is %d s: for that long a cut connection to the other member is taken for silence; it holds from the receiver's next start", name, n),
			e.privilege("REPLICATION SLAVE ADMIN"))
	}
	const day = 86400
	kept := e.number("binlog_expire_logs_seconds")
	name, value := "binlog_expire_logs_seconds", strconv.Itoa(7*day)
	if !e.has("binlog_expire_logs_seconds") {
		kept, name, value = e.number("expire_logs_days")*day, "expire_logs_days", "7"
	}
	if kept > 0 && kept < day {
		d.set(e, "retention", name, value, fmt.Sprintf("binary logs are kept for %v only: a member that is away for longer can't catch up", time.Duration(kept)*time.Second), e.privilege("BINLOG ADMIN"))
	}
	if n := e.number("max_allowed_packet"); n > 0 && n < 4<<20 {
		d.set(e, "max_allowed_packet", "max_allowed_packet", strconv.Itoa(16<<20), fmt.Sprintf("max_allowed_packet is %d bytes, less than one write of many records takes", n), e.privilege("SUPER"))
	}
}

func (d *doctor) channel(e *Exam, c Channel) {
	words := speak(e.Flavor, e.Version)
	if t := c.Trouble(); t != "" {
		say := Complaint{At: e.Key, Code: "replication", Says: fmt.Sprintf("it does not replicate from %v: %s", c.Source, t), needs: words.start.needs}
		switch {
		case c.SQLErrno != 0:
			say.Do = fmt.Sprintf("see why; then: orchestrator backend rejoin %v, which merges what differs", e.Key)
			say.Statements = []string{ofChannel(words.start, c.Name)}
		case c.IOErrno == positionPurged:
			say.Do = "one of the two is not what it was: orchestrator backend rejoin MEMBER, of the one that does not serve; with --seed if that does not do"
		case c.IO == topology.Connecting:
			say.Do = fmt.Sprintf("see to %v, the network, and the account %q there", c.Source, c.User)
		default:
			say.Statements, say.Safe = []string{ofChannel(words.start, c.Name)}, true
			say.Drain = e.maria() && c.SQL == topology.Running
		}
		d.say(say)
	}
	if c.ConnectRetry > 10 || c.RetryCount > 0 && c.RetryCount < 3600 {
		d.say(Complaint{At: e.Key, Code: "connect_retry", Safe: true, Drain: true, needs: words.retry.needs,
			Says: fmt.Sprintf("after %v was away it is asked again only every %d s%s", c.Source, c.ConnectRetry, givesUp(c)),
			Statements: []string{ofChannel(e.restart(words.stop, words.stopReceiver), c.Name), ofChannel(words.retry, c.Name),
				ofChannel(e.restart(words.start, words.startReceiver), c.Name)}})
	}
	if !c.AutoPosition {
		d.say(Complaint{At: e.Key, Code: "auto_position", Says: fmt.Sprintf("it replicates from %v by file and position: after a crash it may go on at the wrong place", c.Source),
			Do: "orchestrator backend rejoin " + e.Key.String() + " sets it up by GTID"})
	}
	if c.Filters {
		d.say(Complaint{At: e.Key, Code: "filters", Says: "its replication is filtered: statements may be left out by the database that was current when they were given", Do: "remove the replicate-… options"})
	}
	if c.Delay > 0 {
		d.say(Complaint{At: e.Key, Code: "delay", Says: fmt.Sprintf("it is delayed by %d s on purpose: for so long it is never fit to take over", c.Delay), Do: "set it to 0"})
	}
}

// restart picks what is enough on MySQL, where a receiver is changed while the applier runs.
func (e *Exam) restart(whole, receiver statement) statement {
	if e.maria() {
		return whole
	}
	return receiver
}

func givesUp(c Channel) string {
	if c.RetryCount > 0 && c.RetryCount < 3600 {
		return fmt.Sprintf(", and given up for good after %d times (%v)", c.RetryCount, time.Duration(c.RetryCount*c.ConnectRetry)*time.Second)
	}
	return ""
}

// BackendGrants are the privileges that the account of the daemons needs: on its database, and everywhere, to see how its members replicate.
func BackendGrants(f topology.Flavor) (onDatabase, everywhere []string) {
	onDatabase = []string{"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE"}
	if f == topology.MariaDB {
		return onDatabase, []string{"SLAVE MONITOR"}
	}
	return onDatabase, []string{"REPLICATION CLIENT"}
}

func (d *doctor) lookGrant(e *Exam) []string {
	_, everywhere := BackendGrants(e.Flavor)
	return []string{grant(strings.Join(everywhere, ", "), d.Backend+"@%")}
}

func (d *doctor) backendGrants(e *Exam) {
	if e.GrantsErr != "" {
		if d.Backend != "" {
			d.say(Complaint{At: e.Key, Code: "privileges", Says: fmt.Sprintf("whether the account %s of the daemons may do what it must is not known: %s", d.Backend, e.GrantsErr),
				Do: "create it on both members, with the same password: see docs/backend.md"})
		}
		return
	}
	onDatabase, everywhere := BackendGrants(e.Flavor)
	user := d.Backend + "@%"
	if missing := lacking(e.Grants, onDatabase, d.Database); len(missing) > 0 {
		d.say(Complaint{At: e.Key, Code: "privileges", Says: fmt.Sprintf("the account %s of the daemons lacks %s in the database", d.Backend, strings.Join(missing, ", ")),
			Statements: []string{fmt.Sprintf("GRANT %s ON %s.* TO %s", strings.Join(missing, ", "), d.Database, quoteAccount(user))}})
	}
	if missing := lacking(e.Grants, everywhere, ""); len(missing) > 0 {
		d.say(Complaint{At: e.Key, Code: "privileges", Says: fmt.Sprintf("the account %s of the daemons lacks %s: they can't see whether this member has applied everything", d.Backend, strings.Join(missing, ", ")),
			Statements: []string{grant(strings.Join(missing, ", "), user)}})
	}
}

// lacking returns those of the wanted privileges that no line gives, for a database or (when it is "") everywhere.
func lacking(lines, want []string, database string) (out []string) {
	has := map[string]bool{}
	for _, line := range lines {
		rest, ok := strings.CutPrefix(line, "GRANT ")
		given, on, cut := strings.Cut(rest, " ON ")
		on, _, _ = strings.Cut(on, " TO ")
		on = strings.NewReplacer("`", "", `\`, "").Replace(on)
		if !ok || !cut || on != "*.*" && (database == "" || !strings.EqualFold(on, database+".*")) {
			continue
		}
		for p := range strings.SplitSeq(given, ",") {
			has[strings.TrimSpace(strings.ToUpper(p))] = true
		}
	}
	for _, p := range want {
		if !has[p] && !has["ALL PRIVILEGES"] && !(p == "SLAVE MONITOR" && has["REPLICA MONITOR"]) && !(has["SUPER"] && p == "REPLICATION CLIENT") {
			out = append(out, p)
		}
	}
	return out
}

// together is about what two members must agree in, and what each must be to the other.
func (d *doctor) together(a, b *Exam) {
	if !a.Up || !b.Up {
		return
	}
	if a.Flavor != b.Flavor {
		d.say(Complaint{Code: "flavors", Says: fmt.Sprintf("%v is %s, %v is %s: neither can take over all that the other writes", a.Key, a.Flavor, b.Key, b.Flavor), Do: "take two of one kind"})
		return
	}
	if a.ID == b.ID {
		d.say(Complaint{Code: "one_server", Says: fmt.Sprintf("%v and %v are one and the same server, or copies with one identity", a.Key, b.Key),
			Do: "name two servers in backend.members; of a copy, remove auto.cnf (MySQL), or give it a server_id of its own"})
	}
	if a.ServerID == b.ServerID {
		n := b.ServerID%4294967295 + 1
		d.say(Complaint{At: b.Key, Code: "server_id", Says: fmt.Sprintf("both members have server_id %d: each takes what the other writes for its own, and leaves it out", a.ServerID),
			Statements: []string{fmt.Sprintf("SET GLOBAL server_id = %d", n)}, Config: []string{fmt.Sprintf("server_id = %d", n)}, Safe: false,
			Do: "choose a number of its own, and restart both replications"})
	}
	if a.maria() && a.v("gtid_domain_id") == b.v("gtid_domain_id") {
		for _, e := range []*Exam{a, b} {
			id := strconv.FormatUint(uint64(e.ServerID), 10)
			if id != e.v("gtid_domain_id") && a.ServerID != b.ServerID {
				d.set(e, "gtid_domain_id", "gtid_domain_id", id, fmt.Sprintf("both members have gtid_domain_id %s: when both have written, where one goes on in the other's log can't be told", e.v("gtid_domain_id")),
					"REPLICATION SLAVE ADMIN")
			}
		}
	}
	mutual := a.From(b.Key) != nil && b.From(a.Key) != nil
	for _, side := range [][2]*Exam{{a, b}, {b, a}} {
		e, other := side[0], side[1]
		switch {
		case e.Blind != "":
		case e.From(other.Key) == nil && (other.From(e.Key) == nil || !e.ReadOnly):
			does := "no statement from there comes here"
			if len(e.Channels) > 0 {
				does += fmt.Sprintf(" (it replicates from %v: name the other member in backend.members as the server knows it, or point it there)", e.Channels[0].Source)
			}
			say := Complaint{At: e.Key, Code: "replication", Says: fmt.Sprintf("it does not replicate from %v: %s", other.Key, does)}
			say.Do = fmt.Sprintf("orchestrator backend rejoin --mutual %v", e.Key)
			if other.From(e.Key) != nil {
				say.Do = fmt.Sprintf("orchestrator backend rejoin --mutual %v", other.Key)
			}
			d.say(say)
		}
		if e.ReadOnly && (mutual || other.ReadOnly) {
			words := speak(e.Flavor, e.Version)
			say := Complaint{At: e.Key, Code: "read_only", Says: "it is read-only: it can't serve, nor take over by itself", Config: []string{"read_only = OFF"},
				Do: "when it has caught up: orchestrator backend rejoin " + e.Key.String() + "; to make it the active one: orchestrator backend promote --to " + e.Key.String()}
			for _, q := range words.writable {
				say.Statements = append(say.Statements, q.text)
			}
			d.say(say)
		}
		d.accounts(e, other)
	}
	if a.Tables != b.Tables {
		e := a
		if a.Tables {
			e = b
		}
		d.say(Complaint{At: e.Key, Code: "tables", Says: "it has no tables of ours, and the other member has", Do: "orchestrator backend rejoin --seed " + e.Key.String()})
	}
	if lead := a.Ahead - b.Ahead; lead.Abs() > time.Second {
		d.say(Complaint{Code: "clock", Says: fmt.Sprintf("the clocks of %v and %v differ by %v", a.Key, b.Key, lead.Abs().Round(time.Millisecond)), Do: "run chrony or another NTP client on both"})
	}
}

// systemAccounts are made by installing a server; each has its own.
var systemAccounts = []string{"mysql.", "mariadb.sys", "root", "debian-sys-maint", "mysql", ""}

// accounts: an account that one member lacks is one that can't log in after a switch, and one whose statement stops replication when it is changed.
func (d *doctor) accounts(e, other *Exam) {
	if e.AccountsErr != "" {
		d.say(Complaint{At: e.Key, Code: "accounts", Says: "its accounts can't be compared with the other member's: " + e.AccountsErr, Do: "run it as an account that may read mysql.user"})
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
		says := fmt.Sprintf("it lacks the account %s, which %v has", quoteAccount(a), other.Key)
		if c := other.From(e.Key); user == d.Backend {
			says += ": no daemon can log in after a switch"
		} else if c != nil && c.User == user {
			says += ": the other member replicates with it"
		} else {
			says += ": whoever changes it there stops replication here"
		}
		d.say(Complaint{At: e.Key, Code: "accounts", Says: says, Do: fmt.Sprintf("copy it with its password: at %v SHOW CREATE USER %s; SHOW GRANTS FOR %s; here SET SESSION sql_log_bin = 0, and then both",
			other.Key, quoteAccount(a), quoteAccount(a))})
	}
	if d.Backend != "" && !slices.ContainsFunc(e.Accounts, func(a string) bool { return strings.HasPrefix(a, d.Backend+"@") }) &&
		!slices.ContainsFunc(other.Accounts, func(a string) bool { return strings.HasPrefix(a, d.Backend+"@") }) {
		d.say(Complaint{At: e.Key, Code: "accounts", Says: fmt.Sprintf("it lacks the account %s of the daemons", d.Backend), Do: "create it, with what docs/backend.md grants"})
	}
}

// proxy is about what HAProxy makes of the members.
func (d *doctor) proxy() {
	if !d.Proxied {
		return
	}
	if d.ProxyErr != "" {
		d.say(Complaint{Code: "haproxy", Says: "HAProxy can't be asked: " + d.ProxyErr, Do: "see whether it runs, and whether haproxy.socket is its stats socket, with level admin"})
		return
	}
	var up []string
	for _, s := range d.Proxy {
		if s.Up {
			up = append(up, s.Key.String())
		}
		if s.Up && !slices.ContainsFunc(d.Members, func(e Exam) bool { return e.Key == s.Key }) {
			d.say(Complaint{Code: "haproxy", Says: fmt.Sprintf("HAProxy serves %v (%s), which is no member", s.Key, s.Name), Do: "name the members in backend.members and in HAProxy alike"})
		}
	}
	for _, e := range d.Members {
		i := slices.IndexFunc(d.Proxy, func(s ProxyServer) bool { return s.Key == e.Key })
		switch {
		case i < 0:
			d.say(Complaint{At: e.Key, Code: "haproxy", Says: "HAProxy does not know it", Do: "orchestrator haproxy config writes the section"})
		case !d.Proxy[i].Up && d.Proxy[i].Sessions > 0:
			d.say(Complaint{At: e.Key, Code: "haproxy", Says: fmt.Sprintf("HAProxy does not serve it, and yet %d sessions go there", d.Proxy[i].Sessions), Do: "on-marked-down shutdown-sessions is missing in its server line"})
		}
	}
	if len(up) > 1 {
		d.say(Complaint{Code: "haproxy", Says: "HAProxy serves " + strings.Join(up, " and ") + " at once: a member that comes back is served before it has caught up",
			Do: "let agent checks decide (haproxy.agent); see: orchestrator haproxy check"})
	}
	if len(up) == 0 {
		d.say(Complaint{Code: "haproxy", Says: "HAProxy serves no member", Do: "orchestrator backend status says which is fit; does a daemon answer agent checks (haproxy.agent)?"})
	}
}
