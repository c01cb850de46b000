package api_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"orchestrator/daemon/api"
	"orchestrator/daemon/drawing"
	"orchestrator/daemon/httpd"
	"orchestrator/tests/paper"
)

// rig is an API over a daemon on paper.
type rig struct {
	*paper.Daemon
	*httpd.Root
	api     *api.API
	reg     *prometheus.Registry
	log     *strings.Builder
	options httpd.Options
}

func newRig(t testing.TB, drawn string, options ...func(*httpd.Options)) rig {
	t.Helper()
	reg, log := prometheus.NewRegistry(), &strings.Builder{}
	now := func() time.Time { return drawing.At }
	o := httpd.Options{Registerer: reg, Now: now, Logger: slog.New(slog.NewTextHandler(log, nil))}
	for _, f := range options {
		f(&o)
	}
	g := rig{Daemon: paper.New(drawn), reg: reg, log: log, options: o}
	g.mount(t, g.Nouns())
	return g
}

// mount makes the routes from these nouns.
func (g *rig) mount(t testing.TB, n api.Nouns) {
	t.Helper()
	o := g.options
	if g.Root != nil {
		o.Registerer = prometheus.NewRegistry() // reg has these metrics already
	}
	var err error
	g.api, err = api.New(n, api.Options{NeedsToken: o.NeedsToken, Logger: o.Logger, Now: o.Now,
		Metrics: promhttp.HandlerFor(g.reg, promhttp.HandlerOpts{})})
	if err != nil {
		t.Fatal(err)
	}
	if g.Root, err = httpd.New(o, g.api.Mounts()...); err != nil {
		t.Fatal(err)
	}
}

// ask sends "GET /path" or "PUT /path {body}". Headers are "Name: value"; a body is JSON unless they say otherwise.
func (g rig) ask(t testing.TB, request string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	method, rest, _ := strings.Cut(request, " ")
	target, body, _ := strings.Cut(rest, " ")
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w
}

// pattern is the route, as "GET /api/v1/clusters", that a request goes to.
func (g rig) pattern(method, target string) string {
	mux := http.NewServeMux()
	for _, m := range g.api.Mounts() {
		mux.Handle(m.Method+" "+m.Path, m.Handler)
	}
	_, pattern := mux.Handler(httptest.NewRequest(method, target, nil))
	return pattern
}
