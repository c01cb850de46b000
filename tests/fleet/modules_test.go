package fleet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	daemonmysql "orchestrator/daemon/mysql"
	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// The modules of the collection, on real servers of both flavours, whichever the hosts of the big test have.
func TestModulesOnBothFlavours(t *testing.T) {
	if os.Getenv(Env) == "" {
		t.Skip("needs Ansible: make test-fleet")
	}
	l := lab.Test(t)
	for _, f := range []topology.Flavor{lab.MariaDB, lab.MySQL} {
		t.Run(string(f), func(t *testing.T) {
			source, err := l.Start(t.Context(), lab.Spec{Flavor: f})
			if err != nil {
				t.Fatal(err)
			}
			m := newModules(t, l, f)
			m.accounts(source)
			m.variables(source)
			m.replicas(source)
			m.certificates()
			if f == lab.MySQL {
				m.superReadOnly()
			}
		})
	}
}

type modules struct {
	*testing.T
	lab    *lab.Lab
	flavor topology.Flavor
	dir    string // where Python finds the collection, and the module its client
}

func newModules(t *testing.T, l *lab.Lab, f topology.Flavor) modules {
	m := modules{t, l, f, t.TempDir()}
	collection, err := filepath.Abs(filepath.Join(repo, "ansible"))
	if err != nil {
		t.Fatal(err)
	}
	parent := filepath.Join(m.dir, "ansible_collections", "orchestrator")
	must(t, os.MkdirAll(parent, 0o755))
	// or Debian's package of that name would be found instead
	for _, dir := range []string{filepath.Dir(parent), parent} {
		must(t, os.WriteFile(filepath.Join(dir, "__init__.py"), nil, 0o644))
	}
	must(t, os.Symlink(collection, filepath.Join(parent, "fleet")))
	if f == lab.MySQL { // its own client, from the root that the lab runs it in
		root := l.Root(f)
		client := fmt.Sprintf("#!/bin/sh\nexec %[1]s/lib64/ld-linux-x86-64.so.2 --library-path "+
			"%[1]s/usr/lib/x86_64-linux-gnu:%[1]s/lib/x86_64-linux-gnu %[1]s/usr/bin/mysql \"$@\"\n", root)
		must(t, os.WriteFile(filepath.Join(m.dir, "mariadb"), []byte(client), 0o755))
	}
	return m
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a module, as Ansible does on the managed host, and returns its answer.
func (m modules) run(s *lab.Server, module string, args map[string]any) map[string]any {
	m.Helper()
	answer, err := m.try(s, module, args)
	if err != nil {
		m.Fatal(err)
	}
	return answer
}

func (m modules) refused(s *lab.Server, module string, args map[string]any, why string) {
	m.Helper()
	if answer, err := m.try(s, module, args); err == nil || !strings.Contains(err.Error(), why) {
		m.Errorf("%s %v: want it refused for %q: %v, %v", module, args["user"], why, answer, err)
	}
}

func (m modules) try(s *lab.Server, module string, args map[string]any) (map[string]any, error) {
	m.Helper()
	if args["socket"] == nil {
		args["socket"] = s.File("s.sock")
	}
	if _, ok := args["_ansible_check_mode"]; !ok {
		args["_ansible_check_mode"] = false
	}
	data, err := json.Marshal(map[string]any{"ANSIBLE_MODULE_ARGS": args})
	must(m.T, err)
	file := filepath.Join(m.dir, "args.json")
	must(m.T, os.WriteFile(file, data, 0o600))
	cmd := exec.CommandContext(m.Context(), "/usr/bin/python3", "-m",
		"ansible_collections.orchestrator.fleet.plugins.modules."+module, file)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+m.dir, "PYTHONDONTWRITEBYTECODE=1", "PATH="+m.dir+":"+
		os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	var answer map[string]any
	if err != nil || json.Unmarshal(out, &answer) != nil {
		return nil, fmt.Errorf("%s: %w: %s", module, err, out)
	}
	for _, secret := range []string{"old-secret", "new'\\secret"} {
		told, _ := json.Marshal(answer["diff"])
		says, _ := json.Marshal(answer["statements"])
		if strings.Contains(string(told)+string(says), secret) {
			m.Errorf("%s tells a secret: %s", module, out)
		}
	}
	return answer, nil
}

func (m modules) changes(want bool, s *lab.Server, module string, args map[string]any) map[string]any {
	m.Helper()
	answer := m.run(s, module, args)
	if answer["changed"] != want {
		m.Errorf("%s %v: changed is %v: %v", module, args, answer["changed"], answer)
	}
	return answer
}

func (m modules) opens(want bool, s *lab.Server, password string) {
	m.Helper()
	db, err := sql.Open("mysql", s.DSN("ann", password))
	must(m.T, err)
	defer db.Close()
	if err := db.PingContext(m.Context()); (err == nil) != want {
		m.Errorf("logging in with %q: %v", password, err)
	}
}

func (m modules) accounts(s *lab.Server) {
	const first, second = "old-secret", `new'\secret`
	account := func(password string, more map[string]any) map[string]any {
		args := map[string]any{"user": "ann", "password": password,
			"privileges": map[string]any{"*.*": []string{"REPLICATION SLAVE", "PROCESS"},
				"app.*": []string{"SELECT", "INSERT"}}}
		for k, v := range more {
			args[k] = v
		}
		return args
	}
	m.changes(true, s, "account", account(first, map[string]any{"_ansible_check_mode": true}))
	m.opens(false, s, first)
	m.changes(true, s, "account", account(first, nil))
	m.opens(true, s, first)
	m.changes(false, s, "account", account(first, nil))

	fewer := account(first, map[string]any{"privileges": map[string]any{"*.*": []string{"PROCESS"},
		"app.*": []string{"SELECT", "DELETE"}}})
	if got := fmt.Sprint(m.changes(true, s, "account", fewer)["statements"]); !strings.Contains(got,
		"GRANT DELETE ON `app`.*") || !strings.Contains(got, "REVOKE REPLICATION SLAVE ON *.*") {
		m.Errorf("it did %s", got)
	}
	m.changes(true, s, "account", account(first, nil))

	m.changes(true, s, "account", account(second, map[string]any{"retain": true}))
	m.opens(true, s, first)
	m.opens(true, s, second)
	m.changes(false, s, "account", account(second, map[string]any{"retain": true}))
	m.changes(true, s, "account", account(second, map[string]any{"discard": true}))
	m.opens(false, s, first)
	m.opens(true, s, second)
	m.changes(false, s, "account", account(second, map[string]any{"discard": true}))
	m.changes(true, s, "account", account(first, nil)) // at once, for who wants that
	m.opens(false, s, second)
	m.opens(true, s, first)

	m.changes(true, s, "account", account(second, map[string]any{"retain": true}))
	// two are valid, and neither is wanted
	m.changes(true, s, "account", account("a third one", map[string]any{"discard": true}))
	m.opens(false, s, first)
	m.opens(false, s, second)
	m.opens(true, s, "a third one")
}

// A replica of MySQL takes accounts, and is super read-only after that, also when it refused; one that was promoted in
// between is left alone.
func (m modules) superReadOnly() {
	s, err := m.lab.Start(m.Context(), lab.Spec{Flavor: m.flavor})
	must(m.T, err)
	protect := func() { must(m.T, s.Exec(m.Context(), "SET GLOBAL super_read_only = 1")) }
	want := func(after, values string) {
		m.Helper()
		db, err := sql.Open("mysql", s.DSN(lab.User, lab.Password))
		must(m.T, err)
		defer db.Close()
		var got string
		must(m.T, db.QueryRowContext(m.Context(), "SELECT CONCAT(@@GLOBAL.read_only, @@GLOBAL.super_read_only, ' ', "+
			"@@GLOBAL.gtid_executed)").Scan(&got))
		if got != values {
			m.Errorf("after %s, read_only, super_read_only and what it has executed are %q, not %q", after, got, values)
		}
	}
	protect()
	account := map[string]any{"user": "ann", "password": "old-secret",
		"privileges": map[string]any{"*.*": []string{"PROCESS"}}}
	m.changes(true, s, "account", account)
	want("an account", "11 ")
	m.opens(true, s, "old-secret")
	account["privileges"] = map[string]any{"*.*": []string{"NO SUCH PRIVILEGE"}}
	m.refused(s, "account", account, "1064")
	want("an account that the server refused", "11 ")
	m.changes(true, s, "statement", map[string]any{"statement": "CREATE DATABASE one",
		"unless": "SHOW DATABASES LIKE 'one'"})
	want("a statement", "11 ")
	if got := m.changes(false, s, "statement",
		map[string]any{"unless": "SELECT 7 AS seven"}); fmt.Sprint(got["rows"]) != "[map[seven:7]]" {
		m.Errorf("a question alone is answered by %v", got["rows"])
	}
	// nobody's silence is an answer
	m.refused(s, "statement", map[string]any{"unless": "SELECT 1", "socket": s.File("none.sock")}, "none.sock")
	m.changes(true, s, "statement", map[string]any{"statement": "SET GLOBAL super_read_only = OFF; SET GLOBAL " +
		"read_only = OFF", "unless": "SELECT 1 FROM DUAL WHERE @@GLOBAL.read_only = 0"})
	want("being made writable", "00 ")
}

// A certificate that was renewed in its file is read without a restart, also where nobody may write; and nobody is told
// to who has none.
func (m modules) certificates() {
	root := m.lab.Root(m.flavor)
	dir, err := os.MkdirTemp(root+"/tmp", "certificates-")
	must(m.T, err)
	m.Cleanup(func() { _ = os.RemoveAll(dir) })
	first, err := m.lab.Certificate(dir)
	must(m.T, err)
	seen := strings.TrimPrefix(dir, root) // by the server
	s, err := m.lab.Start(m.Context(), lab.Spec{Flavor: m.flavor, ExtraArgs: []string{"--ssl-cert=" + seen +
		"/cert.pem", "--ssl-key=" + seen + "/key.pem"}})
	must(m.T, err)
	read, protect := "FLUSH SSL", "SET GLOBAL read_only = 1"
	if m.flavor == lab.MySQL {
		read, protect = "ALTER INSTANCE RELOAD TLS", "SET GLOBAL super_read_only = 1"
	}
	must(m.T, s.Exec(m.Context(), protect))
	trusts := func(pool *x509.CertPool, want topology.Failure) {
		m.Helper()
		servers := daemonmysql.New(daemonmysql.Options{User: lab.User, Password: lab.Password,
			Security: server.Security{TLS: &tls.Config{RootCAs: pool}}, ProbeTimeout: 5 * time.Second})
		defer servers.Close()
		if _, got, err := servers.Probe(m.Context(), s.Key); got != want {
			m.Errorf("a client that trusts that certificate sees %q, not %q: %v", got, want, err)
		}
	}
	second, err := m.lab.Certificate(dir)
	must(m.T, err)
	trusts(first, topology.OK)
	m.changes(true, s, "statement", map[string]any{"statement": read, "writes": false})
	trusts(second, topology.OK)
	trusts(first, topology.TLSError)

	plain, err := m.lab.Start(m.Context(), lab.Spec{Flavor: m.flavor})
	must(m.T, err)
	m.changes(true, plain, "statement", map[string]any{"statement": read, "writes": false})
}

func (m modules) variables(s *lab.Server) {
	name := map[topology.Flavor]string{lab.MariaDB: "slave_net_timeout", lab.MySQL: "replica_net_timeout"}[m.flavor]
	args := func(check bool) map[string]any {
		return map[string]any{"_ansible_check_mode": check, "variables": map[string]any{name: 7, "read_only": true,
			"no_such": 1},
			"later": map[string]any{"server_id": 4711, "log_bin": true, "skip_networking": true}}
	}
	for _, try := range []struct{ check, changed bool }{{true, true}, {false, true}, {false, false}, {true, false}} {
		got := m.changes(try.changed, s, "variables", args(try.check))
		if restart := fmt.Sprint(got["restart"]); !regexp.MustCompile(
			`^\[server_id = 4711 \(now \d+\) skip_networking = ON \(now OFF\)]$`).MatchString(restart) {
			m.Errorf("a restart is wanted for %s", restart)
		}
	}
}

func (m modules) replicas(source *lab.Server) {
	fresh, err := m.lab.Start(m.Context(), lab.Spec{Flavor: m.flavor})
	must(m.T, err)
	follow := func(host string) map[string]any {
		return map[string]any{"source_host": host, "source_port": source.Key.Port, "user": lab.ReplicationUser,
			"password": lab.ReplicationPassword}
	}
	if m.flavor == lab.MySQL {
		long := follow(source.Key.Host)
		long["password"] = strings.Repeat("long", 8) + "!"
		m.refused(fresh, "replica", long, "has 33 characters; MySQL allows at most 32 for replication")
	}
	m.changes(true, fresh, "replica", follow(source.Key.Host))
	must(m.T, lab.AwaitReplication(m.Context(), source, fresh))
	m.changes(false, fresh, "replica", follow(source.Key.Host))
	m.changes(false, fresh, "replica", follow("192.0.2.1")) // who it follows is orchestrator's affair by now
	renew := follow(source.Key.Host)
	renew["renew"] = true
	m.changes(true, fresh, "replica", renew)
	must(m.T, lab.AwaitReplication(m.Context(), source, fresh))

	used, err := m.lab.Start(m.Context(), lab.Spec{Flavor: m.flavor})
	must(m.T, err)
	must(m.T, used.SetReadOnly(m.Context(), false))
	must(m.T, used.Exec(context.Background(), "CREATE TABLE app.used (id INT PRIMARY KEY)"))
	m.changes(false, used, "replica", follow(source.Key.Host))
}
