package main

import (
	"fmt"
	"strings"
	"testing"

	"orchestrator/backend"
	"orchestrator/backend/pair"
	"orchestrator/backend/sqlstore"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

func TestBackendBadInput(t *testing.T) {
	single := file(t, "single.toml", "[backend]\npath = \"x.db\"\n")
	for _, c := range []struct {
		args, says string
		code       int
	}{
		{"backend", "needs a command", exitUsage},
		{"backend promote --to :::", "--to", exitUsage},
		{"backend rejoin", "needs one argument", exitUsage},
		{"backend rejoin a --replication-user x", "--replication-password-file", exitUsage},
		{"backend status --config " + single, "there is no pair", exitConfig},
		{"backend status --output xml --config " + single, "--output", exitUsage},
		{"backend status --config /nowhere.toml", "/nowhere.toml", exitConfig},
	} {
		if code, _, errs := program(t, "", strings.Fields(c.args)...); code != c.code ||
			!strings.Contains(errs, c.says) {
			t.Errorf("%s: exit %d, %s", c.args, code, errs)
		}
	}
}

// night is a pair with its configuration, as in the runbook.
type night struct {
	*testing.T
	lab     *lab.Lab
	servers []*lab.Server
	config  string
	names   []string
}

// as runs a command of the runbook; -v shows the output, for the runbook.
func (n *night) as(code int, says string, args ...string) string {
	n.Helper()
	all := append([]string{"backend"}, args...)
	got, out, errs := program(n.T, "", append(all, "--config", n.config, "--user", "orchestrator_admin",
		"--password-file", n.names[0])...)
	show := out + errs
	for i, s := range n.servers {
		show = strings.ReplaceAll(show, s.Key.String(), fmt.Sprintf("backend%d:3306", i+1))
	}
	n.Logf("\n# orchestrator %s\n%s# exit %d\n", strings.Join(all, " "), show, got)
	if got != code || !strings.Contains(out+errs, says) {
		n.Errorf("exit %d, want %d, and %q said", got, code, says)
	}
	return out
}

func (n *night) exec(at int, statements ...string) {
	n.Helper()
	if err := n.servers[at].Exec(n.Context(), statements...); err != nil {
		n.Fatal(err)
	}
}

// admin makes the account that the runbook tells to make.
func (n *night) admin(s *lab.Server) {
	n.Helper()
	var version string
	if err := s.DB().QueryRowContext(n.Context(), "SELECT VERSION()").Scan(&version); err != nil {
		n.Fatal(err)
	}
	f, v, err := topology.ParseVersion(version)
	if err != nil {
		n.Fatal(err)
	}
	_, everywhere := pair.BackendGrants(f)
	statements := append([]string{"SET SESSION sql_log_bin = 0", "CREATE USER orchestrator_admin IDENTIFIED BY 'care'",
		"GRANT " + strings.Join(everywhere, ", ") + " ON *.* TO " + lab.BackendUser},
		pair.AdminGrants(f, v, "orchestrator_admin@%", lab.BackendDatabase)...)
	if err := s.Exec(n.Context(), append(statements, "SET SESSION sql_log_bin = 1")...); err != nil {
		n.Fatal(err)
	}
}

func (n *night) configure() {
	n.config = file(n.T, "orchestrator.toml", fmt.Sprintf(`
[backend]
kind = "mysql"
path = "journal.db"
address = "127.0.0.1:3307"
members = ["%v", "%v"]
password_file = "%s"
public_key_file = %q

[peers]
daemons = ["http://127.0.0.1:1"]
secret_file = "%s"
`, n.servers[0].Key, n.servers[1].Key, file(n.T, "password", lab.BackendPassword+"\n"), lab.PublicKey(),
		file(n.T, "secret", strings.Repeat("0123456789abcdef", 4))))
}

// words selects by flavour.
func (n *night) words(maria, mysql string) string {
	if n.servers[0].Flavor == topology.MariaDB {
		return maria
	}
	return mysql
}

var durable = []string{"--relay-log-recovery=ON", "--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1"}

func insert(kind, key string, version int) string {
	return fmt.Sprintf("INSERT INTO orchestrator.record VALUES ('%s', '%s', %d, 'daemon1', 0, '{}')", kind, key,
		version)
}

func TestBackendAtNight(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		a, b, err := l.Pair(t.Context(), f, durable...)
		if err != nil {
			t.Fatal(err)
		}
		n := &night{T: t, lab: l, servers: []*lab.Server{a, b}, names: []string{file(t, "care", "care\n")}}
		for _, s := range n.servers {
			n.admin(s)
		}
		n.configure()
		n.as(exitOK, "no tables", "status")
		store(t, n)
		n.exec(0, insert("tag", "shop", 1700000000000000), insert("downtime", "db7:3306", 1700000000500000))
		n.until("Both members hold the same 3 records", "status")
		n.as(exitOK, "Nothing is wrong", "doctor")

		// A planned switch.
		n.as(exitOK, "Would do", "promote", "--to", b.Key.String(), "--dry-run")
		n.as(exitOK, "takes writes", "promote", "--to", b.Key.String())
		n.as(exitOK, "takes writes", "promote", "--to", a.Key.String())

		// The active dies, and comes back.
		if err := a.Kill(); err != nil {
			t.Fatal(err)
		}
		n.as(exitOK, "should serve", "status")
		n.as(exitOK, "when", "promote", "--to", b.Key.String())
		if err := a.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		n.as(exitOK, "hold the same", "rejoin", a.Key.String())

		// Members differ.
		n.exec(1, "SET SESSION sql_log_bin = 0", insert("tag", "orders", 1700000001000000),
			"SET SESSION sql_log_bin = 1")
		n.as(exitFailure, "1 of 4 records differs", "verify")
		n.as(exitOK, "1 record differed, and was merged", "verify", "--repair")

		// Replication breaks: only one member has a table.
		n.exec(1, "SET SESSION sql_log_bin = 0", "CREATE TABLE orchestrator.scratch (id INT PRIMARY KEY)",
			"SET SESSION sql_log_bin = 1", "INSERT INTO orchestrator.scratch VALUES (1)")
		n.exec(0, n.words("STOP SLAVE", "STOP REPLICA"), n.words("START SLAVE", "START REPLICA"))
		n.until("applier stopped with error 1146", "status")
		n.exec(0, "SET GLOBAL sync_binlog = 0")
		n.as(exitFailure, "1146", "doctor")
		n.as(exitFailure, "1146", "doctor", "--fix")
		n.as(exitFailure, "--seed", "rejoin", a.Key.String())
		n.as(exitOK, "hold the same", "rejoin", a.Key.String(), "--seed")
		n.exec(1, "SET SESSION sql_log_bin = 0", "DROP TABLE orchestrator.scratch", "SET SESSION sql_log_bin = 1")

		// A member is replaced.
		if err := a.Kill(); err != nil {
			t.Fatal(err)
		}
		c, err := l.Member(t.Context(), f, durable...)
		if err != nil {
			t.Fatal(err)
		}
		n.servers[0] = c
		n.admin(c)
		n.configure()
		n.as(exitFailure, "does not replicate", "doctor")
		n.as(exitOK, "hold the same", "rejoin", c.Key.String(), "--seed", "--mutual", "--replication-user",
			lab.ReplicationUser,
			"--replication-password-file", file(t, "repl", lab.ReplicationPassword), "--get-source-public-key")
		n.as(exitOK, "Nothing is wrong", "doctor")
		if out := n.as(exitOK, `"equal": true`, "status", "--output", "json"); strings.Contains(out,
			lab.BackendPassword) {
			t.Error("a secret")
		}
	})
}

// until repeats a command until its output contains the text.
func (n *night) until(says string, args ...string) {
	n.Helper()
	for range 100 {
		_, out, _ := program(n.T, "", append(append([]string{"backend"}, args...), "--config", n.config, "--user",
			"orchestrator_admin", "--password-file", n.names[0])...)
		if strings.Contains(out, says) {
			n.as(exitOK, says, args...)
			return
		}
	}
	n.as(exitOK, says, args...)
}

// store writes as a daemon does, which makes the tables.
func store(t *testing.T, n *night) {
	t.Helper()
	s, err := sqlstore.OpenMySQL(sqlstore.MySQLOptions{Address: n.servers[0].Key.String(),
		Database: lab.BackendDatabase, User: lab.BackendUser, Password: lab.BackendPassword,
		Security: lab.Security()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Put(t.Context(), backend.Record{Kind: "setting", Key: "recovery", Version: 1700000000000001,
		Writer: "daemon1", Document: []byte(`{"on":true}`)}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lease(pair.LeaseName).Beat(t.Context(), backend.Hold{Holder: "daemon1", Term: 3,
		Beat: 71}); err != nil {
		t.Fatal(err)
	}
}
