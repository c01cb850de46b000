package pair

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// By hand, without agents: HAProxy is told by its runtime socket, and the real one obeys.
func TestPromotePointsHAProxy(t *testing.T) {
	l := lab.Test(t)
	r := rigged(t, l, lab.MariaDB, true, nil)
	h, err := l.NewHAProxy("")
	if err != nil {
		t.Fatal(err)
	}
	front, err := l.Address()
	if err != nil {
		t.Fatal(err)
	}
	err = h.Write(fmt.Sprintf(`
global
    stats socket %s level admin
defaults
    mode tcp
    timeout connect 1s
    timeout client 1m
    timeout server 1m
listen database
    bind %s:3307
    balance first
    default-server check inter 100ms on-marked-down shutdown-sessions
    server one %v
    server two %v disabled
`, h.Socket, front, r.a(), r.b()))
	if err == nil {
		err = h.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	r.pair.o.Proxy = HAProxy(h.Runtime(), []topology.Key{r.a(), r.b()})
	if s := r.pair.Status(t.Context()); s.ProxyErr != "" || len(s.Proxy) != 2 || !s.Proxy[0].Up || s.Proxy[1].Up ||
		s.Choice.Serve != r.a() {
		t.Fatalf("%+v", s)
	}
	// A client of the old one must be gone afterwards.
	through := server.Options{Account: Account{User: lab.BackendUser, Password: lab.BackendPassword},
		Security: lab.Security(),
		Database: lab.BackendDatabase, Timeout: 10 * time.Second}
	client, err := server.Dial(t.Context(), front+":3307", through)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	askID := server.Statement{Text: "SELECT @@server_id AS id"}
	for range 2 {
		report, err := r.pair.Promote(t.Context(), r.b(), PromoteOptions{})
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, steps(report), h.Log())
		}
		if seen := strings.Join(report.Seen, "\n"); !strings.Contains(seen, "MAINT") {
			t.Error(seen)
		}
	}
	if _, err := client.Query(t.Context(), askID); err == nil {
		t.Error("a client of the member of before is still connected")
	}
	again, err := server.Dial(t.Context(), front+":3307", through)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if r2, err := again.One(t.Context(), askID); err != nil || r2.Get("id") != fmt.Sprint(r.servers[1].ServerID) {
		t.Errorf("served by %v, %v", r2, err)
	}
	for _, c := range Doctor(r.pair.Examine(t.Context())) {
		if c.Code == "haproxy" {
			t.Errorf("%+v", c)
		}
	}
	h.Close()
	if s := r.pair.Status(t.Context()); s.ProxyErr == "" || !strings.Contains(s.ProxyErr, filepath.Base(h.Socket)) {
		t.Errorf("a dead HAProxy: %+v", s)
	}
}
