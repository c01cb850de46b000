// Package config reads the configuration file, checks it, and explains what is wrong with it. Only the wiring (package daemon)
// and the commands know it: every other package is given the values that it needs.
//
// It opens no port, no store and no server; it reads the files that keys name, such as secrets and certificates.
// The one idea: all problems of a file are reported at once, each with its line and what to write instead, and a Config without a
// problem needs no second look.
package config

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"orchestrator/backend"
	"orchestrator/daemon/analysis"
	"orchestrator/daemon/hook"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// Config is the whole configuration, checked: a value from Load needs no second look. What each key is for is said in orchestrator.toml.
//
// The tags of a field hold what is to be known of its key: its name, its bounds (min, max), the words that it may be (oneof), and
// whether a running daemon takes a new value over (reload): "yes", or "replace", another value for one that there is, but not the first one, nor none.
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
}

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

// ServersConfig is about talking to managed servers.
type ServersConfig struct {
	User           string        `toml:"user" reload:"yes"`
	PasswordFile   string        `toml:"password_file" reload:"yes"`
	TLS            string        `toml:"tls"` // "off", "verify", or the path of a PEM file with authorities: see TLSConfig
	Resolve        string        `toml:"resolve" oneof:"given hostname report_host"`
	ConnectTimeout time.Duration `toml:"connect_timeout" min:"10ms" max:"1m"`
	ProbeTimeout   time.Duration `toml:"probe_timeout" min:"10ms" max:"1m"`

	Password    Secret `toml:"-" reload:"yes"` // from PasswordFile, or else from the environment
	Authorities string `toml:"-"`              // what the file holds that TLS names; it is kept to see that it changes
}

// DiscoveryConfig is about whom to ask, and when.
type DiscoveryConfig struct {
	Seeds       []topology.Key   `toml:"seeds" reload:"yes"`
	Poll        time.Duration    `toml:"poll" min:"50ms" max:"1h"`
	MaxBackoff  time.Duration    `toml:"max_backoff" min:"50ms" max:"24h"`
	Concurrency int              `toml:"concurrency" min:"1" max:"10000"`
	Ignore      []*regexp.Regexp `toml:"ignore"` // matched against Key.String()
}

// AnalysisConfig is about when a fact is a trouble.
type AnalysisConfig struct {
	Lag     time.Duration `toml:"lag" min:"1s" max:"24h" reload:"yes"`
	Silence time.Duration `toml:"silence" min:"100ms" max:"1h"`
}

// BackendConfig is about where things are remembered.
type BackendConfig struct {
	Kind         string         `toml:"kind" oneof:"sqlite mysql"`
	Path         string         `toml:"path"` // the database itself (sqlite), or the journal of this daemon (mysql)
	Address      string         `toml:"address"`
	Members      []topology.Key `toml:"members"`
	Database     string         `toml:"database"`
	User         string         `toml:"user"`
	PasswordFile string         `toml:"password_file"`
	TLS          string         `toml:"tls"` // as ServersConfig.TLS
	Timeout      time.Duration  `toml:"timeout" min:"50ms" max:"1m"`
	Prove        time.Duration  `toml:"prove" min:"0s" max:"24h"`
	// CaretakerUser is who does at the members what the API is asked for; "" is User.
	CaretakerUser         string `toml:"caretaker_user"`
	CaretakerPasswordFile string `toml:"caretaker_password_file"`

	Password          Secret `toml:"-"` // from PasswordFile, or else from the environment
	CaretakerPassword Secret `toml:"-"`
	Authorities       string `toml:"-"` // as ServersConfig.Authorities
}

// PeersConfig is about the other daemons.
type PeersConfig struct {
	Daemons    []string `toml:"daemons"` // base URLs of the API of all others
	SecretFile string   `toml:"secret_file" reload:"yes"`
	CA         string   `toml:"ca"`

	Secret      Secret `toml:"-" reload:"yes"` // what SecretFile holds: the secret, and below it those that are understood, too
	Authorities string `toml:"-"`              // what CA holds; as ServersConfig.Authorities
}

// HAProxyConfig is about the proxy before a backend pair.
type HAProxyConfig struct {
	Agent    string `toml:"agent"`     // where this daemon answers agent checks; "" is nowhere
	Socket   string `toml:"socket"`    // HAProxy's runtime socket
	Database string `toml:"database"`  // where the proxy serves the backend
	HTTP     string `toml:"http"`      // where the proxy serves the leader's API
	HTTPCert string `toml:"http_cert"` // by HTTPS, with this; "" is plain HTTP
}

// LeaseConfig is about who leads.
type LeaseConfig struct {
	TTL  time.Duration `toml:"ttl" min:"100ms" max:"10m"`
	Tick time.Duration `toml:"tick" min:"10ms" max:"5m"`
}

// LogConfig is about what is said to whoever runs the daemon.
type LogConfig struct {
	Level  string `toml:"level" oneof:"debug info warn error" reload:"yes"`
	Format string `toml:"format" oneof:"text json"`
}

// PolicyConfig is what may be done in some clusters.
type PolicyConfig struct {
	Clusters            []string      `toml:"clusters"`
	RecoverPrimary      bool          `toml:"recover_primary"`
	RecoverIntermediate bool          `toml:"recover_intermediate"`
	DrainTimeout        time.Duration `toml:"drain_timeout" min:"0s" max:"24h"`
	MaxLag              time.Duration `toml:"max_lag" min:"0s" max:"24h"`
	AllowReceivedLoss   bool          `toml:"allow_received_loss"`
	AllowUnfenced       bool          `toml:"allow_unfenced"`
	AllowErrant         bool          `toml:"allow_errant"`
	AntiFlap            time.Duration `toml:"anti_flap" min:"0s" max:"720h"`
}

// HookConfig is who is told about the episodes of some clusters. One of Command, URL and URLFile says how.
type HookConfig struct {
	Name      string        `toml:"name"`
	Clusters  []string      `toml:"clusters"`
	On        []hook.Moment `toml:"on" oneof:"opened blocked promoted recovered withdrawn fenced"`
	Command   []string      `toml:"command"`
	URL       WebAddress    `toml:"url"`
	URLFile   string        `toml:"url_file"`
	TokenFile string        `toml:"token_file"`
	Timeout   time.Duration `toml:"timeout" min:"100ms" max:"1h"`
	Attempts  int           `toml:"attempts" min:"1" max:"100"`

	Target Secret `toml:"-"` // URL, or what URLFile holds
	Token  Secret `toml:"-"` // what TokenFile holds
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
		Discovery: DiscoveryConfig{Poll: time.Second, MaxBackoff: 10 * time.Second, Concurrency: 300},
		Analysis:  AnalysisConfig{Lag: analysis.Defaults.Lag, Silence: analysis.Defaults.Silence},
		Backend: BackendConfig{
			Kind:     "sqlite",
			Path:     "/var/lib/orchestrator/orchestrator.db",
			Database: "orchestrator",
			User:     "orchestrator_backend",
			TLS:      "off",
			Timeout:  time.Second,
			Prove:    5 * time.Minute,
		},
		Lease:   LeaseConfig{TTL: backend.LeaseTTL, Tick: time.Second},
		HAProxy: HAProxyConfig{Socket: "/run/haproxy/admin.sock", Database: "127.0.0.1:3307", HTTP: "127.0.0.1:3080"},
		Log:     LogConfig{Level: "info", Format: "text"},
	}
}

// defaultPolicy is a [[policy]] block that says nothing but its clusters.
func defaultPolicy() PolicyConfig {
	return PolicyConfig{DrainTimeout: 10 * time.Second, AllowUnfenced: true, AntiFlap: 10 * time.Minute}
}

// defaultHook is a [[hook]] block that says nothing but its name, its moments, and how.
func defaultHook() HookConfig {
	return HookConfig{Clusters: []string{"*"}, Timeout: 30 * time.Second, Attempts: 3}
}

// Permissive is what a block allows that names every cluster and leaves all but recover_primary and recover_intermediate alone: what
// a plan is studied with where nobody has said what is allowed.
func Permissive() plan.Policy {
	p := defaultPolicy()
	p.Clusters, p.RecoverPrimary, p.RecoverIntermediate = []string{"*"}, true, true
	return Config{Policies: []PolicyConfig{p}}.Policy("", "")
}

// DefaultFile is the documented file with every key and its default. It is a copy of orchestrator.toml at the top of the repository,
// because embedding can't reach up there; a test keeps them equal, and "go generate ./daemon/config" copies it again.
func DefaultFile() string { return defaultFile }

//go:generate cp ../../orchestrator.toml defaults.toml
//go:embed defaults.toml
var defaultFile string

// PasswordVariable is the environment variable with the password of the account on managed servers, where no file is named.
const PasswordVariable = "ORCHESTRATOR_SERVERS_PASSWORD"

// BackendPasswordVariable is the same for the account on a backend that is no file.
const BackendPasswordVariable = "ORCHESTRATOR_BACKEND_PASSWORD"

// Load reads the file and the secrets that it points at. The error lists everything with which no daemon can run: it is Problems, unless the
// file itself could not be read. That the program of a hook can't be run is none of it: servers are not to be left alone because a script was removed.
func Load(file string) (Config, error) { return load(file, Problems.unbearable) }

// Vet is Load for who asks whether the file is right: the error lists everything that is wrong with it.
func Vet(file string) (Config, error) {
	return load(file, func(all Problems) Problems { return all })
}

func load(file string, counting func(Problems) Problems) (Config, error) {
	data, err := readConfig(file)
	if err != nil {
		return Config{}, err
	}
	c, problems := parse(file, data)
	if problems = counting(problems); len(problems) > 0 {
		return Config{}, problems
	}
	return c, nil
}

// maxConfig bounds a configuration file; no real one comes near it.
const maxConfig = 1 << 20

func readConfig(file string) ([]byte, error) {
	data, err := readRegular(file, maxConfig)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("read configuration: %w; begin with the defaults: orchestrator config defaults > %s", err, file)
	case err != nil:
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return data, nil
}

// readRegular reads a file whole. Anything but a regular file is refused before it is opened: a pipe would wait for a writer forever.
func readRegular(file string, limit int64) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", file)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that such a file may have", file, info.Size(), limit)
	}
	return os.ReadFile(file)
}

// Policy is what the first policy that names the cluster, by its name or its alias, allows; the zero Policy, which allows nothing, when none
// does.
func (c Config) Policy(cluster, alias string) plan.Policy {
	for _, p := range c.Policies {
		if names(p.Clusters, cluster, alias) {
			return plan.Policy{
				Named:               true,
				RecoverPrimary:      p.RecoverPrimary,
				RecoverIntermediate: p.RecoverIntermediate,
				DrainTimeout:        p.DrainTimeout,
				MaxLag:              p.MaxLag,
				AllowReceivedLoss:   p.AllowReceivedLoss,
				AllowUnfenced:       p.AllowUnfenced,
				AllowErrant:         p.AllowErrant,
				AntiFlap:            p.AntiFlap,
			}
		}
	}
	return plan.Policy{}
}

// HookList is all hooks that the configuration names, in its order.
func (c Config) HookList() []hook.Hook {
	var out []hook.Hook
	for _, h := range c.Hooks {
		out = append(out, hook.Hook{Name: h.Name, Command: h.Command, URL: string(h.Target), Token: string(h.Token), On: h.On,
			Of: func(cluster, alias string) bool { return names(h.Clusters, cluster, alias) }, Timeout: h.Timeout, Attempts: h.Attempts})
	}
	return out
}

// names says whether one of the patterns stands for the cluster, by its name or its alias.
func names(patterns []string, cluster, alias string) bool {
	return matches(patterns, cluster) || alias != "" && matches(patterns, alias)
}

func matches(patterns []string, cluster string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if expr, ok := strings.CutPrefix(pattern, "~"); ok {
			re, err := regexp.Compile(expr)
			return err == nil && re.MatchString(cluster)
		}
		if pattern == cluster || pattern == "*" { // a pattern's * stops at a slash, and [::1]:3306 is a name, not a set of letters
			return true
		}
		ok, err := path.Match(pattern, cluster)
		return err == nil && ok
	})
}

// Thresholds are the numbers that analysis works with.
func (c Config) Thresholds() analysis.Thresholds {
	return analysis.Thresholds{Lag: c.Analysis.Lag, Silence: c.Analysis.Silence}
}

// String is the configuration in force as TOML, without secrets.
func (c Config) String() string {
	if c.Discovery.Seeds == nil { // the encoder leaves out what is nil
		c.Discovery.Seeds = []topology.Key{}
	}
	if c.Discovery.Ignore == nil {
		c.Discovery.Ignore = []*regexp.Regexp{}
	}
	if c.Backend.Members == nil {
		c.Backend.Members = []topology.Key{}
	}
	if c.Peers.Daemons == nil {
		c.Peers.Daemons = []string{}
	}
	var b bytes.Buffer
	e := toml.NewEncoder(&b)
	e.Indent = ""
	if err := e.Encode(c); err != nil {
		return fmt.Sprintf("# the configuration can't be written down: %v\n", err)
	}
	return b.String()
}

// Changes names the keys that differ in next: those that a running daemon takes over, and those that wait for a restart. A secret
// that was changed in its file is named too, never shown.
func (c Config) Changes(next Config) (reloadable, needRestart []string) {
	c.eachLeaf(func(key string, f reflect.StructField, old reflect.Value) {
		if reflect.DeepEqual(text(old), text(next.leaf(key))) {
			return
		}
		if takesOver(f, old, next.leaf(key)) {
			reloadable = append(reloadable, key)
		} else {
			needRestart = append(needRestart, key)
		}
	})
	return reloadable, needRestart
}

// Reloaded is c with what a running daemon takes over from next.
func (c Config) Reloaded(next Config) Config {
	out := c
	out.eachLeaf(func(key string, f reflect.StructField, v reflect.Value) {
		if takesOver(f, v, next.leaf(key)) {
			v.Set(next.leaf(key))
		}
	})
	return out
}

// takesOver says whether a running daemon goes from old to next.
func takesOver(f reflect.StructField, old, next reflect.Value) bool {
	switch f.Tag.Get("reload") {
	case "yes":
		return true
	case "replace":
		return !old.IsZero() && !next.IsZero()
	}
	return false
}

// eachLeaf calls f for every key, in the order of the file; policies, as a whole, are one, and so are hooks.
func (c *Config) eachLeaf(f func(key string, field reflect.StructField, v reflect.Value)) {
	sections := reflect.ValueOf(c).Elem()
	for i := range sections.NumField() {
		section, tag := sections.Field(i), sections.Type().Field(i)
		if section.Kind() != reflect.Struct {
			f(tag.Tag.Get("toml"), tag, section)
			continue
		}
		for j := range section.NumField() {
			field := section.Type().Field(j)
			name := field.Tag.Get("toml")
			if name == "-" { // a secret: known by where it comes from
				name = strings.ToLower(field.Name)
			}
			f(tag.Tag.Get("toml")+"."+name, field, section.Field(j))
		}
	}
}

func (c Config) leaf(key string) (found reflect.Value) {
	c.eachLeaf(func(k string, _ reflect.StructField, v reflect.Value) {
		if k == key {
			found = v
		}
	})
	return found
}

// text replaces expressions, which hold more than meets the eye, by what was written.
func text(v reflect.Value) any {
	res, ok := v.Interface().([]*regexp.Regexp)
	if !ok {
		return v.Interface()
	}
	var out []string
	for _, re := range res {
		out = append(out, re.String())
	}
	return out
}

// beside makes a path absolute: one that is not counts from the directory of the configuration file, so that it means the same wherever
// the daemon or "config check" is started.
func beside(file, p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return p
	}
	return filepath.Join(dir, p)
}
