package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"orchestrator/daemon/certificate"
	"orchestrator/daemon/secret"
)

// PeersConfig is about the other daemons.
type PeersConfig struct {
	Daemons    []string `toml:"daemons"` // base URLs of the API of all others
	SecretFile string   `toml:"secret_file" reload:"yes"`
	// Cert is what this daemon shows the others, by the authorities in CA; where it is set, it is demanded of them.
	Cert    string `toml:"cert" reload:"yes"`
	KeyFile string `toml:"key" reload:"yes"`
	CA      string `toml:"ca" reload:"yes"`

	Secret      Secret `toml:"-" file:"secret_file" reload:"yes"` // a secret a line; the first is sent
	Certificate Secret `toml:"-" file:"cert" reload:"yes"`        // the content of Cert, PEM; "" when none is used
	PrivateKey  Secret `toml:"-" file:"key" reload:"yes"`         // the content of KeyFile, PEM
	Authorities string `toml:"-" file:"ca" reload:"yes"`          // the content of CA
}

func (r *reader) peers(c *Config) {
	p := &c.Peers
	for i, text := range p.Daemons {
		key := fmt.Sprintf("peers.daemons[%d]", i)
		if !daemonURL(text) {
			r.add(key, `%q is not the address of a daemon; it must be "http://host:port" or "https://host:port"`, text)
		} else if p.Cert != "" && !strings.HasPrefix(text, "https://") {
			r.add(key, "%q must begin with https://, because certificates (peers.cert) need TLS", text)
		}
		if slices.Contains(p.Daemons[:i], text) {
			r.add(key, "%q is listed twice", text)
		}
	}
	if p.SecretFile != "" {
		p.Secret = r.secret("peers.secret_file", p.SecretFile)
		if slices.ContainsFunc(secret.Lines(string(p.Secret)), func(line string) bool { return len(line) < 16 }) {
			r.add("peers.secret_file",
				"%s holds a secret of less than 16 characters; make a longer one: openssl rand -hex 32",
				p.SecretFile)
		}
	} else if len(p.Daemons) > 0 && p.Cert == "" && !r.bad["peers.secret_file"] {
		r.add("peers.secret_file", "is empty; the daemons need a shared secret to trust each other: "+
			"openssl rand -hex 32 > FILE, and the same file on all of them; or certificates (peers.cert)")
	}
	var pool *x509.CertPool
	if p.CA != "" {
		var err error
		if pool, p.Authorities, err = authorities(p.CA); err != nil {
			r.add("peers.ca", "%v", err)
		}
	}
	if r.both("peers.cert", p.Cert, "peers.key", p.KeyFile) {
		r.mutual(c, pool)
	}
}

// mutual checks the certificate that this daemon shows the others, as they will.
func (r *reader) mutual(c *Config, pool *x509.CertPool) {
	p := &c.Peers
	if p.CA == "" {
		r.add("peers.cert", "needs peers.ca, the authorities that sign the certificates of the daemons")
	}
	if c.HTTP.TLSCert == "" {
		r.add("peers.cert", "needs http.tls_cert and http.tls_key: the daemons ask each other at the address of the "+
			"API, which must use TLS; they may name the same files")
	}
	p.Certificate, p.PrivateKey = r.pair("peers.cert", p.Cert, "peers.key", p.KeyFile)
	if p.Certificate == "" || pool == nil {
		return
	}
	pair, err := p.KeyPair()
	if err != nil { // it was read and tried above
		r.add("peers.cert", "%v", err)
		return
	}
	if err := signedBy(pair, pool); err != nil {
		r.add("peers.cert", "the other daemons would refuse %s: %v", p.Cert, err)
	}
}

// signedBy says why a certificate is not good for both sides of a connection. Whether it has expired is another matter:
// a daemon without it still looks at servers, and acts where it gets the locks of a majority.
func signedBy(pair *tls.Certificate, pool *x509.CertPool) error {
	leaf, shown := pair.Leaf, []*x509.Certificate{pair.Leaf}
	for _, der := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			shown = append(shown, c)
		}
	}
	if len(leaf.DNSNames)+len(leaf.IPAddresses) == 0 {
		return fmt.Errorf("it names no host (subject alternative name), and must name the one by which the others " +
			"reach this daemon")
	}
	for usage, name := range map[x509.ExtKeyUsage]string{x509.ExtKeyUsageServerAuth: "serverAuth",
		x509.ExtKeyUsageClientAuth: "clientAuth"} {
		err := certificate.Verify(shown, pool, usage, leaf.NotBefore)
		if invalid := (x509.CertificateInvalidError{}); errors.As(err, &invalid) {
			switch invalid.Reason {
			case x509.Expired: // an authority that is younger
				continue
			case x509.IncompatibleUsage:
				return fmt.Errorf("it lacks the extended key usage %s; the daemons need serverAuth and clientAuth",
					name)
			}
		}
		if err != nil {
			return fmt.Errorf("it is not signed by an authority in peers.ca: %w", err)
		}
	}
	return nil
}

func daemonURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil &&
		strings.Trim(u.Path, "/") == "" && u.RawQuery == ""
}

// KeyPair is what this daemon shows the others; nil when certificates are not used.
func (p PeersConfig) KeyPair() (*tls.Certificate, error) {
	if p.Certificate == "" {
		return nil, nil
	}
	return keyPair(p.Cert, p.KeyFile, p.Certificate, p.PrivateKey)
}

// Pool is the authorities that sign the certificates of the daemons; nil: those that the system trusts.
func (p PeersConfig) Pool() *x509.CertPool {
	return poolOf(p.Authorities)
}
