package api_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"orchestrator/daemon/drawing"
	"orchestrator/daemon/topology"
	"orchestrator/tests/paper"
)

// The fleet changes each time that it is read here, so two reads contradict each other. No handler that reads does so
// twice, and what one answer says of a cluster in several places agrees.
func TestAnAnswerRestsOnOneLook(t *testing.T) {
	for _, request := range []string{
		"GET /api/v1/clusters", "GET /api/v1/clusters/db1:3306", "GET /api/v1/clusters/shop",
		"GET /api/v1/clusters/db2", "GET /api/v1/clusters/db1/drawing", "GET /api/v1/clusters/db1/findings",
		"GET /api/v1/clusters/db1/plan", "GET /api/v1/clusters/db1/plan?dead=db3", "GET /api/v1/instances",
		"GET /api/v1/instances?cluster=shop", "GET /api/v1/instances/db2", "GET /api/v1/findings",
		"GET /api/v1/findings?cluster=db1", "GET /api/v1/snapshot", "GET /api/v1/snapshot?format=drawing",
		"GET /api/v1/snapshot?cluster=db1", "GET /api/v1/episodes?cluster=db1",
	} {
		g := newRig(t, paper.Drawn)
		g.Fleet.Aliases["web1:3307"] = "shop"
		g.Fleet.Meanwhile = func() { g.Fleet.Snapshot = drawing.MustParse("new1\n  new2\n") }
		if w := g.ask(t, request); w.Code >= 300 || g.Fleet.Looks != 1 || strings.Contains(w.Body.String(), "new1") {
			t.Errorf("%s: %d after %d looks: %s", request, w.Code, g.Fleet.Looks, w.Body)
		}
	}
}

func TestNamesAreComparedOnlyWithWhatWasNotFound(t *testing.T) {
	g := newRig(t, paper.Drawn)
	expectNear := func(request string, looks int) {
		t.Helper()
		g.Fleet.Looks = 0
		g.ask(t, request)
		if g.Fleet.Looks != looks {
			t.Errorf("%s: %d looks, want %d", request, g.Fleet.Looks, looks)
		}
	}
	expectNear("GET /api/v1/instances/db2", 1)
	expectNear("GET /api/v1/instances/db22", 1) // all, to be compared
	expectNear("GET /api/v1/clusters/nowhere", 1)
}

// etag asks for a path, and returns the tag of the answer.
func etag(t *testing.T, g rig, path string, headers ...string) (string, *httptest.ResponseRecorder) {
	t.Helper()
	w := g.ask(t, "GET "+path, headers...)
	return w.Header().Get("ETag"), w
}

func TestWhatHasNotChangedIsNotSentAgain(t *testing.T) {
	for _, c := range []struct{ path, otherwise string }{
		{"/api/v1/clusters", "db2"}, {"/api/v1/clusters/db1", "db2"}, {"/api/v1/clusters/db1/drawing", "db2"},
		{"/api/v1/clusters/db1/findings", "db2"}, {"/api/v1/clusters/db1/plan", "db2"}, {"/api/v1/instances", "db2"},
		{"/api/v1/instances?cluster=db1", "db2"}, {"/api/v1/instances/db2", "db2"}, {"/api/v1/findings", "db2"},
		{"/api/v1/snapshot", "db2"},
		{"/api/v1/episodes", ""}, {"/api/v1/episodes/db1-3306-2", ""}, {"/api/v1/recoveries", ""},
		{"/api/v1/status", ""}, {"/api/v1/hooks", ""},
		{"/api/v1/openapi.json", ""}, {"/api/v1/declared", ""},
	} {
		g := newRig(t, paper.Drawn)
		tag, w := etag(t, g, c.path)
		if w.Code != 200 || tag == "" || w.Header().Get("Cache-Control") != "private, no-cache" ||
			w.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: %d, headers %v", c.path, w.Code, w.Header())
			continue
		}
		again, w := etag(t, g, c.path, `If-None-Match: "x", `+tag)
		if w.Code != 304 || again != tag || w.Body.Len() > 0 {
			t.Errorf("%s: asked again: %d, tag %s: %s", c.path, w.Code, again, w.Body)
		}
		if c.otherwise == "" {
			continue
		}
		for i := range g.Fleet.Snapshot.Servers {
			if v := &g.Fleet.Snapshot.Servers[i]; v.Key.Host == c.otherwise {
				v.Probe.Failure = topology.Refused
			}
		}
		if again, w := etag(t, g, c.path, "If-None-Match: "+tag); w.Code != 200 || again == tag {
			t.Errorf("%s: %s is down, and it is answered with %d, tag %s", c.path, c.otherwise, w.Code, again)
		}
	}
}

// No read is left out, also none that is added later.
func TestEveryReadHasATagAndIsCompressed(t *testing.T) {
	g := newRig(t, paper.Drawn)
	expect(t, g.ask(t, `POST /api/v1/backend/verify {"by":"ann"}`), 200) // else there is no work to be read
	reads, zipped := 0, 0
	for _, rt := range g.api.Routes() {
		if rt.Method != "GET" || !strings.HasPrefix(rt.Path, "/api/v1/") {
			continue
		}
		reads++
		path := strings.NewReplacer("{cluster}", "db1", "{key}", "db2", "{id}", "db1-3306-2").Replace(rt.Path)
		tag, whole := etag(t, g, path)
		if whole.Code != 200 || tag == "" {
			t.Errorf("%s: %d, tag %q: %s", path, whole.Code, tag, whole.Body)
		}
		if _, w := etag(t, g, path, "If-None-Match: "+tag); w.Code != 304 || w.Body.Len() > 0 {
			t.Errorf("%s: asked again: %d", path, w.Code)
		}
		w := g.ask(t, "GET "+path, "Accept-Encoding: gzip")
		if got := w.Header().Get("Content-Encoding") == "gzip"; got != (whole.Body.Len() >= 1<<10) {
			t.Errorf("%s: %d bytes, compressed: %v", path, whole.Body.Len(), got)
		} else if got {
			zipped++
		}
	}
	if reads < 15 || zipped < 3 {
		t.Errorf("%d reads, %d of them large", reads, zipped)
	}
}

// Editions of another process mean nothing: its clusters may be at the same edition, and differ.
func TestATagIsGoodForOneProcess(t *testing.T) {
	tag, _ := etag(t, newRig(t, paper.Drawn), "/api/v1/clusters/db1")
	if w := newRig(t, paper.Drawn).ask(t, "GET /api/v1/clusters/db1", "If-None-Match: "+tag); w.Code != 200 {
		t.Errorf("status %d", w.Code)
	}
}

// A tag is about what is told, and what is told depends on what people declare.
func TestWhatIsDeclaredMakesAnotherAnswer(t *testing.T) {
	g := newRig(t, paper.Drawn)
	before, _ := etag(t, g, "/api/v1/clusters/db1")
	list, _ := etag(t, g, "/api/v1/clusters")
	g.Fleet.Aliases["db1:3306"] = "main"
	if after, _ := etag(t, g, "/api/v1/clusters/db1"); after == before {
		t.Error("one with an alias has the tag of one without")
	}
	if after, _ := etag(t, g, "/api/v1/clusters"); after == list {
		t.Error("a list with an alias has the tag of one without")
	}
}

// What stays away from a list when a server or a cluster goes, and where what comes is put.
func TestListsFollowTheFleet(t *testing.T) {
	g := newRig(t, paper.Drawn)
	for _, step := range []struct{ drawing, clusters, servers string }{
		{"b\n  a\n", "b", "a b"}, {"b\n  a\nc\n", "b c", "a b c"}, {"c\n  d\n", "c", "c d"}, {"", "", ""},
		{"c\n  a\n", "c", "a c"},
	} {
		g.Fleet.Snapshot = drawing.MustParse(step.drawing)
		for path, want := range map[string]string{"clusters": step.clusters, "instances": step.servers,
			"snapshot": step.servers} {
			body := g.ask(t, "GET /api/v1/"+path).Body.String()
			var got []string
			for _, word := range []string{"a", "b", "c", "d"} {
				if strings.Contains(body, `"name":"`+word+`:3306"`) ||
					path != "clusters" && strings.Contains(body, `"key":"`+word+`:3306"`) {
					got = append(got, word)
				}
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s of %q: %s, want %s", path, step.drawing, got, want)
			}
			ordered := strings.Index(body, `"key":"a:3306"`) <= strings.Index(body, `"key":"c:3306"`)
			if want == "a c" && !ordered {
				t.Errorf("%s of %q is not in order: %s", path, step.drawing, body)
			}
		}
	}
}
