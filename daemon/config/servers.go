package config

import (
	"crypto/tls"
	"os"
	"time"
)

// ServersConfig is about connections to managed servers.
type ServersConfig struct {
	User           string        `toml:"user" reload:"yes"`
	PasswordFile   string        `toml:"password_file" reload:"yes"`
	TLS            string        `toml:"tls"` // "off", "verify", or a PEM file with authorities: see TLSConfig
	Resolve        string        `toml:"resolve" oneof:"given hostname report_host"`
	ConnectTimeout time.Duration `toml:"connect_timeout" min:"10ms" max:"1m"`
	ProbeTimeout   time.Duration `toml:"probe_timeout" min:"10ms" max:"1m"`

	Password    Secret `toml:"-" reload:"yes"` // from PasswordFile, or else from the environment
	Authorities string `toml:"-"`              // the content of the file that TLS names, to notice a change
}

func (r *reader) servers(s *ServersConfig) {
	if s.User == "" && !r.bad["servers.user"] {
		r.add("servers.user", "is empty; set it to the account on the managed servers")
	}
	if s.PasswordFile != "" {
		s.Password = r.secret("servers.password_file", s.PasswordFile)
	} else {
		s.Password = Secret(os.Getenv(PasswordVariable))
	}
	s.Authorities = r.security("servers.tls", &s.TLS)
	if !r.bad["servers.connect_timeout"] && !r.bad["servers.probe_timeout"] && s.ConnectTimeout > s.ProbeTimeout {
		r.add("servers.connect_timeout", "%v is longer than servers.probe_timeout (%v), which includes it",
			s.ConnectTimeout, s.ProbeTimeout)
	}
}

// TLSConfig is how to connect to managed servers; nil is without TLS.
func (s ServersConfig) TLSConfig() (*tls.Config, error) { return tlsConfig(s.TLS) }
