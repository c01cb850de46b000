package api_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/api"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/tests/paper"
)

// unrecovered is a rig whose policy recovers no primary.
func unrecovered(t *testing.T) rig {
	t.Helper()
	g := newRig(t, paper.Drawn)
	g.Fleet.Policies["db1:3306"] = plan.Policy{Named: true, DrainTimeout: time.Second}
	g.Episodes.All = nil
	return g
}

const please = ` {"by":"ann","reason":"it is gone for good"}`

func TestARequestIsRefusedBeforeItIsStored(t *testing.T) {
	for _, c := range []struct {
		request string
		status  int
		says    string
	}{
		{"POST /api/v1/clusters/db1/recover {}", 400, `field \"by\" is missing`},
		{`POST /api/v1/clusters/db1/recover {"by":"ann"}`, 400, `field \"reason\" is missing`},
		{"POST /api/v1/clusters/nowhere/recover" + please, 404, "no cluster"},
		{`POST /api/v1/clusters/db1/recover {"server":"web1:3307","by":"ann","reason":"x"}`, 404, "no server of cluster db1:3306"},
		{"POST /api/v1/clusters/web1:3307/recover" + please, 409, "has not failed: it answers"},
		{`POST /api/v1/clusters/db1/recover {"server":"db2","by":"ann","reason":"x"}`, 409, "has not failed: it answers"},
		{"DELETE /api/v1/requests/none", 404, "no request"},
	} {
		g := unrecovered(t)
		expect(t, g.ask(t, c.request), c.status, c.says)
		if len(g.Changes) > 0 {
			t.Errorf("%s: did %v", c.request, g.Changes)
		}
	}
	silent := newRig(t, "db1 down\n  db2\n  db3 must_not")
	silent.Episodes.All = nil
	expect(t, silent.ask(t, `POST /api/v1/clusters/db1/recover {"by":"ann","reason":"x","candidate":"db3"}`), 409,
		"ann named db3:3306 to be promoted, and it can't be: its promotion rule is must_not")
	busy := newRig(t, paper.Drawn)
	expect(t, busy.ask(t, "POST /api/v1/clusters/db1/recover"+please), 409, "is under way: see episode db1-3306-2")
	g := unrecovered(t)
	g.Recoveries.Off = "network works (ann)"
	expect(t, g.ask(t, "POST /api/v1/clusters/db1/recover"+please), 409, "network works")
}

func TestARequestIsPlannedAsItWillBeDone(t *testing.T) {
	g := unrecovered(t)
	before := g.ask(t, "GET /api/v1/clusters/db1/plan").Body.String()
	if !strings.Contains(before, `"refused":[`) || strings.Contains(before, `"steps":[`) {
		t.Fatalf("without a request: %s", before)
	}
	dry := g.ask(t, `POST /api/v1/clusters/db1/recover {"by":"ann","reason":"it is gone","dry_run":true}`)
	expect(t, dry, 200, `"dry_run":true`, `"kind":"promote"`, `"at":"db2:3306"`)
	if len(g.Changes) > 0 {
		t.Errorf("a dry run did %v", g.Changes)
	}
	expect(t, g.ask(t, "POST /api/v1/clusters/db1/recover"+please), 200, `"cluster":"db1:3306"`, `"server":"db1:3306"`,
		`"kind":"promote"`)
	if did := strings.Join(g.Changes, "; "); did != "request recover db1:3306 ann it is gone for good" {
		t.Errorf("did %q", did)
	}
	expect(t, g.ask(t, "GET /api/v1/clusters/db1/plan"), 200, `"request":{"id":"recover-`, `"by":"ann"`, `"steps":[`)
	expect(t, g.ask(t, "POST /api/v1/clusters/db1/recover"+please), 200) // sent again, because the answer was lost
	if len(g.Changes) != 1 {
		t.Errorf("the same request is stored twice: %v", g.Changes)
	}
}

// A request that names another server than one that stands would be overlooked: one after the other is planned.
func TestAnotherRequestForTheSameFailover(t *testing.T) {
	g := unrecovered(t)
	expect(t, g.ask(t, `POST /api/v1/clusters/db1/recover {"by":"ann","reason":"x","candidate":"db2"}`), 200)
	expect(t, g.ask(t, "POST /api/v1/clusters/db1/recover"+please), 409,
		"ann has requested the failover of db1:3306 with the candidate db2:3306: withdraw that first "+
			"(orchestrator-client withdraw recover-")
	if len(g.Changes) != 1 {
		t.Errorf("did %v", g.Changes)
	}
}

// A failover that is blocked before a server was promoted may wait for just that.
func TestARequestForABlockedFailover(t *testing.T) {
	g := unrecovered(t)
	e := plan.Episode{ID: "db1-3306-3", Kind: plan.PrimaryFailover, Cluster: "db1:3306", Stage: plan.Committed,
		Failed: topology.Key{Host: "db1", Port: 3306}}
	for _, c := range []struct {
		blocked string
		stage   plan.Stage
		status  int
	}{{"", plan.Committed, 409}, {"the request was withdrawn", plan.Promoted, 409},
		{"the request was withdrawn", plan.Committed, 200}} {
		e.Blocked, e.Stage = c.blocked, c.stage
		g.Episodes.All = []plan.Episode{e}
		expect(t, g.ask(t, "POST /api/v1/clusters/db1/recover"+please), c.status)
	}
}

func TestWhatCameOfARequest(t *testing.T) {
	g := unrecovered(t)
	expect(t, g.ask(t, "GET /api/v1/requests"), 200, "[]")
	g.ask(t, "POST /api/v1/clusters/db1/recover"+please)
	var all []api.Request
	list := g.ask(t, "GET /api/v1/requests?cluster=db2").Body.Bytes()
	if err := json.Unmarshal(list, &all); err != nil || len(all) != 1 || all[0].Episode != "" {
		t.Fatalf("%v: %s", err, list)
	}
	expect(t, g.ask(t, "GET /api/v1/requests?cluster=web1:3307"), 200, "[]")
	q := all[0].Request.Request
	g.Episodes.All = []plan.Episode{{ID: "db1-3306-3", Cluster: "db1:3306", Request: &q, Closed: q.At,
		Outcome: "db2:3306 was promoted"}}
	expect(t, g.ask(t, "GET /api/v1/requests"), 200, `"episode":"db1-3306-3","outcome":"db2:3306 was promoted"`)
	expect(t, g.ask(t, "DELETE /api/v1/requests/"+q.ID), 204)
	if did := g.Changes[len(g.Changes)-1]; did != "withdraw "+q.ID {
		t.Errorf("did %q", did)
	}
}
