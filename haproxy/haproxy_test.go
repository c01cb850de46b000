package haproxy

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

var values = Values{Version: "2.6", Socket: "/run/haproxy/admin.sock", Database: "127.0.0.1:3307", HTTP: ":3080",
	Agent:   "0.0.0.0:3001",
	Members: []string{"db1.example.com:3306", "[2001:db8::2]:3306"}, Daemons: []Daemon{{Address: "127.0.0.1:3000"},
		{Address: "two.example.com:443", TLS: true}}, Cert: "/etc/haproxy/api.pem", Identity: "X-Remote-User"}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (-update rewrites it); got\n%s", file, got)
	}
}

func TestRenderedIsAsExpectedAndWithoutComplaint(t *testing.T) {
	for _, version := range Versions {
		v := values
		v.Version = version
		text, err := Render(v)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "rendered-"+version+".cfg", text)
		for _, want := range []*Values{nil, &v} {
			for _, c := range Check("haproxy.cfg", text, want) {
				t.Errorf("%s: %v", version, c)
			}
		}
	}
}

func TestHAProxyTakesWhatIsRendered(t *testing.T) {
	if testing.Short() {
		t.Skip("needs HAProxy")
	}
	v := values
	v.Members, v.Daemons = []string{"127.0.0.2:3306", "[::1]:3306"},
		[]Daemon{{Address: "127.0.0.1:3000"}, {Address: "127.0.0.2:443", TLS: true, Name: "two.example.com"}}
	v.Socket, v.Cert = filepath.Join(t.TempDir(), "with a blank.sock"), ""
	text, err := Render(v)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("/usr/sbin/haproxy", "-c", "-f", file).CombinedOutput(); err != nil ||
		strings.Contains(string(out), "WARNING") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestWhatCannotBeRenderedIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Values)
		says   string
	}{
		"a version that is unknown": {func(v *Values) { v.Version = "1.8" }, "2.6 and 3.1"},
		"no members":                {func(v *Values) { v.Members = nil }, "no member"},
		"a member twice": {func(v *Values) { v.Members = []string{"db1:3306", "db1:3306"} },
			"member db1:3306 is listed twice"},
		"no port": {func(v *Values) { v.Agent = "db1" },
			`where the agent answers: "db1" is not an address`},
		"a port of zero": {func(v *Values) { v.Daemons = []Daemon{{Address: "d1:0"}} },
			"port from 1 to 65535"},
		"a line end in a host": {func(v *Values) { v.Members = []string{"db1\nserver x:3306"} },
			"not an address"},
		"a line end in a path": {func(v *Values) { v.Socket = "/x\nuser root" }, "can't be written"},
		"a quote in a path":    {func(v *Values) { v.CA = "/x'y" }, "can't be written"},
		"a daemon by HTTPS that has no name": {
			func(v *Values) { v.Daemons = []Daemon{{Address: "10.0.0.1:443", TLS: true}} },
			`with a host name, but "10.0.0.1" is not one`},
		"a daemon by HTTPS named by an address": {
			func(v *Values) { v.Daemons = []Daemon{{Address: "d1:443", TLS: true, Name: "::1"}} }, `"::1" is not one`},
		"a line end in the name of a daemon": {
			func(v *Values) { v.Daemons = []Daemon{{Address: "d1:443", TLS: true, Name: "x\ny"}} }, "is not one"},
		"a line end in the path of certificates": {func(v *Values) { v.Cert = "/x\ny" }, "can't be written"},
		"a line end in the name of a header":     {func(v *Values) { v.Identity = "X\n" }, `header "X\n"`},
		"a blank in a host of members": {func(v *Values) { v.Members = []string{"a b:3306"} },
			"not an address"},
	} {
		v := values
		c.change(&v)
		if _, err := Render(v); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v; want %q", name, err, c.says)
		}
	}
}

// Each file in testdata/check has its expected complaints beside it.
func TestComplaints(t *testing.T) {
	files, err := filepath.Glob("testdata/check/*.cfg")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, c := range Check(filepath.Base(file), string(text), nil) {
			fmt.Fprintln(&b, c)
		}
		golden(t, "check/"+strings.TrimSuffix(filepath.Base(file), ".cfg")+".txt", b.String())
	}
}

// Check reports each line of our own configuration that is removed or changed.
func TestEachLineOfOursMatters(t *testing.T) {
	text, err := Render(values)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][3]string{ // old, new, complaint
		{" level admin", "", "no level admin"},
		{"stats socket", "#", "no stats socket"},
		{"stats socket /run/haproxy/admin.sock mode 660", "stats socket ipv4@:9999", "listens on the network"},
		{"stats socket /run/haproxy/admin.sock mode 660", "stats socket 10.0.0.1:9999", "listens on the network"},
		{"global\n", "global\n    ssl-server-verify none\n", ""}, // the servers override it
		{"option redispatch 1", "", "no option redispatch"},
		{"option redispatch 1", "no option redispatch", "no option redispatch"},
		{"option redispatch 1", "option redispatch 1\n    use-server db1.example.com:3306 if TRUE", "use-server"},
		{"option redispatch 1", "option redispatch 1\n    option persist", "option persist"},
		{"option redispatch 1", "option redispatch 1\n    force-persist if TRUE", "force-persist"},
		{"rstring ^up", "string up", "anywhere in the answer"},
		{"rstring ^up", "rstring up", "anywhere in the answer"},
		{"expect rstring ^up", "expect ! rstring ^up", "only asks whether the server listens"},
		{"disabled check", "init-state up check", "up at start"},
		{"disabled check", "init-state fully-up check", "up at start"},
		{"hard-stop-after 500ms", "", "no hard-stop-after"},
		{"balance first\n    #", "#", "balance is roundrobin, the default"},
		{"balance first\n    #", "balance leastconn\n    #", "balance is leastconn"},
		{"disabled check", "check", "up at start"},
		{"disabled check", "disabled", "no check"},
		{"addr 127.0.0.1 port 3001 inter", "inter", "only asks whether the server listens"},
		{"expect rstring ^up", "expect rstring ^(up|down)", "only asks whether the server listens"},
		{"agent-check agent-addr", "agent-addr", "no agent-check"},
		{"agent-addr 127.0.0.1 agent-port 3001", "agent-addr 127.0.0.1 agent-port 3002",
			"asked at 127.0.0.1:3002, but the daemon answers at 127.0.0.1:3001"},
		{"agent-inter 250ms", "agent-inter 5s", "asked too rarely"},
		{"on-marked-down shutdown-sessions\n    server", "on-marked-down shutdown-sessions backup\n    server",
			"backup"},
		{"default-server on-marked-down shutdown-sessions\n    server", "server",
			"no on-marked-down shutdown-sessions"},
		{`agent-send "db1.example.com:3306\n"`, "", "no agent-send"},
		{`agent-send "db1.example.com:3306\n"`, `agent-send "db1\n"`, `the agent is asked for "db1"`},
		{"server db1.example.com:3306 db1.example.com:3306", "server db1 db1.example.com:3306",
			`the check asks for "db1"`},
		{`agent-send "db1.example.com:3306\n"`, `agent-send "2001:db8::2:3306\n"`, "ask the agent for the same member"},
		{`agent-send "db1.example.com:3306\n"`, `agent-send "db1.example.com:3306\n" maxconn 100`,
			"maxconn at a server"},
		{`agent-send "db1.example.com:3306\n"`, `agent-send "db1.example.com:3306\n" enabled`, "up at start"},
		{"server db1.example.com:3306 db1.example.com:3306", "server db1.example.com:3306 db3.example.com:3306",
			"member db1.example.com:3306 (backend.members) is not a server here"},
		{"option httpchk GET /health/leader", "option httpchk GET /health/ready", "no leader check"},
		{" check ssl verify", " ssl verify", "no check at a daemon"},
		{"no-check backup", "no-check", "no backup server while no daemon leads"},
		{" verifyhost two.example.com", "", "no verifyhost at a daemon"},
		{" verifyhost two.example.com", " sni req.hdr(host)", "no verifyhost at a daemon"},
		{" verifyhost two.example.com", " verifyhost three.example.com",
			"verifyhost is three.example.com, but the certificate is for two.example.com"},
		{"verify required", "verify none", "is not verified"},
		{"verify required ca-file", "ca-file", ""}, // the default
		{"ssl verify required ca-file @system-ca verifyhost two.example.com", "",
			"serves HTTPS, but is asked in plain text"},
		{"server 127.0.0.1:3000 127.0.0.1:3000", "server 127.0.0.1:3000 127.0.0.1:3000 ssl verify required ca-file " +
			"@system-ca verifyhost x", "serves plain HTTP, but is asked by HTTPS"},
		{" ssl crt /etc/haproxy/api.pem", "", "HAProxy serves the API in plain text"},
		{"http-request del-header X-Remote-User", "", "the header X-Remote-User (http.identity_header) is passed on"},
		{"http-request del-header X-Remote-User", "http-request set-header X-Remote-User %[src] if TRUE",
			"is passed on"},
		{"http-request del-header X-Remote-User", "http-request set-header x-remote-user %[src]", ""},
		{"http-request del-header X-Remote-User", "http-request del-header X-Remote-User unless TRUE", ""},
		{`agent-send "db1.example.com:3306\n"`, `agent-send "db1.example.com:3306\n" ssl verify none`,
			"ssl at a member"},
		{`agent-send "db1.example.com:3306\n"`, `agent-send "db1.example.com:3306\n" check-ssl`,
			"check-ssl at a member"},
		{"timeout client 1h", "", "no timeout client"},
		{"timeout check 250ms", "", "no timeout check"},
		{"timeout check 250ms", "timeout check 1s", "hangs is trusted for 10s"},
		{"inter 250ms fall 8", "inter 1s fall 8", "dead agent is trusted for 8s"},
		{"inter 250ms fall 8", "", "dead agent is trusted for 6s"},
		{"balance first\n    #", "balance first\n    option mysql-check user haproxy\n    #", "mysql-check"},
		{"balance first\n    #", "balance first\n    load-server-state-from-file global\n    #", "loaded from a file"},
		{"balance first\n    #", "balance first\n    stick on src\n    #", "stick"},
		{"/run/haproxy/admin.sock", "/run/other.sock", "the daemon uses /run/haproxy/admin.sock"},
	} {
		if !strings.Contains(text, c[0]) {
			t.Errorf("nothing to change: %q", c[0])
		}
		var got []string
		for _, one := range Check("f", strings.Replace(text, c[0], c[1], 1), &values) {
			got = append(got, one.What)
		}
		if !strings.Contains(strings.Join(got, "\n"), c[2]) || c[2] == "" && len(got) > 0 {
			t.Errorf("%q for %q: got %q; want %q", c[1], c[0], got, c[2])
		}
	}
}

func TestTheTextOfAnAgent(t *testing.T) {
	got := CheckAgent("agent.lua", "core.register_service('a', 'tcp', function(applet)\n  "+
		"applet:send(\"down#lagging\\n\")\nend)")
	if len(got) != 1 || got[0].Line != 2 || got[0].Write != "down #why" {
		t.Errorf("got %v", got)
	}
	if got := Loads("global\n  lua-load /etc/haproxy/agent.lua\n"); len(got) != 1 ||
		got[0] != "/etc/haproxy/agent.lua" {
		t.Errorf("got %v", got)
	}
}

func FuzzCheck(f *testing.F) {
	for _, seed := range []string{"", "server", "backend x\n server a b:1 check inter",
		"defaults from\nlisten x from y\nbind\nbalance\nstick", "global\nstats socket", "backend \"x\nserver a 'b\\"} {
		f.Add(seed)
	}
	if text, err := Render(values); err == nil {
		f.Add(text)
	}
	files, _ := filepath.Glob("testdata/check/*.cfg")
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			f.Add(string(text))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, c := range append(Check("f", text, &values), Check("f", text, nil)...) {
			if c.Line < 1 || c.What == "" || c.Then == "" || c.Write == "" {
				t.Errorf("half a complaint: %+v", c)
			}
		}
		Loads(text)
		CheckAgent("f", text)
	})
}

// HAProxy reads back the word that was written, whatever it contains.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{"", "a", "a b", `"`, `'`, `\`, "#", "a\nb", "\t", "${X}"} {
		f.Add(seed, "b")
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		want := []string{one, two}
		var b strings.Builder
		for _, w := range want {
			if strings.ContainsAny(w, "\n\r\t") || w == "" { // has its own escape; not a word
				t.Skip()
			}
			for _, c := range []byte(w) {
				if strings.IndexByte(" \"'\\#", c) >= 0 {
					b.WriteByte('\\')
				}
				b.WriteByte(c)
			}
			b.WriteByte(' ')
		}
		if got, closed := split(b.String()); !closed || !slices.Equal(got, want) {
			t.Errorf("%q: got %q, %v", b.String(), got, closed)
		}
		for _, raw := range want {
			split(raw)
			quoted := quote(raw)
			if got, closed := split(quoted); !strings.ContainsAny(raw, "'") &&
				(!closed || len(got) != 1 || got[0] != raw) {
				t.Errorf("%q: got %q, %v", quoted, got, closed)
			}
		}
	})
}

func FuzzParseStat(f *testing.F) {
	f.Add("# pxname,svname,type,scur\nmembers,db1:3306,2,7\n")
	f.Fuzz(func(t *testing.T, text string) { parseStat(text) })
}

// Whatever is asked, an agent says one short line, and never "up" of what it does not know.
func FuzzAgent(f *testing.F) {
	for _, s := range []string{"db1:3306", "db1:3306\n", "\r\n", "\x00", "up ready", "[::1]:3306"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, name, why string) {
		a := &Agent{Members: []string{"db1:3306"}, Fit: func(string) (bool, string) { return false, why }}
		got := a.word(strings.TrimSpace(name))
		if !strings.HasPrefix(got, "down #") || strings.Count(got, "\n") != 1 || len(got) > agentWhy+10 {
			t.Errorf("%q, %q: %q", name, why, got)
		}
	})
}

func ask(t *testing.T, a *Agent, question string) string {
	t.Helper()
	c, err := net.Dial("tcp", a.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, question)
	c.SetDeadline(time.Now().Add(5 * time.Second))
	answer, _ := io.ReadAll(c)
	return string(answer)
}

func TestAgent(t *testing.T) {
	a := &Agent{Listen: "127.0.0.1:0", Members: []string{"db1:3306", "[::1]:3306"}, Fit: func(m string) (bool, string) {
		return m == "db1:3306", "lags\nbehind: é" + strings.Repeat("x", 1000)
	}}
	if err := a.Open(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- a.Serve(t.Context()) }()
	for _, c := range [][2]string{
		{"db1:3306\n", "up ready\n"},
		{"db1:3306\r\n", "up ready\n"},
		{"::1:3306\n", "down #lags behind:  " + strings.Repeat("x", 106) + "\n"},
		{"[::1]:3306\nmore", "down #lags behind:  " + strings.Repeat("x", 106) + "\n"},
		{"db2:3306\n", "down #unknown member\n"},
		{"\n", "down #unknown member\n"},
		{strings.Repeat("y", 5000) + "\n", "down #unknown member\n"},
		{"\x00\xff\n", "down #unknown member\n"},
	} {
		got := ask(t, a, c[0])
		if len(c[0]) > 1000 && got == "" {
			continue // unread input resets the connection
		}
		if got != c[1] {
			t.Errorf("%.20q: got %q, want %q", c[0], got, c[1])
		}
	}
	// Clients that send nothing keep nobody waiting.
	var idle []net.Conn
	for i := range 2*agentConnections + 2 {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 31, byte(1+i%2))}}
		c, err := d.Dial("tcp", a.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
		if got := ask(t, a, "db1:3306\n"); got != "up ready\n" {
			t.Fatalf("with %s connections that nobody uses: got %q", strconv.Itoa(len(idle)), got)
		}
	}
	for _, c := range idle {
		c.Close()
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTheAgentEndsWithItsContext(t *testing.T) {
	a := &Agent{Listen: "127.0.0.1:0"}
	if err := a.Open(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.Serve(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}
