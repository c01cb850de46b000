package httpd

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"orchestrator/daemon/crowd"
	"orchestrator/daemon/secret"
)

// Access is what a request needs before a handler sees it.
type Access int

const (
	// Change is the zero value, so a mount that states no access is protected: pages of other sites can't send it, and
	// it needs the token where one is configured.
	Change Access = iota
	Read          // needs the token where one is configured for reads
	Open          // needs nothing: health checks, and handlers that check signatures of their own
)

// NeedsToken says whether requests of this kind must bring the token.
func (o Options) NeedsToken(a Access) bool {
	return o.Token != "" && (a == Change || a == Read && o.TokenForReads)
}

// SetToken replaces the token. The text may have several lines, each a valid token. New decided whether a token is
// needed at all: after that, a text without a token admits nobody.
func (h *Root) SetToken(text string) {
	var digests []digest
	for _, token := range secret.Lines(text) {
		digests = append(digests, sha256.Sum256([]byte(token)))
	}
	h.tokens.Store(&digests)
}

// admit says who sends the request, or why it is not admitted.
func (h *Root) admit(r *http.Request, a Access) (Identity, *Problem) {
	var nobody Identity
	if a != Open && !h.options.hosted(r) {
		return nobody, &Problem{Status: http.StatusMisdirectedRequest, Detail: fmt.Sprintf("%q is not a name of this "+
			"daemon: ask for its address, or add the name to http.hosts", Clip(bare(r.Host)))}
	}
	if a == Change {
		if err := h.origin.Check(r); err != nil {
			return nobody, &Problem{Status: http.StatusForbidden,
				Detail: fmt.Sprintf("%v: a page of another site sent this change; "+
					"send it from the daemon's own pages or from a program", err)}
		}
	}
	switch {
	case h.options.NeedsToken(a):
		return h.identify(r)
	case a == Change && h.options.Token == "" && h.options.Local != nil:
		account, err := h.options.Local(r)
		if err != nil {
			return nobody, &Problem{Status: http.StatusForbidden, Detail: err.Error()}
		}
		return Identity{account, Admin, ByAccount}, nil
	}
	return nobody, nil
}

// identify compares the token of a request, unless its client has tried too many wrong ones.
func (h *Root) identify(r *http.Request) (Identity, *Problem) {
	given, sent := token(r)
	client, sum, now := crowd.Client(r.RemoteAddr), digest(sha256.Sum256([]byte(given))), h.options.Now()
	if !sent {
		return Identity{}, &Problem{Status: http.StatusUnauthorized,
			Detail: "this needs the daemon's token: send it as Authorization: Bearer, " +
				"or as the password of basic authentication " +
				"(orchestrator-client reads it from the file that ORCHESTRATOR_TOKEN_FILE names)"}
	}
	if !h.guesses.may(client, sum, now) {
		return Identity{}, &Problem{Status: http.StatusTooManyRequests, Detail: fmt.Sprintf(
			"too many wrong tokens came from %v: another one is compared each %v; send the right one then", client,
			guessEvery)}
	}
	right := h.knows(sum)
	h.guesses.compared(client, sum, right, now)
	if !right {
		return Identity{}, &Problem{Status: http.StatusUnauthorized, Detail: "this is not the daemon's token: " +
			"it is in the file that http.token_file names, on the daemon's host"}
	}
	return Identity{SharedToken, Admin, ByToken}, nil
}

// token is what a request brings, and whether it brings any.
func token(r *http.Request) (given string, sent bool) {
	given, sent = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !sent {
		_, given, _ = r.BasicAuth()
	}
	return given, given != ""
}

// refuse answers a request that is not admitted. A refused change is logged: somebody may be trying tokens.
func (h *Root) refuse(w http.ResponseWriter, r *http.Request, p *Problem) {
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
		"path", Clip(r.URL.Path), "from", r.RemoteAddr, "status", p.Status, "why", p.Detail)
}

// knows compares digests, and all of them. So the time it takes shows neither the length of a token, nor a common
// beginning, nor which token matched.
func (h *Root) knows(given digest) bool {
	known := 0
	for _, token := range *h.tokens.Load() {
		known |= subtle.ConstantTimeCompare(given[:], token[:])
	}
	return known == 1
}
