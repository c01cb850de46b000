package config

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// HTTPConfig is about what the daemon serves.
type HTTPConfig struct {
	Listen string `toml:"listen"`
	// TokenFile is replaced by a reload, and never added or removed: the token guards http.listen, which waits for a
	// restart.
	TokenFile     string `toml:"token_file" reload:"replace"`
	TokenForReads bool   `toml:"token_for_reads"`
	// Hosts are the names that clients may ask for. Names is what is in force.
	Hosts   []string `toml:"hosts"`
	TLSCert string   `toml:"tls_cert" reload:"replace"`
	TLSKey  string   `toml:"tls_key" reload:"replace"`
	// IdentityHeader is the header in which a proxy names a user, when its address is in IdentityFrom.
	IdentityHeader string    `toml:"identity_header" reload:"yes"`
	IdentityFrom   []Network `toml:"identity_from" reload:"yes"`
	// ClientCA has the authorities that sign certificates of users. The first one needs a restart, because clients are
	// not asked for certificates before.
	ClientCA string `toml:"client_ca" reload:"replace"`

	Token       Secret `toml:"-" file:"token_file" reload:"replace"` // content of TokenFile: one token a line
	Certificate Secret `toml:"-" file:"tls_cert" reload:"replace"`   // PEM; "" when HTTP is served
	Key         Secret `toml:"-" file:"tls_key" reload:"replace"`    // the content of TLSKey, PEM

	Authorities string `toml:"-" file:"client_ca" reload:"replace"` // the content of ClientCA, PEM
}

func (r *reader) http(c *Config) {
	h := &c.HTTP
	host, port, err := net.SplitHostPort(h.Listen)
	if err != nil {
		r.add("http.listen",
			`%q is not an address to listen on; it must be "host:port", such as "127.0.0.1:3000"`, h.Listen)
	} else if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		r.add("http.listen", "%q: port must be a number from 0 to 65535", h.Listen)
	}
	switch {
	case h.TokenFile != "":
		h.Token = r.secret("http.token_file", h.TokenFile)
		r.length("http.token_file", h.TokenFile, h.Token)
	case r.bad["http.token_file"]:
	case len(c.Users) > 0 || r.about("user"):
	case err == nil && !local(host):
		r.add("http.listen", "%q can be reached from other machines, and no token is required: "+
			"set http.token_file, add a [[user]], or listen on 127.0.0.1", h.Listen)
	case h.TokenForReads:
		r.add("http.token_for_reads", "needs http.token_file, the file with the token, or a [[user]]")
	}
	for i, name := range h.Hosts {
		if name == "" || strings.ContainsAny(name, ":/ []*") {
			r.add(fmt.Sprintf("http.hosts[%d]", i), `%q is not a name; write it without a port, such as "db-ops.example.com"`,
				name)
		}
	}
	r.certificate(h)
}

// Names are the names that clients may ask for, addresses aside: those of hosts, or else what listen says. nil: any.
func (h HTTPConfig) Names() []string {
	host, _, _ := net.SplitHostPort(h.Listen)
	ip, err := netip.ParseAddr(host)
	switch {
	case len(h.Hosts) > 0:
		return append([]string{"localhost"}, h.Hosts...)
	case host == "" || err == nil && !ip.IsLoopback(): // other machines reach it by names that nobody has told
		return nil
	case err == nil || host == "localhost":
		return []string{"localhost"}
	}
	return []string{"localhost", host}
}

// certificate checks that the files of a certificate and its key belong together.
func (r *reader) certificate(h *HTTPConfig) {
	if r.both("http.tls_cert", h.TLSCert, "http.tls_key", h.TLSKey) {
		h.Certificate, h.Key = r.pair("http.tls_cert", h.TLSCert, "http.tls_key", h.TLSKey)
	}
}

// both says that a certificate and its key are named, and reports one without the other.
func (r *reader) both(certName, cert, keyName, key string) bool {
	switch {
	case r.bad[certName] || r.bad[keyName]:
	case cert != "" && key == "":
		r.add(certName, "needs %s, the key of the certificate", keyName)
	case cert == "" && key != "":
		r.add(keyName, "needs %s, the certificate of the key", certName)
	default:
		return cert != ""
	}
	return false
}

// pair reads a certificate and its key; both are empty when they can't be used.
func (r *reader) pair(certName, certFile, keyName, keyFile string) (cert, key Secret) {
	key = r.secret(keyName, keyFile)
	text, err := readRegular(certFile, maxConfig)
	if err != nil {
		r.add(certName, "%v", err)
		return "", ""
	}
	if key == "" {
		return "", ""
	}
	if _, err := keyPair(certFile, keyFile, Secret(text), key); err != nil {
		r.add(certName, "%s and %s are not a certificate and its key: %v", certFile, keyFile, err)
		return "", ""
	}
	return Secret(text), key
}

// local says that only this machine can reach the address. The only name that counts is localhost: to resolve others
// would make the check depend on the network.
func local(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Pool is the authorities that sign certificates of users; nil: none are trusted with that.
func (h HTTPConfig) Pool() *x509.CertPool { return poolOf(h.Authorities) }
