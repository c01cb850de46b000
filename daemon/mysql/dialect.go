package mysql

import "orchestrator/daemon/topology"

// statement is a whole statement, and the privileges that it needs (written as GRANT takes them).
type statement struct{ text, needs string }

// dialect is all that we ever say to a server of one flavour and age.
type dialect struct {
	// Each poll; pollWithThreads also returns a row a thread that a stalled commit or a new replica shows in.
	poll, pollWithThreads, channels statement
	// Seldom.
	more, replicas, binlog statement
	dumps                  statement
	diskFull               statement // did it complain of a full disk in the last seconds?
	// Steps. Where there is a name of a channel, it is the last argument on MySQL and the first on MariaDB: see channelArgs.
	nameFirst                                                     bool
	stop, stopReceiver, start, startReceiver, startApplier, reset statement
	changeHost, changeHostWithKey, changeAuto                     statement
	await                                                         statement
	readOnly, writable                                            []statement
	clients                                                       statement
	privileges                                                    []string // all that the daemon needs, as SHOW GRANTS prints them
}

// Words that every server knows.
var (
	askWho       = statement{text: "SELECT VERSION() AS version, CURRENT_USER() AS account"}
	askVariables = statement{text: `SHOW GLOBAL VARIABLES WHERE VARIABLE_NAME IN (
 'server_uuid', 'server_id', 'hostname', 'report_host', 'port', 'datadir',
 'log_bin', 'log_slave_updates', 'log_replica_updates', 'binlog_format', 'gtid_mode', 'performance_schema',
 'rpl_semi_sync_master_enabled', 'rpl_semi_sync_source_enabled',
 'rpl_semi_sync_slave_enabled', 'rpl_semi_sync_replica_enabled',
 'rpl_semi_sync_master_wait_for_slave_count', 'rpl_semi_sync_source_wait_for_replica_count',
 'rpl_semi_sync_master_timeout', 'rpl_semi_sync_source_timeout')`}
	askStatus = statement{text: `SHOW GLOBAL STATUS WHERE VARIABLE_NAME IN (
 'Uptime',
 'Rpl_semi_sync_master_status', 'Rpl_semi_sync_source_status',
 'Rpl_semi_sync_slave_status', 'Rpl_semi_sync_replica_status',
 'Rpl_semi_sync_master_clients', 'Rpl_semi_sync_source_clients')`}

	// Nothing that a step asks for may wait long for open transactions.
	shortWaits = statement{text: "SET SESSION lock_wait_timeout = 1"}
	longIdle   = statement{text: "SET SESSION wait_timeout = 2147483, SESSION interactive_timeout = 2147483"}
	showGrants = statement{text: "SHOW GRANTS"}
	kill       = statement{"KILL CONNECTION ?", "CONNECTION_ADMIN"}
	// Both names were given to MySQL's plugin; whichever is loaded is set.
	semiSyncSource = []statement{
		{text: "SET GLOBAL rpl_semi_sync_source_enabled = 1"},
		{text: "SET GLOBAL rpl_semi_sync_master_enabled = 1"},
	}
	semiSyncSourceOff = []statement{
		{text: "SET GLOBAL rpl_semi_sync_source_enabled = 0"},
		{text: "SET GLOBAL rpl_semi_sync_master_enabled = 0"},
	}
)

const (
	// Thread states: a full disk, a wait for semi-sync acknowledgement, a commit that waits for a lock or for the storage. The binary log dump
	// threads come along: another number of them means that replicas came or went.
	mysqlThreads = `SELECT @@GLOBAL.read_only AS read_only, @@GLOBAL.super_read_only AS super_read_only, @@GLOBAL.gtid_executed AS executed,
 p.COMMAND AS command, p.STATE AS state, p.TIME AS seconds, p.INFO AS info
 FROM (SELECT 1) AS one LEFT JOIN information_schema.PROCESSLIST AS p ON
 p.COMMAND LIKE 'Binlog Dump%' OR p.STATE LIKE '%free space%'
 OR p.TIME >= 2 AND p.STATE LIKE '%semi-sync ACK%'
 OR p.TIME >= 5 AND (p.STATE LIKE '%commit%' OR p.STATE IN ('starting', 'query end', 'end') AND p.INFO LIKE 'COMMIT%')`
	mysqlThreadsNew = `SELECT @@GLOBAL.read_only AS read_only, @@GLOBAL.super_read_only AS super_read_only, @@GLOBAL.gtid_executed AS executed,
 p.COMMAND AS command, p.STATE AS state, p.TIME AS seconds, p.INFO AS info
 FROM (SELECT 1) AS one LEFT JOIN performance_schema.processlist AS p ON
 p.COMMAND LIKE 'Binlog Dump%' OR p.STATE LIKE '%free space%'
 OR p.TIME >= 2 AND p.STATE LIKE '%semi-sync ACK%'
 OR p.TIME >= 5 AND (p.STATE LIKE '%commit%' OR p.STATE IN ('starting', 'query end', 'end') AND p.INFO LIKE 'COMMIT%')`
	mariaThreads = `SELECT @@GLOBAL.read_only AS read_only, @@GLOBAL.gtid_slave_pos AS slave_pos, @@GLOBAL.gtid_binlog_pos AS binlog_pos,
 p.COMMAND AS command, p.STATE AS state, p.TIME AS seconds, p.INFO AS info
 FROM (SELECT 1) AS one LEFT JOIN information_schema.PROCESSLIST AS p ON
 p.COMMAND LIKE 'Binlog Dump%' OR p.STATE LIKE '%free space%'
 OR p.TIME >= 2 AND p.STATE LIKE '%semi-sync ACK%'
 OR p.TIME >= 5 AND (p.STATE LIKE '%commit%' OR p.STATE IN ('starting', 'query end', 'end') AND p.INFO LIKE 'COMMIT%')`
)

// speak returns the dialect of a server.
func speak(flavor topology.Flavor, v topology.Version, performanceSchema bool) dialect {
	if flavor == topology.MariaDB {
		return mariadb(v)
	}
	d := mysql57()
	if v.AtLeast(8, 0, 0) {
		d.privileges = []string{"REPLICATION CLIENT", "REPLICATION SLAVE", "PROCESS", "RELOAD", "REPLICATION_SLAVE_ADMIN", "SYSTEM_VARIABLES_ADMIN", "CONNECTION_ADMIN"}
		const admin = "REPLICATION_SLAVE_ADMIN"
		for _, s := range []*statement{&d.stop, &d.stopReceiver, &d.start, &d.startReceiver, &d.startApplier, &d.changeHost, &d.changeHostWithKey, &d.changeAuto} {
			s.needs = admin
		}
		for i := range d.readOnly {
			d.readOnly[i].needs = "SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN"
		}
		for i := range d.writable {
			d.writable[i].needs = "SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN"
		}
		d.changeHostWithKey.text = "CHANGE MASTER TO MASTER_HOST = ?, MASTER_PORT = ?, GET_MASTER_PUBLIC_KEY = 1 FOR CHANNEL ?"
	}
	if v.AtLeast(8, 0, 22) {
		d.channels.text = "SHOW REPLICA STATUS"
		d.replicas.text = "SHOW REPLICAS"
		d.stop.text = "STOP REPLICA FOR CHANNEL ?"
		d.stopReceiver.text = "STOP REPLICA IO_THREAD FOR CHANNEL ?"
		d.start.text = "START REPLICA FOR CHANNEL ?"
		d.startReceiver.text = "START REPLICA IO_THREAD FOR CHANNEL ?"
		d.startApplier.text = "START REPLICA SQL_THREAD FOR CHANNEL ?"
		d.reset.text = "RESET REPLICA ALL FOR CHANNEL ?"
		if performanceSchema {
			d.pollWithThreads.text = mysqlThreadsNew
			d.diskFull.text = "SELECT COUNT(*) AS complaints FROM performance_schema.error_log WHERE ERROR_CODE = 'MY-000035' AND LOGGED >= NOW(6) - INTERVAL ? SECOND"
			d.dumps.text = "SELECT HOST AS host FROM performance_schema.processlist WHERE COMMAND LIKE 'Binlog Dump%'"
		}
	}
	if v.AtLeast(8, 0, 23) {
		d.changeHost.text = "CHANGE REPLICATION SOURCE TO SOURCE_HOST = ?, SOURCE_PORT = ? FOR CHANNEL ?"
		d.changeHostWithKey.text = "CHANGE REPLICATION SOURCE TO SOURCE_HOST = ?, SOURCE_PORT = ?, GET_SOURCE_PUBLIC_KEY = 1 FOR CHANNEL ?"
		d.changeAuto.text = "CHANGE REPLICATION SOURCE TO SOURCE_HOST = ?, SOURCE_PORT = ?, SOURCE_AUTO_POSITION = 1 FOR CHANNEL ?"
	}
	if v.AtLeast(8, 2, 0) {
		d.binlog.text = "SHOW BINARY LOG STATUS"
	}
	return d
}

func mysql57() dialect {
	const super = "SUPER"
	return dialect{
		poll: statement{text: "SELECT @@GLOBAL.read_only AS read_only, @@GLOBAL.super_read_only AS super_read_only, @@GLOBAL.gtid_executed AS executed"},

		pollWithThreads: statement{mysqlThreads, "PROCESS"},
		channels:        statement{"SHOW SLAVE STATUS", "REPLICATION CLIENT"},
		more:            statement{text: "SELECT @@GLOBAL.gtid_purged AS purged"},
		replicas:        statement{"SHOW SLAVE HOSTS", "REPLICATION SLAVE"},
		binlog:          statement{"SHOW MASTER STATUS", "REPLICATION CLIENT"},
		dumps:           statement{"SELECT HOST AS host FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'", "PROCESS"},

		stop:          statement{"STOP SLAVE FOR CHANNEL ?", super},
		stopReceiver:  statement{"STOP SLAVE IO_THREAD FOR CHANNEL ?", super},
		start:         statement{"START SLAVE FOR CHANNEL ?", super},
		startReceiver: statement{"START SLAVE IO_THREAD FOR CHANNEL ?", super},
		startApplier:  statement{"START SLAVE SQL_THREAD FOR CHANNEL ?", super},
		reset:         statement{"RESET SLAVE ALL FOR CHANNEL ?", "RELOAD"},

		changeHost:        statement{"CHANGE MASTER TO MASTER_HOST = ?, MASTER_PORT = ? FOR CHANNEL ?", super},
		changeHostWithKey: statement{"CHANGE MASTER TO MASTER_HOST = ?, MASTER_PORT = ? FOR CHANNEL ?", super}, // 5.7 has no keys to get
		changeAuto:        statement{"CHANGE MASTER TO MASTER_HOST = ?, MASTER_PORT = ?, MASTER_AUTO_POSITION = 1 FOR CHANNEL ?", super},
		await:             statement{text: "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, 1) AS missing"},
		readOnly:          []statement{{"SET GLOBAL super_read_only = 1", super}}, // sets read_only too
		writable:          []statement{{"SET GLOBAL super_read_only = 0", super}, {"SET GLOBAL read_only = 0", super}},
		clients: statement{`SELECT ID AS id, USER AS user, COMMAND AS command, HOST AS host FROM information_schema.PROCESSLIST
 WHERE USER NOT IN ('system user', 'event_scheduler', '') AND COMMAND NOT LIKE 'Binlog Dump%' AND COMMAND <> 'Daemon' AND ID <> CONNECTION_ID()`, "PROCESS"},
		privileges: []string{"SUPER", "REPLICATION CLIENT", "REPLICATION SLAVE", "PROCESS", "RELOAD"},
	}
}

func mariadb(topology.Version) dialect {
	const admin = "REPLICATION SLAVE ADMIN"
	return dialect{
		poll: statement{text: "SELECT @@GLOBAL.read_only AS read_only, @@GLOBAL.gtid_slave_pos AS slave_pos, @@GLOBAL.gtid_binlog_pos AS binlog_pos"},

		pollWithThreads: statement{mariaThreads, "PROCESS"},
		channels:        statement{"SHOW ALL SLAVES STATUS", "SLAVE MONITOR"},
		replicas:        statement{"SHOW SLAVE HOSTS", "REPLICATION MASTER ADMIN"},
		binlog:          statement{"SHOW MASTER STATUS", "BINLOG MONITOR"},
		dumps:           statement{"SELECT HOST AS host FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'", "PROCESS"},

		nameFirst:     true,
		stop:          statement{"STOP SLAVE ?", admin},
		stopReceiver:  statement{"STOP SLAVE ? IO_THREAD", admin},
		start:         statement{"START SLAVE ?", admin},
		startReceiver: statement{"START SLAVE ? IO_THREAD", admin},
		startApplier:  statement{"START SLAVE ? SQL_THREAD", admin},
		reset:         statement{"RESET SLAVE ? ALL", "RELOAD"},

		changeHost:        statement{"CHANGE MASTER ? TO MASTER_HOST = ?, MASTER_PORT = ?", admin},
		changeHostWithKey: statement{"CHANGE MASTER ? TO MASTER_HOST = ?, MASTER_PORT = ?", admin},
		changeAuto:        statement{"CHANGE MASTER ? TO MASTER_HOST = ?, MASTER_PORT = ?, MASTER_USE_GTID = slave_pos", admin},
		await:             statement{text: "SELECT MASTER_GTID_WAIT(?, 1) AS missing"},
		readOnly:          []statement{{"SET GLOBAL read_only = 1", "READ_ONLY ADMIN"}},
		writable:          []statement{{"SET GLOBAL read_only = 0", "READ_ONLY ADMIN"}},
		clients: statement{`SELECT ID AS id, USER AS user, COMMAND AS command, HOST AS host FROM information_schema.PROCESSLIST
 WHERE USER NOT IN ('system user', 'event_scheduler', '') AND COMMAND NOT LIKE 'Binlog Dump%' AND COMMAND NOT IN ('Daemon', 'Slave_IO', 'Slave_SQL', 'Slave_worker')
 AND ID <> CONNECTION_ID()`, "PROCESS"},
		privileges: []string{"SLAVE MONITOR", "BINLOG MONITOR", "REPLICATION MASTER ADMIN", "REPLICATION SLAVE ADMIN", "REPLICATION SLAVE", "READ_ONLY ADMIN",
			"CONNECTION ADMIN", "PROCESS", "RELOAD"},
	}
}

// setSlavePos is MariaDB's: what a server wrote itself counts as applied from now on.
var setSlavePos = statement{"SET GLOBAL gtid_slave_pos = ?", "REPLICATION SLAVE ADMIN"}
