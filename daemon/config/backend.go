package config

import (
	"net"
	"os"
	"regexp"
	"strconv"
	"time"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// BackendConfig is about where records are kept.
type BackendConfig struct {
	Kind          string         `toml:"kind" oneof:"sqlite mysql"`
	Path          string         `toml:"path"` // the database itself (sqlite), or the journal of this daemon (mysql)
	Address       string         `toml:"address"`
	Members       []topology.Key `toml:"members"`
	Database      string         `toml:"database"`
	User          string         `toml:"user"`
	PasswordFile  string         `toml:"password_file"`
	TLS           string         `toml:"tls"`             // as ServersConfig.TLS
	PublicKeyFile string         `toml:"public_key_file"` // as ServersConfig.PublicKeyFile
	Timeout       time.Duration  `toml:"timeout" min:"50ms" max:"1m"`
	Compare       time.Duration  `toml:"compare" min:"0s" max:"24h"`
	ClockAhead    time.Duration  `toml:"clock_ahead" min:"1s" max:"24h"`
	AuditKeep     time.Duration  `toml:"audit_keep" min:"24h" max:"87600h" reload:"yes"`
	// AdminUser is the admin account: it changes the members when the API is asked to; "" is User.
	AdminUser         string `toml:"admin_user"`
	AdminPasswordFile string `toml:"admin_password_file"`

	Password      Secret `toml:"-" file:"password_file"` // from PasswordFile, or else from the environment
	AdminPassword Secret `toml:"-" file:"admin_password_file"`
	Authorities   string `toml:"-" file:"tls"`             // as ServersConfig.Authorities
	PublicKeys    string `toml:"-" file:"public_key_file"` // as ServersConfig.PublicKeys
}

// backend checks the backend. One in a file needs only its path.
func (r *reader) backend(c *Config) {
	b := &c.Backend
	if b.Path == "" && !r.bad["backend.path"] {
		r.add("backend.path", "is empty; set it to the file in which the daemon keeps its records")
	}
	if b.PasswordFile != "" {
		b.Password = r.secret("backend.password_file", b.PasswordFile)
	} else {
		b.Password = Secret(os.Getenv(BackendPasswordVariable))
	}
	r.adminAccount(b)
	if b.Kind == "mysql" {
		r.sharedBackend(c)
	}
}

// adminAccount checks the account that changes the members of a pair.
func (r *reader) adminAccount(b *BackendConfig) {
	switch {
	case r.bad["backend.admin_password_file"]:
	case b.AdminPasswordFile != "" && b.AdminUser == "":
		r.add("backend.admin_password_file", "needs backend.admin_user, the account that has this password")
	case b.AdminUser != "" && b.AdminPasswordFile == "":
		r.add("backend.admin_user",
			"needs backend.admin_password_file, a file with the password of this account")
	case b.AdminUser != "":
		b.AdminPassword = r.secret("backend.admin_password_file", b.AdminPasswordFile)
	}
}

// sharedBackend checks what a backend in a server needs.
func (r *reader) sharedBackend(c *Config) {
	b := &c.Backend
	if !r.bad["backend.address"] {
		r.address("backend.address", b.Address, "of HAProxy, or of the one server")
	}
	for key, text := range map[string]string{"backend.database": b.Database, "backend.user": b.User} {
		if text == "" && !r.bad[key] {
			r.add(key, "is empty")
		}
	}
	if !word.MatchString(b.Database) && b.Database != "" {
		r.add("backend.database", "%q is not a name that is allowed here; use letters, digits and _", b.Database)
	}
	b.Authorities = r.security("backend.tls", &b.TLS)
	b.PublicKeys = r.publicKeys("backend.public_key_file", b.PublicKeyFile)
	if !r.bad["backend.timeout"] && !r.bad["lease.ttl"] && 4*b.Timeout > c.Lease.TTL {
		r.add("backend.timeout",
			"%v is more than a quarter of lease.ttl (%v): one statement that hangs would lose the leadership",
			b.Timeout, c.Lease.TTL)
	}
	if len(c.Peers.Daemons) == 0 && !r.bad["peers.daemons"] {
		r.add("peers.daemons",
			"is empty, and other daemons may share this backend: name the API of every other daemon. "+
				"A single daemon keeps its records in a file (backend.kind = \"sqlite\")")
	}
}

// Security is how to connect to the backend.
func (b BackendConfig) Security() (server.Security, error) {
	t, err := tlsConfig(b.TLS)
	return server.Security{TLS: t, Keys: keys(b.PublicKeys), Section: "backend"}, err
}

var word = regexp.MustCompile(`^[A-Za-z0-9_]{1,64}$`)

// address checks a "host:port".
func (r *reader) address(key, text, of string) {
	host, port, err := net.SplitHostPort(text)
	if n, bad := strconv.Atoi(port); err != nil || host == "" || bad != nil || n < 1 || n > 65535 {
		r.add(key, `%q is not an address; it must be "host:port" %s`, text, of)
	}
}
