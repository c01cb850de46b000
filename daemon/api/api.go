// Package api answers people and programs over HTTP, under /api/v1: what the fleet looks like, what is wrong, what
// would be done and why not, and the few things that people declare.
//
// It decides nothing and keeps no facts: a handler parses, calls one method of one noun, and writes. Each noun has a
// file: its routes, the small interface that they need, its handlers. The one idea: there is one table of routes, typed
// by the handlers themselves. What is mounted and the OpenAPI document are both made from it, so they can't differ.
package api

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"orchestrator/daemon/audit"
	"orchestrator/daemon/httpd"
	"orchestrator/daemon/printable"
	"orchestrator/daemon/topology"
)

// Nouns are what the handlers call. All reads are from memory and fast, unless they take a context. A change returns
// only when it is stored. Any daemon may make a change, not only the leader.
type Nouns struct {
	Fleet        Fleet
	Discovery    Discovery
	Deployment   Deployment
	Declarations Declarations
	Requests     Requests
	Recoveries   Switch
	Episodes     Episodes
	Hooks        Hooks
	Daemon       Daemon
	Backend      Backends
	Audit        Audit
}

// Errors that a noun returns, wrapped, where the caller and not the daemon is at fault. Any other error of a change
// means that it could not be stored.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("conflict")
)

// MaxBody is the size in bytes that the body of a request may have. Everything that is declared is short.
const MaxBody = 1 << 20

// Options of an API.
type Options struct {
	// NeedsToken says which requests must bring the daemon's token, for the document; see httpd. nil: none.
	NeedsToken func(httpd.Access) bool
	Metrics    http.Handler     // answers /metrics; nil: there is no such route
	Logger     *slog.Logger     // gets the changes; nil: nobody does
	Now        func() time.Time // nil: time.Now
	Ending     func() bool      // says that this daemon ends; nil: it never does
}

// API is the table of routes.
type API struct {
	Nouns
	options  Options
	life     string // of this table: editions of another process mean nothing here
	routes   []route
	document []byte
	playing  chan struct{} // holds a token for each preview that is under way

	summaries *shelf[string, uint64] // of clusters
	trouble   *shelf[string, uint64] // findings, by cluster
	servers   *shelf[topology.Key, serverStamp]
	known     *shelf[string, uint64] // of clusters, besides their servers
}

// New makes the table and its document.
func New(n Nouns, o Options) (*API, error) {
	if o.NeedsToken == nil {
		o.NeedsToken = func(httpd.Access) bool { return false }
	}
	if o.Ending == nil {
		o.Ending = func() bool { return false }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &API{Nouns: n, options: o, life: rand.Text()[:10], playing: make(chan struct{}, 1)}
	a.summaries, a.trouble = newShelf[string, uint64](strings.Compare), newShelf[string, uint64](strings.Compare)
	a.servers = newShelf[topology.Key, serverStamp](topology.Key.Compare)
	a.known = newShelf[string, uint64](strings.Compare)
	for _, noun := range [][]route{
		a.clusterRoutes(), a.instanceRoutes(), a.findingRoutes(), a.episodeRoutes(), a.requestRoutes(), a.hookRoutes(),
		a.recoveriesRoutes(),
		a.declaredRoutes(), a.snapshotRoutes(), a.statusRoutes(), a.auditRoutes(), a.backendRoutes(),
		a.documentRoutes(),
	} {
		a.routes = append(a.routes, noun...)
	}
	var err error
	if a.document, err = a.describe(); err != nil {
		return nil, fmt.Errorf("describe the API: %w", err)
	}
	return a, nil
}

// Mounts are the routes, for httpd.New.
func (a *API) Mounts() []httpd.Mount {
	var out []httpd.Mount
	for i := range a.routes {
		rt := &a.routes[i]
		out = append(out, httpd.Mount{Method: rt.Method, Path: rt.Path, Access: rt.access(),
			Handler: rt.handler})
		if rt.changes() {
			out[i].Refused = func(r *http.Request, p httpd.Problem) { a.refused(r, rt, p) }
		}
		if rt.handler == nil {
			out[i].Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.take(w, r, rt) })
		}
	}
	return out
}

// take calls the route, and writes what it returned. A change is recorded before it is answered.
func (a *API) take(w http.ResponseWriter, r *http.Request, rt *route) {
	p := rt.check(r.URL.Query())
	if rt.changes() {
		a.change(w, r, rt, p)
		return
	}
	if p == nil {
		reply, err := rt.call(r, nil)
		if err == nil {
			err = a.write(w, r, reply)
		}
		if err != nil {
			p = explain(err)
		}
	}
	if p != nil {
		httpd.WriteProblem(w, *p)
	}
}

// panicked is what a record says of a change that a defect has ended. The log has the panic and its stack.
var panicked = httpd.Problem{Status: http.StatusInternalServerError, Detail: "panicked: a defect of the daemon ended " +
	"this change; what was done before stays done; the daemon's log has the details"}

// change is take for a route that changes something. p says that the request is refused already.
func (a *API) change(w http.ResponseWriter, r *http.Request, rt *route, p *httpd.Problem) {
	entry, noted := bare(r, rt), false
	defer func() { // without recover: httpd answers, and logs the stack as it is here
		if !noted {
			entry.Panicked = true
			a.note(r, rt, entry, &panicked)
		}
	}()
	var body any
	if p == nil {
		body, p = rt.body(w, r)
	}
	entry = a.entry(r, rt, body)
	var reply reply
	if p == nil {
		var err error
		if reply, err = rt.call(r, body); err != nil {
			p = explain(err)
		}
	}
	a.note(r, rt, entry, p)
	noted = true
	if p == nil {
		if err := a.write(w, r, reply); err != nil {
			p = explain(err)
		}
	}
	if p != nil {
		httpd.WriteProblem(w, *p)
	}
}

// write sends a reply. The reply is encoded as a whole before the first byte is sent: what can't be encoded must not
// end as half an answer with status 200.
func (a *API) write(w http.ResponseWriter, r *http.Request, reply reply) error {
	if reply.edition != "" && httpd.Unchanged(w, r, a.life+"-"+reply.edition) {
		return nil
	}
	if reply.parts != nil {
		httpd.SendParts(w, r, "application/json", reply.parts...)
		return nil
	}
	result, err := reply.make()
	if err != nil {
		return err
	}
	switch v := result.(type) {
	case Nothing:
		w.WriteHeader(http.StatusNoContent)
	case Text:
		httpd.Send(w, r, "text/plain; charset=utf-8", []byte(v))
	case Lines:
		httpd.Send(w, r, linesMedia, v)
	case json.RawMessage:
		httpd.Send(w, r, "application/json", v)
	default:
		body, err := encode(result)
		if err != nil {
			p := httpd.NewProblem(http.StatusInternalServerError, "encode the answer: %v", err)
			return &p
		}
		httpd.Send(w, r, "application/json", body)
	}
	return nil
}

// note logs and records a change, or the refusal of one: who asked for what, from where, and what came of it.
func (a *API) note(r *http.Request, rt *route, e audit.Entry, p *httpd.Problem) {
	if e.Cluster == "" && p == nil { // of a server that is known only now
		e.Cluster = a.concerned(r)
	}
	level, args := slog.LevelInfo, []any{"change", rt.ID, "path", r.URL.Path, "from", r.RemoteAddr,
		"who", httpd.Who(r.Context()).String()}
	if e.By != "" {
		args = append(args, "by", e.By)
	}
	if e.Parameters != nil {
		args = append(args, "body", string(e.Parameters))
	}
	if e.Status = rt.success(); p != nil {
		level = slog.LevelWarn
		e.Status, e.Error = p.Status, printable.Clip(p.Detail, longestText)
		args = append(args, "status", p.Status, "refused", p.Detail)
	} else {
		args = append(args, "status", e.Status)
	}
	a.options.Logger.Log(r.Context(), level, "api", args...)
	a.Audit.Append(r.Context(), e)
}

// signed bodies tell who asks for the change.
type signed interface{ signature() *string }

// sign has a body say who was proved to send it. A user may act for somebody else, and then both are kept: no record
// has the name of a person who has nothing to do with it, and none hides who it was. Whoever has the shared token, or
// an account of the host, signs as they like: these are no names of people.
//
// A client that sends the account it runs in, because nobody gave a name, says so (AccountHeader): a proved name comes
// before that.
func sign(body any, who httpd.Identity, account bool) {
	s, ok := body.(signed)
	if !ok || !who.Named() {
		return
	}
	switch by := s.signature(); {
	case *by == "" || account:
		*by = who.Name
	case *by != who.Name:
		*by = audit.SentBy(*by, who.Name)
	}
}

// AccountHeader is in requests that are signed with the name of an account of the client's host, which nobody gave. Its
// value is that name.
const AccountHeader = "Orchestrator-Account"
