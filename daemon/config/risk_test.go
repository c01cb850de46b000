package config

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/server"
)

func TestWhatIsNotEncryptedIsSaidOnce(t *testing.T) {
	authority := write(t, "ca.pem", "", 0o600)
	if err := os.WriteFile(authority, []byte(selfSigned(t, 1000*time.Hour)), 0o600); err != nil {
		t.Fatal(err)
	}
	const pair = "[backend]\nkind = \"mysql\"\naddress = \"127.0.0.1:3307\"\n"
	for _, c := range []struct{ toml, want string }{
		{"", `servers.tls is "off"`},
		{`discovery.seeds = ["db1"]`, `servers.tls is "off"`},
		{`discovery.seeds = ["127.0.0.1:3306", "localhost:3307"]`, ""},
		{`discovery.seeds = ["127.0.0.1:3306", "db1"]`, `servers.tls is "off"`},
		{`servers.tls = "verify"`, ""},
		{fmt.Sprintf(`servers.tls = %q`, authority), ""},
		{`servers.tls = "verify"` + "\n" + pair, ""},
		{`servers.tls = "verify"` + "\n" + pair + `members = ["db1", "db2"]`, `backend.tls is "off"`},
		{pair + `members = ["db1", "db2"]`, `servers.tls and backend.tls are "off"`},
	} {
		c0, _ := parse("o.toml", []byte(c.toml)) // a pair has more to name, which does not matter here
		risks := c0.Risks()
		if len(risks) > 1 || len(risks) == 0 && c.want != "" || len(risks) == 1 && (c.want == "" ||
			!strings.HasPrefix(risks[0], c.want+": anyone on the network between can read")) {
			t.Errorf("%s: %q, want %q", c.toml, risks, c.want)
		}
	}
}

func TestAnAgentThatOthersReachIsARisk(t *testing.T) {
	for agent, want := range map[string]int{"": 0, "127.0.0.1:3001": 0, "[::1]:3001": 0, "localhost:3001": 0,
		"0.0.0.0:3001": 1, ":3001": 1, "192.0.2.1:3001": 1} {
		c, _ := parse("o.toml", fmt.Appendf(nil, "[servers]\ntls = \"verify\"\n[haproxy]\nagent = %q", agent))
		if got := c.Risks(); len(got) != want || want == 1 && !strings.Contains(got[0], "haproxy.agent is") {
			t.Errorf("%q: %q", agent, got)
		}
	}
}

func TestAProxyOnThisMachineIsARisk(t *testing.T) {
	for from, want := range map[string]int{"127.0.0.1": 1, "127.0.0.0/8": 1, "::1": 1, "10.0.0.7": 0} {
		c, _ := parse("o.toml", fmt.Appendf(nil, "[servers]\ntls = \"verify\"\n[http]\nidentity_header = \"X-User\"\n"+
			"identity_from = [\"10.0.0.8\", %q]", from))
		if got := c.Risks(); len(got) != want || want == 1 && !strings.Contains(got[0], "can send X-User, and be any") {
			t.Errorf("%q: %q", from, got)
		}
	}
}

func TestPublicKeysAreTakenOverByAReload(t *testing.T) {
	pem := func() string {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		return string(server.EncodeKey(&k.PublicKey))
	}
	one, two := pem(), pem()
	file := write(t, "keys.pem", "# db1\n"+one, 0o644)
	read := func() Config { return parsed(t, fmt.Sprintf("[servers]\npublic_key_file = %q", file)) }
	before := read()
	if err := os.WriteFile(file, []byte("# db1\n"+one+"# db2\n"+two), 0o644); err != nil {
		t.Fatal(err)
	}
	next := read()
	if re, no := before.Changes(next); len(re) != 1 || len(no) > 0 {
		t.Errorf("taken over %v, waiting for a restart %v", re, no)
	}
	s, err := before.Reloaded(next).Servers.Security()
	if err != nil || len(s.Keys) != 2 || s.TLS != nil {
		t.Errorf("%+v, %v", s, err)
	}
	if err := os.Chmod(file, 0o646); err != nil {
		t.Fatal(err)
	}
	_, problems := parse("o.toml", fmt.Appendf(nil, "[servers]\npublic_key_file = %q", file))
	if len(problems) != 1 || !strings.Contains(problems.Error(), "can be written by every account (mode 0646)") {
		t.Errorf("a file that everybody can change: %v", problems)
	}
}

func TestASecretOfAnotherAccountIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	file := write(t, "password", "s3cret", 0o600)
	if err := os.Chown(file, 65534, 0); err != nil {
		t.Fatal(err)
	}
	_, problems := parse("o.toml", fmt.Appendf(nil, "[servers]\npassword_file = %q", file))
	want := "o.toml:2: servers.password_file: " + file + " belongs to another account (nobody), which can change it: " +
		"chown root " + file
	if problems.Error() != want {
		t.Errorf("%v\nwant %s", problems, want)
	}
}
