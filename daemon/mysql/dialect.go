package mysql

import (
	"fmt"

	"orchestrator/daemon/topology"
)

// dialect is what differs between flavours and versions. Statements stand whole; %s marks a channel, already quoted.
type dialect struct {
	flavor topology.Flavor

	positions  string // what changes all the time, in one row: read_only, super_read_only, executed, written
	status     string // of replication, a row a channel
	registered string // replicas
	binlog     string // position in the binary log
	threads    string // threads with state, command and time

	stopReceiver, startReceiver, stopApplier, startApplier string
	stopAll, startAll, resetAll                            string
	await                                                  string // (set, seconds) as parameters
}

// MariaDB: any version that is supported (10.5 to 12).
var mariadb = dialect{
	flavor:        topology.MariaDB,
	positions:     "SELECT @@GLOBAL.read_only, 0, @@GLOBAL.gtid_slave_pos, @@GLOBAL.gtid_binlog_pos, ''",
	status:        "SHOW ALL SLAVES STATUS",
	registered:    "SHOW SLAVE HOSTS",
	binlog:        "SHOW MASTER STATUS",
	threads:       "SELECT STATE, COMMAND, TIME, COALESCE(INFO, '') FROM information_schema.PROCESSLIST WHERE COMMAND IN ('Query', 'Execute') AND ID <> CONNECTION_ID()",
	stopReceiver:  "STOP SLAVE '%s' IO_THREAD",
	startReceiver: "START SLAVE '%s' IO_THREAD",
	stopApplier:   "STOP SLAVE '%s' SQL_THREAD",
	startApplier:  "START SLAVE '%s' SQL_THREAD",
	stopAll:       "STOP SLAVE '%s'",
	startAll:      "START SLAVE '%s'",
	resetAll:      "RESET SLAVE '%s' ALL",
	await:         "SELECT MASTER_GTID_WAIT(?, ?)",
}

// mysqlNew: 8.4 and later, where the old words are gone.
var mysqlNew = dialect{
	flavor:        topology.MySQL,
	positions:     "SELECT @@GLOBAL.read_only, @@GLOBAL.super_read_only, @@GLOBAL.gtid_executed, '', @@GLOBAL.gtid_purged",
	status:        "SHOW REPLICA STATUS",
	registered:    "SHOW REPLICAS",
	binlog:        "SHOW BINARY LOG STATUS",
	threads:       "SELECT STATE, COMMAND, TIME, COALESCE(INFO, '') FROM information_schema.PROCESSLIST WHERE COMMAND IN ('Query', 'Execute') AND ID <> CONNECTION_ID()",
	stopReceiver:  "STOP REPLICA IO_THREAD FOR CHANNEL '%s'",
	startReceiver: "START REPLICA IO_THREAD FOR CHANNEL '%s'",
	stopApplier:   "STOP REPLICA SQL_THREAD FOR CHANNEL '%s'",
	startApplier:  "START REPLICA SQL_THREAD FOR CHANNEL '%s'",
	stopAll:       "STOP REPLICA FOR CHANNEL '%s'",
	startAll:      "START REPLICA FOR CHANNEL '%s'",
	resetAll:      "RESET REPLICA ALL FOR CHANNEL '%s'",
	await:         "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, ?)",
}

// mysqlOld: 5.7 to 8.0.21, which have the old words only.
var mysqlOld = dialect{
	flavor:        topology.MySQL,
	positions:     mysqlNew.positions,
	status:        "SHOW SLAVE STATUS",
	registered:    "SHOW SLAVE HOSTS",
	binlog:        "SHOW MASTER STATUS",
	threads:       mysqlNew.threads,
	stopReceiver:  "STOP SLAVE IO_THREAD FOR CHANNEL '%s'",
	startReceiver: "START SLAVE IO_THREAD FOR CHANNEL '%s'",
	stopApplier:   "STOP SLAVE SQL_THREAD FOR CHANNEL '%s'",
	startApplier:  "START SLAVE SQL_THREAD FOR CHANNEL '%s'",
	stopAll:       "STOP SLAVE FOR CHANNEL '%s'",
	startAll:      "START SLAVE FOR CHANNEL '%s'",
	resetAll:      "RESET SLAVE ALL FOR CHANNEL '%s'",
	await:         "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, ?)",
}

// mysqlMid: 8.0.22 to 8.3, which know both; the position in the binary log has its old name still.
var mysqlMid = func() dialect {
	d := mysqlNew
	d.binlog = mysqlOld.binlog
	return d
}()

func dialectOf(f topology.Flavor, v topology.Version) (dialect, error) {
	switch {
	case f == topology.MariaDB && v.AtLeast(10, 5, 0):
		return mariadb, nil
	case f == topology.MySQL && v.AtLeast(8, 4, 0):
		return mysqlNew, nil
	case f == topology.MySQL && v.AtLeast(8, 0, 22):
		return mysqlMid, nil
	case f == topology.MySQL && v.AtLeast(5, 7, 0):
		return mysqlOld, nil
	}
	return dialect{}, fmt.Errorf("%s %v is not supported: MySQL 5.7 and MariaDB 10.5 are the oldest that are", f, v)
}

// repoint is the statement that changes the source of a channel, and nothing else of it: account and TLS stay.
func (d dialect) repoint(v topology.Version, channel string, host string, port int, ssl bool) (string, []any) {
	switch {
	case d.flavor == topology.MariaDB:
		return fmt.Sprintf("CHANGE MASTER '%s' TO MASTER_HOST=?, MASTER_PORT=?, MASTER_USE_GTID=slave_pos", channel), []any{host, port}
	case v.AtLeast(8, 0, 23) && !ssl:
		return fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST=?, SOURCE_PORT=?, SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1 FOR CHANNEL '%s'", channel), []any{host, port}
	case v.AtLeast(8, 0, 23):
		return fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST=?, SOURCE_PORT=?, SOURCE_AUTO_POSITION=1 FOR CHANNEL '%s'", channel), []any{host, port}
	case v.AtLeast(8, 0, 4) && !ssl:
		return fmt.Sprintf("CHANGE MASTER TO MASTER_HOST=?, MASTER_PORT=?, MASTER_AUTO_POSITION=1, GET_MASTER_PUBLIC_KEY=1 FOR CHANNEL '%s'", channel), []any{host, port}
	}
	return fmt.Sprintf("CHANGE MASTER TO MASTER_HOST=?, MASTER_PORT=?, MASTER_AUTO_POSITION=1 FOR CHANNEL '%s'", channel), []any{host, port}
}

// spoil changes only the host's name.
func (d dialect) spoil(v topology.Version, channel string) string {
	switch {
	case d.flavor == topology.MariaDB:
		return fmt.Sprintf("CHANGE MASTER '%s' TO MASTER_HOST=?, MASTER_PORT=?, MASTER_USE_GTID=slave_pos", channel)
	case v.AtLeast(8, 0, 23):
		return fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST=?, SOURCE_PORT=? FOR CHANNEL '%s'", channel)
	}
	return fmt.Sprintf("CHANGE MASTER TO MASTER_HOST=?, MASTER_PORT=? FOR CHANNEL '%s'", channel)
}
