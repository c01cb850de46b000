package config

// HAProxyConfig is about the proxy in front of a backend pair.
type HAProxyConfig struct {
	Agent    string `toml:"agent"`     // where this daemon answers agent checks; "" for nowhere
	Socket   string `toml:"socket"`    // HAProxy's runtime socket
	Database string `toml:"database"`  // where the proxy serves the backend
	HTTP     string `toml:"http"`      // where the proxy serves the leader's API
	HTTPCert string `toml:"http_cert"` // the certificate for HTTPS there; "" for HTTP
}

func (r *reader) haproxy(h *HAProxyConfig) {
	if h.Agent != "" && !r.bad["haproxy.agent"] {
		r.address("haproxy.agent", h.Agent, "to listen on")
	}
	for key, text := range map[string]string{"haproxy.database": h.Database, "haproxy.http": h.HTTP} {
		if !r.bad[key] {
			r.address(key, text, "for HAProxy to listen on")
		}
	}
}
