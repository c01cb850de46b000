package config

import (
	"net"
	"net/netip"
	"strconv"
)

// HTTPConfig is about what the daemon serves.
type HTTPConfig struct {
	Listen    string `toml:"listen"`
	TokenFile string `toml:"token_file" reload:"replace"` // that nobody is asked for one any more waits for the restart that http.listen, whose guard it is, waits for, too
	TLSCert   string `toml:"tls_cert" reload:"replace"`
	TLSKey    string `toml:"tls_key" reload:"replace"`

	Token       Secret `toml:"-" reload:"replace"` // what TokenFile holds, a line each of those that are valid; "" when nobody is asked for one
	Certificate Secret `toml:"-" reload:"replace"` // what TLSCert holds, PEM; "" when HTTP is served
	Key         Secret `toml:"-" reload:"replace"` // what TLSKey holds, PEM
}

func (r *reader) http(h *HTTPConfig) {
	host, port, err := net.SplitHostPort(h.Listen)
	if err != nil {
		r.add("http.listen", `%q is no address to listen on; want "host:port", such as "127.0.0.1:3000"`, h.Listen)
	} else if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		r.add("http.listen", "%q: port must be a number from 0 to 65535", h.Listen)
	}
	if h.TokenFile != "" {
		h.Token = r.secret("http.token_file", h.TokenFile)
	} else if err == nil && !local(host) && !r.bad["http.token_file"] {
		r.add("http.listen", "%q can be reached from other machines, and nobody is asked for a token: set http.token_file, or listen on 127.0.0.1", h.Listen)
	}
	switch {
	case r.bad["http.tls_cert"] || r.bad["http.tls_key"] || h.TLSCert == "" && h.TLSKey == "":
	case h.TLSKey == "":
		r.add("http.tls_cert", "needs http.tls_key, the key of the certificate")
	case h.TLSCert == "":
		r.add("http.tls_key", "needs http.tls_cert, the certificate of the key")
	default:
		key := r.secret("http.tls_key", h.TLSKey)
		cert, err := readRegular(h.TLSCert, maxConfig)
		if err != nil {
			r.add("http.tls_cert", "%v", err)
		} else if key != "" {
			h.Certificate, h.Key = Secret(cert), key
			if _, err := h.KeyPair(); err != nil {
				r.add("http.tls_cert", "%s and %s are not a certificate and its key: %v", h.TLSCert, h.TLSKey, err)
			}
		}
	}
}

// local says that nobody but this machine can reach the address. A name is taken at its word only if it is localhost: resolving it
// would make the check depend on the network.
func local(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
