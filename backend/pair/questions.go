package pair

import (
	"fmt"
	"strings"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// What this package asks members, besides the words that the server package has for all servers.
var (
	askNowMariaDB = server.Statement{Text: `SELECT
	@@GLOBAL.read_only AS read_only,
	@@GLOBAL.log_bin AS log_bin,
	@@GLOBAL.binlog_format AS binlog_format,
	@@GLOBAL.gtid_slave_pos AS slave_pos,
	@@GLOBAL.gtid_binlog_pos AS binlog_pos,
	@@GLOBAL.gtid_binlog_state AS binlog_state`}
	askNowMySQL = server.Statement{Text: `SELECT
	@@GLOBAL.read_only AS read_only,
	@@GLOBAL.super_read_only AS super_read_only,
	@@GLOBAL.log_bin AS log_bin,
	@@GLOBAL.binlog_format AS binlog_format,
	@@GLOBAL.gtid_mode AS gtid_mode,
	@@GLOBAL.gtid_executed AS executed,
	@@GLOBAL.gtid_purged AS purged`}
	shortWait = server.Statement{Text: "SET SESSION lock_wait_timeout = 5"}
	askClock  = server.Statement{Text: "SELECT UTC_TIMESTAMP(6) AS clock"}
	askUsers  = server.Statement{Text: "SELECT user, host FROM mysql.user", Needs: "SELECT ON mysql.user"}
	askAll    = server.Statement{Text: "SHOW GLOBAL VARIABLES"}
	// A daemon's store names the database when it connects; looks, of whatever account, don't.
	askClients = server.Statement{Text: "SELECT ID AS id FROM information_schema.PROCESSLIST WHERE USER = ? AND DB = ?",
		Needs: "PROCESS"}
)

func askNow(d server.Dialect) server.Statement {
	if d.MariaDB() {
		return askNowMariaDB
	}
	return askNowMySQL
}

// follow is what is set when a member is pointed at the other one. Whether the source may send its public key stays as
// it is: whoever answers at the address of the source would get the password.
var follow = []server.Word{server.SourceAddress, server.AutoPosition, server.RetryForLong, server.Heartbeat}

// AdminGrants are the statements that give an account, as "user@host", all that Status, Doctor, Verify, Promote and
// Rejoin need.
func AdminGrants(f topology.Flavor, v topology.Version, account, database string) []string {
	d := server.Dialect{Flavor: f, Version: v}
	everywhere := d.Privileges(server.MayReadStatus, server.MayReadBinlog, server.MayAdminister,
		server.MaySetReadOnly, server.MaySetBinlog, server.MayReload, server.MaySeeThreads, server.MaySetVariables)
	onDatabase, _ := BackendGrants(f)
	return []string{
		server.Grant(strings.Join(everywhere, ", "), account),
		server.Grant("SELECT ON mysql.user", account),
		grantOn(onDatabase, database, account),
	}
}

// BackendGrants are the privileges that the account of the daemons needs: on its database, and everywhere, to see how
// its members replicate.
func BackendGrants(f topology.Flavor) (onDatabase, everywhere []string) {
	onDatabase = []string{"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE"}
	return onDatabase, server.Dialect{Flavor: f}.Privileges(server.MayReadStatus)
}

func grantOn(privileges []string, database, account string) string {
	return fmt.Sprintf("GRANT %s ON %s.* TO %s", strings.Join(privileges, ", "), database, server.QuoteAccount(account))
}
