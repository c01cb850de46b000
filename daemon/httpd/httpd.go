// Package httpd is the one HTTP server of a daemon. Everything that answers (the API, the pages, the metrics, the calls
// of other daemons) is mounted on it, and passes the same admission, the same guard against panics and the same
// counters.
//
// It knows no route of its own and nothing of the fleet. The one idea: a mount is a value, a path with the access that
// it needs, so nobody can mount a handler and forget to protect it.
package httpd

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/daemon/crowd"
)

// Mount is a handler and where it answers.
type Mount struct {
	Method string // "" is every method
	Path   string // as http.ServeMux has it; it is the path in the metrics too
	Access Access
	// Handler is called for admitted requests only. It writes errors with WriteProblem and all else with Send.
	Handler http.Handler
	// Refused is called after a request was refused of somebody who has proved who they are, and lacks the role. nil:
	// nobody hears of it.
	Refused func(r *http.Request, p Problem)
}

func (m Mount) pattern() string { return strings.TrimSpace(m.Method + " " + m.Path) }

// Options of a Root.
type Options struct {
	// Credentials are who may do what. Where they know anybody, every change must prove who sends it.
	Credentials
	// TokenForReads asks for a proof on reads too.
	TokenForReads bool
	// Local says which account of this host a client has, or why it may change nothing, where there are no
	// credentials; nil: every client may.
	Local func(*http.Request) (account string, err error)
	// Hosts are the names that requests may be sent to, addresses aside; empty: any.
	Hosts []string
	// Requests is how many are answered at the same time, those that need nothing aside; 0: 64.
	Requests   int
	Logger     *slog.Logger // gets refused changes and panics; nil: nobody does
	Registerer prometheus.Registerer
	Now        func() time.Time // nil: time.Now
}

// Root answers for everything that is mounted.
type Root struct {
	options Options
	known   atomic.Pointer[register]
	mounts  map[string]Mount // by the pattern of the mux
	paths   []string         // of the mounts, in order
	mux     *http.ServeMux
	origin  *http.CrossOriginProtection
	turns   *turns
	guesses *guesses
	quiet   *quiet
	metrics *metrics
}

const (
	usualRequests = 64
	// patience is how long a request waits for its turn.
	patience = 2 * time.Second
)

// New mounts everything. It fails only if the metrics can't be registered. Two mounts of one path are a defect, and
// panic.
func New(o Options, mounts ...Mount) (*Root, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	h := &Root{options: o, mounts: map[string]Mount{}, mux: http.NewServeMux(), origin: http.NewCrossOriginProtection(),
		turns: newTurns(cmp.Or(o.Requests, usualRequests), patience), guesses: newGuesses(), quiet: newQuiet(o.Logger)}
	h.SetCredentials(o.Credentials)
	for _, m := range mounts {
		h.mounts[m.pattern()] = m
		h.paths = append(h.paths, m.Path)
		h.mux.Handle(m.pattern(), m.Handler)
	}
	var err error
	if h.metrics, err = newMetrics(o.Registerer); err != nil {
		return nil, fmt.Errorf("register the metrics of the API: %w", err)
	}
	return h, nil
}

// ServeHTTP answers one request: finds the mount, checks whether the request is admitted, calls the handler, counts.
func (h *Root) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := h.options.Now()
	_, pattern := h.mux.Handler(r)
	m, found := h.mounts[pattern]
	out := &answer{ResponseWriter: w}
	defer func() {
		if p := recover(); p != nil {
			h.panicked(out, r, p)
		}
		h.metrics.count(m, found, out.code, h.options.Now().Sub(began))
	}()
	out.Header().Set("Cache-Control", "no-store") // Send says otherwise where an answer may be kept
	out.Header().Set("X-Content-Type-Options", "nosniff")
	switch {
	case garbled(r.URL.Path):
		WriteProblem(out, NewProblem(http.StatusBadRequest, "the path is not readable text: "+
			"send names and addresses as they are, percent-encoded where a URL requires it"))
	case !found:
		h.unrouted(out, r)
	default:
		h.serve(out, r, m)
	}
}

// serve calls the handler of an admitted request when it is its turn. What needs nothing, such as health checks and the
// calls of other daemons, never waits for others.
func (h *Root) serve(out *answer, r *http.Request, m Mount) {
	who, p := h.admit(r, m.Access)
	if p != nil {
		h.refuse(out, r, who, p)
		if m.Refused != nil && who.Name != "" {
			m.Refused(r.WithContext(As(r.Context(), who)), *p)
		}
		return
	}
	if m.Access != Open {
		done, p := h.turns.take(r.Context(), crowd.Client(r.RemoteAddr))
		if p != nil {
			out.Header().Set("Retry-After", "1")
			WriteProblem(out, *p)
			return
		}
		defer done()
	}
	h.mux.ServeHTTP(out, r.WithContext(As(r.Context(), who)))
}

// panicked answers for a handler that could not. net/http's own way to drop a connection is passed on.
func (h *Root) panicked(out *answer, r *http.Request, p any) {
	if p == http.ErrAbortHandler {
		panic(p)
	}
	h.options.Logger.Error("request panicked", "method", r.Method, "path", r.URL.Path, "panic", fmt.Sprint(p),
		"stack", string(debug.Stack()))
	if out.code == 0 {
		WriteProblem(out, NewProblem(http.StatusInternalServerError,
			"a defect of the daemon: its log has the details; nothing else is affected"))
	}
}

// unrouted tells a wrong method from a wrong path.
func (h *Root) unrouted(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete} {
		probe := r.Clone(r.Context())
		probe.Method = m
		if _, pattern := h.mux.Handler(probe); pattern != "" {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) > 0 {
		takes := strings.Join(allowed, ", ")
		w.Header().Set("Allow", takes)
		WriteProblem(w, NewProblem(http.StatusMethodNotAllowed, "%s does not take %s; it takes %s",
			Clip(r.URL.Path), Clip(r.Method), takes))
		return
	}
	p := NewProblem(http.StatusNotFound, "there is no %s here; every route is in /api/v1/openapi.json",
		Clip(r.URL.Path))
	p.Near = Near(r.URL.Path, h.paths)
	WriteProblem(w, p)
}

// garbled says that no name or address could ever look like this.
func garbled(path string) bool {
	return !utf8.ValidString(path) ||
		strings.ContainsFunc(path, func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError })
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
