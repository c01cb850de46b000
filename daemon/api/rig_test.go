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
	api *api.API
	reg *prometheus.Registry
	log *strings.Builder
}

func newRig(t testing.TB, drawn string, options ...func(*httpd.Options)) rig {
	t.Helper()
	reg, log := prometheus.NewRegistry(), &strings.Builder{}
	now := func() time.Time { return drawing.At }
	o := httpd.Options{Registerer: reg, Now: now, Logger: slog.New(slog.NewTextHandler(log, nil))}
	for _, f := range options {
		f(&o)
	}
	d := paper.New(drawn)
	a, err := api.New(d.Nouns(), api.Options{NeedsToken: o.NeedsToken, Logger: o.Logger, Now: now,
		Metrics: promhttp.HandlerFor(reg, promhttp.HandlerOpts{})})
	if err != nil {
		t.Fatal(err)
	}
	root, err := httpd.New(o, a.Mounts()...)
	if err != nil {
		t.Fatal(err)
	}
	return rig{d, root, a, reg, log}
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
