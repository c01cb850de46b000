package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"orchestrator/daemon/api"
	"orchestrator/daemon/httpd"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/tests/paper"
)

// drawn is the fleet of the tests; db3 must not be promoted.
var drawn = strings.Replace(paper.Drawn, "prefer_not", "must_not", 1)

// desk runs the program against a fake daemon.
type desk struct {
	*paper.Daemon
	env map[string]string
}

// handler serves a daemon.
func handler(t *testing.T, d *paper.Daemon, token string) http.Handler {
	t.Helper()
	a, err := api.New(d.Nouns(), api.Options{})
	if err != nil {
		t.Fatal(err)
	}
	root, err := httpd.New(httpd.Options{Credentials: httpd.Credentials{Token: token}, TokenForReads: token != ""},
		a.Mounts()...)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func newDesk(t *testing.T, token string) desk {
	t.Helper()
	f := paper.New(drawn)
	f.Fleet.Aliases["web1:3307"] = "shop"
	f.Fleet.Policies["web1:3307"] = plan.Policy{}
	f.Episodes.All[0].Blocked = "the disk of db2 is full"
	f.Declarations.All = api.Declared{
		Rules: []api.DeclaredRule{{Server: topology.Key{Host: "db3", Port: 3306}, Rule: topology.MustNot}},
		Tags:  []api.DeclaredTag{{Server: topology.Key{Host: "web2", Port: 3307}, Name: "dc", Value: "west"}}}
	a := handler(t, f, token)
	l, err := net.Listen("tcp", "127.0.33.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: a}}
	s.Start()
	t.Cleanup(s.Close)
	return desk{f, map[string]string{"ORCHESTRATOR_API": s.URL, "USER": "ann"}}
}

func (d desk) run(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, environment{func(name string) string { return d.env[name] }, &o, &e})
	return code, o.String(), e.String()
}

// untimed takes away until when something is, which depends on when the test runs.
var untimed = regexp.MustCompile(` \d{4}-\d\d-\d\dT[\d:]+Z`)

func TestCommands(t *testing.T) {
	for _, c := range []struct {
		args string // separated by blanks
		code int
		told string
		says string // somewhere in what is printed
	}{
		{"clusters", 0, "", "web1:3307  shop"},
		{"topology db2", 0, "", "\n  db2"},
		{"topology nowhere", 4, "", `no cluster "nowhere"`},
		{"instances shop", 0, "", "mariadb 10.11.6"},
		{"instance web2:3307", 0, "", "dc=west"},
		{"instance db9", 4, "", "near are db1:3306"},
		{"instance a/b", 1, "", "want host or host:port"},
		{"discover db2", 0, "discover db2:3306", "db2:3306"},
		{"discover db9", 1, "", "connection refused"},
		{"forget db2", 0, "forget db2:3306", "db2 is forgotten"},
		{"findings", 0, "", "db1:3306  DeadPrimary"},
		{"findings --check", 5, "", "DeadPrimary"},
		{"findings shop --check", 0, "", "nothing is wrong"},
		{"plan db1", 0, "", "candidates, the best first:"},
		{"why shop", 0, "", "no policy of the configuration names cluster web1:3307"},
		{"plan shop --check", 5, "", "IF web1:3307 DIED NOW"},
		{"plan db1 --check", 0, "", "db2:3306 would be promoted"},
		{"plan shop --dead web2:3307", 0, "", "IF web2:3307 DIED NOW"},
		{"alias db2 main", 0, `alias db1:3306 main`, "also called main"},
		{"alias db2", 0, `alias db1:3306 `, "no alias"},
		{"episodes", 0, "", "blocked: the disk of db2 is full"},
		{"episodes --open", 0, "", "db1-3306-2"},
		{"episode db1-3306-2", 0, "", "stop_receiver at db2:3306"},
		{"episode none", 4, "", "no episode"},
		{"acknowledge db1-3306-2 --comment seen", 0, "acknowledge db1-3306-2 ann seen", "is acknowledged"},
		{"acknowledge db1-3306-2", 2, "", `required flag(s) "comment" not set`},
		{"downtime begin db2 --reason disk --for 2h", 0, "downtime db2:3306 ann disk", "in downtime until"},
		{"downtime begin db2 --reason disk --until 2999-01-01T00:00:00Z", 1, "", "surely a mistake"},
		{"downtime begin db2 --reason disk --until soon", 2, "", "want a time"},
		{"downtime begin db2 --reason disk", 2, "", "either --for or --until"},
		{"downtime end db2", 0, "end downtime db2:3306", "not in downtime any more"},
		{"downtime", 2, "", "want begin or end"},
		{"tag db2 dc=west", 0, "tag db2:3306 dc=west", "tagged dc=west"},
		{"tag db2 =west", 2, "", "want NAME=VALUE"},
		{"untag db2 dc", 0, "untag db2:3306 dc", "no tag dc"},
		{"rule set db2 prefer", 0, "rule db2:3306 prefer", "is prefer"},
		{"rule set db2 perfer", 1, "", `did you mean "prefer"?`},
		{"recoveries status", 0, "", "recoveries are on"},
		{"recoveries off --reason works", 0, "recoveries false ann works", "recoveries are off: works (ann)"},
		{"recoveries off", 2, "", `"reason" not set`},
		{"recoveries on --by bob", 0, "recoveries true bob ", "recoveries are on"},
		{"recoveries maybe", 2, "", "want on or off or status"},
		{"episode db1-3306-2", 0, "", "failed: exit status 1"},
		{"hooks", 0, "", "pager  *         opened fenced  /usr/local/bin/page  2026-01-01T00:00:10Z  db1-3306-2 " +
			"opened  failed: exit status 1"},
		{"recover shop --reason dead", 1, "", "has not failed: it answers"},
		{"recover db1 --reason dead", 0, "request recover db1:3306 ann dead", "the daemon that leads does this"},
		{"recover db1", 2, "", `"reason" not set`},
		{"recover db1 --server a/b --reason dead", 2, "", "want host or host:port"},
		{"requests", 0, "", "OUTCOME"},
		{"withdraw recover-1", 4, "", "no request"},
		{"hook try pager", 2, "", "this really runs /usr/local/bin/page"},
		{"hook try unlisted", 2, "", "this really runs hook unlisted"},
		{"hook try pager --yes", 0, "try pager opened within 25s", "paged ann"},
		{"hook try chat --yes", 5, "try chat promoted within 25s", "timeout"},
		{"hook try pager fenced --yes", 0, "try pager fenced within 25s", "fenced"},
		{"hook try pager noon --yes", 1, "", "there are [opened"},
		{"hook try pagr --yes", 4, "", "near are pager"},
		{"audit", 0, "", "nothing was changed"},
		{"audit --since soon", 2, "", "want a duration"},
		{"audit verify", 0, "", "there are no audit records yet"},
		{"audit verify --file /nowhere", 2, "", "read the export"},
		{"audit verify --against /nowhere", 2, "", "read the earlier verification"},
		{"audit export", 0, "", ""},
		{"status", 0, "", "term        7"},
		{"leader", 0, "", "d1  http://127.0.33.1"},
		{"snapshot --format drawing", 0, "", "web1:3307"},
		{"snapshot --format yaml", 2, "", "want json or drawing"},
		{"step-down --reason upgrade", 0, "step down ann upgrade", "has stepped down"},
		{"step-down", 2, "", `"reason" not set`},
		{"backend status", 0, "", "kind  sqlite"},
		{"backend comparisons", 0, "", "tag db1:3306 dc: version 5 by d1 | not there"},
		{"backend work", 4, "", "nobody has asked"},
		{"backend promote --to b2 --by bob", 0, "promote b2:3306 within 1m0s (bob)",
			" 1. b2:3306: let HAProxy serve it (done in 3 ms)"},
		{"backend promote --to b2 --force", 1, "", "it lives"},
		{"backend promote", 2, "", `"to" not set`},
		{"backend promote --to a/b", 2, "", "want host"},
		{"backend promote --to b2 --drain-timeout soon", 1, "", "no duration"},
		{"backend rejoin b1 --seed --drain-timeout 30s", 1, "rejoin b1:3306 seed=true within 30s (ann)",
			"it lacks 3 transactions"},
		{"backend verify", 5, "verify (ann)", "1 of 7 records differ"},
		{"backend verify --repair", 0, "verify (ann)", "1 record differed, and was merged"},
		{"backend doctor", 0, "doctor (ann)", "Nothing is wrong with the pair"},
		{"backend", 2, "", "want status or comparisons"},
		{"version", 0, "", "orchestrator-client"},
		{"", 0, "", "Exit codes:"},
		{"clusterz", 2, "", "unknown command"},
		{"clusters --nonsense", 2, "", "unknown flag"},
		{"clusters x", 2, "", "unknown command"},
		{"clusters -o yaml", 2, "", "want text or json"},
		{"clusters --timeout 0s", 2, "", "more than 0"},
		{"clusters --api http://ann:pw@h", 2, "", "list of processes"},
		{"clusters --api 127.0.33.1:1", 3, "", "no daemon answers"},
		{"clusters --token-file /nowhere/token", 2, "", "read the token"},
	} {
		t.Run(c.args, func(t *testing.T) {
			d := newDesk(t, "")
			code, out, errs := d.run(t, strings.Fields(c.args)...)
			if code != c.code {
				t.Errorf("exit %d, want %d: %s%s", code, c.code, out, errs)
			}
			if told := untimed.ReplaceAllString(strings.Join(d.Changes, "; "), ""); told != c.told {
				t.Errorf("told %q, want %q", told, c.told)
			}
			if !strings.Contains(out+errs, c.says) {
				t.Errorf("%q is not in:\n%s%s", c.says, out, errs)
			}
			if (c.code == 0 || c.code == 5) == (errs != "") {
				t.Errorf("exit %d with this on standard error: %q", code, errs)
			}
			if strings.ContainsRune(out+errs, '\x1b') {
				t.Error("an escape sequence of a server reached the terminal")
			}
		})
	}
}

func TestAFailoverIsRequested(t *testing.T) {
	for _, c := range []struct{ args, told, says string }{
		{"recover db1 --reason dead --dry-run", "", "the failover of db1:3306 would be requested; then:"},
		{"recover db1 --reason dead", "request recover db1:3306 ann dead", "the daemon that leads does this:"},
		{"recover db1 --server db1 --by bob --reason dead", "request recover db1:3306 bob dead", "promote at db2:3306"},
	} {
		d := newDesk(t, "")
		d.Episodes.All = nil
		code, out, errs := d.run(t, strings.Fields(c.args)...)
		if told := strings.Join(d.Changes, "; "); code != 0 || told != c.told || !strings.Contains(out, c.says) {
			t.Errorf("%s: exit %d, told %q: %s%s", c.args, code, told, out, errs)
		}
	}
}

// --wait ends when something has come of the request, and says what; or with 5 when nothing can any more.
func TestARequestIsAwaited(t *testing.T) {
	for _, c := range []struct {
		name string
		then func(*paper.Daemon)
		code int
		says string
	}{
		{"done", func(d *paper.Daemon) {
			q := d.Requests.All[0].Request
			d.Episodes.All = []plan.Episode{{ID: "db1-3306-3", Cluster: "db1:3306", Request: &q,
				Closed: q.At, Outcome: "db2:3306 was promoted"}}
		}, 0, "episode db1-3306-3: db2:3306 was promoted"},
		{"withdrawn", func(d *paper.Daemon) { d.Requests.All = nil }, 5, "nothing came of it"},
	} {
		d := newDesk(t, "")
		d.Episodes.All = nil
		asked := 0
		d.Requests.Asked = func() {
			if asked++; asked == 3 {
				c.then(d.Daemon)
			}
		}
		code, out, errs := d.run(t, "recover", "db1", "--reason", "dead", "--wait")
		if code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%s: exit %d: %s%s", c.name, code, out, errs)
		}
	}
}

// Whatever is asked for as JSON is one JSON value, and nothing else.
func TestJSON(t *testing.T) {
	for _, args := range []string{"clusters", "topology db1", "instances", "instance db2", "findings", "plan db1",
		"episodes", "episode db1-3306-2", "recoveries status", "status",
		"hooks", "hook try pager --yes", "leader", "snapshot", "snapshot --format drawing", "version", "forget db2",
		"tag db2 a=b", "acknowledge db1-3306-2 --comment x", "alias db2 main", "discover db2",
		"backend status", "backend comparisons", "backend promote --to b2", "backend verify --repair", "backend doctor",
		"step-down --reason x"} {
		d := newDesk(t, "")
		code, out, errs := d.run(t, append(strings.Fields(args), "-o", "json")...)
		if code != 0 || !json.Valid([]byte(out)) || errs != "" {
			t.Errorf("%s: exit %d, %s%s", args, code, out, errs)
		}
	}
}

func TestASnapshotCanBeReadBack(t *testing.T) {
	_, out, _ := newDesk(t, "").run(t, "snapshot", "shop")
	var s topology.Snapshot
	if err := json.Unmarshal([]byte(out), &s); err != nil || len(s.Servers) != 2 {
		t.Errorf("%v: %s", err, out)
	}
}

func TestNoLeader(t *testing.T) {
	d := newDesk(t, "")
	d.Self.Now.Leading = false
	if code, out, errs := d.run(t, "leader"); code != 5 || !strings.Contains(errs, "d1 does not lead") || out != "" {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	d.env["ORCHESTRATOR_API"] = "127.0.33.1:1 127.0.33.1:2"
	if code, _, errs := d.run(t, "leader"); code != 3 {
		t.Errorf("exit %d: %s", code, errs)
	}
}

func TestTheTokenComesFromAFileOrTheEnvironment(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	file, open := write("token", "sesame\n"), write("open", "sesame\n")
	if err := os.Chmod(open, 0o644); err != nil { // every account can read it
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, value string
		args        []string
		code        int
	}{
		{"", "", nil, 1},
		{"ORCHESTRATOR_TOKEN", "sesame", nil, 0},
		{"ORCHESTRATOR_TOKEN", "wrong", nil, 1},
		{"ORCHESTRATOR_TOKEN_FILE", file, nil, 0},
		{"ORCHESTRATOR_TOKEN", "wrong", []string{"--token-file", file}, 0},
		{"ORCHESTRATOR_TOKEN_FILE", os.DevNull, nil, 2},
		{"ORCHESTRATOR_TOKEN_FILE", open, nil, 2},
		{"ORCHESTRATOR_TOKEN_FILE", write("blank", "\n \n"), nil, 2},
		// the first is sent, and what else is valid is not
		{"ORCHESTRATOR_TOKEN_FILE", write("new", "\nsesame\nabracadabra\n"), nil, 0},
		{"ORCHESTRATOR_TOKEN_FILE", write("old", "abracadabra\nsesame\n"), nil, 1},
	} {
		d := newDesk(t, "sesame")
		d.env[c.name] = c.value
		if code, out, errs := d.run(t, append([]string{"clusters"}, c.args...)...); code != c.code ||
			strings.Contains(out+errs, "sesame") {
			t.Errorf("%s=%s %v: exit %d, want %d: %s%s", c.name, c.value, c.args, code, c.code, out, errs)
		}
	}
}

func TestWhatWasDeclaredIsExportedAndImported(t *testing.T) {
	d := newDesk(t, "")
	code, out, errs := d.run(t, "export")
	if code != 0 || !strings.Contains(out, `"rule": "must_not"`) {
		t.Fatalf("export: exit %d: %s%s", code, out, errs)
	}
	file := filepath.Join(t.TempDir(), "declared.json")
	if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := d.run(t, "import", file); code != 0 ||
		out != "0 declared, 2 unchanged, 0 downtimes expired meanwhile\n" || len(d.Changes) != 0 {
		t.Errorf("importing what is there: exit %d: %s%s; the daemon was told %q", code, out, errs, d.Changes)
	}
	var many api.Declared // more than fit into one request
	for i := range 250 {
		many.Tags = append(many.Tags, api.DeclaredTag{Server: topology.Key{Host: "web2", Port: 3307},
			Name: fmt.Sprintf("t%d", i), Value: "x"})
	}
	data, err := json.Marshal(many)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := d.run(t, "import", file); code != 0 || !strings.HasPrefix(out, "250 declared, ") ||
		len(d.Changes) != 250 {
		t.Errorf("importing 250 tags: exit %d: %s%s; the daemon was told %d things", code, out, errs, len(d.Changes))
	}
	for text, says := range map[string]string{`{"tgas":[]}`: "tgas", `{} {}`: "more than one", `{`: "unexpected EOF"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, _, errs := d.run(t, "import", file); code != 2 || !strings.Contains(errs, says) {
			t.Errorf("importing %s: exit %d: %s", text, code, errs)
		}
	}
}

func TestTheAuthorityOfDaemonsIsGivenAsAFile(t *testing.T) {
	s := httptest.NewUnstartedServer(handler(t, paper.New(drawn), ""))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of those who don't trust it
	s.StartTLS()
	defer s.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}),
		0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ca   string
		args []string
		code int
	}{
		{"", nil, 3},
		{file, nil, 0},
		{"", []string{"--ca-file", file}, 0},
		{os.DevNull, nil, 2},
		{file + ".absent", nil, 2},
	} {
		d := desk{paper.New(drawn), map[string]string{"ORCHESTRATOR_API": s.URL, "ORCHESTRATOR_CA_FILE": c.ca}}
		if code, out, errs := d.run(t, append([]string{"clusters"}, c.args...)...); code != c.code {
			t.Errorf("ORCHESTRATOR_CA_FILE=%s %v: exit %d, want %d: %s%s", c.ca, c.args, code, c.code, out, errs)
		}
	}
}

func TestCompletionAndManualPages(t *testing.T) {
	d := newDesk(t, "")
	for args, want := range map[string]string{
		"__complete topology ":          "shop\n",
		"__complete instance ":          "web2:3307\n",
		"__complete episode ":           "db1-3306-2\n",
		"__complete rule set db2 ":      "must_not\n",
		"__complete plan db1 --dead ":   "db3:3306\n",
		"__complete clusters --output ": "json\n",
		"__complete snapshot --format ": "drawing\n",
		"completion bash":               "bash completion",
		"completion zsh":                "zsh completion",
	} {
		if code, out, _ := d.run(t, strings.Split(args, " ")...); code != 0 || !strings.Contains(out, want) {
			t.Errorf("%s: exit %d: %.300s", args, code, out)
		}
	}
	dir := filepath.Join(t.TempDir(), "man")
	if code, _, errs := d.run(t, "man", dir); code != 0 {
		t.Fatal(errs)
	}
	page, err := os.ReadFile(filepath.Join(dir, "orchestrator-client-downtime-begin.1"))
	if err != nil || !strings.Contains(string(page), "new disk") {
		t.Errorf("%v: %s", err, page)
	}
}

// The document lists every command, and the exit codes as the program prints them.
func TestTheDocumentIsComplete(t *testing.T) {
	data, err := os.ReadFile("../../docs/client.md")
	if err != nil {
		t.Fatal(err)
	}
	p := &program{}
	for _, c := range p.root().Commands() {
		if !c.Hidden && !strings.Contains(string(data), "`"+c.Name()) {
			t.Errorf("docs/client.md does not have %s", c.Name())
		}
	}
	for code := range 6 {
		if !strings.Contains(exitCodes, fmt.Sprintf("\n  %d  ", code)) ||
			!strings.Contains(string(data), fmt.Sprintf("| %d |", code)) {
			t.Errorf("exit code %d is not documented", code)
		}
	}
}
