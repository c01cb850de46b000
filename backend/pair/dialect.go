package pair

import (
	"fmt"
	"strings"

	"orchestrator/daemon/topology"
)

// statement is a whole statement, and the privileges that it needs, as in GRANT.
type statement struct{ text, needs string }

// dialect is the statements for one flavour and version. Names of channels are arguments; the default channel is "".
type dialect struct {
	now, channels              statement
	start, startApplier        statement
	stop, stopReceiver, reset  statement
	startReceiver, stopApplier statement
	readOnly, writable         []statement
	follow, followAs           statement // by GTID; keeps the account, or sets one
	retry                      statement
	channelFirst               bool   // where the name of the channel stands among the arguments
	admin                      string // privileges to move the service
}

// Statements of both flavours.
var (
	who = statement{text: `SELECT
	VERSION() AS version,
	CURRENT_USER() AS account,
	@@GLOBAL.server_id AS server_id,
	@@GLOBAL.hostname AS hostname,
	@@GLOBAL.port AS port,
	@@GLOBAL.datadir AS datadir`}
	askUUID   = statement{text: "SELECT @@GLOBAL.server_uuid AS uuid"}
	shortWait = statement{text: "SET SESSION lock_wait_timeout = 5"}
	askClock  = statement{text: "SELECT UTC_TIMESTAMP(6) AS clock"}
	askGrants = statement{text: "SHOW GRANTS"}
	askUsers  = statement{"SELECT user, host FROM mysql.user", "SELECT ON mysql.user"}
	askAll    = statement{text: "SHOW GLOBAL VARIABLES"}
	// A daemon's store names the database when it connects; looks do not.
	askClients = statement{"SELECT ID AS id FROM information_schema.PROCESSLIST WHERE USER = ? AND DB = ?", "PROCESS"}
)

func speak(f topology.Flavor, v topology.Version) dialect {
	if f == topology.MariaDB {
		const admin = "REPLICATION SLAVE ADMIN"
		return dialect{
			now: statement{text: `SELECT
	@@GLOBAL.read_only AS read_only,
	0 AS super_read_only,
	@@GLOBAL.log_bin AS log_bin,
	@@GLOBAL.binlog_format AS binlog_format,
	@@GLOBAL.gtid_slave_pos AS slave_pos,
	@@GLOBAL.gtid_binlog_pos AS binlog_pos,
	@@GLOBAL.gtid_binlog_state AS binlog_state`},
			channels:      statement{"SHOW ALL SLAVES STATUS", "SLAVE MONITOR"},
			start:         statement{"START SLAVE ?", admin},
			startApplier:  statement{"START SLAVE ? SQL_THREAD", admin},
			startReceiver: statement{"START SLAVE ? IO_THREAD", admin},
			stop:          statement{"STOP SLAVE ?", admin},
			stopApplier:   statement{"STOP SLAVE ? SQL_THREAD", admin},
			stopReceiver:  statement{"STOP SLAVE ? IO_THREAD", admin},
			reset:         statement{"RESET SLAVE ? ALL", "RELOAD"},
			readOnly:      []statement{{"SET GLOBAL read_only = 1", "READ_ONLY ADMIN"}},
			writable:      []statement{{"SET GLOBAL read_only = 0", "READ_ONLY ADMIN"}},
			follow: statement{"CHANGE MASTER ? TO MASTER_HOST = ?, MASTER_PORT = ?, MASTER_USE_GTID = " +
				"slave_pos, MASTER_CONNECT_RETRY = 1, MASTER_HEARTBEAT_PERIOD = 2", admin},
			followAs: statement{"CHANGE MASTER ? TO MASTER_HOST = ?, MASTER_PORT = ?, MASTER_USE_GTID = slave_pos, " +
				"MASTER_CONNECT_RETRY = 1, MASTER_HEARTBEAT_PERIOD = 2, " +
				"MASTER_USER = ?, MASTER_PASSWORD = ?", admin},
			retry:        statement{"CHANGE MASTER ? TO MASTER_CONNECT_RETRY = 1", admin},
			channelFirst: true,
			admin: "SLAVE MONITOR, BINLOG MONITOR, BINLOG ADMIN, REPLICATION SLAVE ADMIN, READ_ONLY ADMIN, " +
				"RELOAD, PROCESS, SUPER",
		}
	}
	admin := "REPLICATION_SLAVE_ADMIN"
	readOnly := "SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN"
	if !v.AtLeast(8, 0, 0) {
		admin, readOnly = "SUPER", "SUPER"
	}
	d := dialect{
		now: statement{text: `SELECT
	@@GLOBAL.read_only AS read_only,
	@@GLOBAL.super_read_only AS super_read_only,
	@@GLOBAL.log_bin AS log_bin,
	@@GLOBAL.binlog_format AS binlog_format,
	@@GLOBAL.gtid_mode AS gtid_mode,
	@@GLOBAL.gtid_executed AS executed,
	@@GLOBAL.gtid_purged AS purged`},
		channels:      statement{"SHOW REPLICA STATUS", "REPLICATION CLIENT"},
		start:         statement{"START REPLICA FOR CHANNEL ?", admin},
		startApplier:  statement{"START REPLICA SQL_THREAD FOR CHANNEL ?", admin},
		startReceiver: statement{"START REPLICA IO_THREAD FOR CHANNEL ?", admin},
		stop:          statement{"STOP REPLICA FOR CHANNEL ?", admin},
		stopApplier:   statement{"STOP REPLICA SQL_THREAD FOR CHANNEL ?", admin},
		stopReceiver:  statement{"STOP REPLICA IO_THREAD FOR CHANNEL ?", admin},
		reset:         statement{"RESET REPLICA ALL FOR CHANNEL ?", "RELOAD"},
		readOnly:      []statement{{"SET GLOBAL super_read_only = 1", readOnly}}, // sets read_only too
		writable: []statement{{"SET GLOBAL super_read_only = 0", readOnly},
			{"SET GLOBAL read_only = 0", readOnly}},
		follow: statement{"CHANGE REPLICATION SOURCE TO SOURCE_HOST = ?, SOURCE_PORT = ?, SOURCE_AUTO_POSITION = 1, " +
			"SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 86400, " +
			"SOURCE_HEARTBEAT_PERIOD = 2, GET_SOURCE_PUBLIC_KEY = 1 FOR CHANNEL ?", admin},
		followAs: statement{"CHANGE REPLICATION SOURCE TO SOURCE_HOST = ?, SOURCE_PORT = ?, SOURCE_AUTO_POSITION = " +
			"1, SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 86400, " +
			"SOURCE_HEARTBEAT_PERIOD = 2, GET_SOURCE_PUBLIC_KEY = 1, SOURCE_USER = ?, SOURCE_PASSWORD = ? FOR " +
			"CHANNEL ?", admin},
		retry: statement{"CHANGE REPLICATION SOURCE TO SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 86400 FOR " +
			"CHANNEL ?", admin},
		admin: "REPLICATION CLIENT, " + admin + ", " + readOnly + ", RELOAD, PROCESS",
	}
	if v.AtLeast(8, 0, 26) {
		return d
	}
	// The old vocabulary, for versions in which the new one is not complete.
	d.channels.text = "SHOW SLAVE STATUS"
	d.start.text = "START SLAVE FOR CHANNEL ?"
	d.startApplier.text = "START SLAVE SQL_THREAD FOR CHANNEL ?"
	d.startReceiver.text = "START SLAVE IO_THREAD FOR CHANNEL ?"
	d.stop.text = "STOP SLAVE FOR CHANNEL ?"
	d.stopApplier.text = "STOP SLAVE SQL_THREAD FOR CHANNEL ?"
	d.stopReceiver.text = "STOP SLAVE IO_THREAD FOR CHANNEL ?"
	d.reset.text = "RESET SLAVE ALL FOR CHANNEL ?"
	key := ""
	if v.AtLeast(8, 0, 4) {
		key = ", GET_MASTER_PUBLIC_KEY = 1"
	}
	const change = "CHANGE MASTER TO MASTER_HOST = ?, MASTER_PORT = ?, MASTER_AUTO_POSITION = 1, " +
		"MASTER_CONNECT_RETRY = 1, MASTER_RETRY_COUNT = 86400, MASTER_HEARTBEAT_PERIOD = 2"
	d.follow.text = change + key + " FOR CHANNEL ?"
	d.followAs.text = change + key + ", MASTER_USER = ?, MASTER_PASSWORD = ? FOR CHANNEL ?"
	d.retry.text = "CHANGE MASTER TO MASTER_CONNECT_RETRY = 1, MASTER_RETRY_COUNT = 86400 FOR CHANNEL ?"
	return d
}

// AdminGrants are the statements that grant an account, as "user@host", everything that Status, Doctor, Verify,
// Promote and Rejoin need.
func AdminGrants(f topology.Flavor, v topology.Version, account, database string) []string {
	onDatabase, _ := BackendGrants(f)
	return []string{
		grant(speak(f, v).admin, account),
		grant("SELECT ON mysql.user", account),
		fmt.Sprintf("GRANT %s ON %s.* TO %s", strings.Join(onDatabase, ", "), database, quoteAccount(account)),
	}
}

// setPosition is MariaDB's: the position from which a source is asked.
var setPosition = statement{"SET GLOBAL gtid_slave_pos = ?", "REPLICATION SLAVE ADMIN"}

// setPurged is MySQL's: these GTIDs count as executed without having been received.
var setPurged = statement{"SET GLOBAL gtid_purged = ?", "SYSTEM_VARIABLES_ADMIN"}
