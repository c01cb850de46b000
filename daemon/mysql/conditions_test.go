package mysql

import (
	"fmt"
	"strings"
	"testing"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// The conditions on threads stand twice: in SQL, for a server that can make a table of them, and here, for one that can
// only list them. A real server of each flavour and we pick the same out of the same threads.
func TestConditionsOnThreads(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		s, err := l.Start(t.Context(), lab.Spec{Flavor: flavor})
		if err != nil {
			t.Fatal(err)
		}
		var all []any
		for _, values := range [][]string{someCommands, someStates, someSeconds, someTexts, someUsers} {
			all = append(all, "(SELECT "+strings.Join(values, " AS v UNION ALL SELECT ")+")")
		}
		if err := s.Exec(t.Context(), "CREATE DATABASE threads",
			"CREATE TABLE threads.list (ID INT AUTO_INCREMENT PRIMARY KEY, COMMAND VARCHAR(32), STATE VARCHAR(64), "+
				"TIME INT, INFO TEXT, USER VARCHAR(32), HOST VARCHAR(64) DEFAULT 'h') "+
				"CHARACTER SET utf8mb3 AUTO_INCREMENT = 1000000", // none is the connection that asks
			fmt.Sprintf("INSERT INTO threads.list (COMMAND, STATE, TIME, INFO, USER) "+
				"SELECT * FROM %s a JOIN %s b JOIN %s c JOIN %s d JOIN %s e", all...),
			"GRANT SELECT ON threads.* TO "+lab.User); err != nil {
			t.Fatal(err)
		}
		c, err := server.Dial(t.Context(), s.Key.String(), server.Options{Security: lab.Security(),
			Account: server.Account{User: lab.User, Password: lab.Password}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ask := func(text string) []server.Row {
			t.Helper()
			for _, table := range []string{oldThreads, newThreads} {
				text = strings.ReplaceAll(text, table, "threads.list")
			}
			rows, err := c.Query(t.Context(), server.Statement{Text: text})
			if err != nil {
				t.Fatal(err)
			}
			return rows
		}
		threads := ask("SELECT ID, USER, HOST, COMMAND, TIME, STATE, INFO FROM " + oldThreads)
		for _, one := range []struct {
			name, text string
			fits       func(server.Row) bool
		}{
			{"stalls and readers", "SELECT p.ID AS id FROM (SELECT 1) AS one JOIN " + oldThreads + threadsOfInterest,
				isOfInterest},
			{"binary log dump threads", "SELECT ID AS id FROM " + oldThreads + dumpThreads, isDump},
			{"clients", selectClients, isClient},
			{"who waits for one of our locks", askOwners(0).Text, waitsForLock},
		} {
			picked := map[int64]bool{}
			for _, r := range ask(one.text) {
				picked[r.Int("id")] = true
			}
			fit := 0
			for _, r := range threads {
				if one.fits(r) {
					fit++
				}
				if picked[r.Int("id")] != one.fits(r) {
					t.Errorf("%s: the server says %t: %s %q %q for %d s, of %q", one.name, picked[r.Int("id")],
						r.Get("command"), r.Get("state"), r.Get("info"), r.Int("time"), r.Get("user"))
				}
			}
			if fit == 0 || fit == len(threads) {
				t.Errorf("%s: %d of %d threads, so nothing is shown", one.name, fit, len(threads))
			}
		}
	})
}

var (
	someCommands = quoted("Binlog Dump", "Binlog Dump GTID", "Query", "Execute", "Sleep", "Daemon", "Slave_IO",
		"Slave_SQL", "Slave_worker", "Connect")
	someStates = append(quoted("", "starting", "query end", "end", "init", "Waiting for global read lock",
		"Waiting for backup lock", "waiting for handler commit", "Commit", "Waiting for commit lock",
		"Waiting for semi-sync ACK from replica", "Waiting for someone to free space", "User lock"), "NULL")
	someSeconds = []string{"0", "1", "2", "4", "5", "60"}
	someTexts   = append(quoted("COMMIT", "commit /* of ann */", "INSERT INTO t VALUES (1)",
		"DO GET_LOCK(''orchestrator'', 1)"),
		"NULL")
	someUsers = quoted("app", "system user", "event_scheduler", "")
)

func quoted(words ...string) (out []string) {
	for _, w := range words {
		out = append(out, "'"+w+"'")
	}
	return out
}
