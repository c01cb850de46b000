package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/api"
	"orchestrator/daemon/drawing"
	"orchestrator/daemon/httpd"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/tests/paper"
)

// Each case: what is asked, the status, and what the answer must contain.
func TestReads(t *testing.T) {
	for _, c := range []struct {
		request string
		status  int
		want    []string
	}{
		{"GET /api/v1/clusters", 200, []string{`"name":"db1:3306"`, `"codes":["DeadPrimary"]`, `"episode":"db1-3306-2"`,
			`"name":"web1:3307"`}},
		{"GET /api/v1/clusters/db1:3306", 200, []string{`"primary":"db1:3306"`, `"drawing":"`,
			`"drain_timeout_seconds":10`, `"ready":true`, `"candidate":"db2:3306"`}},
		{"GET /api/v1/clusters/db3", 200, []string{`"name":"db1:3306"`}},
		{"GET /api/v1/clusters/DB3%3A3306", 200, []string{`"name":"db1:3306"`}},
		{"GET /api/v1/clusters/shop", 200, []string{`"name":"web1:3307"`, `"alias":"shop"`}},
		{"GET /api/v1/clusters/shp", 404, []string{`near are shop`, `"near":["shop"]`}},
		{"GET /api/v1/clusters/db9", 404, []string{`db1:3306`}},
		{"GET /api/v1/clusters/%3Cscript%3E", 400, []string{"no name of a cluster"}},
		{"GET /api/v1/clusters/%00", 400, []string{"not readable text"}},
		{"GET /api/v1/clusters/%ff%fe", 400, []string{"not readable text"}},
		{"GET /api/v1/clusters/..%2f..%2fetc", 400, []string{"no name of a cluster"}},
		{"GET /api/v1/clusters/db1/drawing", 200, []string{"db1", "db2", "db3"}},
		{"GET /api/v1/clusters/db1/findings", 200, []string{`"code":"DeadPrimary"`, `"evidence":[`}},
		{"GET /api/v1/clusters/web1:3307/findings", 200, []string{`[]`}},
		{"GET /api/v1/clusters/db1/plan", 200, []string{`"now":{`, `"stop_receiver"`, `"if_dead":{`, `"candidates":[`,
			`"reasons":[`}},
		{"GET /api/v1/clusters/web1:3307/plan?dead=web2:3307", 200, []string{`"dead":"web2:3307"`}},
		{"GET /api/v1/clusters/web1:3307/plan?dead=db1", 404, []string{"no server"}},
		{"GET /api/v1/clusters/web1:3307/plan?ded=web2", 400, []string{`did you mean \"dead\"?`}},
		{"GET /api/v1/clusters?x=1", 400, []string{"this takes none"}},
		{"GET /api/v1/instances", 200, []string{`"key":"db1:3306"`, `"key":"web2:3307"`}},
		{"GET /api/v1/instances?cluster=shop", 200, []string{`[{"key":"web1:3307"`}},
		{"GET /api/v1/instances?cluster=db1&cluster=db2", 400, []string{"given 2 times"}},
		{"GET /api/v1/instances/db2", 200, []string{`"key":"db2:3306"`, `"io":"connecting"`}},
		{"GET /api/v1/instances/db22", 404, []string{`near are db2:3306`}},
		{"GET /api/v1/instances/db2:port", 400, []string{"port must be a number from 1 to 65535"}},
		{"GET /api/v1/instances/[::1]:3306", 404, []string{"[::1]:3306"}},
		{"GET /api/v1/instances/a%20b", 400, []string{"want host or host:port"}},
		{"GET /api/v1/findings", 200, []string{`"code":"DeadPrimary"`}},
		{"GET /api/v1/findings?cluster=shop", 200, []string{`[]`}},
		{"GET /api/v1/episodes", 200, []string{`"id":"db1-3306-2"`, `"id":"old-3306-1"`}},
		{"GET /api/v1/episodes?open=false", 200, []string{`[{"id":"old-3306-1"`}},
		{"GET /api/v1/episodes?open=maybe", 400, []string{"true, false"}},
		{"GET /api/v1/episodes?cluster=old:3306", 200, []string{`"id":"old-3306-1"`}},
		{"GET /api/v1/episodes?cluster=nobody", 404, []string{"no cluster"}},
		{"GET /api/v1/episodes/db1-3306-2", 200, []string{`"steps":[{"kind":"stop_receiver"`, `"took_seconds":0.0015`,
			`"error":"lost `}},
		{"GET /api/v1/episodes/db1-3306-3", 404, []string{`near are db1-3306-2`}},
		{"GET /api/v1/recoveries", 200, []string{`{"on":true}`}},
		{"GET /api/v1/snapshot", 200, []string{`"at":"2026-01-01T00:00:10Z"`, `"servers":[`}},
		{"GET /api/v1/snapshot?cluster=shop&format=drawing", 200, []string{"web1:3307", "web2:3307"}},
		{"GET /api/v1/snapshot?format=yaml", 400, []string{"json, drawing"}},
		{"GET /api/v1/status", 200, []string{`"daemon":"d1"`, `"leading":true`, `"term":7`}},
		{"GET /health/live", 200, []string{"live"}},
		{"GET /health/ready", 200, []string{"ready"}},
		{"GET /health/leader", 200, []string{"leader"}},
		{"GET /metrics", 200, []string{"orchestrator_api_request_duration_seconds"}},
		{"GET /api/v1/openapi.json", 200, []string{`"openapi":"3.1.0"`}},
		{"GET /api/v1/cluster", 404, []string{`"near":["/api/v1/clusters"`, "openapi.json"}},
		{"GET /", 404, []string{"openapi.json"}},
		{"PATCH /api/v1/clusters", 405, []string{"it takes GET, HEAD"}},
		{"POST /api/v1/recoveries {}", 405, []string{"GET, HEAD, PUT"}},
		{"GET /api/v1/instances/db2/downtime", 405, []string{"PUT, DELETE"}},
	} {
		t.Run(c.request, func(t *testing.T) {
			g := newRig(t, paper.Drawn)
			g.Fleet.Aliases["web1:3307"] = "shop"
			g.ask(t, "GET /health/live") // so that there is something to count
			expect(t, g.ask(t, c.request), c.status, c.want...)
			if len(g.Changes) > 0 {
				t.Errorf("a read changed something: %v", g.Changes)
			}
		})
	}
}

func expect(t *testing.T, w *httptest.ResponseRecorder, status int, want ...string) {
	t.Helper()
	body := w.Body.String()
	if w.Code != status {
		t.Errorf("status %d, want %d: %s", w.Code, status, body)
	}
	for _, s := range want {
		if !strings.Contains(body, s) {
			t.Errorf("answer lacks %s: %s", s, body)
		}
	}
	if media := w.Header().Get("Content-Type"); (status >= 400) != (media == "application/problem+json") {
		t.Errorf("status %d comes as %q", status, media)
	}
}

// An emptied intermediate is not shown as the primary, although more servers follow it.
func TestThePrimaryByRightIsShown(t *testing.T) {
	g := newRig(t, "db1 of=c exec=db1:1-100\ndb2 of=c exec=none\n  db3 exec=db1:1-90\n  db4 exec=db1:1-90")
	expect(t, g.ask(t, "GET /api/v1/clusters/c"), 200, `"primary":"db1:3306"`, "it is the primary, and db2:3306 was")
	expect(t, g.ask(t, "GET /api/v1/clusters"), 200, `"primary":"db1:3306"`)
}

func TestChanges(t *testing.T) {
	for _, c := range []struct {
		request string
		status  int
		did     string // what the daemon was asked to do; "" nothing
		want    string
	}{
		{`PUT /api/v1/clusters/db2/alias {"alias":"main"}`, 200, "alias db1:3306 main", `"main"`},
		{`PUT /api/v1/clusters/db2/alias {"alias":""}`, 200, "alias db1:3306 ", ``},
		{`PUT /api/v1/clusters/db2/alias {"alias":"shop"}`, 409, "", `already means cluster web1:3307`},
		{`PUT /api/v1/clusters/db2/alias {"alias":"web1_x:9"}`, 400, "", `letters, digits`},
		{`POST /api/v1/instances/DB2`, 200, "discover db2:3306", `"key":"db2:3306"`},
		{`POST /api/v1/instances/nobody`, 502, "", `does a server listen there?`},
		{`POST /api/v1/instances/no%20body`, 400, "", `want host or host:port`},
		{`POST /api/v1/instances/db2 {"force":true}`, 400, "", `there is no field \"force\"; this takes none`},
		{`DELETE /api/v1/instances/db2`, 204, "forget db2:3306", ``},
		{`DELETE /api/v1/instances/db7`, 404, "", `near are db1:3306`},
		{`PUT /api/v1/instances/db2/downtime {"owner":"ann","reason":"disk","duration":"2h"}`, 200, "downtime db2:3306 ann disk 2026-01-01T02:00:10Z", `"until":"2026-01-01T02:00:10Z"`},
		{`PUT /api/v1/instances/db2/downtime {"owner":"ann","reason":"disk","until":"2026-01-02T00:00:00Z"}`, 200, "downtime db2:3306 ann disk 2026-01-02T00:00:00Z", ``},
		{`PUT /api/v1/instances/db2/downtime {"owner":"ann","reason":"disk"}`, 400, "", `either`},
		{`PUT /api/v1/instances/db2/downtime {"owner":"ann","reason":"disk","until":"yesterday"}`, 400, "", `field \"until\"`},
		{`PUT /api/v1/instances/db2/downtime {"owner":"ann","reason":"disk","until":"2020-01-02T00:00:00Z"}`, 400, "", `before it begins`},
		{`PUT /api/v1/instances/db2/downtime {"owner":"ann","reason":"disk","duration":"2 hours"}`, 400, "", `write 30m or 2h`},
		{`PUT /api/v1/instances/db2/downtime {"owner":"ann","reason":"disk","duration":"90000h"}`, 400, "", `surely a mistake`},
		{`PUT /api/v1/instances/db2/downtime {"reason":"disk","duration":"2h"}`, 400, "", `field \"owner\" is missing`},
		{`PUT /api/v1/instances/db2/downtime {"ower":"ann"}`, 400, "", `did you mean \"owner\"?`},
		{`PUT /api/v1/instances/db2/downtime {"Owner":"ann"}`, 400, "", `did you mean \"owner\"?`},
		{`PUT /api/v1/instances/db2/downtime {"owner":7}`, 400, "", `field \"owner\": must be a string, not number`},
		{`PUT /api/v1/instances/db2/downtime {"owner":"ann"`, 400, "", `not JSON: at byte 14`},
		{`PUT /api/v1/instances/db2/downtime {} {}`, 400, "", `not JSON`},
		{`PUT /api/v1/instances/db2/downtime ["ann"]`, 400, "", `must be a JSON object`},
		{`PUT /api/v1/instances/db2/downtime null`, 400, "", `is null`},
		{`PUT /api/v1/instances/db2/downtime`, 400, "", `send a JSON object with owner, reason, until, duration`},
		{`DELETE /api/v1/instances/db2/downtime`, 204, "end downtime db2:3306", ``},
		{`PUT /api/v1/instances/db2/tags/dc {"value":"west"}`, 200, "tag db2:3306 dc=west", `{"value":"west"}`},
		{`PUT /api/v1/instances/db2/tags/d%2Fc {"value":"west"}`, 400, "", `letters, digits`},
		{`PUT /api/v1/instances/db2/tags/dc {"value":"` + strings.Repeat("x", 1025) + `"}`, 400, "", `at most 1024`},
		{`PUT /api/v1/instances/db2/tags/dc {"value":"` + strings.Repeat("x", api.MaxBody) + `"}`, 413, "",
			`larger than 1048576 bytes`},
		{`PUT /api/v1/instances/db2/tags/dc {"value":"\u001b[2J"}`, 400, "", `control characters`},
		{`PUT /api/v1/instances/db2/downtime {"owner":"ann","reason":"a\u202eb","duration":"1h"}`, 400, "", `text direction`},
		{`DELETE /api/v1/instances/db2/tags/dc`, 204, "untag db2:3306 dc", ``},
		{`PUT /api/v1/instances/db2/promotion-rule {"rule":"must_not"}`, 200, "rule db2:3306 must_not", ``},
		{`PUT /api/v1/instances/db2/promotion-rule {"rule":"mustnot"}`, 400, "", `did you mean \"must_not\"?`},
		{`PUT /api/v1/instances/db2/promotion-rule {"rule":""}`, 400, "", `prefer, neutral, prefer_not, must_not`},
		{`POST /api/v1/episodes/db1-3306-2/acknowledgement {"by":"ann","comment":"disk died"}`, 200, "acknowledge db1-3306-2 ann disk died", `"acknowledged":{`},
		{`POST /api/v1/episodes/db1-3306-9/acknowledgement {"by":"ann","comment":"x"}`, 404, "", `near are db1-3306-2`},
		{`POST /api/v1/episodes/db1-3306-2/acknowledgement {"by":"ann"}`, 400, "", `field \"comment\" is missing`},
		{`PUT /api/v1/declared {"promotion_rules":[{"server":"new1:3306","rule":"must_not"},{"server":"db2:3306","rule":"prefer"}],"tags":[{"server":"db2:3306","name":"dc","value":"west"}]}`,
			200, "rule new1:3306 must_not; tag db2:3306 dc=west", `{"changed":2,"same":1,"over":0}`},
		{`PUT /api/v1/declared {"downtimes":[{"server":"db2:3306","owner":"ann","reason":"disk","until":"2020-01-02T00:00:00Z"},{"server":"db2:3306","owner":"ann","reason":"disk","until":"2026-01-02T00:00:00Z"}]}`,
			200, "downtime db2:3306 ann disk 2026-01-02T00:00:00Z", `{"changed":1,"same":0,"over":1}`},
		{`PUT /api/v1/declared {"aliases":[{"cluster":"db1:3306","alias":"main"}],"forgotten":["db9:3306"],"recoveries_off":{"by":"ann","reason":"night"}}`,
			200, "alias db1:3306 main; forget db9:3306; recoveries false ann night", `"changed":3`},
		{`PUT /api/v1/declared {"tags":[{"server":"db2:3306","name":"dc","value":"west"}],"promotion_rules":[{"server":"db2:3306","rule":"mustnot"}]}`, 400, "", `did you mean \"must_not\"?`},
		{`PUT /api/v1/declared {"forgotten":["no body"]}`, 400, "", `field \"forgotten\"`},
		{`PUT /api/v1/recoveries {"on":false,"by":"ann","reason":"network works"}`, 200, "recoveries false ann network works", `"on":false,"reason":"network works (ann)"`},
		{`PUT /api/v1/recoveries {"on":true,"by":"ann"}`, 200, "recoveries true ann ", `"on":true`},
		{`PUT /api/v1/recoveries {"on":false,"by":"ann"}`, 400, "", `field \"reason\" is missing`},
		{`PUT /api/v1/recoveries {"by":"ann"}`, 400, "", `field \"on\" is missing`},
		{`PUT /api/v1/recoveries {"on":"off"}`, 400, "", `must be true or false, not string`},
	} {
		t.Run(c.request[:min(len(c.request), 90)], func(t *testing.T) {
			g := newRig(t, paper.Drawn)
			g.Fleet.Aliases["web1:3307"] = "shop"
			g.Declarations.All.Rules = []api.DeclaredRule{{topology.Key{Host: "db2", Port: 3306}, topology.Prefer}}
			w := g.ask(t, c.request)
			expect(t, w, c.status, c.want)
			if did := strings.Join(g.Changes, "; "); did != c.did {
				t.Errorf("did %q, want %q", did, c.did)
			}
			if log := g.log.String(); !strings.Contains(log, fmt.Sprintf("status=%d", c.status)) {
				t.Errorf("the change is not in the log: %s", log)
			}
		})
	}
}

func TestAChangeThatIsNotStoredIsNotAcknowledged(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
	}{
		{errors.New("store downtime of db2:3306: the backend is read-only; see `orchestrator doctor`"), 503},
		{fmt.Errorf("%w: somebody else was first", api.ErrConflict), 409},
		{fmt.Errorf("store: %w", api.ErrNotFound), 404},
	} {
		g := newRig(t, paper.Drawn)
		g.Fails = c.err
		for _, request := range []string{
			`DELETE /api/v1/instances/db2/downtime`, `DELETE /api/v1/instances/db2`,
			`PUT /api/v1/instances/db2/tags/dc {"value":"west"}`,
			`PUT /api/v1/instances/db2/promotion-rule {"rule":"prefer"}`,
			`PUT /api/v1/clusters/db1/alias {"alias":"main"}`,
			`PUT /api/v1/recoveries {"on":true,"by":"ann"}`, `PUT /api/v1/instances/db2/downtime {"owner":"a","reason":"b","duration":"1h"}`,
		} {
			expect(t, g.ask(t, request), c.status)
		}
	}
}

func TestAForeignPageCannotChangeAnything(t *testing.T) {
	for _, c := range []struct {
		header string
		status int
	}{
		{"Sec-Fetch-Site: cross-site", 403},
		{"Sec-Fetch-Site: same-site", 403},
		{"Origin: https://evil.example", 403},
		{"Sec-Fetch-Site: same-origin", 204},
		{"Origin: http://example.com", 204}, // the host of httptest's requests
		{"X-Nothing: at all", 204},          // a program, not a browser
	} {
		g := newRig(t, paper.Drawn)
		w := g.ask(t, "DELETE /api/v1/instances/db2", c.header)
		if w.Code != c.status || (len(g.Changes) > 0) != (c.status == 204) {
			t.Errorf("%s: status %d, want %d; did %v", c.header, w.Code, c.status, g.Changes)
		}
	}
	g := newRig(t, paper.Drawn)
	if w := g.ask(t, "GET /api/v1/clusters", "Sec-Fetch-Site: cross-site"); w.Code != 200 ||
		w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("a read: %d %v", w.Code, w.Header())
	}
}

func TestABodyMustBeJSON(t *testing.T) {
	for _, media := range []string{"text/plain", "application/x-www-form-urlencoded", "", "json;;"} {
		g := newRig(t, paper.Drawn)
		expect(t, g.ask(t, `PUT /api/v1/recoveries {"on":true,"by":"ann"}`, "Content-Type: "+media), 415,
			"Content-Type: application/json")
	}
	g := newRig(t, paper.Drawn)
	expect(t, g.ask(t, `PUT /api/v1/recoveries {"on":true,"by":"ann"}`,
		"Content-Type: application/json; charset=utf-8"), 200)
}

func TestTheToken(t *testing.T) {
	const secret = "s3cr3t-t0k3n"
	for _, c := range []struct {
		request, header string
		reads           bool
		status          int
	}{
		{"DELETE /api/v1/instances/db2", "", false, 401},
		{"DELETE /api/v1/instances/db2", "Authorization: Bearer wrong", false, 401},
		{"DELETE /api/v1/instances/db2", "Authorization: Bearer ", false, 401},
		{"DELETE /api/v1/instances/db2", "Authorization: Bearer " + secret, false, 204},
		// ann:s3cr3t-t0k3n
		{"DELETE /api/v1/instances/db2", "Authorization: Basic YW5uOnMzY3IzdC10MGszbg==", false, 204},
		{"GET /api/v1/clusters", "", false, 200},
		{"GET /api/v1/clusters", "", true, 401},
		{"GET /metrics", "", true, 401},
		{"GET /health/ready", "", true, 200},
		{"GET /api/v1/clusters", "Authorization: Bearer " + secret, true, 200},
	} {
		g := newRig(t, paper.Drawn, func(o *httpd.Options) { o.Token, o.TokenForReads = secret, c.reads })
		w := g.ask(t, c.request, c.header)
		if w.Code != c.status {
			t.Errorf("%s with %q: status %d, want %d", c.request, c.header, w.Code, c.status)
		}
		if (w.Code == 401) != (w.Header().Get("WWW-Authenticate") != "") {
			t.Errorf("%s: status %d, WWW-Authenticate %q", c.request, w.Code, w.Header().Get("WWW-Authenticate"))
		}
		if strings.Contains(g.log.String()+w.Body.String(), secret) {
			t.Error("the token shows in the log or in the answer")
		}
	}
}

func TestTheTokenIsChanged(t *testing.T) {
	const first, second = "s3cr3t-t0k3n", "an0ther-t0k3n"
	g := newRig(t, paper.Drawn, func(o *httpd.Options) { o.Token = first })
	for _, c := range []struct {
		text        string
		first, then int
	}{
		{first, 204, 401},
		{first + "\n" + second + "\n", 204, 204},
		{second + "\n\n  " + first + "\r\n", 204, 204},
		{second, 401, 204},
		{first + second, 401, 401},
		{" \n\n", 401, 401}, // that nobody is asked for one is no change of it
		{"", 401, 401},
	} {
		g.SetCredentials(httpd.Credentials{Token: c.text})
		for token, want := range map[string]int{
			first: c.first, second: c.then, "": 401, first + "\n" + second + "\n": 401,
		} {
			r := httptest.NewRequest("DELETE", "/api/v1/instances/db2", nil)
			r.SetBasicAuth("ann", token) // which can have several lines, unlike a bearer token
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("with the token file %q, token %q: status %d, want %d", c.text, token, w.Code, want)
			}
			if said := g.log.String() + w.Body.String(); strings.Contains(said, first) ||
				strings.Contains(said, second) {
				t.Error("a token shows in the log or in the answer")
			}
		}
	}
}

func TestHealthSaysWhy(t *testing.T) {
	g := newRig(t, paper.Drawn)
	g.Self.Now = api.Status{Daemon: "d2", Leader: "d1", NotReady: "the backend can't be opened"}
	expect(t, g.ask(t, "GET /health/ready"), 503, "daemon d2 is not ready: the backend can't be opened")
	expect(t, g.ask(t, "GET /health/leader"), 503, "daemon d2 does not lead; d1 does")
	expect(t, g.ask(t, "GET /health/live"), 200)
	g.Self.Now.Leader = ""
	expect(t, g.ask(t, "GET /health/leader"), 503, "knows of none")
}

func TestAnAmbiguousAliasNamesBoth(t *testing.T) {
	g := newRig(t, paper.Drawn)
	g.Fleet.Aliases = map[string]string{"db1:3306": "main", "web1:3307": "main"}
	expect(t, g.ask(t, "GET /api/v1/clusters/main"), 404, "ambiguous", "db1:3306, web1:3307")
	g.Fleet.Aliases = map[string]string{"db1:3306": "web1:3307"}
	expect(t, g.ask(t, "GET /api/v1/clusters/web1:3307"), 200, `"name":"web1:3307"`)
}

func TestAServerIsFoundByItsOtherName(t *testing.T) {
	g := newRig(t, paper.Drawn)
	g.Fleet.Snapshot.Servers = slices.Clone(g.Fleet.Snapshot.Servers)
	g.Fleet.Snapshot.Servers[1].Names = []topology.Key{{Host: "10.0.0.2", Port: 3306}}
	expect(t, g.ask(t, "GET /api/v1/instances/10.0.0.2"), 200, `"key":"db2:3306"`)
	expect(t, g.ask(t, "DELETE /api/v1/instances/10.0.0.2"), 204)
	if g.Changes[0] != "forget db2:3306" {
		t.Errorf("did %v", g.Changes)
	}
}

// What `orchestrator snapshot` saves must be read back whole, and gives the same decisions.
func TestASnapshotIsReadBack(t *testing.T) {
	g := newRig(t, paper.Drawn)
	detached := &g.Fleet.Snapshot.Servers[2].Instance.Channels[0]
	detached.Source = detached.Source.Detach()
	saved := g.ask(t, "GET /api/v1/snapshot").Body.Bytes()
	again, err := drawing.Decode(saved)
	if err != nil {
		t.Fatal(err)
	}
	var facts []plan.Facts
	for _, v := range g.Fleet.Views() {
		facts = append(facts, v.Situation.Facts)
	}
	if want := drawing.Save(facts); !reflect.DeepEqual(asAny(t, again), asAny(t, want)) ||
		len(again.ByCluster) != 2 || len(again.ByCluster[0].Episodes) == 0 {
		t.Errorf("saved %s\nread back as %+v\nwant %+v", saved, again, want)
	}
	one, err := drawing.Decode(g.ask(t, "GET /api/v1/snapshot?cluster=db1&format=drawing").Body.Bytes())
	if err != nil || len(one.ByCluster) != 1 || len(one.ByCluster[0].Episodes) == 0 {
		t.Errorf("drawn and read back: %+v, %v", one, err)
	}
}

func asAny(t *testing.T, v any) (out any) {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestADefectIsAnsweredAndLogged(t *testing.T) {
	g := newRig(t, paper.Drawn)
	g.Fleet.Meanwhile = func() { panic("lost") }
	expect(t, g.ask(t, "GET /api/v1/clusters"), 500, "a defect of the daemon")
	if !strings.Contains(g.log.String(), "panicked") {
		t.Errorf("log: %s", g.log)
	}
}

func TestAnEmptyFleet(t *testing.T) {
	for _, path := range []string{"clusters", "instances", "findings"} {
		g := newRig(t, "")
		expect(t, g.ask(t, "GET /api/v1/"+path), 200, "[]")
	}
	g := newRig(t, "")
	expect(t, g.ask(t, "GET /api/v1/clusters/db1"), 404, "none is known yet")
	expect(t, g.ask(t, "GET /api/v1/snapshot"), 200, `"servers":[]`)
	saved, err := drawing.Decode(g.ask(t, "GET /api/v1/snapshot").Body.Bytes())
	if err != nil || time.Since(saved.At) > time.Minute {
		t.Errorf("%+v, %v; want the moment of the answer", saved, err)
	}
}
