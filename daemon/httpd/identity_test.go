package httpd

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

const (
	sharedToken = "the token that all share"
	annsToken   = "the token of ann, who reads"
	bobsToken   = "the token of bob, who operates"
	evesToken   = "the token of eve, who may do all"
)

func people() Credentials {
	return Credentials{Token: sharedToken, Users: []User{{"ann", ReadOnly, "an old one of ann's\n" + annsToken},
		{"bob", Operator, bobsToken}, {"eve", Admin, evesToken}, {"spiffe://example.com/deploy", Operator, ""}},
		IdentityHeader: "X-Remote-User", IdentityFrom: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}
}

// desk is a root that remembers who came through.
type desk struct {
	*Root
	who Identity
	log bytes.Buffer
}

func newDesk(t *testing.T, o Options) *desk {
	t.Helper()
	d := &desk{}
	o.Logger = slog.New(slog.NewTextHandler(&d.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	tell := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.who = Who(r.Context())
		w.WriteHeader(http.StatusNoContent)
	})
	d.Root = root(t, o, Mount{Method: "POST", Path: "/administer", Access: Administer, Handler: tell},
		Mount{Method: "POST", Path: "/operate", Access: Operate, Handler: tell},
		Mount{Method: "GET", Path: "/see", Access: Read, Handler: tell},
		Mount{Method: "GET", Path: "/open", Access: Open, Handler: tell})
	return d
}

// ask sends a request, which is changed first, and returns its status, who it was, and why it was refused.
func (d *desk) ask(from, path string, with func(*http.Request)) (int, Identity, string) {
	method := http.MethodPost
	if path == "/see" || path == "/open" {
		method = http.MethodGet
	}
	r := httptest.NewRequest(method, "http://x"+path, nil)
	r.RemoteAddr = from
	with(r)
	w := httptest.NewRecorder()
	d.who = Identity{}
	d.ServeHTTP(w, r)
	return w.Code, d.who, w.Body.String()
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) {
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
	}
}

func TestEachRoleMayDoWhatItMayDo(t *testing.T) {
	d := newDesk(t, Options{Credentials: people(), TokenForReads: true})
	for _, c := range []struct {
		token                          string
		administer, operate, see, open int
	}{
		{annsToken, 403, 403, 204, 204},
		{"an old one of ann's", 403, 403, 204, 204},
		{bobsToken, 403, 204, 204, 204},
		{evesToken, 204, 204, 204, 204},
		{sharedToken, 204, 204, 204, 204},
		{"a token that nobody has", 401, 401, 401, 204},
		{"", 401, 401, 401, 204},
	} {
		for path, want := range map[string]int{"/administer": c.administer, "/operate": c.operate, "/see": c.see,
			"/open": c.open} {
			code, _, says := d.ask("10.1.1.1:1", path, bearer(c.token))
			if code != want {
				t.Errorf("%q at %s: %d, want %d", c.token, path, code, want)
			}
			if strings.Contains(says+d.log.String(), "token of") {
				t.Errorf("%q at %s: a token shows in the answer or in the log", c.token, path)
			}
		}
	}
	if _, _, says := d.ask("10.1.1.1:1", "/operate", bearer(annsToken)); !strings.Contains(says,
		`this needs the role \"operate\", and ann has \"read\"`) {
		t.Error(says)
	}
	if !strings.Contains(d.log.String(), `who="ann (token)"`) {
		t.Error("the log does not say who was refused")
	}
}

func TestTheTokensOfUsersAreReplaced(t *testing.T) {
	d := newDesk(t, Options{Credentials: people()})
	next := people()
	next.Users[1].Tokens, next.Users[2].Role = "another token of bob's", ReadOnly
	d.SetCredentials(next)
	for token, want := range map[string]int{bobsToken: 401, "another token of bob's": 204, evesToken: 403} {
		if code, _, _ := d.ask("10.1.1.1:1", "/operate", bearer(token)); code != want {
			t.Errorf("%q: %d, want %d", token, code, want)
		}
	}
	d.SetCredentials(Credentials{})
	if code, _, _ := d.ask("10.1.1.1:1", "/operate", bearer(evesToken)); code != 401 {
		t.Errorf("credentials that know nobody: %d", code)
	}
}

func TestAProxyIsBelievedAtItsAddressOnly(t *testing.T) {
	d := newDesk(t, Options{Credentials: people()})
	header := func(names ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header["X-Remote-User"] = names }
	}
	bob := Identity{"bob", Operator, ByProxy}
	for _, c := range []struct {
		from, path string
		with       func(*http.Request)
		code       int
		who        Identity
		says       string
	}{
		{"10.0.0.7:1", "/operate", header("bob"), 204, bob, ""},
		{"10.0.0.7:1", "/see", header("bob"), 204, bob, ""},
		{"[::ffff:10.0.0.7]:1", "/operate", header("bob"), 204, bob, ""},
		{"10.0.0.7:1", "/administer", header("bob"), 403, Identity{},
			`needs the role \"admin\", and bob has \"operate\"`},
		{"10.0.1.7:1", "/operate", header("bob"), 403, Identity{}, "10.0.1.7 is not in http.identity_from"},
		{"10.0.1.7:1", "/see", header("bob"), 403, Identity{}, "10.0.1.7 is not in http.identity_from"},
		{"10.0.1.7:1", "/operate", func(r *http.Request) { header("bob")(r); bearer(evesToken)(r) }, 403, Identity{},
			"is not in http.identity_from"},
		{"10.0.0.7:1", "/operate", header("mallory"), 403, Identity{}, `names \"mallory\", and there is no such user`},
		{"10.0.0.7:1", "/operate", header("http.token_file"), 403, Identity{}, "there is no such user"},
		{"10.0.0.7:1", "/operate", header("bob", "eve"), 403, Identity{}, "is there 2 times"},
		{"10.0.0.7:1", "/operate", header("bob, eve"), 403, Identity{}, "there is no such user"},
		{"10.0.0.7:1", "/operate", header(""), 401, Identity{}, "needs a token"},
		{"10.0.0.7:1", "/operate", func(r *http.Request) { header("bob")(r); bearer("meant for the proxy")(r) }, 204,
			bob, ""},
		{"10.0.1.7:1", "/open", header("bob"), 204, Identity{}, ""},
	} {
		code, who, says := d.ask(c.from, c.path, c.with)
		if code != c.code || who != c.who || !strings.Contains(says, c.says) {
			t.Errorf("%s from %s: %d, %v: %s", c.path, c.from, code, who, says)
		}
	}
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := authority{key: key}
	a.cert = a.sign(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		Subject: pkix.Name{CommonName: "authority"}})
	return a
}

func (a authority) sign(t *testing.T, c *x509.Certificate) *x509.Certificate {
	t.Helper()
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	if c.NotAfter.IsZero() {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent := a.cert
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestACertificateNamesAUser(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	c := people()
	c.Authorities = x509.NewCertPool()
	c.Authorities.AddCert(ours.cert)
	d := newDesk(t, Options{Credentials: c})
	deploy, _ := url.Parse("spiffe://example.com/deploy")
	bob, _ := url.Parse("bob")
	forClients := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	forServers := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for i, c := range []struct {
		by   authority
		cert x509.Certificate
		code int
		who  Identity
		says string
	}{
		{ours, x509.Certificate{Subject: pkix.Name{CommonName: "bob"}, ExtKeyUsage: forClients}, 204,
			Identity{"bob", Operator, ByCertificate}, ""},
		{ours, x509.Certificate{Subject: pkix.Name{CommonName: "pod 7"}, URIs: []*url.URL{deploy},
			ExtKeyUsage: forClients}, 204, Identity{deploy.String(), Operator, ByCertificate}, ""},
		{ours, x509.Certificate{Subject: pkix.Name{CommonName: "bob"}, URIs: []*url.URL{bob}, ExtKeyUsage: forClients},
			204, Identity{"bob", Operator, ByCertificate}, ""},
		{ours, x509.Certificate{Subject: pkix.Name{CommonName: "bob"}, URIs: []*url.URL{deploy},
			ExtKeyUsage: forClients}, 403, Identity{}, "the names of two users, bob and spiffe://example.com/deploy"},
		{ours, x509.Certificate{Subject: pkix.Name{CommonName: "ann"}, ExtKeyUsage: forClients}, 403, Identity{},
			`this needs the role \"operate\", and ann has \"read\"`},
		{ours, x509.Certificate{Subject: pkix.Name{CommonName: "mallory"}, ExtKeyUsage: forClients}, 403, Identity{},
			`names \"mallory\", and there is no such user`},
		{ours, x509.Certificate{Subject: pkix.Name{CommonName: "bob"}, ExtKeyUsage: forServers}, 403, Identity{},
			"incompatible key usage"},
		{ours, x509.Certificate{Subject: pkix.Name{CommonName: "bob"}, ExtKeyUsage: forClients,
			NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}, 403,
			Identity{}, "expired"},
		{theirs, x509.Certificate{Subject: pkix.Name{CommonName: "bob"}, ExtKeyUsage: forClients}, 403, Identity{},
			"an authority in http.client_ca"},
	} {
		cert := c.by.sign(t, &c.cert)
		show := func(r *http.Request) { r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}} }
		code, who, says := d.ask("10.1.1.1:1", "/operate", show)
		if code != c.code || who != c.who || !strings.Contains(says, c.says) {
			t.Errorf("%d: %d, %v: %s", i, code, who, says)
		}
		code, who, _ = d.ask("10.1.1.1:1", "/operate", func(r *http.Request) { show(r); bearer(evesToken)(r) })
		if want := (Identity{"eve", Admin, ByToken}); code != 204 || who != want {
			t.Errorf("%d: with a token, too: %d, %v", i, code, who)
		}
	}
}

// What no authority was named for proves nothing, and disturbs nothing.
func TestACertificateWithoutAuthoritiesIsNoProof(t *testing.T) {
	ours := newAuthority(t)
	cert := ours.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "eve"}})
	d := newDesk(t, Options{Credentials: people()})
	code, who, _ := d.ask("10.1.1.1:1", "/operate", func(r *http.Request) {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
	})
	if code != 401 {
		t.Errorf("%d, %v", code, who)
	}
}

func TestWhoGuessesTheTokenOfAUserIsSlowedDown(t *testing.T) {
	d := newDesk(t, Options{Credentials: Credentials{Users: people().Users}})
	for i := range guessesAtFirst {
		d.ask("10.0.0.2:1", "/operate", bearer(fmt.Sprint("wrong", i)))
	}
	if code, _, _ := d.ask("10.0.0.2:1", "/operate", bearer(bobsToken)); code != 429 {
		t.Errorf("after %d guesses: %d", guessesAtFirst, code)
	}
}

func TestARoleThatIsNoneAllowsNothing(t *testing.T) {
	for _, a := range []Access{Administer, Operate, Read} {
		for _, r := range []Role{"", "root", "Admin"} {
			if r.May(a) {
				t.Errorf("%q may do what needs %q", r, a.Role())
			}
		}
	}
	if (Mount{}).Access.Role() != Admin {
		t.Error("a mount that states no access can be changed by others than admins")
	}
}
