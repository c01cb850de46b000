package httpd

import (
	"fmt"
	"log/slog"
	"net/http"
)

// NeedsToken says whether requests of this kind must prove who sends them.
func (o Options) NeedsToken(a Access) bool {
	return o.some() && (a.Changes() || a == Read && o.TokenForReads)
}

// SetCredentials replaces those of New. New decided whether anybody must prove who they are: after that, credentials
// that know nobody admit nobody.
func (h *Root) SetCredentials(c Credentials) { h.known.Store(newRegister(c)) }

// admit says who sends the request, or why it is not admitted.
func (h *Root) admit(r *http.Request, a Access) (Identity, *Problem) {
	var nobody Identity
	if a == Open {
		return nobody, nil
	}
	if !h.options.hosted(r) {
		return nobody, &Problem{Status: http.StatusMisdirectedRequest, Detail: fmt.Sprintf(
			"%q is not a name of this daemon: ask for its address, or add the name to http.hosts", Clip(bare(r.Host)))}
	}
	if a.Changes() {
		if err := h.origin.Check(r); err != nil {
			return nobody, forbidden("%v: a page of another site sent this change; "+
				"send it from the daemon's own pages or from a program", err)
		}
	}
	switch {
	case h.options.NeedsToken(a):
		who, p := h.identify(r)
		if p == nil && !who.Role.May(a) {
			p = forbidden("this needs the role %q, and %s has %q: ask somebody who has it, or for another role in "+
				"the daemon's configuration", a.Role(), who.Name, who.Role)
		}
		return who, p
	case a.Changes() && !h.options.some() && h.options.Local != nil:
		account, err := h.options.Local(r)
		if err != nil {
			return nobody, forbidden("%v", err)
		}
		return Identity{account, Admin, ByAccount}, nil
	}
	return h.known.Load().proxied(r) // a header that is not believed shows, even where nothing depends on it
}

// refuse answers a request that is not admitted. A refused change is logged: somebody may be trying tokens.
func (h *Root) refuse(w http.ResponseWriter, r *http.Request, who Identity, p *Problem) {
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="orchestrator", Basic realm="orchestrator"`)
	}
	if p.Status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "5")
	}
	WriteProblem(w, *p)
	level := slog.LevelWarn
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		level = slog.LevelDebug
	}
	h.quiet.log(r.Context(), h.options.Now(), level, "request not admitted", "method", Clip(r.Method),
		"path", Clip(r.URL.Path), "from", r.RemoteAddr, "who", who.String(), "status", p.Status, "why", p.Detail)
}
