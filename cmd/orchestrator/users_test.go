package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"orchestrator/tests/lab"
)

// forClient is a certificate of a client with this name, which is its own authority.
func forClient(t *testing.T, name string, ends time.Time) (c tls.Certificate, text string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	its := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: ends}
	der, err := x509.CreateCertificate(rand.Reader, its, its, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// staffed is a running daemon with users.
type staffed struct {
	*process
	t       *testing.T
	dir     string
	url     string
	trusted *x509.CertPool
}

const staffedText = `[http]
listen = %q
tls_cert = "cert.pem"
tls_key = "key.pem"
client_ca = "clients.pem"
identity_header = "X-Remote-User"
identity_from = ["127.0.79.9"]
token_for_reads = true
[backend]
path = "orchestrator.db"
`

const staff = `
[[user]]
name = "ann"
role = "read"
token_file = "ann"
[[user]]
name = "bob"
role = "operate"
token_file = "bob"
[[user]]
name = "deploy"
role = "admin"
`

func newStaffed(t *testing.T, clients string) *staffed {
	t.Helper()
	s := &staffed{t: t, dir: t.TempDir(), trusted: x509.NewCertPool()}
	listen := free(t)
	s.url = "https://" + listen
	host, _, _ := net.SplitHostPort(listen)
	cert, key := lab.SelfSigned(t, time.Now().Add(time.Hour), host)
	s.trusted.AppendCertsFromPEM([]byte(cert))
	for name, text := range map[string]string{"cert.pem": cert, "key.pem": key, "clients.pem": clients,
		"ann": "ann-has-this-token\n", "bob": "bob-has-this-token\n",
		"o.toml": fmt.Sprintf(staffedText, listen) + staff} {
		s.write(name, text)
	}
	s.process = start(t, filepath.Join(s.dir, "o.toml"))
	s.state(t, "READY=1")
	return s
}

func (s *staffed) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *staffed) reload() {
	s.t.Helper()
	s.signal(s.t, syscall.SIGHUP)
	s.state(s.t, "RELOADING=1")
	s.state(s.t, "READY=1")
}

// request is who sends what, and from where.
type request struct {
	from, header, token string
	cert                *tls.Certificate
	what                string // such as "GET /api/v1/status"
}

// send is a request over a connection of its own.
func (s *staffed) send(q request) (code int, says string) {
	s.t.Helper()
	trust := &tls.Config{RootCAs: s.trusted}
	if q.cert != nil {
		trust.Certificates = []tls.Certificate{*q.cert}
	}
	if q.from == "" {
		q.from = "127.0.79.8"
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(q.from)}}
	web := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		TLSClientConfig: trust, DialContext: d.DialContext}}
	method, path, _ := strings.Cut(q.what, " ")
	r, err := http.NewRequest(method, s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if q.header != "" {
		r.Header.Set("X-Remote-User", q.header)
	}
	if q.token != "" {
		r.Header.Set("Authorization", "Bearer "+q.token)
	}
	a, err := web.Do(r)
	if err != nil {
		s.t.Fatalf("%+v: %v", q, err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(a.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return a.StatusCode, string(text)
}

func (s *staffed) expect(q request, code int, says string) {
	s.t.Helper()
	if got, text := s.send(q); got != code || !strings.Contains(text, says) {
		s.t.Errorf("%+v: %d %s, want %d, %q", q, got, text, code, says)
	}
}

const (
	toRead       = "GET /api/v1/status"
	toOperate    = "DELETE /api/v1/requests/none" // there is none: 404 for who may
	toAdminister = "PUT /api/v1/recoveries"       // without a body: 400
)

// On the wire, with TLS: a token, a proxy at its address, and a certificate each prove a user, who may do what the role
// allows. A reload takes over other users, tokens, networks and authorities.
func TestUsersProveWhoTheyAre(t *testing.T) {
	soon, later := time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	deploy, authority := forClient(t, "deploy", soon)
	stranger, strangers := forClient(t, "deploy", later)
	s := newStaffed(t, authority)

	s.expect(request{what: toRead}, 401, "needs a token")
	s.expect(request{what: "GET /health/live"}, 200, "")
	s.expect(request{what: toRead, token: "ann-has-this-token"}, 200, "")
	s.expect(request{what: toOperate, token: "ann-has-this-token"}, 403,
		`needs the role \"operate\", and ann has \"read\"`)
	s.expect(request{what: toOperate, token: "bob-has-this-token"}, 404, "")
	s.expect(request{what: toAdminister, token: "bob-has-this-token"}, 403, `needs the role \"admin\"`)

	s.expect(request{what: toOperate, header: "bob", from: "127.0.79.9"}, 404, "")
	s.expect(request{what: toAdminister, header: "deploy", from: "127.0.79.9"}, 400, "")
	s.expect(request{what: toAdminister, header: "mallory", from: "127.0.79.9"}, 403, "there is no such user")
	s.expect(request{what: toRead, header: "deploy"}, 403, "127.0.79.8 is not in http.identity_from")

	s.expect(request{what: toAdminister, cert: &deploy}, 400, "")
	s.expect(request{what: toAdminister, cert: &stranger}, 403, "an authority in http.client_ca")
	s.expect(request{what: "GET /health/live", cert: &stranger}, 200, "")
	ends := request{what: "GET /metrics", token: "ann-has-this-token"}
	s.expect(ends, 200, fmt.Sprintf("_expiry_timestamp_seconds{use=\"clients\"} %v\n", float64(soon.Unix())))

	s.write("bob", "bob-has-another-token\n")
	s.write("clients.pem", strangers)
	text, err := os.ReadFile(filepath.Join(s.dir, "o.toml"))
	if err != nil {
		t.Fatal(err)
	}
	next := strings.Replace(string(text), `["127.0.79.9"]`, `["127.0.79.10"]`, 1)
	s.write("o.toml", strings.Replace(next, `role = "read"`, `role = "operate"`, 1))
	s.reload()
	s.says(t, "needs_restart=[]")
	s.expect(request{what: toOperate, token: "bob-has-this-token"}, 401, "nobody has this token")
	s.expect(request{what: toOperate, token: "bob-has-another-token"}, 404, "")
	s.expect(request{what: toOperate, token: "ann-has-this-token"}, 404, "")
	s.expect(request{what: toOperate, header: "bob", from: "127.0.79.9"}, 403, "is not in http.identity_from")
	s.expect(request{what: toOperate, header: "bob", from: "127.0.79.10"}, 404, "")
	s.expect(request{what: toAdminister, cert: &deploy}, 403, "an authority in http.client_ca")
	s.expect(request{what: toAdminister, cert: &stranger}, 400, "")
	s.expect(ends, 200, fmt.Sprintf("_expiry_timestamp_seconds{use=\"clients\"} %v\n", float64(later.Unix())))

	s.write("o.toml", strings.Split(string(text), "client_ca")[0]+"[backend]\npath = \"orchestrator.db\"\n")
	s.reload()
	s.says(t, `needs_restart="[http.token_for_reads http.client_ca user]"`)
	s.expect(request{what: toOperate}, 401, "needs a token") // the last user does not leave the door open

	s.signal(t, syscall.SIGTERM)
	s.end(t, exitOK)
	log := s.log.String()
	if strings.Contains(log, "-token\"") || strings.Contains(log, "has-this-token") ||
		strings.Contains(log, "has-another") {
		t.Errorf("a token is in the log:\n%s", log)
	}
	for _, want := range []string{`who="ann (token)"`, `who="bob (proxy)"`, `who="deploy (certificate)"`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log never has %s:\n%s", want, log)
		}
	}
}
