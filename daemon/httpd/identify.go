package httpd

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/certificate"
	"orchestrator/daemon/crowd"
)

// identify says who sends the request. What a proxy says goes before a token, which may be meant for the proxy; a
// certificate may be the proxy's own, so it goes last. A proof that fails is an answer: no other one is tried.
func (h *Root) identify(r *http.Request) (Identity, *Problem) {
	known := h.known.Load()
	if who, p := known.proxied(r); p != nil || who.Name != "" {
		return who, p
	}
	if given, sent := token(r); sent {
		return h.holder(known, r, given)
	}
	if who, p := known.certified(r, h.options.Now()); p != nil || who.Name != "" {
		return who, p
	}
	return Identity{}, &Problem{Status: http.StatusUnauthorized,
		Detail: "this needs a token: send it as Authorization: Bearer, or as the password of basic authentication " +
			"(orchestrator-client reads it from the file that ORCHESTRATOR_TOKEN_FILE names)"}
}

// holder compares the token of a request, unless its client has tried too many wrong ones.
func (h *Root) holder(known *register, r *http.Request, given string) (Identity, *Problem) {
	client, sum, now := crowd.Client(r.RemoteAddr), digest(sha256.Sum256([]byte(given))), h.options.Now()
	if !h.guesses.may(client, sum, now) {
		return Identity{}, &Problem{Status: http.StatusTooManyRequests, Detail: fmt.Sprintf(
			"too many wrong tokens came from %v: another one is compared each %v; send the right one then", client,
			guessEvery)}
	}
	who, right := known.holder(sum)
	h.guesses.compared(client, sum, right, now)
	if !right {
		return Identity{}, &Problem{Status: http.StatusUnauthorized, Detail: "nobody has this token: those that are " +
			"valid are in the files that http.token_file and token_file of each [[user]] name, on the daemon's host"}
	}
	return who, nil
}

// token is what a request brings, and whether it brings any.
func token(r *http.Request) (given string, sent bool) {
	given, sent = strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !sent {
		_, given, _ = r.BasicAuth()
	}
	return given, given != ""
}

// proxied is the user that a proxy names. From elsewhere, the header is somebody's attempt to be somebody else, or a
// proxy that the configuration does not know: it is refused, so that it shows.
func (k *register) proxied(r *http.Request) (Identity, *Problem) {
	if k.IdentityHeader == "" {
		return Identity{}, nil
	}
	names := r.Header.Values(k.IdentityHeader)
	if !slices.ContainsFunc(names, func(name string) bool { return name != "" }) {
		return Identity{}, nil
	}
	if !k.believes(r.RemoteAddr) {
		return Identity{}, forbidden("the header %s names a user, and %s is not in http.identity_from, whose proxies "+
			"alone are believed: send the request without it, or by such a proxy", k.IdentityHeader, bare(r.RemoteAddr))
	}
	if len(names) > 1 {
		return Identity{}, forbidden("the header %s is there %d times: the proxy must replace what its client sends",
			k.IdentityHeader, len(names))
	}
	return k.user(ByProxy, "the proxy", names[0])
}

func (k *register) believes(remote string) bool {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	ip := a.Addr().Unmap().WithZone("")
	return slices.ContainsFunc(k.IdentityFrom, func(n netip.Prefix) bool { return n.Contains(ip) })
}

// certified is the user that the certificate of the client names. TLS has checked that the client has its key, and not
// who signed it: other daemons show certificates of other authorities.
func (k *register) certified(r *http.Request, now time.Time) (Identity, *Problem) {
	if k.Authorities == nil || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return Identity{}, nil
	}
	shown := r.TLS.PeerCertificates
	if err := certificate.Verify(shown, k.Authorities, x509.ExtKeyUsageClientAuth, now); err != nil {
		return Identity{}, forbidden("the client's certificate proves nobody's name: %v; use one for clients that an "+
			"authority in http.client_ca has signed", err)
	}
	names := certificateNames(shown[0])
	var users []string
	for _, name := range names {
		if _, ok := k.users[name]; ok && !slices.Contains(users, name) {
			users = append(users, name)
		}
	}
	switch len(users) {
	case 0:
		return k.user(ByCertificate, "the client's certificate", strings.Join(names, ", "))
	case 1:
		return k.user(ByCertificate, "the client's certificate", users[0])
	}
	return Identity{}, forbidden("the client's certificate has the names of two users, %s and %s: use one that has "+
		"one of them", users[0], users[1])
}

// certificateNames are the common name of a certificate and its URIs.
func certificateNames(c *x509.Certificate) (names []string) {
	if c.Subject.CommonName != "" {
		names = append(names, c.Subject.CommonName)
	}
	for _, uri := range c.URIs {
		names = append(names, uri.String())
	}
	return names
}

// user is the one with a name that was proved. A name that no user has is nobody's, whoever has proved it.
func (k *register) user(by Proof, says, name string) (Identity, *Problem) {
	role, ok := k.users[name]
	if !ok {
		return Identity{}, forbidden("%s names %q, and there is no such user: add a [[user]] with that name and a "+
			"role, and reload", says, Clip(name))
	}
	return Identity{name, role, by}, nil
}

func forbidden(format string, args ...any) *Problem {
	p := NewProblem(http.StatusForbidden, format, args...)
	return &p
}
