package mysql

import (
	"strings"

	"orchestrator/daemon/server"
)

// questions are what this package asks servers of one kind, besides the words that the server package has for all of
// them.
type questions struct {
	// Each poll; pollWithThreads also returns a row a thread that a stalled commit or a new replica shows in.
	poll, pollWithThreads server.Statement
	// Seldom.
	purged      server.Statement // no text: this kind purges no GTIDs that it names
	dumpClients server.Statement // the clients of binary log dump threads
	diskFull    server.Statement // did it complain of a full disk in the last seconds? No text: it does not say
	clients     server.Statement // the connections that a fence ends
	// coordinators are MySQL's applier threads that have read all and wait for more.
	coordinators server.Statement
	dormant      server.Statement // the events that a server that follows nobody leaves to the one that they came from
	bars         server.Statement // what would keep a server from taking writes once it is opened
	lockHolder   server.Statement // who holds a lock of the whole server; no text: it does not say
}

// emptyTransaction is prepared as if for a commit, and rolled back.
var emptyTransaction = []server.Statement{
	{Text: "XA START 'orchestrator'"},
	{Text: "XA END 'orchestrator'"},
	{Text: "XA PREPARE 'orchestrator'"},
	{Text: "XA ROLLBACK 'orchestrator'"},
}

var (
	askVariables = server.Statement{Text: "SHOW GLOBAL VARIABLES WHERE VARIABLE_NAME IN (" +
		server.IdentityVariables + `,
 'report_host', 'log_bin', 'log_slave_updates', 'log_replica_updates', 'binlog_format', 'gtid_mode',
 'performance_schema',
 'rpl_semi_sync_master_enabled', 'rpl_semi_sync_source_enabled',
 'rpl_semi_sync_slave_enabled', 'rpl_semi_sync_replica_enabled',
 'rpl_semi_sync_master_wait_for_slave_count', 'rpl_semi_sync_source_wait_for_replica_count',
 'rpl_semi_sync_master_timeout', 'rpl_semi_sync_source_timeout')`}
	askStatus = server.Statement{Text: `SHOW GLOBAL STATUS WHERE VARIABLE_NAME IN (
 'Uptime',
 'Rpl_semi_sync_master_status', 'Rpl_semi_sync_source_status',
 'Rpl_semi_sync_slave_status', 'Rpl_semi_sync_replica_status',
 'Rpl_semi_sync_master_clients', 'Rpl_semi_sync_source_clients')`}

	// An account without the privilege EVENT sees none.
	dormantEvents = server.Statement{Text: `SELECT EVENT_SCHEMA AS event_schema, EVENT_NAME AS event_name
 FROM information_schema.EVENTS WHERE STATUS IN ('SLAVESIDE_DISABLED', 'REPLICA_SIDE_DISABLED')
 ORDER BY EVENT_SCHEMA, EVENT_NAME LIMIT 10`}
	// MariaDB puts information_schema.EVENTS into a temporary table on disk first. Its own table needs none, and
	// SELECT on it lets an account do less than the privilege EVENT.
	dormantEventsOfMariaDB = server.Statement{Text: `SELECT db AS event_schema, name AS event_name
 FROM mysql.event WHERE status = 'SLAVESIDE_DISABLED' ORDER BY db, name LIMIT 10`}
	eventsOff = server.Statement{Text: "SET GLOBAL event_scheduler = OFF"}
	eventsOn  = server.Statement{Text: "SET GLOBAL event_scheduler = ON"}

	// Nothing that a step asks for may wait long for open transactions.
	shortWaits = server.Statement{Text: "SET SESSION lock_wait_timeout = 1"}
	longIdle   = server.Statement{Text: "SET SESSION wait_timeout = 2147483, SESSION interactive_timeout = 2147483"}
	// MySQL's plugin has been given new names; the one that is loaded is set.
	semiSyncSource = []server.Statement{
		{Text: "SET GLOBAL rpl_semi_sync_source_enabled = 1"},
		{Text: "SET GLOBAL rpl_semi_sync_master_enabled = 1"},
	}
	semiSyncSourceOff = []server.Statement{
		{Text: "SET GLOBAL rpl_semi_sync_source_enabled = 0"},
		{Text: "SET GLOBAL rpl_semi_sync_master_enabled = 0"},
	}
)

const (
	pollMySQL = "SELECT @@GLOBAL.read_only AS read_only, @@GLOBAL.super_read_only AS super_read_only," +
		" @@GLOBAL.event_scheduler AS event_scheduler, @@GLOBAL.gtid_executed AS executed"
	pollMariaDB = "SELECT @@GLOBAL.read_only AS read_only, @@GLOBAL.event_scheduler AS event_scheduler, " +
		"@@GLOBAL.gtid_slave_pos AS slave_pos, @@GLOBAL.gtid_binlog_pos AS binlog_pos, " +
		"@@GLOBAL.gtid_binlog_state AS binlog_state"

	// Thread states: a full disk, a wait for semi-sync acknowledgement, a commit that waits for a lock or for the
	// storage. The binary log dump threads come along: another number of them means that replicas came or went.
	threadColumns = `,
 p.COMMAND AS command, p.STATE AS state, p.TIME AS seconds
 FROM (SELECT 1) AS one LEFT JOIN `
	threadsOfInterest = ` AS p ON
 p.COMMAND LIKE 'Binlog Dump%' OR p.STATE LIKE '%free space%'
 OR p.TIME >= 2 AND p.STATE LIKE '%semi-sync ACK%'
 OR p.TIME >= 5 AND p.STATE IN ('Waiting for global read lock', 'Waiting for backup lock')
 OR p.TIME >= 5 AND (p.STATE LIKE '%commit%' OR p.STATE IN ('starting', 'query end', 'end') AND p.INFO LIKE 'COMMIT%')`
	// The newer table takes no lock that every other session needs.
	oldThreads = "information_schema.PROCESSLIST"
	newThreads = "performance_schema.processlist"

	selectDumpClients = "SELECT HOST AS host FROM "
	dumpThreads       = " WHERE COMMAND LIKE 'Binlog Dump%'"

	selectClients = `SELECT ID AS id, USER AS user, COMMAND AS command, HOST AS host FROM information_schema.PROCESSLIST
 WHERE USER NOT IN ('system user', 'event_scheduler', '') AND COMMAND NOT LIKE 'Binlog Dump%' AND ID <> CONNECTION_ID()
 AND COMMAND NOT IN ('Daemon', 'Slave_IO', 'Slave_SQL', 'Slave_worker')`

	selectCoordinators = `SELECT ID AS id FROM information_schema.PROCESSLIST
 WHERE USER = 'system user' AND STATE LIKE '%has read all relay log%'`

	// A session that waits for this lock already keeps writes waiting; one that has got it does not show here.
	askBars = `SELECT %, @@GLOBAL.innodb_read_only AS innodb_read_only, (SELECT MIN(ID)
 FROM information_schema.PROCESSLIST WHERE INFO REGEXP 'FLUSH[[:space:]].*TABLES?[[:space:]]+WITH[[:space:]]+READ'
 AND ID <> CONNECTION_ID()) AS locker`

	process = "PROCESS" // the privilege to see threads of others
)

var ofMariaDB = questions{
	poll: server.Statement{Text: pollMariaDB},
	pollWithThreads: server.Statement{Text: pollMariaDB + threadColumns + oldThreads + threadsOfInterest,
		Needs: process},
	dumpClients: server.Statement{Text: selectDumpClients + oldThreads + dumpThreads, Needs: process},
	clients:     server.Statement{Text: selectClients, Needs: process},
	dormant:     dormantEventsOfMariaDB,
	bars:        barsWith("@@GLOBAL.tx_read_only AS transaction_read_only"),
}

var ofMySQL = questions{
	poll:            server.Statement{Text: pollMySQL},
	pollWithThreads: server.Statement{Text: pollMySQL + threadColumns + oldThreads + threadsOfInterest, Needs: process},
	purged:          server.Statement{Text: "SELECT @@GLOBAL.gtid_purged AS purged"},
	dumpClients:     server.Statement{Text: selectDumpClients + oldThreads + dumpThreads, Needs: process},
	clients:         server.Statement{Text: selectClients, Needs: process},
	coordinators:    server.Statement{Text: selectCoordinators, Needs: process},
	dormant:         dormantEvents,
	bars: barsWith("@@GLOBAL.transaction_read_only AS transaction_read_only, " +
		"@@GLOBAL.offline_mode AS offline_mode"),
}

var ofMySQLWithPerformanceSchema = questions{
	poll:            server.Statement{Text: pollMySQL},
	pollWithThreads: server.Statement{Text: pollMySQL + threadColumns + newThreads + threadsOfInterest, Needs: process},
	purged:          ofMySQL.purged,
	dumpClients:     server.Statement{Text: selectDumpClients + newThreads + dumpThreads, Needs: process},
	clients:         ofMySQL.clients,
	coordinators:    ofMySQL.coordinators,
	dormant:         ofMySQL.dormant,
	bars:            ofMySQL.bars,
	lockHolder: server.Statement{Text: `SELECT t.PROCESSLIST_ID AS id, t.PROCESSLIST_USER AS user,
 t.PROCESSLIST_HOST AS host FROM performance_schema.metadata_locks AS l JOIN performance_schema.threads AS t
 ON t.THREAD_ID = l.OWNER_THREAD_ID WHERE l.OBJECT_TYPE IN ('GLOBAL', 'COMMIT') AND l.LOCK_TYPE = 'SHARED' LIMIT 1`},
	diskFull: server.Statement{Text: `SELECT COUNT(*) AS complaints FROM performance_schema.error_log
 WHERE ERROR_CODE = 'MY-000035' AND LOGGED >= NOW(6) - INTERVAL ? SECOND`},
}

func barsWith(variables string) server.Statement {
	return server.Statement{Text: strings.Replace(askBars, "%", variables, 1), Needs: process}
}

// questionsFor a server. The tables processlist and error_log of performance_schema are there from MySQL 8.0.22 on
// (WL#9090, WL#13681).
func questionsFor(d server.Dialect, performanceSchema bool) *questions {
	switch {
	case d.MariaDB():
		return &ofMariaDB
	case performanceSchema && d.Version.AtLeast(8, 0, 22):
		return &ofMySQLWithPerformanceSchema
	}
	return &ofMySQL
}
