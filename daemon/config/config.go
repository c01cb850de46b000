// Package config reads the configuration file, checks it, and explains what is wrong with it. Only the wiring (package
// daemon) and the commands know it: every other package is given the values that it needs.
//
// It opens no port, no store and no server; it reads the files that keys name, such as secrets and certificates. The
// one idea: all problems of a file are reported at once, each with its line and what to write instead, and a Config
// without a problem needs no second look.
package config

import (
	"bytes"
	_ "embed"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"orchestrator/backend"
	"orchestrator/daemon/analysis"
)

// Config is the whole configuration. One that Load returned is checked. orchestrator.toml documents the keys.
//
// The tags of a field describe its key: its name (toml), its bounds (min, max), the values that it allows (oneof), and
// whether a running daemon takes over a new value (reload): "yes"; or "replace", which takes over another value, but
// neither the first one nor none. A field that holds the content of a file has the key of that file (file).
type Config struct {
	HTTP      HTTPConfig      `toml:"http"`
	Servers   ServersConfig   `toml:"servers"`
	Discovery DiscoveryConfig `toml:"discovery"`
	Analysis  AnalysisConfig  `toml:"analysis"`
	Backend   BackendConfig   `toml:"backend"`
	Lease     LeaseConfig     `toml:"lease"`
	Peers     PeersConfig     `toml:"peers"`
	HAProxy   HAProxyConfig   `toml:"haproxy"`
	Log       LogConfig       `toml:"log"`
	Policies  []PolicyConfig  `toml:"policy" reload:"yes"`
	Hooks     []HookConfig    `toml:"hook" reload:"yes"`
	// Users are replaced by a reload, but neither the first comes with one, nor does the last go: as with
	// http.token_file, they guard http.listen.
	Users []UserConfig `toml:"user" reload:"replace"`
}

// LogConfig is about the log.
type LogConfig struct {
	Level  string `toml:"level" oneof:"debug info warn error" reload:"yes"`
	Format string `toml:"format" oneof:"text json"`
}

// LeaseConfig is about who leads.
type LeaseConfig struct {
	TTL  time.Duration `toml:"ttl" min:"100ms" max:"10m"`
	Tick time.Duration `toml:"tick" min:"10ms" max:"5m"`
}

// Default is the configuration of an empty file.
func Default() Config {
	return Config{
		HTTP: HTTPConfig{Listen: "127.0.0.1:3000"},
		Servers: ServersConfig{
			User:           "orchestrator",
			TLS:            "off",
			Resolve:        "given",
			ConnectTimeout: time.Second,
			ProbeTimeout:   time.Second,
		},
		Discovery: DiscoveryConfig{Poll: time.Second, MaxBackoff: 10 * time.Second, Concurrency: 300,
			MaxRegistered: 100, MaxStrangers: 1000},
		Analysis: AnalysisConfig{Lag: analysis.Defaults.Lag, Silence: analysis.Defaults.Silence},
		Backend: BackendConfig{
			Kind:     "sqlite",
			Path:     "/var/lib/orchestrator/orchestrator.db",
			Database: "orchestrator",
			User:     "orchestrator_backend",
			TLS:      "off",
			Timeout:  time.Second,
			Compare:  5 * time.Minute,

			ClockAhead: backend.MaxAhead,
			AuditKeep:  90 * 24 * time.Hour,
		},
		Lease:   LeaseConfig{TTL: backend.LeaseTTL, Tick: time.Second},
		HAProxy: HAProxyConfig{Socket: "/run/haproxy/admin.sock", Database: "127.0.0.1:3307", HTTP: "127.0.0.1:3080"},
		Log:     LogConfig{Level: "info", Format: "text"},
	}
}

// DefaultFile is the documented file with every key and its default. It is a copy of orchestrator.toml at the top of
// the repository, which embedding cannot reach. A test keeps them equal; "go generate ./daemon/config" copies it again.
func DefaultFile() string { return defaultFile }

//go:generate cp ../../orchestrator.toml defaults.toml
//go:embed defaults.toml
var defaultFile string

// PasswordVariable is the environment variable with the password of the account on managed servers. A file goes before
// it.
const PasswordVariable = "ORCHESTRATOR_SERVERS_PASSWORD"

// BackendPasswordVariable is the same for the account on a shared backend.
const BackendPasswordVariable = "ORCHESTRATOR_BACKEND_PASSWORD"

// Load reads the file, and the secrets and certificates that it names. The error lists everything that keeps a daemon
// from running: it is Problems, unless the file itself could not be read. A hook whose program cannot be run does not
// count: a removed script must not leave the servers without a daemon.
func Load(file string) (Config, error) { return load(file, Problems.fatal) }

// Vet is Load for "config check": the error lists everything that is wrong with the file.
func Vet(file string) (Config, error) {
	return load(file, func(all Problems) Problems { return all })
}

func load(file string, which func(Problems) Problems) (Config, error) {
	data, err := readConfig(file)
	if err != nil {
		return Config{}, err
	}
	c, problems := parse(file, data)
	if problems = which(problems); len(problems) > 0 {
		return Config{}, problems
	}
	return c, nil
}

// String is the configuration in force as TOML, without secrets.
func (c Config) String() string {
	c.eachLeaf(func(key string, _ reflect.StructField, v reflect.Value) {
		if v.Kind() == reflect.Slice && v.IsNil() && strings.Contains(key, ".") { // the encoder leaves out what is nil
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
	})
	var b bytes.Buffer
	e := toml.NewEncoder(&b)
	e.Indent = ""
	if err := e.Encode(c); err != nil {
		return fmt.Sprintf("# the configuration cannot be encoded: %v\n", err)
	}
	return b.String()
}

// values checks what types cannot: keys that depend on each other, and the files that keys name.
func (r *reader) values(c *Config) {
	for key, p := range map[string]*string{
		"http.token_file": &c.HTTP.TokenFile, "http.tls_cert": &c.HTTP.TLSCert, "http.tls_key": &c.HTTP.TLSKey,
		"http.client_ca":        &c.HTTP.ClientCA,
		"servers.password_file": &c.Servers.PasswordFile, "servers.public_key_file": &c.Servers.PublicKeyFile,
		"backend.path": &c.Backend.Path, "backend.password_file": &c.Backend.PasswordFile,
		"backend.admin_password_file": &c.Backend.AdminPasswordFile,
		"backend.public_key_file":     &c.Backend.PublicKeyFile,
		"peers.secret_file":           &c.Peers.SecretFile, "peers.ca": &c.Peers.CA,
		"peers.cert": &c.Peers.Cert, "peers.key": &c.Peers.KeyFile,
		"haproxy.socket": &c.HAProxy.Socket, "haproxy.http_cert": &c.HAProxy.HTTPCert,
	} {
		r.path(key, p)
	}
	r.http(c)
	r.users(c)
	r.servers(&c.Servers)
	r.discovery(c)
	r.backend(c)
	r.peers(c)
	r.haproxy(&c.HAProxy)
	if !r.bad["lease.tick"] && !r.bad["lease.ttl"] && 4*c.Lease.Tick > c.Lease.TTL {
		r.add("lease.tick", "%v is more than a quarter of lease.ttl (%v): one late beat could lose the leadership",
			c.Lease.Tick, c.Lease.TTL)
	}
	r.policies(c.Policies)
	r.hooks(c.Hooks)
}

// Thresholds are the numbers that analysis works with.
func (c Config) Thresholds() analysis.Thresholds {
	return analysis.Thresholds{Lag: c.Analysis.Lag, Silence: c.Analysis.Silence}
}
