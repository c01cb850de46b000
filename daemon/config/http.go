package config

import (
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

	Token       Secret `toml:"-" reload:"replace"` // the content of TokenFile, one token a line; "" for none
	Certificate Secret `toml:"-" reload:"replace"` // the content of TLSCert, PEM; "" when HTTP is served
	Key         Secret `toml:"-" reload:"replace"` // the content of TLSKey, PEM
}

func (r *reader) http(h *HTTPConfig) {
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
	case err == nil && !local(host):
		r.add("http.listen", "%q can be reached from other machines, and no token is required: "+
			"set http.token_file, or listen on 127.0.0.1", h.Listen)
	case h.TokenForReads:
		r.add("http.token_for_reads", "needs http.token_file, the file with the token")
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
	switch {
	case r.bad["http.tls_cert"] || r.bad["http.tls_key"] || h.TLSCert == "" && h.TLSKey == "":
		return
	case h.TLSKey == "":
		r.add("http.tls_cert", "needs http.tls_key, the key of the certificate")
		return
	case h.TLSCert == "":
		r.add("http.tls_key", "needs http.tls_cert, the certificate of the key")
		return
	}
	key := r.secret("http.tls_key", h.TLSKey)
	cert, err := readRegular(h.TLSCert, maxConfig)
	switch {
	case err != nil:
		r.add("http.tls_cert", "%v", err)
	case key != "":
		h.Certificate, h.Key = Secret(cert), key
		if _, err := h.KeyPair(); err != nil {
			r.add("http.tls_cert", "%s and %s are not a certificate and its key: %v", h.TLSCert, h.TLSKey, err)
		}
	}
}

// local says that only this machine can reach the address. The only name that counts is localhost: to resolve others
// would make the check depend on the network.
func local(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
