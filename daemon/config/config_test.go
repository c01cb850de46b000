package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/hook"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

const topFile = "../../orchestrator.toml"

func TestTheDocumentedFileIsTheDefault(t *testing.T) {
	data, err := os.ReadFile(topFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != DefaultFile() {
		t.Error("daemon/config/defaults.toml is not orchestrator.toml: go generate ./daemon/config")
	}
	got, problems := parse(topFile, data)
	if problems != nil {
		t.Fatal(problems)
	}
	if !reflect.DeepEqual(got, Default()) {
		t.Errorf("orchestrator.toml says\n%v\nand the default is\n%v", got, Default())
	}
}

func TestTheDocumentedBlocksAreTheDefault(t *testing.T) {
	file := regexp.MustCompile(`(?m)^#(\[\[|[a-z_]+ =)`).ReplaceAllString(DefaultFile(), "$1")
	got, problems := parse("orchestrator.toml", []byte(file))
	if len(problems) != 2 || problems[0].Key != "hook[0]" || !strings.HasPrefix(problems[0].Says, "does nothing") ||
		problems[1].Key != "user[0]" {
		t.Fatal(problems)
	}
	told := defaultHook()
	told.Name, told.On = "pager", []hook.Moment{hook.Opened, hook.Blocked, hook.Promoted, hook.Recovered,
		hook.Withdrawn}
	if len(got.Hooks) != 1 || !reflect.DeepEqual(got.Hooks[0], told) {
		t.Errorf("orchestrator.toml says %+v, and the default is %+v", got.Hooks, told)
	}
	if ann := (UserConfig{Name: "ann", Role: "operate"}); !slices.Equal(got.Users, []UserConfig{ann}) {
		t.Errorf("orchestrator.toml says %+v", got.Users)
	}
	want := defaultPolicy()
	want.Clusters = []string{"*"}
	if len(got.Policies) != 1 || !reflect.DeepEqual(got.Policies[0], want) {
		t.Errorf("orchestrator.toml says %+v, and the default is %+v", got.Policies, want)
	}
}

// The file lists every key, says something about it, and lists nothing else; the handbook names them all.
func TestEveryKeyIsDocumented(t *testing.T) {
	var keys []string
	whole := reflect.TypeFor[Config]()
	for i := range whole.NumField() {
		section := whole.Field(i)
		inner := section.Type
		if inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		for _, k := range keysOf(inner) {
			keys = append(keys, section.Tag.Get("toml")+"."+k)
		}
	}
	var listed []string
	table, before := "", ""
	for _, line := range strings.Split(DefaultFile(), "\n") {
		if m := regexp.MustCompile(`^#?\[+([a-z]+)\]+$`).FindStringSubmatch(line); m != nil {
			table = m[1]
		}
		if m := regexp.MustCompile(`^#?([a-z_]+) = `).FindStringSubmatch(line); m != nil {
			listed = append(listed, table+"."+m[1])
			if !strings.HasPrefix(before, "#") && !slices.Contains([]string{"http.tls_key", "http.identity_from"},
				table+"."+m[1]) {
				t.Errorf("%s.%s: not a word on when to change it", table, m[1])
			}
		}
		before = line
	}
	if !slices.Equal(keys, listed) {
		t.Errorf("orchestrator.toml lists\n%v\nand there are\n%v", listed, keys)
	}
	handbook, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		for _, block := range []string{"policy.", "hook.", "user."} {
			k = strings.TrimPrefix(k, block)
		}
		if !strings.Contains(string(handbook), "`"+k+"`") {
			t.Errorf("docs/configuration.md does not mention `%s`", k)
		}
	}
}

func write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return file
}

// hookBlock is one with a command, and a line more.
func hookBlock(name, more string) string {
	return fmt.Sprintf("[[hook]]\nname = %q\non = [\"opened\"]\ncommand = [\"/bin/true\"]\n%s", name,
		strings.TrimLeft(more+"\n", "\n"))
}

func TestHooks(t *testing.T) {
	url := write(t, "url", "https://chat.example/T0/s3cret\n", 0o600)
	token := write(t, "token", "t0ken\n", 0o600)
	c := parsed(t, hookBlock("all", "")+"[[hook]]\nname = \"shop\"\non = [\"promoted\"]\nclusters = "+
		"[\"shop-*\"]\nurl_file = \""+url+"\"\ntoken_file = \""+token+"\"\ntimeout = \"5s\"\nattempts = 7")
	got := c.HookList()
	if len(got) != 2 || !got[0].Of("db1:3306", "") || !slices.Equal(got[0].Command, []string{"/bin/true"}) ||
		got[0].Timeout != 30*time.Second || got[0].Attempts != 3 {
		t.Errorf("%+v", got)
	}
	if h := got[1]; h.Of("db1:3306", "") || !h.Of("db1:3306", "shop-eu") || h.URL != "https://chat.example/T0/s3cret" ||
		h.Token != "t0ken" || h.Timeout != 5*time.Second || h.Attempts != 7 {
		t.Errorf("%+v", h)
	}
	if text := fmt.Sprintf("%v %+v", c, c.Hooks); strings.Contains(text, "s3cret") || strings.Contains(text, "t0ken") {
		t.Errorf("a secret shows in\n%s", text)
	}
	if err := os.WriteFile(token, []byte("an0ther"), 0o600); err != nil {
		t.Fatal(err)
	}
	next, _ := parse("o.toml", []byte(c.String()))
	if re, no := c.Changes(next); !slices.Equal(re, []string{"hook"}) || len(no) > 0 ||
		c.Reloaded(next).HookList()[1].Token != "an0ther" {
		t.Errorf("a new token: %v %v", re, no)
	}
}

// A tag can't be computed.
func TestEveryMomentMayBeConfigured(t *testing.T) {
	on, _ := reflect.TypeFor[HookConfig]().FieldByName("On")
	var want []string
	for _, m := range hook.Moments() {
		want = append(want, string(m))
	}
	if got := strings.Fields(on.Tag.Get("oneof")); !slices.Equal(got, want) {
		t.Errorf("a hook can be told of %v; there are %v", got, want)
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"open": 0o644, "token": 0o640, "closed": 0o640, "empty": 0o600,
		"blank": 0o600, "loose": 0o602, "shared": 0o660} {
		text := "s3cret\n"
		switch name {
		case "blank":
			text = "\n \t\r\n\n"
		case "empty":
			text = ""
		case "token":
			text = "a rather long s3cret\nof two lines each\n"
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct{ name, toml, want string }{
		{"nothing is fine", ``, ``},
		{"a misspelt key", "[discovery]\npol = \"2s\"", `2: discovery.pol: unknown key; did you mean "poll"?`},
		{"a key in another case", "[servers]\nProbe-Timeout = \"2s\"",
			`2: servers.Probe-Timeout: unknown key; did you mean "probe_timeout"?`},
		{"a misspelt table", "[discovry]\n", `1: discovry: unknown key; did you mean "discovery"?`},
		{"a key of another table", "[servers]\npoll = \"2s\"",
			`2: servers.poll: unknown key; it belongs below [discovery]`},
		{"a key without a table", "seeds = []", `1: seeds: unknown key; it belongs below [discovery]`},
		{"a key out of nowhere", "[log]\nbanana = 1", `2: log.banana: unknown key; the keys here are level, format`},
		{"a password in the file", "[servers]\npassword = \"hunter2\"",
			`2: servers.password: unknown key; secrets do not belong in this file: put it into a file of its own, and set password_file to the path`},
		{"a number without unit", "[discovery]\npoll = 5",
			`2: discovery.poll: must be a duration in quotes, with its unit, such as "5s"; got 5`},
		{"a duration without unit", "[discovery]\npoll = \"5\"",
			`2: discovery.poll: "5" is not a duration; write a number and its unit (ms, s, m, h), such as "5s"`},
		{"zero poll", "[discovery]\npoll = \"0s\"",
			`2: discovery.poll: "0s" is out of range; it must be from 50ms to 1h`},
		{"negative", "[analysis]\nlag = \"-1s\"", `2: analysis.lag: "-1s" is out of range; it must be from 1s to 24h`},
		{"too few", "[discovery]\nconcurrency = 0",
			`2: discovery.concurrency: 0 is out of range; it must be from 1 to 10000`},
		{"a fraction", "[discovery]\nconcurrency = 1.5",
			`2: discovery.concurrency: must be a whole number, without quotes; got 1.5`},
		{"a wrong word", "[log]\nformat = \"jsn\"",
			`2: log.format: "jsn" is not allowed; it must be "text" or "json"; did you mean "json"?`},
		{"the only word", "[backend]\nkind = \"oracle\"",
			`2: backend.kind: "oracle" is not allowed; it must be "sqlite" or "mysql"`},
		{"text for a list", "[discovery]\nseeds = \"db1\"",
			`2: discovery.seeds: must be a list such as ["a", "b"]; got a text`},
		{"a truth in quotes", "[[policy]]\nclusters = [\"*\"]\nrecover_primary = \"yes\"",
			`3: policy[0].recover_primary: must be true or false, without quotes; got a text`},
		{"a table that isn't", "servers = 1",
			`1: servers: is a table: write [servers] on a line of its own, and its keys below; got 1`},
		{"a policy in single brackets", "[policy]\nclusters = [\"*\"]",
			`1: policy: must be blocks that begin with [[policy]]; got a table`},
		{"seeds", "[discovery]\nseeds = [\n  \"db1\", # fine\n  \"db1:99999\",\n  \"DB1:3306\",\n  7, \"\",\n]",
			"4: discovery.seeds[1]: address \"db1:99999\": port must be a number from 1 to 65535\n" +
				"5: discovery.seeds[2]: db1:3306 is listed twice\n" +
				"6: discovery.seeds[3]: must be a text in quotes; got 7\n" +
				"6: discovery.seeds[4]: is empty"},
		{"a seed that is left out", "[discovery]\nseeds = [\"10.0.0.1\", \"db1\"]\nonly = [\"10.1.0.0/16\", \"db*\"]",
			"2: discovery.seeds[0]: 10.0.0.1:3306 is not admitted by discovery.only: add a pattern for it"},
		{"no pattern", "[discovery]\nonly = [\"db 1\"]",
			`2: discovery.only[0]: "db 1": want a network (10.0.0.0/8), an address, or a host with * and ?`},
		{"a bad expression", "[discovery]\nignore = [\"a(\"]", "2: discovery.ignore[0]: error parsing regexp: " +
			"missing closing ): `a(`"},
		{"ports", "[http]\nlisten = \"127.0.0.1:70000\"",
			`2: http.listen: "127.0.0.1:70000": port must be a number from 0 to 65535`},
		{"no port", "[http]\nlisten = \"localhost\"",
			`2: http.listen: "localhost" is not an address to listen on; it must be "host:port", such as "127.0.0.1:3000"`},
		{"the world is let in", "[http]\nlisten = \":3000\"",
			`2: http.listen: ":3000" can be reached from other machines, and no token is required: set http.token_file, add a [[user]], or listen on 127.0.0.1`},
		{"the world with a token", "[http]\nlisten = \":3000\"\ntoken_file = \"token\"", ``},
		{"a short token", "[http]\ntoken_file = \"closed\"",
			"2: http.token_file: DIR/closed has a token of 6 characters (number 1); it must have at least 16: " +
				"openssl rand -hex 32 makes one"},
		{"hosts", "[http]\nhosts = [\"ops.example.com\"]", ``},
		{"a host with a port", "[http]\nhosts = [\"ops:3000\"]",
			`2: http.hosts[0]: "ops:3000" is not a name; write it without a port, such as "db-ops.example.com"`},
		{"a token for reads without a token", "[http]\ntoken_for_reads = true",
			`2: http.token_for_reads: needs http.token_file, the file with the token, or a [[user]]`},
		{"a token for reads", "[http]\ntoken_for_reads = true\ntoken_file = \"token\"", ``},
		{"a certificate alone", "[http]\ntls_cert = \"closed\"",
			`2: http.tls_cert: needs http.tls_key, the key of the certificate`},
		{"no certificate", "[http]\ntls_cert = \"closed\"\ntls_key = \"closed\"",
			`2: http.tls_cert: DIR/closed and DIR/closed are not a certificate and its key: tls: failed to find any PEM data in certificate input`},
		{"no authority", "[servers]\ntls = \"closed\"",
			`2: servers.tls: read authorities: DIR/closed contains no certificate in PEM format; it must be "off", "verify", or the path of a PEM file with authorities`},
		{"a misspelt word for TLS", "[servers]\ntls = \"verfy\"",
			`2: servers.tls: read authorities: stat DIR/verfy: no such file or directory; it must be "off", "verify", or the path of a PEM file with authorities`},
		{"a password for everybody", "[servers]\npassword_file = \"open\"",
			`2: servers.password_file: DIR/open can be read by every account (mode 0644): chmod o= DIR/open`},
		{"a password for the group", "[servers]\npassword_file = \"closed\"", ``},
		{"a password that everybody can change", "[servers]\npassword_file = \"loose\"",
			`2: servers.password_file: DIR/loose can be written by every account (mode 0602): chmod o= DIR/loose, ` +
				`and change the secret`},
		{"a password that the group can change", "[servers]\npassword_file = \"shared\"",
			`2: servers.password_file: DIR/shared can be written by its group (mode 0660): chmod g-w DIR/shared`},
		{"no keys", "[servers]\npublic_key_file = \"closed\"", `2: servers.public_key_file: DIR/closed: it has ` +
			`no public key in PEM format; orchestrator config key SERVER prints a key`},
		{"no file of keys", "[servers]\npublic_key_file = \"gone\"",
			`2: servers.public_key_file: stat DIR/gone: no such file or directory; ` +
				`orchestrator config key SERVER prints a key`},
		{"no password", "[servers]\npassword_file = \"empty\"", `2: servers.password_file: DIR/empty is empty`},
		{"blanks for a password", "[servers]\npassword_file = \"blank\"",
			`2: servers.password_file: DIR/blank contains only white space`},
		{"blanks for a token", "[http]\ntoken_file = \"blank\"",
			`2: http.token_file: DIR/blank contains only white space`},
		{"blanks for a secret", "[peers]\nsecret_file = \"blank\"",
			`2: peers.secret_file: DIR/blank contains only white space`},
		{"no password file", "[servers]\npassword_file = \"gone\"",
			`2: servers.password_file: stat DIR/gone: no such file or directory`},
		{"a directory", "[servers]\npassword_file = \".\"", `2: servers.password_file: DIR is not a regular file`},
		{"a device", "[servers]\npassword_file = \"/dev/zero\"",
			`2: servers.password_file: /dev/zero is not a regular file`},
		{"no user", "[servers]\nuser = \"\"",
			`2: servers.user: is empty; set it to the account on the managed servers`},
		{"no path", "[backend]\npath = \"\"",
			`2: backend.path: is empty; set it to the file in which the daemon keeps its records`},
		{"connecting longer than probing", "[servers]\nconnect_timeout = \"1500ms\"",
			`2: servers.connect_timeout: 1.5s is longer than servers.probe_timeout (1s), which includes it`},
		{"probing longer than death", "[servers]\nprobe_timeout = \"3s\"",
			`2: servers.probe_timeout: servers.probe_timeout (3s) must be shorter than analysis.silence (2.5s): one slow answer would look like a dead server`},
		{"death before probing", "[analysis]\nsilence = \"1s\"",
			`2: analysis.silence: servers.probe_timeout (1s) must be shorter than analysis.silence (1s): one slow answer would look like a dead server`},
		{"backing off to less than the poll", "[discovery]\npoll = \"1m\"",
			`1: discovery.max_backoff: 10s is shorter than discovery.poll (1m0s)`},
		{"a lease without room", "[lease]\nttl = \"3900ms\"",
			`1: lease.tick: 1s is more than a quarter of lease.ttl (3.9s): one late beat could lose the leadership`},
		{"a table without its database", "[[policy]]\nclusters = [\"*\"]\nheartbeat = \"heartbeat\"",
			`3: policy[0].heartbeat: "heartbeat" is not the name of a table: want "database.table"`},
		{"a policy for nobody", "[[policy]]\n", `1: policy[0].clusters: names no cluster; use ["*"] for every cluster`},
		{"patterns", "[[policy]]\nclusters = [\"~a(\", \"[\", \"\"]",
			"2: policy[0].clusters: \"[\" is not a valid pattern: * matches anything, ? one character, [a-z] one of " +
				"several; write \\ before a character that is meant as it is\n" +
				"2: policy[0].clusters: \"~a(\": error parsing regexp: missing closing ): `a(`\n" +
				"2: policy[0].clusters: contains an empty name"},
		{"a policy that is never reached", "[[policy]]\nclusters = [\"*\"]\n\n[[policy]]\nclusters = [\"a\"]",
			`4: policy[1]: is never used: the first policy names every cluster ("*"), and the first that names a cluster applies; put that one last`},
		{"a hook that does nothing", "[[hook]]\nname = \"a\"\non = [\"opened\"]",
			`1: hook[0]: does nothing; set command, url or url_file`},
		{"a hook without a moment", "[[hook]]\nname = \"a\"\ncommand = [\"/bin/true\"]",
			`1: hook[0].on: names no moment; set it to ["promoted"], for example, or to all: ["opened", "blocked", "promoted", "recovered", "withdrawn", "fenced"]`},
		{"a moment that there isn't", "[[hook]]\nname = \"a\"\ncommand = [\"/bin/true\"]\non = [\"promote\"]",
			`4: hook[0].on[0]: "promote" is not allowed; it must be "opened", "blocked", "promoted", "recovered", "withdrawn" or "fenced"; did you mean "promoted"?`},
		{"hooks of one name", hookBlock("a", "") + hookBlock("a", ""),
			`6: hook[1].name: "a" is the name of two hooks; each needs its own, because deliveries are recorded by name`},
		{"a hook without a name", hookBlock("", ""),
			`2: hook[0].name: "" is not a valid name: use up to 64 letters, digits and _ . -, beginning with a letter or digit; logs, metrics and the API use it`},
		{"a hook of nobody's clusters", hookBlock("a", `clusters = []`),
			`5: hook[0].clusters: names no cluster; use ["*"] for every cluster`},
		{"a hook in two ways", hookBlock("a", `url = "http://h/"`),
			`1: hook[0]: has command and url; set only one of them, and add another hook for the other`},
		{"a program by its name", strings.Replace(hookBlock("a", ""), "/bin/true", "true", 1),
			`4: hook[0].command: "true" is not an absolute path: the program comes first, then its arguments, each in quotes; for a line of shell: ["/bin/sh", "-c", "…"]`},
		{"no program", strings.Replace(hookBlock("a", ""), "/bin/true", "/bin/gone", 1),
			`4: hook[0].command: stat /bin/gone: no such file or directory`},
		{"a program that is none", strings.Replace(hookBlock("a", ""), "/bin/true", "/etc/passwd", 1),
			`4: hook[0].command: /etc/passwd is not executable: chmod +x /etc/passwd`},
		{"what the old tool replaces", strings.Replace(hookBlock("a", ""), `"/bin/true"`,
			`"/bin/echo", "{failedHost} {other}"`, 1),
			`4: hook[0].command: {failedHost} is not replaced here, because its value comes from servers and must not be run as code; use the environment variable $ORC_FAILED_HOST`},
		{"a variable of a shell", strings.Replace(hookBlock("a", ""), `"/bin/true"`,
			`"/bin/sh", "-c", "moment=1; command=x; echo ${command} ${failedHost} {moment} {FAILEDHOST}"`, 1), ``},
		{"both", strings.Replace(hookBlock("a", ""), `"/bin/true"`, `"/bin/sh", "-c", "${command}{failedPort}"`, 1),
			`4: hook[0].command: {failedPort} is not replaced here, because its value comes from servers and must not be run as code; use the environment variable $ORC_FAILED_PORT`},
		{"a token for a command", hookBlock("a", `token_file = "closed"`),
			`5: hook[0].token_file: is only sent to a url; a command that needs a token can take the name of a file as an argument`},
		{"a URL that is none", "[[hook]]\nname = \"a\"\non = [\"opened\"]\nurl = \"pager\"",
			`4: hook[0].url: is not an address; it must be "https://host/path"`},
		{"a secret URL that was mistyped", "[[hook]]\nname = \"a\"\non = [\"opened\"]\nurl = \"htps://chat/s3cret\"",
			`4: hook[0].url: is not an address; it must be "https://host/path"`},
		{"a URL with a password", "[[hook]]\nname = \"a\"\non = [\"opened\"]\nurl = \"http://a:b@h/\"",
			`4: hook[0].url: contains a password: put the token into a file, and set token_file; it is sent as Authorization: Bearer`},
		{"a secret URL that is none", "[[hook]]\nname = \"a\"\non = [\"opened\"]\nurl_file = \"closed\"",
			`4: hook[0].url_file: the content of DIR/closed is not an address; it must be "https://host/path"`},
		{"a port that there isn't", "[[hook]]\nname = \"a\"\non = [\"opened\"]\nurl = \"http://h:65536/s3cret\"",
			`4: hook[0].url: has port 65536; it must be from 1 to 65535`},
		{"port 0", "[[hook]]\nname = \"a\"\non = [\"opened\"]\nurl = \"http://h:0/\"",
			`4: hook[0].url: has port 0; it must be from 1 to 65535`},
		{"a port of no host", "[[hook]]\nname = \"a\"\non = [\"opened\"]\nurl = \"http://:80/\"",
			`4: hook[0].url: is not an address; it must be "https://host/path"`},
		{"a secret URL for everybody", "[[hook]]\nname = \"a\"\non = [\"opened\"]\nurl_file = \"open\"",
			`4: hook[0].url_file: DIR/open can be read by every account (mode 0644): chmod o= DIR/open`},
		{"an attempt that takes no time", hookBlock("a", `timeout = "0s"`),
			`5: hook[0].timeout: "0s" is out of range; it must be from 100ms to 1h`},
		{"not TOML", "[http]\nlisten = 127.0.0.1:3000", `2: http.listen: is not TOML: `},
		{"a key twice", "[log]\nlevel = \"info\"\nlevel = \"info\"",
			`3: log.level: is not TOML: Key 'log.level' has already been defined.`},
		{"brackets and nothing else", "a = " + strings.Repeat("[", 1<<19),
			`0: is not a configuration: values are nested deeper than any key needs`},
		{"dots and nothing else", strings.Repeat(`a."a".`, 1<<16) + "a = 1",
			`0: is not a configuration: values are nested deeper than any key needs`},
		{"a line of dots", "# " + strings.Repeat(".", 115) + "\n[http]\n", ``},
		{"several", "[servers]\nuser = 1\nprobe_timeot = \"1s\"\n[discovery]\npoll = \"-1s\"\n[lease]\nttl = true",
			"2: servers.user: must be a text in quotes; got 1\n3: servers.probe_timeot: unknown key; did you mean " +
				"\"probe_timeout\"?\n" +
				"5: discovery.poll: \"-1s\" is out of range; it must be from 50ms to 1h\n7: lease.ttl: must be a " +
				"duration in quotes, with its unit, such as \"5s\"; got true"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, p := range problemsOf(filepath.Join(dir, "o.toml"), c.toml) {
				where := fmt.Sprintf("%d: ", p.Line)
				if p.Key != "" {
					where += p.Key + ": "
				}
				got = append(got, where+strings.ReplaceAll(p.Says, dir, "DIR"))
			}
			slices.Sort(got)
			lines := strings.Join(got, "\n")
			if c.name == "not TOML" {
				lines = lines[:min(len(lines), len(c.want))]
			}
			if lines != c.want {
				t.Errorf("got\n%s\nwant\n%s", lines, c.want)
			}
			if strings.Contains(lines, "hunter2") || strings.Contains(lines, "s3cret") {
				t.Error("a secret is shown")
			}
		})
	}
}

func TestAProblemIsReadable(t *testing.T) {
	file := write(t, "o.toml", "[discovery]\npoll = \"0s\"\npol = 1\n", 0o644)
	_, err := Load(file)
	want := file + `:2: discovery.poll: "0s" is out of range; it must be from 50ms to 1h` + "\n" + file +
		`:3: discovery.pol: unknown key; did you mean "poll"?`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 2 {
		t.Errorf("Load's error is no Problems: %#v", err)
	}
}

func TestNoFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "none.toml")
	_, err := Load(file)
	want := fmt.Sprintf("read configuration: stat %s: no such file or directory; to start with the defaults: "+
		"orchestrator config defaults > %s", file, file)
	if err == nil || err.Error() != want || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("a directory: %v", err)
	}
}

const full = `
[http]
listen = "127.0.0.2:0"
[servers]
user = "root"
[discovery]
seeds = ["db1", "[::1]:3307"]
ignore = ["^backup-", ':3399$']
[[policy]]
clusters = ["shop", "db1:3306"]
recover_primary = true
[[policy]]
clusters = ["test-*"]
[[policy]]
clusters = ['~^db\d+\.eu\.']
max_lag = "1m"
allow_unfenced = false
[[policy]]
clusters = ["*"]
recover_intermediate = true
`

func parsed(t *testing.T, toml string) Config {
	t.Helper()
	c, problems := parse("o.toml", []byte(toml))
	if problems != nil {
		t.Fatal(problems)
	}
	return c
}

func TestWhatIsPrintedReadsTheSame(t *testing.T) {
	c := parsed(t, full)
	again, problems := parse("o.toml", []byte(c.String()))
	if problems != nil {
		t.Fatalf("%v\nin\n%v", problems, c)
	}
	if re, no := c.Changes(again); len(re)+len(no) > 0 {
		t.Errorf("%v %v differ in\n%v", re, no, c)
	}
}

func TestThePasswordComesFromTheFileOrElseTheEnvironment(t *testing.T) {
	t.Setenv(PasswordVariable, "from the environment")
	if c := parsed(t, ""); c.Servers.Password != "from the environment" {
		t.Errorf("got %s", string(c.Servers.Password))
	}
	file := write(t, "password", "from the file\r\n", 0o600)
	c := parsed(t, fmt.Sprintf("[servers]\npassword_file = %q", file))
	if c.Servers.Password != "from the file" {
		t.Errorf("got %q", string(c.Servers.Password))
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	c := Default()
	c.Servers.Password, c.HTTP.Token = "hunter2", "hunter3"
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("config", "password", c.Servers.Password, "all", c)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("config", "password", c.Servers.Password, "all", c)
	js, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	shown := log.String() + string(js) + c.String() + fmt.Sprintf("%v %+v %#v %s %q %d %x", c, c.Servers, c.Servers,
		c.Servers.Password, c.Servers.Password, c.Servers.Password, c.Servers)
	for _, bad := range []string{"hunter", fmt.Sprintf("%x", "hunter")} {
		if strings.Contains(shown, bad) {
			t.Errorf("%s is in %s", bad, shown)
		}
	}
	if got := fmt.Sprint(Secret("x"), Secret("")); got != "*** " && got != "***" {
		t.Errorf("got %q", got)
	}
}

func TestTheFirstPolicyThatNamesTheClusterCounts(t *testing.T) {
	c := parsed(t, full)
	named := func(change func(*plan.Policy)) plan.Policy {
		p := plan.Policy{Named: true, DrainTimeout: 10 * time.Second, AllowUnfenced: true, AntiFlap: 10 * time.Minute,
			SameTag: "dc"}
		change(&p)
		return p
	}
	shop := named(func(p *plan.Policy) { p.RecoverPrimary = true })
	test := named(func(*plan.Policy) {})
	eu := named(func(p *plan.Policy) { p.MaxLag, p.AllowUnfenced = time.Minute, false })
	rest := named(func(p *plan.Policy) { p.RecoverIntermediate = true })
	for _, x := range []struct {
		cluster, alias string
		want           plan.Policy
	}{
		{"db1:3306", "", shop},
		{"db7:3306", "shop", shop},
		{"test-7:3306", "", test},
		{"db9:3306", "test-x", test},
		{"db4.eu.example:3306", "", eu},
		{"xdb4.eu.example:3306", "", rest},
		{"[::1]:3306", "", rest},
		{"", "", rest},
	} {
		if got := c.Policy(x.cluster, x.alias); !reflect.DeepEqual(got, x.want) {
			t.Errorf("%s %q: got %+v, want %+v", x.cluster, x.alias, got, x.want)
		}
	}
	if got := Default().Policy("db1:3306", "shop"); !reflect.DeepEqual(got, plan.Policy{}) {
		t.Errorf("nobody names it, and it is allowed %+v", got)
	}
	if got := parsed(t, "[[policy]]\nclusters = [\"[::1]:3306\"]").Policy("[::1]:3306", ""); !got.Named {
		t.Error("an IPv6 name is taken for a pattern")
	}
	members := parsed(t, "[[policy]]\nclusters = [\"*\"]\nmembers = [\"db1\", \"db2:3307\"]").Policy("shop", "").Members
	if want := []topology.Key{{Host: "db1", Port: 3306}, {Host: "db2", Port: 3307}}; !slices.Equal(members, want) {
		t.Errorf("members %v", members)
	}
}

func TestReload(t *testing.T) {
	old := parsed(t, full)
	next := parsed(t, strings.NewReplacer("127.0.0.2:0", "127.0.0.3:0", `"root"`, `"admin"`, `"db1", `, "", "^backup-",
		"^dump-", "[[policy]]\nclusters = [\"test-*\"]", "").Replace(full))
	next.Servers.Password, next.Log.Level = "new", "debug"
	re, no := old.Changes(next)
	want := []string{"servers.user", "servers.password_file", "discovery.seeds", "log.level", "policy"}
	if !slices.Equal(re, want) {
		t.Errorf("taken over: %v, want %v", re, want)
	}
	if want := []string{"http.listen", "discovery.ignore"}; !slices.Equal(no, want) {
		t.Errorf("waiting for a restart: %v, want %v", no, want)
	}
	if re, no := old.Changes(parsed(t, full)); len(re)+len(no) > 0 {
		t.Errorf("nothing changed, and %v %v did", re, no)
	}
	both := old.Reloaded(next)
	if re, no2 := both.Changes(next); len(re) > 0 || !slices.Equal(no, no2) {
		t.Errorf("after reloading %v %v differ", re, no2)
	}
	if old.Servers.User != "root" {
		t.Error("Reloaded changed its receiver")
	}
}

// Another token is taken over. That there is one at all, or none any more, goes with http.listen: as long as that waits
// for a restart, so does its guard.
func TestAReloadNeverOpensTheAPI(t *testing.T) {
	none, one, two := Default(), Default(), Default()
	one.HTTP.Listen, one.HTTP.TokenFile, one.HTTP.Token = ":3000", "/one", "one"
	two.HTTP.Listen, two.HTTP.TokenFile, two.HTTP.Token = ":3000", "/two", "one\ntwo"
	for _, c := range []struct {
		name     string
		old, new Config
		re, no   []string
		token    Secret
	}{
		{"another", one, two, []string{"http.token_file"}, nil, "one\ntwo"},
		{"no more", one, none, nil, []string{"http.listen", "http.token_file"}, "one"},
		{"the first", none, one, nil, []string{"http.listen", "http.token_file"}, ""},
	} {
		re, no := c.old.Changes(c.new)
		if !slices.Equal(re, c.re) || !slices.Equal(no, c.no) {
			t.Errorf("%s: taken over %v, waiting for a restart %v; want %v, %v", c.name, re, no, c.re, c.no)
		}
		if got := c.old.Reloaded(c.new).HTTP.Token; got != c.token {
			t.Errorf("%s: the token is %q, want %q", c.name, string(got), string(c.token))
		}
	}
}

func TestLinesAreFoundInAnyStyle(t *testing.T) {
	got := locate(`# a comment with [brackets] = and "quotes
a . b = """
[not] a = table
""""
[ "quoted" ] # x = y
 list = [ # ]
   "]",  'x#',
   { in = "line" },
   [1,
    2], 3
 ]
after = '''
'''
[[twice]]
k = 1
[[twice]]
k = "\"[#"
[twice.sub]
k = 2
`)
	want := map[string]int{"a.b": 2, "quoted": 5, "quoted.list": 6, "quoted.list[0]": 7, "quoted.list[1]": 7,
		"quoted.list[2]": 8,
		"quoted.list[3]": 9, "quoted.list[4]": 10, "quoted.after": 12, "twice": 14, "twice[0]": 14, "twice[0].k": 15,
		"twice[1]": 16, "twice[1].k": 17,
		"twice.sub": 18, "twice.sub.k": 19}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// Whatever the file, Check answers; and what it finds nothing wrong with, Load's parser takes and prints so that it
// reads the same.
func FuzzConfig(f *testing.F) {
	f.Add(DefaultFile())
	f.Add(full)
	f.Add("[[policy]]\nclusters = [\"[\", \"~(\"]\n[[policy]]")
	f.Add("a.b.\"c\" = { d = [1, \"\"\"\n\"\"\"] }\r\n[http]\nlisten = 1979-05-27")
	f.Add("policy = [{clusters = [\"*\"]}, 1]")
	f.Add("[[hook]]\nname = \"a\"\non = [\"opened\"]\ncommand = [\"/bin/echo\", " +
		"\"{failedHost}\\u0000\"]\n[[hook]]\nname = \"b\"\non = [\"fenced\"]\nurl = \"http://h/?a=b\"")
	f.Add("[servers]\ntls=\"\\u0000\"\nPassword_File='x'")
	f.Fuzz(func(t *testing.T, text string) {
		problems := problemsOf("o.toml", text)
		lines := strings.Count(text, "\n") + 1
		for _, p := range problems {
			if p.Line < 0 || p.Line > lines || p.Says == "" || p.File != "o.toml" {
				t.Errorf("%+v", p)
			}
		}
		if len(problems) > 0 {
			return
		}
		c, _ := parse("o.toml", []byte(text))
		again, problems := parse("o.toml", []byte(c.String()))
		for i := range c.Hooks { // what follows its host is not shown
			c.Hooks[i].URL = WebAddress(c.Hooks[i].URL.String())
			if c.Hooks[i].URLFile == "" {
				c.Hooks[i].Target = Secret(c.Hooks[i].URL)
			}
		}
		if re, no := c.Changes(again); len(problems)+len(re)+len(no) > 0 {
			t.Errorf("%v %v %v in\n%v", problems, re, no, c)
		}
	})
}

func TestACredentialIsFoundInTheDirectoryOfTheService(t *testing.T) {
	file := write(t, "servers-password", "hunter2\n", 0o400)
	text := "[servers]\npassword_file = \"$CREDENTIALS_DIRECTORY/servers-password\"\n"
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Dir(file))
	if c := parsed(t, text); string(c.Servers.Password) != "hunter2" {
		t.Errorf("the password is %q", string(c.Servers.Password))
	}
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	_, problems := parse("o.toml", []byte(text))
	if len(problems) != 1 || !strings.Contains(problems.Error(), "servers.password_file: $CREDENTIALS_DIRECTORY is "+
		"not set") {
		t.Errorf("without a directory: %v", problems)
	}
	t.Setenv("HOME", filepath.Dir(file))
	_, problems = parse("/etc/o.toml", []byte("[servers]\npassword_file = \"$HOME/servers-password\"\n"))
	if len(problems) != 1 || !strings.Contains(problems.Error(), "/etc/$HOME/servers-password") {
		t.Errorf("another variable: %v", problems)
	}
}

// Who notes that a script is gone must not be what leaves the servers alone.
func TestAHookWithoutItsProgramStopsNoDaemon(t *testing.T) {
	for program, says := range map[string]string{"/bin/gone": "no such file", "/etc/passwd": "chmod +x",
		"/etc": "is not a file"} {
		file := write(t, "o.toml", strings.Replace(hookBlock("pager", ""), "/bin/true", program, 1), 0o644)
		c, err := Load(file)
		if err != nil || len(c.Hooks) != 1 {
			t.Fatalf("%s: a daemon does not start: %v", program, err)
		}
		if _, err := Vet(file); err == nil || !strings.Contains(err.Error(), ":4: hook[0].command: ") ||
			!strings.Contains(err.Error(), says) {
			t.Errorf("%s: who asks is told %v", program, err)
		}
		var log strings.Builder
		c.LogFailingHooks(slog.New(slog.NewTextHandler(&log, nil)))
		if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "hook=pager") ||
			!strings.Contains(log.String(), says) {
			t.Errorf("%s: the log says %q", program, log.String())
		}
	}
	file := write(t, "o.toml", strings.Replace(hookBlock("pager", "timeout = 1"), "/bin/true", "/bin/gone", 1), 0o644)
	if _, err := Load(file); err == nil || strings.Contains(err.Error(), "/bin/gone") {
		t.Errorf("something else is wrong: %v", err)
	}
}

// An authority that is replaced in its file is no less a change than another path: a daemon that says nothing of it is
// believed to have taken it over.
func TestNewAuthoritiesInTheSameFileWaitForARestart(t *testing.T) {
	authorities := write(t, "ca.pem", selfSigned(t, time.Hour), 0o644)
	secret := write(t, "secret", strings.Repeat("s", 32), 0o600)
	read := func() Config {
		return parsed(t, fmt.Sprintf("[servers]\ntls = %q\n[backend]\nkind = \"mysql\"\naddress = "+
			"\"127.0.0.1:1\"\ntls = %q\n[peers]\nca = %q\ndaemons = [\"https://o2:3000\"]\nsecret_file = %q",
			authorities, authorities, authorities, secret))
	}
	before := read()
	if re, no := before.Changes(read()); len(re)+len(no) > 0 {
		t.Errorf("nothing changed, and %v %v did", re, no)
	}
	if err := os.WriteFile(authorities, []byte(selfSigned(t, 2*time.Hour)), 0o600); err != nil {
		t.Fatal(err)
	}
	next := read()
	taken := []string{"peers.ca"}
	for range 2 { // it is said until the restart
		re, no := before.Changes(next)
		if want := []string{"servers.tls", "backend.tls"}; !slices.Equal(no, want) ||
			!slices.Equal(re, taken) {
			t.Errorf("taken over %v, waiting for a restart %v; want %v and %v", re, no, taken, want)
		}
		before, taken = before.Reloaded(next), nil
	}
}

func TestWhatAnEditorLeavesInTheFilesOfAHook(t *testing.T) {
	const block = "[[hook]]\nname = \"chat\"\non = [\"opened\"]\nurl_file = %q\ntoken_file = %q"
	for _, c := range []struct{ url, token, says string }{
		{"https://h/s3cret", "t0ken", ""},
		{"\n \n  https://h/s3cret \t\r\n\n", "\n\n t0ken \r\n", ""},
		{"\ufeffhttps://h/s3cret\n", "\ufefft0ken\n", ""},
		{"https://h/s3cret\nhttps://h/another", "t0ken", "URL has 2 lines that are not empty; it must have one, " +
			"the URL"},
		{"\ufeff\n", "t0ken", "URL contains only white space"},
		{"https://h:70000/s3cret", "t0ken", "the content of URL has port 70000; it must be from 1 to 65535"},
		{"https://h/s3cret", "t0k\x1ben", "the first line of TOKEN contains a control character, which is not " +
			"possible in a header"},
		{"https://h/s3cret", "t0k\x00en", "the first line of TOKEN contains a control character, which is not " +
			"possible in a header"},
	} {
		url, token := write(t, "url", c.url, 0o600), write(t, "token", c.token, 0o600)
		got, problems := parse("o.toml", fmt.Appendf(nil, block, url, token))
		switch {
		case c.says == "" && (len(problems) > 0 || got.Hooks[0].Target != "https://h/s3cret" ||
			got.Hooks[0].Token != "t0ken"):
			t.Errorf("%q, %q: %v; it is %q, %q", c.url, c.token, problems, string(got.Hooks[0].Target),
				string(got.Hooks[0].Token))
		case c.says != "" && (len(problems) != 1 || strings.NewReplacer(url, "URL", token,
			"TOKEN").Replace(problems[0].Says) != c.says):
			t.Errorf("%q, %q: got %v, want %s", c.url, c.token, problems, c.says)
		}
	}
}

func problemsOf(file, text string) Problems {
	_, problems := parse(file, []byte(text))
	return problems
}

func TestWhatIsInForceIsShownWhole(t *testing.T) {
	shown := Default().String()
	for _, m := range regexp.MustCompile(`(?m)^[a-z_]+ = `).FindAllString(DefaultFile(), -1) {
		if !strings.Contains(shown, "\n"+m) {
			t.Errorf("%q is not in:\n%s", m, shown)
		}
	}
}
