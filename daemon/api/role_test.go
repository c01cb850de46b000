package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"orchestrator/daemon/httpd"
	"orchestrator/tests/paper"
)

var roles = []httpd.Role{httpd.ReadOnly, httpd.Operator, httpd.Admin}

// newStaffed is a rig with a user of each role, who is named as the role, and needs to be for reads too.
func newStaffed(t *testing.T) rig {
	return newRig(t, paper.Drawn, func(o *httpd.Options) {
		o.TokenForReads = true
		for _, r := range roles {
			o.Users = append(o.Users, httpd.User{Name: string(r), Role: r, Tokens: "the token of " + string(r)})
		}
	})
}

var inBraces = regexp.MustCompile(`\{\w+\}`)

// Every route that changes something is refused to who may only read, and every route of an admin to an operator. What
// a role allows is not refused for the role, whatever else is wrong with an empty request.
func TestNoRoleDoesMoreThanItMay(t *testing.T) {
	g := newStaffed(t)
	refused := map[httpd.Role]int{}
	for _, m := range g.api.Mounts() {
		if m.Access == httpd.Open {
			continue
		}
		for _, role := range roles {
			request := m.Method + " " + inBraces.ReplaceAllString(m.Path, "db2")
			w := g.ask(t, request, "Authorization: Bearer the token of "+string(role))
			want := fmt.Sprintf(`this needs the role \"%s\", and %s has \"%s\"`, m.Access.Role(), role, role)
			if may, got := role.May(m.Access), !strings.Contains(w.Body.String(), want); got != may {
				t.Errorf("%s as %s: %d %s", request, role, w.Code, w.Body)
			} else if !may && w.Code != http.StatusForbidden {
				t.Errorf("%s as %s: status %d", request, role, w.Code)
			} else if !may {
				refused[role]++
			}
			if role == httpd.ReadOnly && (m.Method != http.MethodGet) == role.May(m.Access) {
				t.Errorf("%s: who may only read may do it: %v", request, role.May(m.Access))
			}
		}
	}
	if refused[httpd.ReadOnly] < 15 || refused[httpd.Operator] < 7 || refused[httpd.Admin] != 0 {
		t.Errorf("refused, by role: %v", refused)
	}
}

// The table of docs/api.md has the least role of every route, and the document too.
func TestTheLeastRolesAreInTheGuide(t *testing.T) {
	guide, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	g := newStaffed(t)
	var d struct {
		Paths map[string]map[string]struct {
			Role httpd.Role `json:"x-role"`
		}
	}
	w := g.ask(t, "GET /api/v1/openapi.json", "Authorization: Bearer the token of read")
	if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	for _, rt := range g.api.Routes() {
		want := rt.Access.Role()
		if got := d.Paths[rt.Path][strings.ToLower(rt.Method)].Role; got != want {
			t.Errorf("the document says that %s needs %q, want %q", rt.Pattern(), got, want)
		}
		if want == "" {
			want = "none"
		}
		rows := slices.Collect(strings.Lines(string(guide)))
		i := slices.IndexFunc(rows, func(row string) bool { return strings.HasPrefix(row, "| `"+rt.Path+"` |") })
		if i < 0 {
			continue // several paths in one row: TestEveryRouteIsInTheGuide
		}
		if got := roleIn(strings.Split(rows[i], " | ")[2], rt.Method); got != string(want) {
			t.Errorf("docs/api.md says that %s needs %q, want %q", rt.Pattern(), got, want)
		}
	}
}

// roleIn reads "read; operate: POST; admin: DELETE". A role without methods is that of all others.
func roleIn(cell, method string) (role string) {
	for part := range strings.SplitSeq(cell, "; ") {
		name, methods, some := strings.Cut(part, ": ")
		if !some && role == "" || slices.Contains(strings.Split(methods, ", "), method) {
			role = name
		}
	}
	return role
}

// Who has signed a change, and who has sent it, are both kept where they differ.
func TestAUserSignsWithTheirOwnName(t *testing.T) {
	const recover = `POST /api/v1/clusters/db1/recover {"by":%q,"reason":"the disk died"}`
	for _, c := range []struct{ token, by, want string }{
		{"the token of operate", "operate", "operate"},
		{"the token of operate", "", "operate"},
		{"the token of operate", "ann", "ann (sent by operate)"},
		{"the token of all", "ann", "ann"},
	} {
		g := newRig(t, "db1 down\n  db2 io=no\n  db3 io=no", func(o *httpd.Options) {
			o.Token = "the token of all"
			o.Users = []httpd.User{{Name: "operate", Role: httpd.Operator, Tokens: "the token of operate"}}
		})
		g.Episodes.All = nil
		w := g.ask(t, fmt.Sprintf(recover, c.by), "Authorization: Bearer "+c.token)
		if w.Code != http.StatusOK || len(g.Requests.All) != 1 || g.Requests.All[0].By != c.want {
			t.Errorf("%q with %s: %d %s %+v", c.by, c.token, w.Code, w.Body, g.Requests.All)
		}
		w = g.ask(t, fmt.Sprintf(`PUT /api/v1/instances/db2/downtime {"owner":%q,"reason":"x","duration":"1h"}`, c.by),
			"Authorization: Bearer "+c.token)
		if v := g.Fleet.Snapshot.Server(g.Fleet.Snapshot.Servers[1].Key); w.Code != http.StatusOK &&
			w.Code != http.StatusNoContent {
			t.Errorf("%q with %s: %d %s %v", c.by, c.token, w.Code, w.Body, v)
		}
	}
}

// The log of changes says who was proved to send each.
func TestTheLogSaysWhoChanges(t *testing.T) {
	g := newStaffed(t)
	r := httptest.NewRequest("DELETE", "/api/v1/instances/db2/downtime", nil)
	r.Header.Set("Authorization", "Bearer the token of operate")
	g.ServeHTTP(httptest.NewRecorder(), r)
	if log := g.log.String(); !strings.Contains(log, `who="operate (token)"`) || strings.Contains(log, "the token of") {
		t.Error(log)
	}
}
