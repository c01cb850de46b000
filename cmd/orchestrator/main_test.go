package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"orchestrator/daemon/config"
)

// program runs the program as main does.
func program(t *testing.T, in string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e strings.Builder
	code = run(context.Background(), args, strings.NewReader(in), &o, &e)
	return code, o.String(), e.String()
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Every wrong input gets an answer that says what is wrong, where, and what to do, and its own exit code.
func TestBadInput(t *testing.T) {
	bad := file(t, "bad.toml", "[discovery]\npol = \"1s\"\npoll = 5\n")
	junk := file(t, "junk.json", `{"servers": 7}`)
	drawing := file(t, "drawing.txt", "db1 down\n  db2 io=connecting\n")
	daemons := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/junk/api/v1/snapshot":
			fmt.Fprint(w, `{"servers": 7}`)
		case "/web/api/v1/snapshot":
			fmt.Fprint(w, "<html>welcome</html>")
		default:
			http.Error(w, "who are you?", http.StatusUnauthorized)
		}
	}))
	defer daemons.Close()
	for _, c := range []struct {
		name string
		args string
		in   string
		code int
		says string // all of these, one per line
	}{
		{"no such command", "anlyze", "", exitUsage, "no command \"anlyze\"; did you mean \"analyze\"?\nSee: " +
			"orchestrator --help"},
		{"no such flag", "analyze --pln x", "", exitUsage, "unknown flag: --pln\nSee: orchestrator analyze --help"},
		{"a flag without its value", "--config", "", exitUsage, "flag needs an argument: --config"},
		{"serve takes no arguments", "serve x.toml", "", exitUsage,
			`orchestrator serve takes no arguments; got "x.toml"`},
		{"config alone", "config", "", exitUsage, "config needs a command: check, defaults or key"},
		{"config chck", "config chck", "", exitUsage, `no command "chck"; did you mean "check"?`},
		{"the key of nobody", "config key", "", exitUsage, "needs one argument, the server, as host:port; got 0"},
		{"the key of a number", "config key db1:x", "", exitUsage, `"db1:x": port must be a number`},
		{"nobody has a key there", "config key 127.0.79.1:1", "", exitUnreachable,
			"ask 127.0.79.1:1 for its public key: connect: dial tcp 127.0.79.1:1: connect: connection refused"},
		{"check two", "config check a b", "", exitUsage,
			"needs one configuration file, as an argument or with --config"},
		{"check both", "config check a --config b", "", exitUsage, "needs one configuration file"},
		{"check what is wrong, with the flag", "config check --config " + bad, "", exitConfig,
			bad + ":2: discovery.pol"},
		{"check what isn't there", "config check /no/such.toml", "", exitConfig,
			"read configuration: stat /no/such.toml: no such file or directory; to start with the defaults: " +
				"orchestrator config defaults > /no/such.toml"},
		{"check what is wrong", "config check " + bad, "", exitConfig,
			bad + ":2: discovery.pol: unknown key; did you mean \"poll\"?\n" + bad +
				":3: discovery.poll: must be a duration in quotes"},
		{"serve what isn't there", "--config /no/such.toml", "", exitConfig, "stat /no/such.toml"},
		{"serve what is wrong", "serve --config " + bad, "", exitConfig, bad + ":2: discovery.pol"},
		{"analyze nothing", "analyze", "", exitUsage, `needs one argument, the file of a snapshot, or "-"; got 0`},
		{"analyze what isn't there", "analyze /no/such.json", "", exitSnapshot,
			"read snapshot: open /no/such.json: no such file or directory"},
		{"analyze a directory", "analyze /", "", exitSnapshot, "read snapshot: read /: is a directory"},
		{"analyze junk", "analyze " + junk, "", exitSnapshot, junk + ": read snapshot as JSON: "},
		{"analyze junk from a pipe", "analyze -", "db1 colour=red\n", exitSnapshot,
			"standard input: read snapshot as a drawing\ncolour"},
		{"analyze half a JSON", "analyze -", `{"servers":[{"key":"db1:33`, exitSnapshot,
			"standard input: read snapshot as JSON: line 1"},
		{"a format out of nowhere", "analyze --output xml -", "db1", exitUsage,
			`--output "xml" is not valid; use one of ["text" "json"]`},
		{"who dies?", "analyze --if-dies db7 " + drawing, "", exitUsage,
			"--if-dies db7:3306: no such server in the snapshot, which has db1:3306, db2:3306"},
		{"nobody can be called so", "analyze --if-dies db1:0 " + drawing, "", exitUsage,
			`--if-dies: address "db1:0": port must be a number`},
		{"analyze by a wrong configuration", "analyze --config " + bad + " " + drawing, "", exitConfig, bad +
			":2: discovery.pol"},
		{"nobody listens", "snapshot --api http://127.0.79.1:1", "", exitUnreachable,
			"127.0.79.1:1: connect: connection refused; check that the daemon runs"},
		{"no URL", "snapshot --api 127.0.0.1:3000", "", exitUsage,
			"is not the URL of a daemon; use one such as http://127.0.0.1:3000"},
		{"a token in the URL", "snapshot --api http://me:hunter2@127.0.0.1:3000", "", exitUsage,
			"give the token with --token-file"},
		{"not let in", "snapshot --api " + daemons.URL, "", exitUnreachable, "answers 401 Unauthorized: who are you?"},
		{"not a daemon", "snapshot --api " + daemons.URL + "/web", "", exitSnapshot,
			"/api/v1/snapshot is not a snapshot: "},
		{"not a snapshot", "snapshot --api " + daemons.URL + "/junk", "", exitSnapshot,
			"/api/v1/snapshot is not a snapshot: "},
		{"no token", "snapshot --token-file /no/such", "", exitUsage, "read token: stat /no/such"},
		{"an empty token", "snapshot --token-file /dev/null", "", exitUsage,
			"read token: file /dev/null is empty, or has blank lines only"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := program(t, c.in, strings.Fields(c.args)...)
			if code != c.code {
				t.Errorf("code %d, want %d", code, c.code)
			}
			if out != "" {
				t.Errorf("it failed, and printed %q", out)
			}
			for _, says := range strings.Split(c.says, "\n") {
				if !strings.Contains(errs, says) {
					t.Errorf("it says\n%s\nwithout %q", errs, says)
				}
			}
			if strings.Contains(errs, "hunter2") {
				t.Errorf("a secret is shown: %s", errs)
			}
		})
	}
}

func TestConfigDefaultsPassTheCheck(t *testing.T) {
	code, out, errs := program(t, "", "config", "defaults")
	if code != exitOK || errs != "" || out != config.DefaultFile() {
		t.Fatalf("code %d, %s", code, errs)
	}
	code, out, errs = program(t, "", "config", "check", file(t, "orchestrator.toml", out))
	if code != exitOK || !strings.HasPrefix(errs, `warning: servers.tls is "off": anyone on the network`) ||
		strings.Count(errs, "\n") != 1 || !strings.Contains(out, "[discovery]\nseeds = []\npoll = \"1s\"\n") {
		t.Errorf("code %d\n%s\n%s", code, out, errs)
	}
}

const killed = `
db1 down
  db2 io=connecting
  db3 io=connecting must_not
`

func TestAnalyze(t *testing.T) {
	code, out, errs := program(t, killed, "analyze", "-")
	if code != exitOK || errs != "" {
		t.Fatalf("code %d: %s", code, errs)
	}
	if !strings.HasPrefix(out, "Cluster db1:3306, 3 servers\n  db1:3306 ") ||
		!strings.Contains(out, "\nFindings\n  DeadPrimary at db1:3306: ") || strings.Contains(out, "Plan") {
		t.Errorf("got\n%s", out)
	}
}

func TestThePlanSaysWhatAndWhyNot(t *testing.T) {
	never := file(t, "never.toml", "[[policy]]\nclusters = [\"db1*\"]\n")
	for _, c := range []struct {
		name, in string
		args     []string
		want     []string
	}{
		{"a dead primary", killed, []string{"--plan"}, []string{
			"\n  Steps (* at once", "\n    * stop_receiver at db2:3306: ", "\n      promote at db2:3306: ",
			"\n      repoint at db3:3306 from db2:3306: ",
			"\n    2. db3:3306 is vetoed\n       no: its promotion rule is must_not\n", "\n  May be lost: ",
			"\n  In the end: db2:3306 replaces db1:3306\nAfterwards\n"}},
		{"one supposed to be dead", "db1\n  db2\n", []string{"--if-dies", "db1"},
			[]string{"supposed to have died", "promote at db2:3306"}},
		{"one that has fallen back to asynchronous replication",
			"db1 semisync=source,wait=1,clients=0\n  db2 semisync=replica\n", []string{"--if-dies", "db1"},
			[]string{"  Not ready all the same: semi-sync: ", "has fallen back to asynchronous replication"}},
		{"a fleet that is well", "db1\n  db2\n", []string{"--plan"},
			[]string{"  Nothing is wrong.\nPlan\n  Nothing to do.\n"}},
		{"a policy that allows nothing", killed, []string{"--plan", "--config", never}, []string{"  Refused: "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := program(t, c.in, append([]string{"analyze", "-"}, c.args...)...)
			if code != exitOK || errs != "" {
				t.Fatalf("code %d: %s", code, errs)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("got\n%s\nwithout %q", out, want)
				}
			}
		})
	}
}

// A decision in the middle of a recovery rests on more than the servers; all of it can be written down.
func TestADecisionIsReplayed(t *testing.T) {
	const middle = `
db1 down=timeout since=9s
  db2 io=no
  db3 io=no
episode primary_failover db1 touched=db2+db3
claim db1 locks=%s alive=db2+db3
  peer b silent why="connection refused"
`
	for _, c := range []struct{ name, in, want string }{
		{"a permit is refused", fmt.Sprintf(middle, "db2"), "Plan\n  Refused: not permitted: b does not answer " +
			"(connection refused); and locks are held on 1 of the 2 replicas that were alive, which is no majority"},
		{"and nothing is done at once", fmt.Sprintf(middle, "db2"), "\n      promote at db2:3306: "},
		{"the locks are enough", fmt.Sprintf(middle, "db2+db3"), "\n    * promote at db2:3306: "},
		{"and why", fmt.Sprintf(middle, "db2+db3"), "Plan\n  Permitted: locks are held on 2 of the 2 replicas"},
		{"the episode is shown", fmt.Sprintf(middle, "db2"),
			"Episodes\n  primary_failover/db1:3306: failover of the primary " +
				"db1:3306, since 2026-01-01T00:00:10Z: committed\n"},
		{"recoveries are off", "off \"work on the network\"" + killed,
			"Refused: recoveries are switched off: work on the network"},
		{"the policy of the snapshot", killed + "policy", "Refused: policy: recover_primary is false"},
		{"a promotion a moment ago", killed + "policy recover_primary anti_flap=1h\n" +
			"episode primary_failover db9 candidate=db1 promoted=10m closed=9m",
			"Refused: anti-flapping: db1:3306 was promoted at 2025-12-31T23:50:10Z"},
		{"a request lifts that", killed + "policy anti_flap=1h\nrequest recover db1 by=ann",
			"* stop_receiver at db2:3306"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out, errs := program(t, c.in, "analyze", "--plan", "-")
			if code != exitOK || errs != "" || !strings.Contains(out, c.want) {
				t.Errorf("code %d: %s\n%s\nwant %q", code, errs, out, c.want)
			}
		})
	}
	never := file(t, "never.toml", "[[policy]]\nclusters = [\"db1*\"]\n")
	_, out, _ := program(t, killed+"policy recover_primary", "analyze", "--plan", "--config", never, "-")
	if !strings.Contains(out, "recover_primary is false") {
		t.Errorf("the configuration must go before what was saved:\n%s", out)
	}
}

func TestTextOfServersDoesNotActOnATerminal(t *testing.T) {
	const drawn = "db1\n  db2 ioerr=1236 \"iotext=a\x1b[2J\u202eb\"\n"
	for _, output := range []string{"text", "json"} {
		_, out, _ := program(t, drawn, "analyze", "--output", output, "-")
		if !strings.Contains(out, `a\u001b[2J\u202eb`) || strings.ContainsAny(out, "\x1b\u202e") {
			t.Errorf("as %s: %q", output, out)
		}
	}
}

func TestAnalyzeForPrograms(t *testing.T) {
	code, out, errs := program(t, killed, "analyze", "--plan", "--output", "json", "-")
	var got []struct {
		Cluster  string
		Findings []struct{ Code string }
		Plan     struct {
			Works []struct{ Steps []struct{ Kind string } }
		}
		Preview struct {
			Works []struct{ Episode struct{ Candidate string } }
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitOK {
		t.Fatalf("code %d: %v %s", code, err, errs)
	}
	if len(got) != 1 || got[0].Cluster != "db1:3306" || got[0].Findings[0].Code != "DeadPrimary" ||
		got[0].Plan.Works[0].Steps[0].Kind != "stop_receiver" ||
		got[0].Preview.Works[0].Episode.Candidate != "db2:3306" {
		t.Errorf("got %s", out)
	}
}

func TestASnapshotIsThereWholeOrNotAtAll(t *testing.T) {
	const saved = `{"at":"2026-01-01T00:00:10Z","servers":[]}`
	answer, authorization := saved, ""
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		authorization = r.Header.Get("Authorization")
		fmt.Fprint(w, answer)
	}))
	defer api.Close()
	dir := t.TempDir()
	to := filepath.Join(dir, "now.json")
	t.Setenv("ORCHESTRATOR_API", api.URL+"/, http://127.0.79.1:1")
	t.Setenv("ORCHESTRATOR_TOKEN", "t0ken")
	if code, _, errs := program(t, "", "snapshot", "-o", to); code != exitOK {
		t.Fatalf("code %d: %s", code, errs)
	}
	if authorization != "Bearer t0ken" {
		t.Errorf("it sent %q", authorization)
	}
	tokens := file(t, "tokens", "first\nsecond\n")
	if code, _, errs := program(t, "", "snapshot", "-o", to, "--token-file", tokens); code != exitOK ||
		authorization != "Bearer first" {
		t.Errorf("code %d, and it sent %q: %s", code, authorization, errs)
	}
	answer = `{"at":`
	if code, _, _ := program(t, "", "snapshot", "-o", to); code != exitSnapshot {
		t.Errorf("half an answer: code %d", code)
	}
	data, err := os.ReadFile(to)
	if err != nil || string(data) != saved {
		t.Errorf("the file holds %q, %v", data, err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	answer = saved
	if code, out, _ := program(t, "", "snapshot"); code != exitOK || out != saved {
		t.Errorf("code %d: %s", code, out)
	}
	if code, _, errs := program(t, "", "snapshot", "-o",
		filepath.Join(dir, "no", "such", "dir.json")); code != exitFailure || !strings.Contains(errs, "save snapshot") {
		t.Errorf("code %d: %s", code, errs)
	}
}

func TestVersionManAndCompletion(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"--version"}} {
		if code, out, _ := program(t, "", args...); code != exitOK || !strings.HasPrefix(out, "orchestrator ") ||
			!strings.Contains(out, " go1.") ||
			!strings.HasSuffix(out, " "+runtime.GOOS+"/"+runtime.GOARCH+"\n") {
			t.Errorf("%v: code %d: %s", args, code, out)
		}
	}
	dir := filepath.Join(t.TempDir(), "man")
	if code, _, errs := program(t, "", "man", dir); code != exitOK {
		t.Errorf("man: code %d: %s", code, errs)
	}
	for _, page := range []string{"orchestrator.1", "orchestrator-analyze.1", "orchestrator-config-check.1"} {
		if _, err := os.Stat(filepath.Join(dir, page)); err != nil {
			t.Error(err)
		}
	}
	if code, out, _ := program(t, "", "completion", "bash"); code != exitOK || !strings.Contains(out, "orchestrator") {
		t.Errorf("completion: code %d", code)
	}
}
