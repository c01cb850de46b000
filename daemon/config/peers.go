package config

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"orchestrator/daemon/secret"
)

// PeersConfig is about the other daemons.
type PeersConfig struct {
	Daemons    []string `toml:"daemons"` // base URLs of the API of all others
	SecretFile string   `toml:"secret_file" reload:"yes"`
	CA         string   `toml:"ca"`

	Secret      Secret `toml:"-" reload:"yes"` // the content of SecretFile: a secret a line, of which the first is sent
	Authorities string `toml:"-"`              // the content of CA; as ServersConfig.Authorities
}

func (r *reader) peers(c *Config) {
	p := &c.Peers
	for i, text := range p.Daemons {
		key := fmt.Sprintf("peers.daemons[%d]", i)
		if !daemonURL(text) {
			r.add(key, `%q is not the address of a daemon; it must be "http://host:port" or "https://host:port"`, text)
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
	} else if len(p.Daemons) > 0 && !r.bad["peers.secret_file"] {
		r.add("peers.secret_file", "is empty; the daemons need a shared secret to trust each other: "+
			"openssl rand -hex 32 > FILE, and the same file on all of them")
	}
	if p.CA != "" {
		var err error
		if _, p.Authorities, err = authorities(p.CA); err != nil {
			r.add("peers.ca", "%v", err)
		}
	}
}

func daemonURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil &&
		strings.Trim(u.Path, "/") == "" && u.RawQuery == ""
}

// TLSConfig is how to connect to the other daemons; nil trusts what the system trusts.
func (p PeersConfig) TLSConfig() (*tls.Config, error) {
	if p.CA == "" {
		return nil, nil
	}
	return tlsConfig(p.CA)
}
