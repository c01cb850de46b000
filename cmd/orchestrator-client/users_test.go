package main

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"orchestrator/daemon/api"
	"orchestrator/daemon/httpd"
	"orchestrator/tests/paper"
)

// The token of a user is sent as any other, and what its role does not allow is said in the daemon's words.
func TestTheTokenOfAUser(t *testing.T) {
	d := paper.New(drawn)
	a, err := api.New(d.Nouns(), api.Options{})
	if err != nil {
		t.Fatal(err)
	}
	root, err := httpd.New(httpd.Options{TokenForReads: true, Credentials: httpd.Credentials{Users: []httpd.User{
		{Name: "ann", Role: httpd.ReadOnly, Tokens: "ann-has-this-token"},
		{Name: "bob", Role: httpd.Operator, Tokens: "bob-has-this-token"},
	}}}, a.Mounts()...)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(root)
	defer s.Close()
	as := func(user string) desk {
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(user+"-has-this-token\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return desk{d, map[string]string{"ORCHESTRATOR_API": s.URL, "ORCHESTRATOR_TOKEN_FILE": file, "USER": user}}
	}
	for _, c := range []struct {
		user, args string
		code       int
		says       string
	}{
		{"ann", "clusters", 0, "web1:3307"},
		{"ann", "alias db2 main", 1, `this needs the role "operate", and ann has "read"`},
		{"bob", "alias db2 main", 0, "also called main"},
		{"bob", "acknowledge db1-3306-2 --comment seen --by cid", 0, ""},
		{"bob", "forget db2", 1, `this needs the role "admin", and bob has "operate"`},
	} {
		code, out, errs := as(c.user).run(t, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(out+errs, c.says) || strings.Contains(out+errs, "-has-this-token") {
			t.Errorf("%s: %s: %d %s%s", c.user, c.args, code, out, errs)
		}
	}
	// The account signs only where no user is known: root with bob's token is bob.
	rooted := as("bob")
	rooted.env["USER"] = "root"
	rooted.must(t, 0, "acknowledge", "db1-3306-2", "--comment", "again")
	if out := rooted.must(t, 0, "episode", "db1-3306-2"); !strings.Contains(out, "bob: again") {
		t.Errorf("signed as root: %s", out)
	}
	if out := rooted.must(t, 0, "audit", "--since", "0"); strings.Contains(out, "root") {
		t.Errorf("signed as root: %s", out)
	}
	for _, who := range []string{"bob", "cid", "cid (sent by bob)"} {
		out := as("bob").must(t, 0, "audit", "--since", "0", "--who", who)
		if strings.Count(out, "bob (signed cid)") != 1 {
			t.Errorf("--who %s: %s", who, out)
		}
	}
}
