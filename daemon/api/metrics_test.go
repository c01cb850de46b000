package api_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/daemon/httpd"
	"orchestrator/tests/paper"
)

func TestTheMetricsPassPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatalf("promtool is missing (%v): install the package prometheus", err)
	}
	g := newRig(t, paper.Drawn)
	for _, request := range []string{"GET /api/v1/clusters", "GET /nowhere", "GET /api/v1/clusters/x'y\"z",
		"DELETE /api/v1/instances/db2"} {
		g.ask(t, request)
	}
	ctx, done := context.WithTimeout(t.Context(), 20*time.Second)
	defer done()
	check := exec.CommandContext(ctx, promtool, "check", "metrics")
	check.Stdin = strings.NewReader(g.ask(t, "GET /metrics").Body.String())
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// Whatever is sent, the series do not grow: paths that do not exist share one, and so do methods that nobody serves.
func TestLabelsAreBounded(t *testing.T) {
	g := newRig(t, paper.Drawn)
	series := func() int {
		families, err := g.reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, f := range families {
			n += len(f.GetMetric())
		}
		return n
	}
	send := func(word string) {
		for _, request := range []string{"GET /" + word, "GET /api/v1/clusters/" + word,
			"GET /api/v1/instances/" + word, "BREW /api/v1/" + word, word + " /api/v1/clusters"} {
			g.ask(t, request)
		}
	}
	send("A")
	before := series()
	for _, word := range []string{"B", "CC", "DDD", "EEEE"} {
		send(word)
	}
	if after := series(); after != before {
		t.Errorf("%d series became %d", before, after)
	}
}

func TestASecondRegistrationIsRefused(t *testing.T) {
	reg := prometheus.NewRegistry()
	if _, err := httpd.New(httpd.Options{Registerer: reg}); err != nil {
		t.Fatal(err)
	}
	if _, err := httpd.New(httpd.Options{Registerer: reg}); err == nil ||
		!strings.Contains(err.Error(), "register the metrics of the API") {
		t.Errorf("got %v", err)
	}
}
