package config

import (
	"os"
	"time"

	"orchestrator/daemon/server"
)

// ServersConfig is about connections to managed servers.
type ServersConfig struct {
	User           string        `toml:"user" reload:"yes"`
	PasswordFile   string        `toml:"password_file" reload:"yes"`
	TLS            string        `toml:"tls"` // "off", "verify", or a PEM file with authorities: see TLSConfig
	PublicKeyFile  string        `toml:"public_key_file" reload:"yes"`
	Resolve        string        `toml:"resolve" oneof:"given hostname report_host"`
	ConnectTimeout time.Duration `toml:"connect_timeout" min:"10ms" max:"1m"`
	ProbeTimeout   time.Duration `toml:"probe_timeout" min:"10ms" max:"1m"`

	Password    Secret `toml:"-" file:"password_file" reload:"yes"`   // from PasswordFile, or else from the environment
	Authorities string `toml:"-" file:"tls"`                          // content of the file that TLS names
	PublicKeys  string `toml:"-" file:"public_key_file" reload:"yes"` // the content of PublicKeyFile, PEM
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
	s.PublicKeys = r.publicKeys("servers.public_key_file", s.PublicKeyFile)
	if !r.bad["servers.connect_timeout"] && !r.bad["servers.probe_timeout"] && s.ConnectTimeout > s.ProbeTimeout {
		r.add("servers.connect_timeout", "%v is longer than servers.probe_timeout (%v), which includes it",
			s.ConnectTimeout, s.ProbeTimeout)
	}
}

// Security is how to connect to managed servers.
func (s ServersConfig) Security() (server.Security, error) {
	t, err := tlsConfig(s.TLS)
	return server.Security{TLS: t, Keys: s.Keys(), Section: "servers"}, err
}

// Keys are the public keys that may get the password without TLS.
func (s ServersConfig) Keys() server.Keys { return keys(s.PublicKeys) }
