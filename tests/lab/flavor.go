package lab

import (
	"fmt"
	"path/filepath"
	"strings"

	"orchestrator/daemon/topology"
)

// Flavors that can be started.
const (
	MariaDB = topology.MariaDB
	MySQL   = topology.MySQL
)

// The accounts that every server has.
const (
	// the daemon's, with the documented grants
	User, Password                       = "orchestrator", "orchestrator-secret"
	ReplicationUser, ReplicationPassword = "replicator", "replicator-secret"
	AppUser, AppPassword                 = "app", "app-secret" // may not write where read_only is set
)

const (
	mariadbd  = "/usr/sbin/mariadbd"
	installDB = "/usr/bin/mariadb-install-db"
	mysqld    = "/usr/sbin/mysqld" // within its root
)

// mysqlRoot is the Debian root that MySQL runs in.
func mysqlRoot() string { return filepath.Join(cacheDir(), "mysql-sid") }

// mysqlDir is where this lab's MySQL data directories are: they must lie below the root.
func (l *Lab) mysqlDir() string {
	return filepath.Join(mysqlRoot(), "tmp", fmt.Sprintf("lab-%d", l.Subnet))
}

// Root is "" where the server sees the same files as we do.
func (l *Lab) Root(f topology.Flavor) string { return rootOf(f) }

func rootOf(f topology.Flavor) string {
	if f == MySQL {
		return mysqlRoot()
	}
	return ""
}

// options of both flavours: small, and complete as replication goes.
func options(f topology.Flavor, semisync bool) []string {
	common := []string{
		"--user=root", "--skip-name-resolve", "--max-connections=151",
		"--log-bin=binlog", "--binlog-format=ROW", "--relay-log=relay",
		"--read-only=1", "--innodb-buffer-pool-size=32M", "--innodb-log-buffer-size=2M", "--innodb-use-native-aio=0",
		"--table-open-cache=200", "--performance-schema=0",
	}
	if f == MariaDB {
		common = append(common,
			"--log-slave-updates=1", "--gtid-strict-mode=1", "--slave-net-timeout=4",
			"--innodb-log-file-size=16M", "--aria-pagecache-buffer-size=4M", "--key-buffer-size=1M",
			// written full at each start; it grows where that is needed
			"--innodb-temp-data-file-path=ibtmp1:1M:autoextend")
		if semisync {
			common = append(common, "--rpl-semi-sync-slave-enabled=1",
				"--rpl-semi-sync-master-timeout=3600000", "--rpl-semi-sync-master-wait-point=AFTER_SYNC")
		}
		return common
	}
	common = append(common,
		"--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--log-replica-updates=1", "--replica-net-timeout=4",
		"--mysqlx=OFF", "--innodb-redo-log-capacity=16M", "--key-buffer-size=1M", "--temptable-max-ram=8M")
	if semisync {
		common = append(common, "--plugin-load-add=semisync_source.so", "--plugin-load-add=semisync_replica.so",
			"--loose-rpl-semi-sync-replica-enabled=1",
			"--loose-rpl-semi-sync-source-timeout=3600000", "--loose-rpl-semi-sync-source-wait-point=AFTER_SYNC")
	}
	return common
}

// waitForReplicas has a primary wait for acknowledgements. A replica must not: what it applies would wait for replicas
// of its own.
var waitForReplicas = map[topology.Flavor]string{
	MariaDB: "SET GLOBAL rpl_semi_sync_master_enabled = 1",
	MySQL:   "SET GLOBAL rpl_semi_sync_source_enabled = 1",
}

// accounts are the statements that prepare a data directory; nothing of it enters a binary log. The grants of the
// daemon's account are those that it asks for, no more: a test that needs more has found an error in the documents.
func accounts(f topology.Flavor) []string {
	user := func(name, password string) string {
		return fmt.Sprintf("CREATE USER '%s'@'%%' IDENTIFIED BY '%s'", name, password)
	}
	daemon := []string{
		"GRANT PROCESS, RELOAD, REPLICATION CLIENT, REPLICATION SLAVE, REPLICATION_SLAVE_ADMIN, " +
			"SYSTEM_VARIABLES_ADMIN, CONNECTION_ADMIN, SYSTEM_USER, EVENT ON *.* TO '" + User + "'@'%'",
		"GRANT SELECT ON performance_schema.* TO '" + User + "'@'%'",
	}
	if f == MariaDB {
		daemon = []string{"GRANT PROCESS, RELOAD, BINLOG MONITOR, REPLICA MONITOR, REPLICATION SLAVE, REPLICATION " +
			"SLAVE ADMIN, REPLICATION MASTER ADMIN, READ_ONLY ADMIN, CONNECTION ADMIN, SUPER ON *.* TO '" +
			User + "'@'%'", "GRANT SELECT ON mysql.event TO '" + User + "'@'%'"}
	}
	out := []string{user(User, Password), user(ReplicationUser, ReplicationPassword), user(AppUser, AppPassword)}
	out = append(out, daemon...)
	return append(out,
		"GRANT REPLICATION SLAVE ON *.* TO '"+ReplicationUser+"'@'%'",
		"CREATE DATABASE app",
		"CREATE TABLE app.written (id BIGINT NOT NULL PRIMARY KEY, writer INT NOT NULL, note VARCHAR(100) NOT NULL) "+
			"ENGINE=InnoDB",
		"GRANT ALL ON app.* TO '"+AppUser+"'@'%'")
}

// follow are the statements that make a server replicate from source, by GTID.
func follow(f topology.Flavor, source topology.Key) []string {
	if f == MariaDB {
		return []string{
			"STOP SLAVE",
			fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='%s', MASTER_PORT=%d, MASTER_USER='%s', MASTER_PASSWORD='%s', "+
				"MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=2",
				source.Host, source.Port, ReplicationUser, ReplicationPassword),
			"START SLAVE",
		}
	}
	return []string{
		"STOP REPLICA",
		fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST='%s', SOURCE_PORT=%d, SOURCE_USER='%s', "+
			"SOURCE_PASSWORD='%s', SOURCE_AUTO_POSITION=1, SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=86400, "+
			"SOURCE_HEARTBEAT_PERIOD=2, GET_SOURCE_PUBLIC_KEY=1",
			source.Host, source.Port, ReplicationUser, ReplicationPassword),
		"START REPLICA",
	}
}

// status is the statement that tells how a server replicates, and the columns that matter.
func status(f topology.Flavor) (statement, host, port, io, sql string) {
	if f == MariaDB {
		return "SHOW SLAVE STATUS", "Master_Host", "Master_Port", "Slave_IO_Running", "Slave_SQL_Running"
	}
	return "SHOW REPLICA STATUS", "Source_Host", "Source_Port", "Replica_IO_Running", "Replica_SQL_Running"
}

func knownFlavor(f topology.Flavor) error {
	if f != MariaDB && f != MySQL {
		return fmt.Errorf("flavour %q: want %s", f, strings.Join([]string{string(MariaDB), string(MySQL)}, " or "))
	}
	return nil
}
