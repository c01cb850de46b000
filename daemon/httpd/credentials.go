package httpd

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"net/netip"

	"orchestrator/daemon/secret"
)

// Credentials are who may do what, and how they prove who they are. The zero value knows nobody.
type Credentials struct {
	// Token is the shared one, which lets its holders do everything. The text may have several lines, each a valid
	// token.
	Token string
	Users []User
	// IdentityHeader is the header in which a proxy names a user, if its address is in IdentityFrom; "": none.
	IdentityHeader string
	IdentityFrom   []netip.Prefix
	// Authorities are trusted to sign certificates that name users; nil: none are.
	Authorities *x509.CertPool
}

// User is somebody with a name of their own.
type User struct {
	Name   string // which a proxy or a certificate has, too
	Role   Role
	Tokens string // a token a line; "" where only a proxy or a certificate proves the name
}

// some says that there is anybody to know.
func (c Credentials) some() bool { return c.Token != "" || len(c.Users) > 0 }

// register is Credentials, ready for comparing.
type register struct {
	Credentials
	tokens []knownToken
	users  map[string]Role
}

type knownToken struct {
	digest digest
	of     Identity
}

func newRegister(c Credentials) *register {
	r := &register{Credentials: c, users: map[string]Role{}}
	r.add(c.Token, Identity{SharedToken, Admin, ByToken})
	for _, u := range c.Users {
		r.users[u.Name] = u.Role
		r.add(u.Tokens, Identity{u.Name, u.Role, ByToken})
	}
	return r
}

func (r *register) add(tokens string, of Identity) {
	for _, token := range secret.Lines(tokens) {
		r.tokens = append(r.tokens, knownToken{sha256.Sum256([]byte(token)), of})
	}
}

// holder is whose token it is. It compares digests, and all of them. So the time it takes shows neither the length of a
// token, nor a common beginning, nor which token matched.
func (r *register) holder(given digest) (Identity, bool) {
	found := -1
	for i := range r.tokens {
		same := subtle.ConstantTimeCompare(given[:], r.tokens[i].digest[:])
		found = subtle.ConstantTimeSelect(same, i, found)
	}
	if found < 0 {
		return Identity{}, false
	}
	return r.tokens[found].of, true
}
