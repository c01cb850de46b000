package api_test

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/api"
	"orchestrator/daemon/declared"
	"orchestrator/daemon/drawing"
	"orchestrator/daemon/httpd"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/tests/paper"
)

// document is what the tests read of the OpenAPI document.
type document struct {
	OpenAPI    string
	Paths      map[string]map[string]operation
	Components struct{ Schemas map[string]any }
}

type operation struct {
	OperationID string
	Summary     string
	Parameters  []struct {
		Name, In, Description string
		Required              bool
	}
	RequestBody struct{ Content map[string]content }
	Responses   map[string]struct {
		Description string
		Content     map[string]content
	}
	Security []any
}

type content struct{ Schema any }

func read(t testing.TB, g rig) document {
	t.Helper()
	var d document
	if err := json.Unmarshal(g.ask(t, "GET /api/v1/openapi.json").Body.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestEveryRouteIsInTheDocument(t *testing.T) {
	g := newRig(t, paper.Drawn)
	d := read(t, g)
	described := 0
	for _, ops := range d.Paths {
		described += len(ops)
	}
	if described != len(g.api.Routes()) {
		t.Errorf("%d operations in the document, %d routes", described, len(g.api.Routes()))
	}
	ids := map[string]bool{}
	for _, rt := range g.api.Routes() {
		op, ok := d.Paths[rt.Path][strings.ToLower(rt.Method)]
		if !ok {
			t.Errorf("%s is not in the document", rt.Pattern())
			continue
		}
		if ids[op.OperationID] || op.OperationID == "" || op.Summary == "" {
			t.Errorf("%s: operation %q, summary %q", rt.Pattern(), op.OperationID, op.Summary)
		}
		ids[op.OperationID] = true
		var named []string
		for _, p := range op.Parameters {
			if p.In == "path" {
				named = append(named, "{"+p.Name+"}")
			}
			if p.Description == "" {
				t.Errorf("%s: parameter %s is not described", rt.Pattern(), p.Name)
			}
		}
		if braces := regexp.MustCompile(`\{\w+\}`).FindAllString(rt.Path, -1); !slices.Equal(named, braces) {
			t.Errorf("%s: path parameters %v", rt.Pattern(), named)
		}
		// The document says so, and the mux answers to it.
		path := strings.NewReplacer("{cluster}", "db1", "{key}", "db2", "{name}", "dc", "{id}", "db1-3306-2").
			Replace(rt.Path)
		if pattern := g.pattern(rt.Method, path); pattern != rt.Pattern() {
			t.Errorf("%s goes to %q", rt.Pattern(), pattern)
		}
	}
	document := g.ask(t, "GET /api/v1/openapi.json").Body.String()
	references := regexp.MustCompile(`"#/components/schemas/(\w+)"`).FindAllStringSubmatch(document, -1)
	for _, r := range references {
		if d.Components.Schemas[r[1]] == nil {
			t.Errorf("schema %s is referred to, and missing", r[1])
		}
	}
}

// The answers of every route, good and bad, are as the document says: the status and the media type are documented, and
// the body has the shape, with no field that the document does not name.
func TestRealAnswersAreAsDocumented(t *testing.T) {
	requests := []string{
		"GET /api/v1/clusters", "GET /api/v1/clusters/db1", "GET /api/v1/clusters/none",
		"GET /api/v1/clusters/db1/drawing", "GET /api/v1/clusters/none/drawing", "GET /api/v1/clusters/db1/findings",
		"GET /api/v1/clusters/db1/plan", "GET /api/v1/clusters/web1:3307/plan",
		"GET /api/v1/clusters/db1/plan?dead=db3", "GET /api/v1/clusters/db1/plan?x=y",
		`PUT /api/v1/clusters/db1/alias {"alias":"main"}`, `PUT /api/v1/clusters/db1/alias {"alias":"web1"}`,
		"GET /api/v1/instances", "GET /api/v1/instances?cluster=none", "GET /api/v1/instances/db2",
		"GET /api/v1/instances/db9", "POST /api/v1/instances/db2", "POST /api/v1/instances/db9",
		"DELETE /api/v1/instances/db2", "DELETE /api/v1/instances/db9",
		`PUT /api/v1/instances/db2/downtime {"owner":"a","reason":"b","duration":"1h"}`,
		`PUT /api/v1/instances/db2/downtime {}`, "DELETE /api/v1/instances/db2/downtime",
		`PUT /api/v1/instances/db2/tags/dc {"value":"west"}`, `DELETE /api/v1/instances/db2/tags/dc`,
		`PUT /api/v1/instances/db2/promotion-rule {"rule":"prefer"}`, "GET /api/v1/findings", "GET /api/v1/episodes",
		"GET /api/v1/episodes/db1-3306-2", "GET /api/v1/episodes/none",
		`POST /api/v1/episodes/db1-3306-2/acknowledgement {"by":"a","comment":"b"}`, "GET /api/v1/recoveries",
		`PUT /api/v1/recoveries {"on":false,"by":"a","reason":"b"}`, `PUT /api/v1/recoveries {"on":1}`,
		"GET /api/v1/declared",
		`PUT /api/v1/declared {"tags":[{"server":"db2:3306","name":"dc","value":"west"}],"recoveries_off":{"by":"a","reason":"b"}}`,
		`PUT /api/v1/declared {"tags":[{}]}`, "GET /api/v1/snapshot", "GET /api/v1/snapshot?format=drawing",
		"GET /api/v1/backend", "GET /api/v1/backend/comparisons", "GET /api/v1/backend/work",
		`POST /api/v1/backend/promote {"to":"10.0.0.1:3306","by":"a"}`, `POST /api/v1/backend/promote {"by":"a"}`,
		`POST /api/v1/backend/promote {"to":"10.0.0.1:3306","by":"a","drain_timeout":"soon"}`,
		`POST /api/v1/backend/rejoin {"member":"10.0.0.1:3306","by":"a","drain_timeout":"30s"}`,
		`POST /api/v1/backend/rejoin {"member":":3306:","by":"a"}`,
		`POST /api/v1/backend/verify {"by":"a","repair":true}`, `POST /api/v1/backend/verify {}`,
		`POST /api/v1/backend/doctor {"by":"a","fix":true}`, `POST /api/v1/backend/doctor {"by":1}`,
		`POST /api/v1/step-down {"by":"a","reason":"b"}`, `POST /api/v1/step-down {"by":"a"}`,
		`POST /api/v1/clusters/db1/recover {"by":"a","reason":"b"}`, `POST /api/v1/clusters/db1/recover {"by":"a"}`,
		`POST /api/v1/clusters/web1:3307/recover {"by":"a","reason":"b"}`, "GET /api/v1/requests", "DELETE /api/v1/requests/recover-1",
		"DELETE /api/v1/requests/none",
		"GET /api/v1/hooks", `POST /api/v1/hooks/pager/trial {"by":"a","moment":"promoted"}`, `POST /api/v1/hooks/pager/trial {"by":"a","moment":"noon"}`,
		`POST /api/v1/hooks/pagr/trial {"by":"a","moment":"promoted"}`, `POST /api/v1/hooks/pager/trial {}`,
		"GET /api/v1/audit", "GET /api/v1/audit?limit=0", "GET /api/v1/audit?since=noon",
		"GET /api/v1/audit?after=d9/9", "GET /api/v1/audit?format=lines",
		"GET /api/v1/status", "GET /health/live", "GET /health/ready",
		"GET /health/leader", "GET /metrics", "GET /api/v1/openapi.json",
	}
	asked := map[string]bool{}
	check := func(g rig, request string, headers ...string) {
		d := read(t, g)
		w := g.ask(t, request, headers...)
		method, rest, _ := strings.Cut(request, " ")
		target, _, _ := strings.Cut(rest, " ")
		pattern := g.pattern(method, target)
		asked[pattern] = true
		op := d.Paths[pattern[strings.Index(pattern, "/"):]][strings.ToLower(method)]
		r, ok := op.Responses[fmt.Sprint(w.Code)]
		if !ok {
			t.Errorf("%s: status %d is not documented: %s", request, w.Code, w.Body)
			return
		}
		if len(r.Content) == 0 {
			if w.Body.Len() > 0 {
				t.Errorf("%s: a body that is not documented: %s", request, w.Body)
			}
			return
		}
		media, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
		c, ok := r.Content[media]
		if !ok {
			t.Errorf("%s: media type %q is not documented", request, media)
			return
		}
		if strings.HasPrefix(media, "text/") || media == "application/x-ndjson" {
			return
		}
		var body any
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Errorf("%s: %v", request, err)
			return
		}
		for _, wrong := range (validator{d.Components.Schemas}).check("", c.Schema, body) {
			t.Errorf("%s: %s", request, wrong)
		}
	}
	for _, request := range requests {
		g := newRig(t, paper.Drawn)
		fill(g)
		check(g, request)
		if strings.HasPrefix(request, "GET") {
			continue
		}
		check(newRig(t, paper.Drawn), request, "Sec-Fetch-Site: cross-site")
		check(newRig(t, paper.Drawn, func(o *httpd.Options) { o.Token = "x" }), request)
		broken := newRig(t, paper.Drawn)
		broken.Fails = fmt.Errorf("the backend is away")
		check(broken, request)
	}
	empty := newRig(t, paper.Drawn)
	empty.Episodes.Tried = nil
	check(empty, "GET /api/v1/episodes/db1-3306-2")
	for _, path := range []string{"clusters", "instances", "findings", "snapshot"} {
		check(newRig(t, ""), "GET /api/v1/"+path)
	}
	check(newRig(t, "db1\n"), "GET /api/v1/clusters/db1")
	check(newRig(t, "db1\n"), "GET /api/v1/clusters/db1/plan")
	for _, path := range []string{"/health/ready", "/health/leader"} {
		g := newRig(t, paper.Drawn)
		g.Self.Now = api.Status{Daemon: "d2", NotReady: "not yet"}
		check(g, "GET "+path)
	}
	check(newRig(t, paper.Drawn), `PUT /api/v1/recoveries {}`, "Content-Type: text/plain")
	check(newRig(t, paper.Drawn), `PUT /api/v1/recoveries {"by":"`+strings.Repeat("x", api.MaxBody)+`"}`)
	g := newRig(t, paper.Drawn)
	for _, rt := range g.api.Routes() {
		if !asked[rt.Pattern()] {
			t.Errorf("%s was not asked: add it above", rt.Pattern())
		}
	}
}

// fill gives the fake what the drawing does not: every field that a schema may have wrong.
func fill(g rig) {
	g.Recoveries.Off = "network works (ann)"
	g.Self.Now.RecoveriesOff = g.Recoveries.Off
	v := &g.Fleet.Snapshot.Servers[1]
	v.Downtime = &topology.Downtime{Owner: "ann", Reason: "disk", Until: drawing.At.Add(time.Hour)}
	v.Tags = map[string]string{"dc": "west"}
	v.Names = []topology.Key{{Host: "10.0.0.2", Port: 3306}}
	v.Instance.Stalled = &topology.Stall{State: "waiting", Seconds: 3, Count: 1, Cause: "commit"}
	v.Instance.Registered = []topology.Key{{Host: "db3", Port: 3306}}
	e := &g.Episodes.All[0]
	e.Lost = []plan.Lost{{Key: v.Key, Why: "it lacks"}}
	e.Touched, e.Abandoned, e.Candidate = []topology.Key{v.Key}, []topology.Key{v.Key}, v.Key
	g.Requests.All = []declared.Request{{Cluster: "db1:3306", Until: drawing.At,
		Request: plan.Request{ID: "recover-1", Kind: plan.Recover, Server: v.Key, By: "ann", Reason: "dead",
			At: drawing.At}}}
	e.Acknowledged = &plan.Acknowledgement{By: "ann", Comment: "seen", At: drawing.At}
}

// validator knows as much of JSON Schema as the document uses.
type validator struct{ schemas map[string]any }

func (v validator) check(at string, schema, value any) []string {
	s, ok := schema.(map[string]any)
	if !ok {
		return []string{at + ": no schema"}
	}
	if ref, ok := s["$ref"].(string); ok {
		return v.check(at, v.schemas[strings.TrimPrefix(ref, "#/components/schemas/")], value)
	}
	if choices, ok := s["anyOf"].([]any); ok {
		var wrong []string
		for _, c := range choices {
			if wrong = v.check(at, c, value); len(wrong) == 0 {
				break
			}
		}
		return wrong
	}
	var types []any
	switch t := s["type"].(type) {
	case string:
		types = []any{t}
	case []any:
		types = t
	}
	kind := map[bool]string{true: "integer", false: "number"}
	is := "null"
	switch x := value.(type) {
	case string:
		is = "string"
		if s["format"] == "date-time" {
			if _, err := time.Parse(time.RFC3339, x); err != nil {
				return []string{fmt.Sprintf("%s: %q is no time", at, x)}
			}
		}
	case bool:
		is = "boolean"
	case float64:
		is = kind[x == float64(int64(x))]
		if is == "integer" && !slices.Contains(types, any(is)) {
			is = "number"
		}
	case []any:
		is = "array"
	case map[string]any:
		is = "object"
	}
	if !slices.Contains(types, any(is)) {
		return []string{fmt.Sprintf("%s: is %s, documented as %v", at, is, types)}
	}
	if enum, ok := s["enum"].([]any); ok && !slices.Contains(enum, value) {
		return []string{fmt.Sprintf("%s: %v is none of %v", at, value, enum)}
	}
	var wrong []string
	if items, ok := value.([]any); ok {
		for i, x := range items {
			wrong = append(wrong, v.check(fmt.Sprintf("%s[%d]", at, i), s["items"], x)...)
		}
	}
	fields, ok := value.(map[string]any)
	if !ok {
		return wrong
	}
	properties, _ := s["properties"].(map[string]any)
	required, _ := s["required"].([]any)
	for _, name := range required {
		if _, ok := fields[name.(string)]; !ok {
			wrong = append(wrong, fmt.Sprintf("%s: %s is missing", at, name))
		}
	}
	for name, x := range fields {
		switch p, extra := properties[name], s["additionalProperties"]; {
		case p != nil:
			wrong = append(wrong, v.check(at+"."+name, p, x)...)
		case extra != nil:
			wrong = append(wrong, v.check(at+"."+name, extra, x)...)
		case properties != nil:
			wrong = append(wrong, fmt.Sprintf("%s: %s is not documented", at, name))
		}
	}
	return wrong
}

// The validator itself must be able to say no.
func TestTheValidatorRefuses(t *testing.T) {
	v := validator{map[string]any{"A": map[string]any{"type": "object", "required": []any{"n"},
		"properties": map[string]any{
			"n": map[string]any{"type": "integer"}, "s": map[string]any{"type": "string", "enum": []any{"x"}}}}}}
	for _, body := range []string{`{}`, `{"n":1.5}`, `{"n":"1"}`, `{"n":1,"s":"y"}`, `{"n":1,"z":1}`, `[]`, `null`} {
		var x any
		if err := json.Unmarshal([]byte(body), &x); err != nil {
			t.Fatal(err)
		}
		if len(v.check("", map[string]any{"$ref": "#/components/schemas/A"}, x)) == 0 {
			t.Errorf("%s passed", body)
		}
	}
}

// Bodies that the document allows are taken: the fields it names are those that the decoder knows.
func TestBodiesAreDocumented(t *testing.T) {
	g := newRig(t, paper.Drawn)
	d := read(t, g)
	for _, rt := range g.api.Routes() {
		op := d.Paths[rt.Path][strings.ToLower(rt.Method)]
		c, ok := op.RequestBody.Content["application/json"]
		if !ok {
			continue
		}
		ref := c.Schema.(map[string]any)["$ref"].(string)
		schema := d.Components.Schemas[strings.TrimPrefix(ref, "#/components/schemas/")].(map[string]any)
		properties := schema["properties"].(map[string]any)
		if names := rt.Fields; len(names) != len(properties) || schema["additionalProperties"] != false {
			t.Errorf("%s takes %v, documented are %v", rt.Pattern(), names, properties)
		}
	}
}

func TestEveryRouteIsInTheGuide(t *testing.T) {
	guide, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, rt := range newRig(t, paper.Drawn).api.Routes() {
		found := false
		for line := range strings.Lines(string(guide)) {
			found = found || strings.Contains(line, "`"+rt.Path+"`") && strings.Contains(line, rt.Method)
			// GET, as all of these are
			found = found || strings.Contains(line, "`"+rt.Path+"`") && !strings.HasPrefix(rt.Path, "/api")
		}
		if !found {
			t.Errorf("docs/api.md does not have %s", rt.Pattern())
		}
	}
}
