package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"orchestrator/daemon/api"
	"orchestrator/daemon/httpd"
	"orchestrator/tests/paper"
)

// sound holds for every answer to every request: never a 5xx of ours, and an error is a problem that says what was
// wrong.
func sound(t *testing.T, g rig, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code >= 500 && w.Code != http.StatusBadGateway {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
	if w.Code < 400 {
		return
	}
	var p httpd.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Status != w.Code || p.Title == "" || p.Detail == "" {
		t.Errorf("status %d is no problem (%v): %s", w.Code, err, w.Body)
	}
	if w.Body.Len() > 4096 {
		t.Errorf("the answer to garbage has %d bytes", w.Body.Len())
	}
	if len(g.Changes) > 0 {
		t.Errorf("it was refused with %d, and yet did %v", w.Code, g.Changes)
	}
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"/api/v1/clusters/db1", "/api/v1/instances/[::1]:3306",
		"/api/v1/instances/db2/tags/%2e%2e", "/api/v1/../..//x", "/api/v1/clusters/%00?dead=%ff",
		"/api/v1/clusters/db1/plan?dead=[", "/api/v1/episodes?open=1&open=2", "/health/ready;x", "/api/v1/clusters/?%",
		"/api/v1/instances/db2%0d%0aX: y"} {
		f.Add("GET", s)
		f.Add("DELETE", s)
	}
	g := newRig(f, paper.Drawn)
	f.Fuzz(func(t *testing.T, method, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || strings.ContainsAny(method, " \r\n\t") || method == "" {
			t.Skip("net/http refuses it before we see it")
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Method, r.URL, r.RequestURI = method, u, target
		g.Changes = nil
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		sound(t, g, w)
	})
}

func FuzzBody(f *testing.F) {
	for _, s := range []string{`{"owner":"ann","reason":"disk","duration":"2h"}`, `{"until":"2026-01-01T00:00:00Z"}`,
		`{"on":true,"by":"ann"}`, `{"alias":"x"}`, `{"rule":"prefer"}`,
		`{"value":"west"}`, `{"by":"a","comment":"b"}`, `{"by":null}`, `[]`, `{"a":{"a":{}}}`, "{\"by\":\"\xff\"}",
		`{"duration":"9223372036s","owner":"a","reason":"b"}`, `{"on":1e999}`} {
		f.Add([]byte(s))
	}
	g := newRig(f, paper.Drawn)
	routes := slices.DeleteFunc(g.api.Routes(), func(rt api.Route) bool { return !rt.Changes })
	path := strings.NewReplacer("{cluster}", "db1", "{key}", "db2", "{name}", "dc", "{id}", "db1-3306-2")
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, rt := range routes {
			r := httptest.NewRequest(rt.Method, path.Replace(rt.Path), strings.NewReader(string(body)))
			r.Header.Set("Content-Type", "application/json")
			g.Changes = nil
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			sound(t, g, w)
		}
		g.log.Reset()
	})
}
