package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// userFiles are token files beside a configuration.
func userFiles(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range map[string]string{
		"ann": "a s3cret token of ann's\nan old s3cret token of ann's\n", "bob": "a s3cret token of bob's\n",
		"same": "another s3cret token\nan old s3cret token of ann's\n", "short": "s3cret\n",
		"all": "a s3cret token for all\n", "ca.pem": selfSigned(t, 1e12)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func userBlock(name, role, more string) string {
	return fmt.Sprintf("[[user]]\nname = %q\nrole = %q\n%s\n", name, role, more)
}

func TestWhatIsWrongWithUsers(t *testing.T) {
	dir := userFiles(t)
	ann := userBlock("ann", "admin", `token_file = "ann"`)
	const proxy = "[http]\nidentity_header = \"X-Remote-User\"\nidentity_from = [\"10.0.0.7\", \"10.1.0.0/16\"]\n"
	for _, c := range []struct{ name, toml, want string }{
		{"an admin", ann, ""},
		{"several", ann + userBlock("bob@example.com", "read", `token_file = "bob"`), ""},
		{"users guard an open port", "[http]\nlisten = \":3000\"\ntoken_for_reads = true\n" + ann, ""},
		{"one name twice", ann + userBlock("ann", "read", `token_file = "bob"`),
			`user[1].name: "ann" is the name of two users; each needs its own. To change a token, write the new one ` +
				"into the same file"},
		{"no name", "[[user]]\nrole = \"admin\"\ntoken_file = \"ann\"\n", `user[0].name: "" is not a valid ` +
			`name: use up ` +
			"to 128 letters, digits and _ . @ : / + -, beginning with a letter or digit; the audit and logs use it"},
		{"the name of the file", userBlock("http.token_file", "admin", `token_file = "ann"`), `user[0].name: ` +
			`"http.token_file" stands for anyone who has a token of that file; choose another name`},
		{"a role that is none", ann + userBlock("bob", "root", `token_file = "bob"`), `user[1].role: "root" is not ` +
			`allowed; it must be "read", "operate" or "admin"`},
		{"a role of nearly that name", ann + userBlock("bob", "operator", `token_file = "bob"`), `user[1].role: ` +
			`"operator" is not allowed; it must be "read", "operate" or "admin"; did you mean "operate"?`},
		{"no role", ann + "[[user]]\nname = \"bob\"\ntoken_file = \"bob\"\n",
			`user[1].role: is missing; it must be "read", "operate" or "admin"`},
		{"no admin", userBlock("ann", "operate", `token_file = "ann"`), `user: no user has the role "admin", ` +
			`and there ` +
			"is no http.token_file: nobody could switch recoveries off; give one the role, or set http.token_file"},
		{"no admin besides who has the file", "[http]\ntoken_file = \"all\"\n" +
			userBlock("ann", "operate", `token_file = "ann"`), ""},
		{"a short token", userBlock("ann", "admin", `token_file = "short"`), "user[0].token_file: DIR/short has " +
			"a token " +
			"of 6 characters (number 1); it must have at least 16: openssl rand -hex 32 makes one"},
		{"a token in the file", "[[user]]\nname = \"ann\"\nrole = \"admin\"\ntoken = " +
			"\"s3cret\"\n", "user[0].token: unknown key; secrets do not belong in this file: put it into a file of " +
			"its own, and set token_file to the path"},
		{"one token of two users", ann + userBlock("bob", "read", `token_file = "same"`), "user[1].token_file: " +
			"DIR/same " +
			"has a token (number 2) that ann has too: nobody could tell the two apart; make another one: " +
			"openssl rand " +
			"-hex 32"},
		{"the token of all", "[http]\ntoken_file = \"ann\"\n" + ann, "user[0].token_file: DIR/ann has a token " +
			"(number " +
			"1) that http.token_file has too: nobody could tell the two apart; make another one: openssl rand " +
			"-hex 32\n" +
			"user[0].token_file: DIR/ann has a token (number 2) that http.token_file has too: nobody could tell " +
			"the two " +
			"apart; make another one: openssl rand -hex 32"},
		{"no token", ann + userBlock("bob", "read", ""), "user[1]: nobody can prove to be bob: set token_file; or " +
			"http.identity_header, where a proxy names users; or http.client_ca, for certificates"},
		{"a proxy", proxy + userBlock("bob", "admin", ""), ""},
		{"a proxy without networks", "[http]\nidentity_header = \"X-Remote-User\"\n" + ann,
			"http.identity_header: needs http.identity_from, the addresses of the proxies that are believed"},
		{"networks without a header", "[http]\nidentity_from = [\"10.0.0.7\"]\n" + ann,
			"http.identity_from: needs http.identity_header, the header in which the proxy names the user"},
		{"a proxy without users", proxy + "token_file = \"all\"\n", "http.identity_header: needs a [[user]] for each " +
			"name that the proxy sends, which has the role of that user"},
		{"everybody is the proxy", "[http]\nidentity_header = \"X-Remote-User\"\nidentity_from = [\"::/0\"]\n" + ann,
			"http.identity_from[0]: ::/0 is everybody: anyone could claim to be an admin; name the addresses of the " +
				"proxies"},
		{"no network", "[http]\nidentity_header = \"X-Remote-User\"\nidentity_from = [\"10.0.0.7/8\"]\n" + ann,
			`http.identity_from[0]: "10.0.0.7/8" is not an address or a network; write "10.0.0.1" or "10.0.0.0/8"`},
		{"a header of HTTP's own", strings.Replace(proxy, "X-Remote-User", "authorization", 1) + ann,
			`http.identity_header: "authorization" can't be that header; write a name such as "X-Remote-User"`},
		{"authorities without TLS", "[http]\nclient_ca = \"ca.pem\"\n" + ann, "http.client_ca: needs " +
			"http.tls_cert and " +
			"http.tls_key: clients show certificates to a daemon that serves HTTPS"},
		{"users that are no blocks", "user = 1", "user: must be blocks that begin with [[user]]; got 1"},
	} {
		var got []string
		for _, p := range problemsOf(filepath.Join(dir, "o.toml"), c.toml) {
			got = append(got, p.Key+": "+strings.ReplaceAll(p.Says, dir, "DIR"))
		}
		slices.Sort(got)
		if all := strings.Join(got, "\n"); all != c.want || strings.Contains(all, "s3cret") {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, all, c.want)
		}
	}
}

// A reload replaces users and their tokens. It does not bring the first user, nor take the last: then the port would be
// guarded otherwise than http.listen, which waits for a restart, was meant to be.
func TestUsersAreReplacedByAReload(t *testing.T) {
	dir := userFiles(t)
	read := func(text string) Config {
		c, problems := parse(filepath.Join(dir, "o.toml"), []byte(text))
		if problems != nil {
			t.Fatal(problems)
		}
		return c
	}
	ann, bob := userBlock("ann", "admin", `token_file = "ann"`), userBlock("bob", "read", `token_file = "bob"`)
	none, one, two := read(""), read(ann), read(ann+bob)
	for _, c := range []struct {
		old, new Config
		users    int
		waits    bool
	}{{one, two, 2, false}, {two, one, 1, false}, {none, one, 0, true}, {one, none, 1, true}} {
		if got := c.old.Reloaded(c.new); len(got.Users) != c.users {
			t.Errorf("from %d to %d users: %d", len(c.old.Users), len(c.new.Users), len(got.Users))
		}
		if _, no := c.old.Changes(c.new); slices.Contains(no, "user") != c.waits {
			t.Errorf("from %d to %d users: waits for a restart: %v", len(c.old.Users), len(c.new.Users), no)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bob"), []byte("a new s3cret token"), 0o600); err != nil {
		t.Fatal(err)
	}
	if re, _ := two.Changes(read(ann + bob)); !slices.Equal(re, []string{"user"}) {
		t.Errorf("another token in the file: %v", re)
	}
	shown := fmt.Sprintf("%v %+v %#v %s", two, two.Users, two.Users, two.String())
	if strings.Contains(shown, "s3cret") || !strings.Contains(two.String(), "[[user]]\nname = \"ann\"") {
		t.Errorf("%s", shown)
	}
}
