package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"orchestrator/daemon/api"
	"orchestrator/daemon/audit"
	"orchestrator/daemon/httpd"
	"orchestrator/daemon/topology"
	"orchestrator/tests/paper"
)

// page asks for audit records.
func page(t *testing.T, g rig, query string) api.AuditPage {
	t.Helper()
	w := g.ask(t, "GET /api/v1/audit"+query)
	var p api.AuditPage
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != 200 {
		t.Fatalf("%s: %d, %v: %s", query, w.Code, err, w.Body)
	}
	return p
}

// Every route that changes anything makes one record of each request: who, from where, what, and the outcome. Those
// that read make none.
func TestEveryChangeIsAudited(t *testing.T) {
	const token = "a token that nobody guesses"
	g := newRig(t, paper.Drawn, func(o *httpd.Options) { o.Token = token })
	changes := 0
	for _, rt := range g.api.Routes() {
		path := strings.NewReplacer("{cluster}", "db1", "{key}", "db2", "{id}", "db1-3306-2", "{name}", "dc").
			Replace(rt.Path)
		before := len(page(t, g, "").Records)
		w := g.ask(t, rt.Method+" "+path+" {}", "Authorization: Bearer "+token)
		records := page(t, g, "").Records
		if !rt.Changes {
			if len(records) != before {
				t.Errorf("%s, which reads, is recorded", rt.Pattern())
			}
			continue
		}
		changes++
		if len(records) != before+1 {
			t.Errorf("%s made %d records", rt.Pattern(), len(records)-before)
			continue
		}
		r := records[before]
		if r.Method+" "+r.Route != rt.Pattern() || r.Status != w.Code || (r.Status >= 400) != (r.Error != "") ||
			r.From != "192.0.2.1:1234" || r.Who != (audit.Who{Name: httpd.SharedToken, Role: "admin", Proof: "token"}) {
			t.Errorf("%s, answered with %d, is recorded as %+v", rt.Pattern(), w.Code, r)
		}
		if strings.Contains(path, "db") && r.Cluster != "db1:3306" {
			t.Errorf("%s is recorded for cluster %q", rt.Pattern(), r.Cluster)
		}
		if strings.Contains(fmt.Sprintf("%+v", r), token) {
			t.Errorf("%s: the token is recorded", rt.Pattern())
		}
		if w := g.ask(t, rt.Method+" "+path+" {}"); w.Code != 401 || len(page(t, g, "").Records) != before+1 {
			t.Errorf("%s without the token: %d, and it is recorded", rt.Pattern(), w.Code)
		}
	}
	if changes < 15 {
		t.Errorf("only %d routes change anything", changes)
	}
}

// broken panics in the middle of a change, and where a cluster is looked for.
type broken struct {
	api.Declarations
	api.Fleet
	when string
}

func (b broken) SetTag(context.Context, topology.Key, string, string) error { panic("in " + b.when) }

func (b broken) View(name string) (api.View, bool) {
	if b.when == "the fleet" && name != "" {
		panic("in " + b.when)
	}
	return b.Fleet.View(name)
}

// A change that has begun has its record, wherever a defect ends it; its client has an answer, the log has the stack.
func TestAPanicIsAudited(t *testing.T) {
	for _, when := range []string{"the change", "the fleet"} {
		g := newRig(t, paper.Drawn, func(o *httpd.Options) {
			o.Users = []httpd.User{{Name: "ann", Role: httpd.Operator, Tokens: "ann-has-this-token"}}
		})
		n := g.Nouns()
		b := broken{n.Declarations, n.Fleet, when}
		n.Declarations, n.Fleet = b, b
		g.mount(t, n)
		w := g.ask(t, `PUT /api/v1/instances/db2/tags/dc {"value":"west"}`, "Authorization: Bearer ann-has-this-token")
		expect(t, w, http.StatusInternalServerError, "a defect of the daemon")
		records := page(t, g, "?who=ann").Records
		if len(records) != 1 {
			t.Fatalf("%s: it made %d records", when, len(records))
		}
		r := records[0]
		if !r.Panicked || r.Status != http.StatusInternalServerError || !strings.HasPrefix(r.Error, "panicked: ") ||
			r.Change != "setTag" || r.Who.Name != "ann" || r.From == "" || when == "the change" && (r.Cluster == "" ||
			r.Target["key"] != "db2" || string(r.Parameters) != `{"value":"west"}`) {
			t.Errorf("%s: it is recorded as %+v", when, r)
		}
		if log := g.log.String(); !strings.Contains(log, `panic="in `+when) ||
			!strings.Contains(log, "api_test.broken.") {
			t.Errorf("%s: the log has no stack: %s", when, log)
		}
	}
}

func TestWhatARecordSays(t *testing.T) {
	g := newRig(t, paper.Drawn)
	g.Fleet.Aliases["web1:3307"] = "shop"
	g.ask(t, `PUT /api/v1/instances/web2:3307/tags/dc {"value":"west"}`)
	g.ask(t, `PUT /api/v1/recoveries {"on":false,"by":"ann","reason":"works"}`)
	g.ask(t, `POST /api/v1/episodes/db1-3306-2/acknowledgement {"by":"bob","comment":"seen"}`)
	g.ask(t, "DELETE /api/v1/instances/db2")
	g.ask(t, `PUT /api/v1/recoveries {"on":false,"by":"ann","reason":"`+strings.Repeat("x", 5000)+`"}`)
	g.ask(t, `PUT /api/v1/recoveries {"on":1}`)
	records := page(t, g, "").Records
	var got []string
	for _, r := range records {
		got = append(got, fmt.Sprintf("%s %v %s by=%s %s %.40s %.20s %d", r.Change, r.Target, r.Cluster, r.By,
			r.Parameters, r.Reason, r.Error, r.Status))
	}
	want := []string{
		`setTag map[key:web2:3307 name:dc] web1:3307 by= {"value":"west"}   200`,
		`switchRecoveries map[]  by=ann {"on":false,"by":"ann","reason":"works"} works  200`,
		`acknowledgeEpisode map[id:db1-3306-2] db1:3306 by=bob {"by":"bob","comment":"seen"} seen  200`,
		`forgetInstance map[key:db2] db1:3306 by=    204`,
	}
	for i, w := range want {
		if got[i] != w {
			t.Errorf("record %d: %s, want %s", i+1, got[i], w)
		}
	}
	if long := records[4]; len(long.Parameters) > 200 || !strings.Contains(string(long.Parameters), `"sha256"`) {
		t.Errorf("a long body is recorded as %s", long.Parameters)
	}
	if bad := records[5]; bad.Status != 400 || !strings.Contains(bad.Error, `field "on"`) {
		t.Errorf("a wrong body is recorded as %+v", bad)
	}
}

func TestPagesOfTheAudit(t *testing.T) {
	g := newRig(t, paper.Drawn)
	for range 5 {
		g.ask(t, `PUT /api/v1/recoveries {"on":false,"by":"ann","reason":"works"}`)
		g.ask(t, `PUT /api/v1/instances/db2/tags/dc {"value":"west"}`)
	}
	var numbers []int64
	for after, pages := "", 0; pages == 0 || after != ""; pages++ {
		p := page(t, g, "?limit=2&who=ann&after="+after)
		for _, r := range p.Records {
			numbers = append(numbers, r.Number)
		}
		after = p.Next
	}
	if fmt.Sprint(numbers) != "[1 3 5 7 9]" {
		t.Errorf("the pages have %v", numbers)
	}
	for _, request := range []string{"GET /api/v1/audit?format=lines", "GET /api/v1/audit"} {
		var headers []string
		if !strings.Contains(request, "lines") {
			headers = append(headers, "Accept: application/x-ndjson")
		}
		w := g.ask(t, request, headers...)
		kept, unreadable := audit.Import(w.Body.Bytes())
		if chains := audit.Verify(kept); w.Header().Get("Content-Type") != "application/x-ndjson" ||
			len(unreadable) > 0 || len(chains) != 1 || chains[0].Records != 10 || len(chains[0].Broken) > 0 {
			t.Errorf("%s: %v, %q, %+v", request, w.Header(), unreadable, chains)
		}
	}
	expect(t, g.ask(t, "GET /api/v1/audit?format=lines&who=ann"), http.StatusBadRequest, "leave out")
	expect(t, g.ask(t, "GET /api/v1/audit?after=d1/99"), http.StatusNotFound, "removed by age")
}

// Who has proved a name and lacks the role is recorded; who has proved nothing is not.
func TestWhoLacksTheRoleIsAudited(t *testing.T) {
	g := newStaffed(t)
	records := func() []audit.Record {
		var p api.AuditPage
		w := g.ask(t, "GET /api/v1/audit", "Authorization: Bearer the token of admin")
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatalf("%v: %s", err, w.Body)
		}
		return p.Records
	}
	for _, rt := range g.api.Routes() {
		path := strings.NewReplacer("{cluster}", "db1", "{key}", "db2:3306", "{id}", "db1-3306-2", "{name}", "d%63").
			Replace(rt.Path)
		before := len(records())
		w := g.ask(t, rt.Method+" "+path+` {"secret":"x"}`, "Authorization: Bearer the token of read")
		g.ask(t, rt.Method+" "+path+" {}", "Authorization: Bearer a wrong token")
		g.ask(t, rt.Method+" "+path+" {}")
		after := records()
		if !rt.Changes {
			if len(after) != before {
				t.Errorf("%s, which reads, is recorded", rt.Pattern())
			}
			continue
		}
		if len(after) != before+1 {
			t.Errorf("%s made %d records", rt.Pattern(), len(after)-before)
			continue
		}
		r := after[before]
		if r.Method+" "+r.Route != rt.Pattern() || r.Status != 403 || w.Code != 403 || r.Who.Name != "read" ||
			r.Who.Role != "read" || !strings.Contains(r.Error, "needs the role") || r.Parameters != nil {
			t.Errorf("%s is recorded as %+v", rt.Pattern(), r)
		}
		if strings.Contains(path, "db") && r.Cluster != "db1:3306" {
			t.Errorf("%s is recorded for cluster %q", rt.Pattern(), r.Cluster)
		}
		if name, ok := r.Target["name"]; ok && name != "dc" {
			t.Errorf("%s is recorded for %q", rt.Pattern(), r.Target)
		}
	}
}
