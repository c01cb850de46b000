package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"orchestrator/daemon/secret"
)

// UserConfig is somebody with a name of their own.
type UserConfig struct {
	Name      string `toml:"name"`
	Role      string `toml:"role" oneof:"read operate admin"`
	TokenFile string `toml:"token_file"`

	Token Secret `toml:"-"` // the content of TokenFile, one token a line; "" for none
}

// Network is an address, or a network.
type Network struct{ netip.Prefix }

// UnmarshalText reads "10.0.0.1" or "10.0.0.0/8".
func (n *Network) UnmarshalText(text []byte) (err error) {
	if a, e := netip.ParseAddr(string(text)); e == nil {
		n.Prefix = netip.PrefixFrom(a.Unmap().WithZone(""), a.Unmap().BitLen())
		return nil
	}
	if n.Prefix, err = netip.ParsePrefix(string(text)); err != nil || n.Prefix != n.Masked() {
		return fmt.Errorf(`%q is not an address or a network; write "10.0.0.1" or "10.0.0.0/8"`, text)
	}
	return nil
}

var (
	userName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.@:/+-]{0,127}$`)
	// headerName leaves out what HTTP itself needs.
	headerName = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)
	taken      = []string{"Authorization", "Host", "Origin", "Cookie", "Forwarded", "X-Forwarded-For", "Content-Type"}
)

// users checks who may use the API, and how they prove who they are.
func (r *reader) users(c *Config) {
	of := map[string]string{} // token: whose it is
	for _, line := range secret.Lines(string(c.HTTP.Token)) {
		of[line] = "http.token_file"
	}
	var names []string
	for i := range c.Users {
		u, key := &c.Users[i], fmt.Sprintf("user[%d]", i)
		r.userName(key, u.Name, names)
		names = append(names, u.Name)
		if u.Role == "" && !r.bad[key+".role"] {
			r.add(key+".role", `is missing; it must be "read", "operate" or "admin"`)
		}
		r.userTokens(key+".token_file", u, of)
		if u.TokenFile == "" && !r.about(key+".token") && c.HTTP.IdentityHeader == "" && c.HTTP.ClientCA == "" {
			r.add(key, "nobody can prove to be %s: set token_file; or http.identity_header, where a proxy names "+
				"users; or http.client_ca, for certificates", u.Name)
		}
	}
	admin := func(u UserConfig) bool { return u.Role == "admin" }
	if len(c.Users) > 0 && c.HTTP.TokenFile == "" && !slices.ContainsFunc(c.Users, admin) && !r.about("user[") {
		r.add("user", `no user has the role "admin", and there is no http.token_file: nobody could switch recoveries `+
			"off; give one the role, or set http.token_file")
	}
	r.identityHeader(c)
	r.clientCA(c)
}

func (r *reader) userName(key, name string, others []string) {
	switch {
	case r.bad[key+".name"]:
	case name == "http.token_file":
		r.add(key+".name", "%q stands for anyone who has a token of that file; choose another name", name)
	case !userName.MatchString(name):
		r.add(key+".name", "%q is not a valid name: use up to 128 letters, digits and _ . @ : / + -, beginning with "+
			"a letter or digit; the audit and logs use it", name)
	case slices.Contains(others, name):
		r.add(key+".name", "%q is the name of two users; each needs its own. To change a token, write the new one "+
			"into the same file", name)
	}
}

// userTokens reads the file of a user, and refuses a token that is somebody else's too.
func (r *reader) userTokens(key string, u *UserConfig, of map[string]string) {
	if r.path(key, &u.TokenFile); u.TokenFile == "" {
		return
	}
	u.Token = r.secret(key, u.TokenFile)
	r.length(key, u.TokenFile, u.Token)
	for i, line := range secret.Lines(string(u.Token)) {
		if other := of[line]; other != "" && other != u.Name {
			r.add(key, "%s has a token (number %d) that %s has too: nobody could tell the two apart; make another "+
				"one: openssl rand -hex 32", u.TokenFile, i+1, other)
		}
		of[line] = u.Name
	}
}

func (r *reader) identityHeader(c *Config) {
	h := &c.HTTP
	for i, n := range h.IdentityFrom {
		if n.Bits() == 0 {
			r.add(fmt.Sprintf("http.identity_from[%d]", i), "%v is everybody: anyone could claim to be an admin; name "+
				"the addresses of the proxies", n)
		}
	}
	key := "http.identity_header"
	switch {
	case r.bad[key] || r.about("http.identity_from"):
	case h.IdentityHeader == "":
		if len(h.IdentityFrom) > 0 {
			r.add("http.identity_from", "needs http.identity_header, the header in which the proxy names the user")
		}
	case !headerName.MatchString(h.IdentityHeader) ||
		slices.ContainsFunc(taken, func(t string) bool { return strings.EqualFold(t, h.IdentityHeader) }):
		r.add(key, `%q can't be that header; write a name such as "X-Remote-User"`, h.IdentityHeader)
	case len(h.IdentityFrom) == 0:
		r.add(key, "needs http.identity_from, the addresses of the proxies that are believed")
	case len(c.Users) == 0:
		r.add(key, "needs a [[user]] for each name that the proxy sends, which has the role of that user")
	}
}

// clientCA checks the authorities that sign certificates of users.
func (r *reader) clientCA(c *Config) {
	h, key := &c.HTTP, "http.client_ca"
	switch {
	case h.ClientCA == "":
	case h.TLSCert == "" && !r.bad["http.tls_cert"]:
		r.add(key, "needs http.tls_cert and http.tls_key: clients show certificates to a daemon that serves HTTPS")
	case len(c.Users) == 0 && !r.about("user"):
		r.add(key, "needs a [[user]] for each name in a certificate, which has the role of that user")
	default:
		var err error
		if _, h.Authorities, err = authorities(h.ClientCA); err != nil {
			r.add(key, "%v", err)
		}
	}
}
