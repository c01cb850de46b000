package peer

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"orchestrator/daemon/certificate"
	"orchestrator/daemon/printable"
	"orchestrator/daemon/secret"
)

// protocol is what one daemon offers another at the start of TLS (ALPN) besides HTTP, which they then speak, where they
// show each other certificates. So the API can show others another certificate at the same address, and asks no browser
// for one.
const protocol = "orchestrator-peer"

const http1 = "http/1.1"

// Trust is by what daemons know each other: a secret, certificates, or both; then each question and each answer needs
// both. Where there is neither, nobody is believed.
type Trust struct {
	// Secret is a secret a line: questions are signed with the first, and answered with any of them. So it can be
	// changed while the daemons keep understanding each other, as package secret explains. Without a secret, questions
	// are signed with an empty one: what is said of their time, receiver and body holds, and who sent them is known by
	// the certificate.
	Secret string
	// Certificate is what this daemon shows. Where it is nil, none is demanded of others.
	Certificate *tls.Certificate
	// Authorities sign the certificates of the daemons; nil: those that the system trusts.
	Authorities *x509.CertPool
}

// trust is a Trust in force. A connection that was made under another one is not used again.
type trust struct {
	Trust
	secrets []string
	client  *http.Client
}

// SetTrust replaces all by which the others are known, at once.
func (p *Peers) SetTrust(t Trust) {
	now := &trust{Trust: t, secrets: secret.Lines(t.Secret), client: p.newClient(t)}
	if len(now.secrets) == 0 && t.Certificate != nil {
		now.secrets = []string{""}
	}
	if before := p.trust.Swap(now); before != nil {
		before.client.CloseIdleConnections() // those in use are closed after their answer
	}
}

func (p *Peers) newClient(t Trust) *http.Client {
	security := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: t.Authorities}
	if t.Certificate != nil {
		security.NextProtos = []string{protocol, http1}
		// Whatever authorities the other names: it says why a certificate is refused.
		security.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return t.Certificate, nil
		}
	}
	return &http.Client{
		Transport: &http.Transport{TLSClientConfig: security, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
			DisableCompression: true,
			DialContext:        (&net.Dialer{Timeout: p.o.Timeout}).DialContext},
		// to an address that is not configured
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Greet is how TLS begins with another daemon that shows a certificate; nil for all other clients. What it shows is
// checked with each question, so that the answer says what is wrong with it, and a reload needs no new connection.
func (p *Peers) Greet(hello *tls.ClientHelloInfo) *tls.Config {
	t := p.trust.Load()
	if t.Certificate == nil || !slices.Contains(hello.SupportedProtos, protocol) {
		return nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*t.Certificate},
		ClientAuth: tls.RequestClientCert, NextProtos: []string{http1}, SessionTicketsDisabled: true}
}

// doubt says why who is at the other end of a connection is not one of these hosts; "" if it is, or where certificates
// are not demanded.
func (t *trust) doubt(c *tls.ConnectionState, usage x509.ExtKeyUsage, hosts ...string) string {
	switch {
	case t.Certificate == nil:
		return ""
	case c == nil:
		return "no certificate was shown, because TLS is not used; write https:// in peers.daemons"
	case len(c.PeerCertificates) == 0:
		return "no certificate was shown; set peers.cert, peers.key and peers.ca on all daemons"
	}
	shown := c.PeerCertificates[0]
	err := certificate.Verify(c.PeerCertificates, t.Authorities, usage, time.Time{})
	if err != nil {
		return untrusted(shown, err)
	}
	for _, host := range hosts {
		if err = shown.VerifyHostname(host); err == nil {
			return ""
		}
	}
	return fmt.Sprintf("the certificate %s is for %s, and the daemons in peers.daemons are %s", nameOf(shown),
		subjects(shown), clip(strings.Join(hosts, ", "), 200))
}

// untrusted says why a certificate is refused. It is the same each time: without the time now.
func untrusted(shown *x509.Certificate, err error) string {
	var (
		invalid x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
	)
	switch {
	case errors.As(err, &unknown):
		return fmt.Sprintf("the certificate %s is not signed by an authority in peers.ca", nameOf(shown))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && time.Now().Before(invalid.Cert.NotBefore):
		return fmt.Sprintf("the certificate %s is not valid before %s", nameOf(invalid.Cert),
			invalid.Cert.NotBefore.UTC().Format(time.RFC3339))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("the certificate %s expired at %s", nameOf(invalid.Cert),
			invalid.Cert.NotAfter.UTC().Format(time.RFC3339))
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return fmt.Sprintf("the certificate %s may not be used here: the daemons need one for both sides "+
			"(extended key usage serverAuth and clientAuth)", nameOf(shown))
	case errors.As(err, &name):
		return fmt.Sprintf("the certificate %s is for %s, and not for %s", nameOf(shown), subjects(shown),
			clip(name.Host, 100))
	}
	return fmt.Sprintf("the certificate %s is not valid: %s", nameOf(shown), clip(err.Error(), 200))
}

// nameOf is how people find a certificate. Anybody may have written it.
func nameOf(c *x509.Certificate) string { return fmt.Sprintf("%q", clip(c.Subject.CommonName, 80)) }

// subjects are the hosts that a certificate is for.
func subjects(c *x509.Certificate) string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no host"
	}
	return fmt.Sprintf("%q", clip(strings.Join(names, ", "), 200))
}

// clip bounds what others have written, and spells out what would act on a terminal.
func clip(text string, most int) string {
	return printable.Text(strings.ToValidUTF8(printable.Clip(text, most), ""))
}

// hostOf is the host of a base URL, as certificates name it.
func hostOf(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// hosts are those of all others.
func (p *Peers) hosts() (out []string) {
	for _, base := range p.o.Daemons {
		out = append(out, hostOf(base))
	}
	return out
}

// refusals keeps what fails again and again from filling the log.
type refusals struct {
	mu   sync.Mutex
	last string
	at   time.Time
}

// log logs why a question is refused.
func (r *refusals) log(to *slog.Logger, from, why string) {
	if r.news(why) {
		to.Warn("a question that is said to come from another daemon is refused", "from", from, "why", why)
	}
}

// news says that a reason is to be logged: another one at most once a second, the same at most once a minute.
func (r *refusals) news(why string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ago := time.Since(r.at); ago < time.Second || ago < time.Minute && why == r.last {
		return false
	}
	r.last, r.at = why, time.Now()
	return true
}
