// Package api answers people and programs over HTTP, under /api/v1: what the fleet looks like, what is wrong, what would be done and
// why not, and the few things that people declare.
//
// It decides nothing and keeps nothing: a handler parses, asks the Daemon one thing, and writes. The one idea: there is one table of
// routes, typed by the handlers themselves, and both the mux and the OpenAPI document are made from it, so that the two can't differ.
package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/hook"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/secret"
	"orchestrator/daemon/topology"
)

// Daemon is what the handlers ask. All reads are from memory and fast, unless they take a context. A change returns only when it is
// stored; any daemon may make it, not only the leader.
type Daemon interface {
	Snapshot() topology.Snapshot                // the whole fleet, sorted by key
	Findings(cluster string) []analysis.Finding // of one cluster, or with "" of all
	Policy(cluster string) plan.Policy
	Alias(cluster string) string // "" when it has none

	// Decide says what would be done now; WhatIf, what would be done if that server died now.
	Decide(cluster string) plan.Decision
	WhatIf(cluster string, dead topology.Key) plan.Previewed

	Episodes(cluster string) []plan.Episode // newest first; with "" of all clusters
	// Episode returns one with the steps that were tried, oldest first, or ErrNotFound.
	Episode(ctx context.Context, id string) (plan.Episode, []plan.Done, error)
	Acknowledge(ctx context.Context, id, by, comment string) error // ErrNotFound

	Hooks() []Hook                      // as the configuration has them now
	HookRuns(episode string) []hook.Run // the last attempts about an episode, in the order in which they were begun
	// TryHook makes one attempt of a hook, which takes no longer than the time given, or its own. ErrNotFound.
	TryHook(ctx context.Context, name string, m hook.Moment, within time.Duration) (HookTrial, error)

	// Discover asks the server now, and watches it, and what it replicates with, from now on.
	Discover(ctx context.Context, k topology.Key) (topology.Server, error)
	Forget(ctx context.Context, k topology.Key) error
	SetDowntime(ctx context.Context, k topology.Key, d topology.Downtime) error
	EndDowntime(ctx context.Context, k topology.Key) error
	SetRule(ctx context.Context, k topology.Key, r topology.Rule) error
	SetTag(ctx context.Context, k topology.Key, name, value string) error
	RemoveTag(ctx context.Context, k topology.Key, name string) error
	SetAlias(ctx context.Context, cluster, alias string) error // "" removes it

	// Declared is what was declared, and holds, sorted; also what another daemon was told a moment ago.
	Declared(ctx context.Context) (Declared, error)

	RecoveriesOff() string // why recoveries are switched off everywhere; "" when they are on
	SwitchRecoveries(ctx context.Context, on bool, by, reason string) error

	Status() Status
	StepDown(ctx context.Context, by, reason string) error // ErrConflict: it does not lead

	Backend(ctx context.Context) Backend
	BackendProofs(ctx context.Context) ([]BackendProof, error)
	BackendWork() *BackendWork // nil: none yet
	// These wait for a while, and return what is under way when it takes longer. ErrConflict: another works on it, or the pair forbids it.
	BackendPromote(ctx context.Context, r BackendPromoteRequest, within time.Duration) (BackendWork, error)
	BackendRejoin(ctx context.Context, r BackendRejoinRequest, within time.Duration) (BackendWork, error)
	BackendVerify(ctx context.Context, repair bool, by string) (BackendWork, error)
	BackendDoctor(ctx context.Context, fix bool, by string) (BackendWork, error)
}

// Errors that a Daemon returns, wrapped, where the caller and not the daemon is at fault. Any other error of a change means that it
// could not be stored.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("conflict")
)

// MaxBody is the size in bytes that the body of a request may have. Everything that is declared is short.
const MaxBody = 1 << 20

// discoverTimeout bounds a discovery on request, which waits for a server that may not answer.
const discoverTimeout = 30 * time.Second

// Options of an API.
type Options struct {
	// Token, when set, must come with every change, as a bearer token or as the password of basic authentication. It may have several lines; see SetToken.
	Token string
	// TokenForReads asks for it on reads too. The answers under /health need none, so that a load balancer can ask.
	TokenForReads bool
	Metrics       http.Handler // answers /metrics; nil: there is no such route
	Logger        *slog.Logger // gets the changes; nil: nobody does
	Registerer    prometheus.Registerer
	Now           func() time.Time // nil: time.Now
}

// API is the handler of every route.
type API struct {
	daemon   Daemon
	options  Options
	tokens   atomic.Pointer[[][sha256.Size]byte] // digests of those that are valid
	routes   []route
	mux      *http.ServeMux
	byRoute  map[string]*route // by the pattern of the mux
	origin   *http.CrossOriginProtection
	metrics  *metrics
	document []byte
}

// New makes the handler. It fails only where the metrics can't be registered.
func New(d Daemon, o Options) (*API, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &API{daemon: d, options: o, mux: http.NewServeMux(), byRoute: map[string]*route{}, origin: http.NewCrossOriginProtection()}
	a.SetToken(o.Token)
	for _, noun := range [][]route{a.clusterRoutes(), a.instanceRoutes(), a.findingRoutes(), a.episodeRoutes(), a.hookRoutes(), a.recoveriesRoutes(),
		a.declaredRoutes(), a.snapshotRoutes(), a.statusRoutes(), a.backendRoutes(), a.documentRoutes()} {
		a.routes = append(a.routes, noun...)
	}
	for i := range a.routes {
		r := &a.routes[i]
		a.byRoute[r.pattern()] = r
		a.mux.HandleFunc(r.pattern(), func(w http.ResponseWriter, req *http.Request) { a.take(w.(*answer), req, r) })
	}
	var err error
	if a.document, err = a.describe(); err != nil {
		return nil, fmt.Errorf("describe the API: %w", err)
	}
	if a.metrics, err = newMetrics(o.Registerer); err != nil {
		return nil, fmt.Errorf("register the metrics of the API: %w", err)
	}
	return a, nil
}

// SetToken takes another token from now on. It may have several lines, each a token that is valid. Whether one is asked for at all was settled by New: a
// text without a token lets nobody in.
func (a *API) SetToken(text string) {
	var digests [][sha256.Size]byte
	for _, token := range secret.Lines(text) {
		digests = append(digests, sha256.Sum256([]byte(token)))
	}
	a.tokens.Store(&digests)
}

// ServeHTTP answers one request: finds the route, asks whether it may be taken, calls it, writes what it returned, counts.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := a.options.Now()
	_, pattern := a.mux.Handler(r)
	rt := a.byRoute[pattern]
	out := answer{ResponseWriter: w}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			a.options.Logger.Error("request panicked", "method", r.Method, "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			if out.code == 0 {
				writeProblem(&out, problem(http.StatusInternalServerError, "a defect of the daemon, which wrote it to its log; nothing else is affected"))
			}
		}
		a.metrics.count(rt, out.code, a.options.Now().Sub(began))
	}()
	out.Header().Set("Cache-Control", "no-store")
	out.Header().Set("X-Content-Type-Options", "nosniff")
	switch {
	case garbled(r.URL.Path):
		writeProblem(&out, problem(http.StatusBadRequest, "the path is no readable text: write names and addresses as they are, percent-encoded where a URL asks for it"))
	case rt == nil:
		a.unrouted(&out, r)
	default:
		a.mux.ServeHTTP(&out, r)
	}
}

// take calls the route if the request may take it.
func (a *API) take(w *answer, r *http.Request, rt *route) {
	p := a.admit(r, rt)
	var body any
	if p == nil && rt.changes() {
		body, p = rt.body(w, r)
	}
	var result any
	if p == nil && rt.raw != nil {
		rt.raw.ServeHTTP(w, r)
		return
	}
	if p == nil {
		var err error
		if result, err = rt.call(r, body); err != nil {
			p = explain(err)
		}
	}
	if p != nil {
		if p.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="orchestrator", Basic realm="orchestrator"`)
		}
		writeProblem(w, *p)
	} else {
		write(w, result)
	}
	if rt.changes() {
		a.note(r, rt, body, w.code, p)
	}
}

// note logs a change, or the refusal of one: who asked for what, from where, and what came of it.
func (a *API) note(r *http.Request, rt *route, body any, code int, p *Problem) {
	level, args := slog.LevelInfo, []any{"change", rt.ID, "path", r.URL.Path, "from", r.RemoteAddr, "status", code}
	if s, ok := body.(signed); ok {
		args = append(args, "by", s.signature())
	}
	if body != nil {
		if text, err := json.Marshal(body); err == nil && string(text) != "{}" {
			args = append(args, "body", string(text))
		}
	}
	if p != nil {
		level = slog.LevelWarn
		args = append(args, "refused", p.Detail)
	}
	a.options.Logger.Log(r.Context(), level, "api", args...)
}

// signed bodies tell who wants the change.
type signed interface{ signature() string }

// admit says why the request may not be taken, or nil.
func (a *API) admit(r *http.Request, rt *route) *Problem {
	if rt.changes() {
		if err := a.origin.Check(r); err != nil {
			return &Problem{Status: http.StatusForbidden, Detail: fmt.Sprintf(
				"%v: a page of another site sent this change; send it from the daemon's own pages or from a program", err)}
		}
	}
	if a.needsToken(rt) && !a.knows(r) {
		return &Problem{Status: http.StatusUnauthorized, Detail: "this needs the daemon's token: send it as Authorization: Bearer, or as the password " +
			"of basic authentication (orchestrator-client reads it from the file that ORCHESTRATOR_TOKEN_FILE names)"}
	}
	q := r.URL.Query()
	for name, values := range q {
		i := slices.IndexFunc(rt.query, func(p parameter) bool { return p.name == name })
		if i < 0 {
			return unknown("query parameter", name, rt.queryNames())
		}
		if oneOf := rt.query[i].oneOf; len(oneOf) > 0 && !slices.Contains(oneOf, values[0]) {
			return unknown("value of "+name, values[0], oneOf)
		}
		if len(values) > 1 {
			return &Problem{Status: http.StatusBadRequest, Detail: fmt.Sprintf("query parameter %q is given %d times; give it once", name, len(values))}
		}
	}
	return nil
}

// knows compares digests, and all of them, so that neither the length nor a common beginning of a token, nor which one it is, shows in the time it takes.
func (a *API) knows(r *http.Request) bool {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		_, given, ok = r.BasicAuth()
	}
	digest := sha256.Sum256([]byte(given))
	known := 0
	for _, token := range *a.tokens.Load() {
		known |= subtle.ConstantTimeCompare(digest[:], token[:])
	}
	return ok && known == 1
}

// unrouted tells a wrong method from a wrong path.
func (a *API) unrouted(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete} {
		probe := r.Clone(r.Context())
		probe.Method = m
		if _, pattern := a.mux.Handler(probe); pattern != "" {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		writeProblem(w, problem(http.StatusMethodNotAllowed, "%s does not take %s; it takes %s", r.URL.Path, r.Method, strings.Join(allowed, ", ")))
		return
	}
	var paths []string
	for _, rt := range a.routes {
		paths = append(paths, rt.Path)
	}
	p := problem(http.StatusNotFound, "there is no %s here; every route is in /api/v1/openapi.json", r.URL.Path)
	p.Near = near(r.URL.Path, paths)
	writeProblem(w, p)
}

// garbled says that no name or address could ever look like this.
func garbled(path string) bool {
	return !utf8.ValidString(path) || strings.ContainsFunc(path, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError })
}

// answer remembers the status that was written.
type answer struct {
	http.ResponseWriter
	code int
}

func (a *answer) WriteHeader(code int) {
	if a.code == 0 {
		a.code = code
	}
	a.ResponseWriter.WriteHeader(code)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.code == 0 {
		a.code = http.StatusOK
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// write sends what a handler returned. It is encoded whole first: what can't be encoded must not end as half an answer with status 200.
func write(w http.ResponseWriter, result any) {
	switch v := result.(type) {
	case Nothing:
		w.WriteHeader(http.StatusNoContent)
		return
	case Text:
		send(w, "text/plain; charset=utf-8", []byte(v))
		return
	case json.RawMessage:
		send(w, "application/json", v)
		return
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(result); err != nil {
		writeProblem(w, problem(http.StatusInternalServerError, "encode the answer: %v", err))
		return
	}
	send(w, "application/json", b.Bytes())
}

func send(w http.ResponseWriter, mediaType string, body []byte) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) // a client that went away is no concern of ours
}
