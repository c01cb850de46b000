package pair

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"orchestrator/daemon/server"
)

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
