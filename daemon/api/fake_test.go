package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/drawing"
	"orchestrator/daemon/hook"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// fleet is what most tests look at: a cluster that lost its primary, and a sound one.
const fleet = `
db1 mysql=8.0.36 down
  db2 io=connecting
  db3 io=connecting prefer_not
web1:3307 mariadb=10.11.6
  web2:3307
`

// fake is a Daemon whose fleet is drawn. It remembers what it was asked to change, as lines of text.
type fake struct {
	snapshot topology.Snapshot
	policy   plan.Policy
	episodes []plan.Episode
	done     []plan.Done
	aliases  map[string]string
	off      string
	declared Declared
	status   Status
	changes  []string
	fails    error // of every change
	worked   *BackendWork
}

func newFake(text string) *fake {
	return &fake{
		snapshot: drawing.MustParse(text),
		policy:   plan.Policy{Named: true, RecoverPrimary: true, DrainTimeout: 10 * time.Second},
		aliases:  map[string]string{},
		status:   Status{Daemon: "d1", Version: "0.1", Started: drawing.At, Leading: true, Leader: "d1", Term: 7},
		episodes: []plan.Episode{
			{ID: "db1-3306-2", Kind: plan.PrimaryFailover, Cluster: "db1:3306", Failed: topology.Key{Host: "db1", Port: 3306}, Code: analysis.DeadPrimary,
				Opened: drawing.At, Stage: plan.Committed},
			{ID: "old-3306-1", Kind: plan.PrimaryFailover, Cluster: "old:3306", Opened: drawing.At, Closed: drawing.At, Stage: plan.Ended, Outcome: "whole again"},
		},
		done: []plan.Done{{Step: plan.Step{Kind: plan.StopReceiver, At: topology.Key{Host: "db2", Port: 3306}, Why: "from now on nobody receives"},
			Episode: "db1-3306-2", Started: drawing.At, Took: 1500 * time.Microsecond, Error: "lost"}},
	}
}

func (f *fake) did(format string, args ...any) error {
	if f.fails == nil {
		f.changes = append(f.changes, fmt.Sprintf(format, args...))
	}
	return f.fails
}

func (f *fake) situation(cluster string) plan.Situation {
	of := f.snapshot.Of(cluster)
	return plan.Situate(plan.Facts{Cluster: cluster, Snapshot: of, Policy: f.policy, Thresholds: analysis.Defaults, Off: f.off})
}

func (f *fake) Snapshot() topology.Snapshot { return f.snapshot }
func (f *fake) Findings(cluster string) []analysis.Finding {
	if cluster == "" {
		return analysis.Analyze(f.snapshot, analysis.Defaults)
	}
	return f.situation(cluster).Findings
}
func (f *fake) Policy(string) plan.Policy                  { return f.policy }
func (f *fake) Alias(cluster string) string                { return f.aliases[cluster] }
func (f *fake) Decide(cluster string) plan.Decision        { return plan.Next(f.situation(cluster)) }
func (f *fake) RecoveriesOff() string                      { return f.off }
func (f *fake) Status() Status                             { return f.status }
func (f *fake) Declared(context.Context) (Declared, error) { return f.declared, f.fails }
func (f *fake) StepDown(_ context.Context, by, reason string) error {
	if !f.status.Leading {
		return fmt.Errorf("%w: d2 leads", ErrConflict)
	}
	return f.did("step down %s %s", by, reason)
}
func (f *fake) work(what, by string, w BackendWork) (BackendWork, error) {
	w.What, w.By, w.Began = what, by, drawing.At
	err := f.did("%s %s", what, by)
	if err == nil {
		f.worked = &w
	}
	return w, err
}
func (f *fake) BackendProofs(context.Context) ([]BackendProof, error) {
	return []BackendProof{{At: drawing.At, By: "d1", Why: "the backend was switched", Comparison: *compared()}}, f.fails
}
func compared() *BackendComparison {
	held := &BackendHeld{Version: 5, Writer: "d1"}
	return &BackendComparison{Equal: true, Records: 7, Kinds: []BackendKind{{Kind: "tag", Records: []int64{7, 6}, Differ: 1}},
		Merged: []BackendDifference{{Kind: "tag", Key: "db1:3306 dc", Held: []*BackendHeld{held, nil}}}}
}
func (f *fake) BackendWork() *BackendWork { return f.worked }
func (f *fake) BackendPromote(_ context.Context, r BackendPromoteRequest, within time.Duration) (BackendWork, error) {
	return f.work(fmt.Sprintf("promote %v within %v", r.To, within), r.By, BackendWork{Ended: drawing.At, Report: &BackendReport{
		Steps: []BackendStep{{At: r.To, Does: "take writes", Statements: []string{"SET GLOBAL read_only = 0"}, Done: true}}, Proof: []string{"it takes writes"}, Verification: compared()}})
}
func (f *fake) BackendRejoin(_ context.Context, r BackendRejoinRequest, within time.Duration) (BackendWork, error) {
	return f.work(fmt.Sprintf("rejoin %v within %v", r.Member, within), r.By, BackendWork{Says: "1000 transactions to apply"})
}
func (f *fake) BackendVerify(_ context.Context, repair bool, by string) (BackendWork, error) {
	return f.work(fmt.Sprintf("verify repair=%v", repair), by, BackendWork{Comparison: compared()})
}
func (f *fake) BackendDoctor(_ context.Context, fix bool, by string) (BackendWork, error) {
	return f.work(fmt.Sprintf("doctor fix=%v", fix), by, BackendWork{Doctor: &BackendDoctor{Complaints: []BackendComplaint{{Code: "format", Says: "it is ROW"}}}})
}
func (f *fake) Backend(context.Context) Backend {
	k := topology.Key{Host: "10.0.0.1", Port: 3306}
	return Backend{Kind: "mysql", Identity: "a", Serves: k, Why: "it serves", Members: []BackendMember{{Key: k, Up: true, Identity: "a", Format: "STATEMENT", Term: 1}},
		Proxy: []BackendProxy{{Key: k, Name: "a", Up: true, State: "UP", Sessions: 3}}, Proof: &BackendProof{At: drawing.At, By: "d1", Comparison: *compared()}}
}
func (f *fake) WhatIf(cluster string, dead topology.Key) plan.Previewed {
	return plan.IfDies(f.situation(cluster), dead)
}
func (f *fake) Episodes(cluster string) []plan.Episode {
	return slices.DeleteFunc(slices.Clone(f.episodes), func(e plan.Episode) bool { return cluster != "" && e.Cluster != cluster })
}
func (f *fake) Episode(_ context.Context, id string) (plan.Episode, []plan.Done, error) {
	for _, e := range f.episodes {
		if e.ID == id {
			return e, f.done, nil
		}
	}
	return plan.Episode{}, nil, fmt.Errorf("read episode %s: %w", id, ErrNotFound)
}
func (f *fake) Hooks() []Hook {
	return []Hook{{Name: "pager", Clusters: []string{"*"}, On: []hook.Moment{hook.Opened}, Program: "/usr/local/bin/page", Timeout: 30, Attempts: 3, Last: &f.HookRuns("db1-3306-2")[0]}}
}
func (f *fake) HookRuns(episode string) []hook.Run {
	return []hook.Run{{Hook: "pager", Moment: hook.Opened, Episode: episode, By: "d1", Attempt: 2, Started: drawing.At, Ended: drawing.At, Outcome: hook.Failed, Says: "exit status 1"}}
}
func (f *fake) TryHook(_ context.Context, name string, m hook.Moment, within time.Duration) (HookTrial, error) {
	_ = f.did("try %s %s within %v", name, m, within) // nothing is stored
	return HookTrial{Daemon: "d1", Hook: name, Moment: m, Outcome: hook.OK, Output: "paged ann", Took: 0.5}, nil
}
func (f *fake) Acknowledge(_ context.Context, id, by, comment string) error {
	for i := range f.episodes {
		if f.episodes[i].ID == id {
			f.episodes[i].Acknowledged = &plan.Acknowledgement{By: by, Comment: comment, At: drawing.At}
			return f.did("acknowledge %s %s %s", id, by, comment)
		}
	}
	return ErrNotFound
}
func (f *fake) Discover(_ context.Context, k topology.Key) (topology.Server, error) {
	if v := f.snapshot.Server(k); v != nil {
		return *v, f.did("discover %v", k)
	}
	return topology.Server{}, fmt.Errorf("probe %v: connection refused; does a server listen there?", k)
}
func (f *fake) Forget(_ context.Context, k topology.Key) error { return f.did("forget %v", k) }
func (f *fake) EndDowntime(_ context.Context, k topology.Key) error {
	return f.did("end downtime %v", k)
}
func (f *fake) SetDowntime(_ context.Context, k topology.Key, d topology.Downtime) error {
	return f.did("downtime %v %s %s %s", k, d.Owner, d.Reason, d.Until.Format(time.RFC3339))
}
func (f *fake) SetRule(_ context.Context, k topology.Key, r topology.Rule) error {
	return f.did("rule %v %s", k, r)
}
func (f *fake) SetTag(_ context.Context, k topology.Key, name, value string) error {
	return f.did("tag %v %s=%s", k, name, value)
}
func (f *fake) RemoveTag(_ context.Context, k topology.Key, name string) error {
	return f.did("untag %v %s", k, name)
}
func (f *fake) SetAlias(_ context.Context, cluster, alias string) error {
	return f.did("alias %s %s", cluster, alias)
}
func (f *fake) SwitchRecoveries(_ context.Context, on bool, by, reason string) error {
	f.off = ""
	if !on {
		f.off = reason + " (" + by + ")"
	}
	return f.did("recoveries %v %s %s", on, by, reason)
}

// rig is an API over a fake.
type rig struct {
	*API
	fake *fake
	reg  *prometheus.Registry
	log  *strings.Builder
}

func newRig(t testing.TB, text string, options ...func(*Options)) rig {
	t.Helper()
	reg, log := prometheus.NewRegistry(), &strings.Builder{}
	o := Options{Registerer: reg, Metrics: promhttp.HandlerFor(reg, promhttp.HandlerOpts{}), Now: func() time.Time { return drawing.At },
		Logger: slog.New(slog.NewTextHandler(log, nil))}
	for _, f := range options {
		f(&o)
	}
	f := newFake(text)
	a, err := New(f, o)
	if err != nil {
		t.Fatal(err)
	}
	return rig{a, f, reg, log}
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

var _ http.Handler = (*API)(nil)
