package config

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"orchestrator/daemon/secret"
	"orchestrator/daemon/topology"
)

// Problem is one thing that is wrong with a configuration file.
type Problem struct {
	File string `json:"file"`
	Line int    `json:"line"`          // 0 when it is about no line
	Key  string `json:"key,omitempty"` // such as "discovery.poll"; "policy[1].clusters" in the second policy
	Says string `json:"says"`          // what is wrong, and what to do

	bearable bool // a daemon runs with it: see Load
}

func (p Problem) String() string {
	where := p.File
	if p.Line > 0 {
		where += ":" + strconv.Itoa(p.Line)
	}
	if p.Key != "" {
		where += ": " + p.Key
	}
	return where + ": " + p.Says
}

// Problems are all that is wrong with a file, in the order of its lines.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

// Check says everything that is wrong with the configuration in data, which was read from file; the files that it names are looked at too.
func Check(file string, data []byte) []Problem {
	_, problems := parse(file, data)
	return problems
}

// unbearable are those with which no daemon runs.
func (p Problems) unbearable() Problems {
	return slices.DeleteFunc(slices.Clone(p), func(one Problem) bool { return one.bearable })
}

// parse reads a configuration. The TOML goes through a map, not straight into the struct, because a decoder stops at the first wrong value,
// and whoever mends a file wants to hear of all of them at once.
func parse(file string, data []byte) (Config, Problems) {
	r := reader{file: file}
	c := Default()
	if deep(data) {
		r.add("", "is no configuration: values are nested deeper than any key needs")
		return c, r.problems
	}
	var have map[string]any
	if _, err := toml.Decode(string(data), &have); err != nil {
		var syntax toml.ParseError
		if !errors.As(err, &syntax) {
			r.add("", "is no TOML: %v", err)
			return c, r.problems
		}
		r.problems = append(r.problems, Problem{File: file, Line: syntax.Position.Line, Key: syntax.LastKey, Says: "is no TOML: " + syntax.Message})
		return c, r.problems
	}
	r.lines = locate(string(data))
	r.table("", reflect.ValueOf(&c).Elem(), have)
	r.values(&c)
	slices.SortStableFunc(r.problems, func(a, b Problem) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key)) })
	return c, r.problems
}

// deep guards the TOML decoder, which calls itself for each bracket, against a file made of brackets.
func deep(data []byte) bool {
	depth := 0
	for _, b := range data {
		switch b {
		case '[', '{':
			depth++
		case ']', '}', '\n': // brackets over many lines are rare enough to be counted too generously
			depth = max(0, depth-1)
		}
		if depth > 100 {
			return true
		}
	}
	return false
}

// reader fills a Config and collects what is wrong on the way.
type reader struct {
	file     string
	lines    map[string]int // path of a key → its line
	problems Problems
	bad      map[string]bool // paths whose value could not be taken: nothing more is said about them
}

func (r *reader) add(key, format string, args ...any) {
	r.problems = append(r.problems, Problem{File: r.file, Line: r.line(key), Key: key, Says: fmt.Sprintf(format, args...)})
	if r.bad == nil {
		r.bad = map[string]bool{}
	}
	r.bad[key] = true
}

// line is that of the key, or of the table that it would be in.
func (r *reader) line(key string) int {
	for key != "" {
		if n, ok := r.lines[key]; ok {
			return n
		}
		cut := strings.LastIndexAny(key, ".[")
		if cut < 0 {
			break
		}
		key = key[:cut]
	}
	return 0
}

func join(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}

func (r *reader) table(at string, into reflect.Value, have map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(have)) {
		key := join(at, name)
		field, ok := fieldOf(into.Type(), name)
		if !ok {
			r.add(key, "%s", unknown(into.Type(), at, name))
			continue
		}
		r.value(key, field.Tag, into.FieldByIndex(field.Index), have[name])
	}
}

func fieldOf(t reflect.Type, name string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("toml") == name && name != "-" {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// value takes one value over, or says why not.
func (r *reader) value(key string, tag reflect.StructTag, into reflect.Value, v any) {
	switch target := into.Addr().Interface().(type) {
	case *time.Duration:
		s, ok := v.(string)
		if !ok {
			r.add(key, `want a duration in quotes, with its unit, such as "5s"; got %s`, describe(v))
			return
		}
		d, err := time.ParseDuration(s)
		if err != nil {
			r.add(key, `%q is no duration; write a number and its unit (ms, s, m, h), such as "5s"`, s)
			return
		}
		low, _ := time.ParseDuration(tag.Get("min"))
		high, _ := time.ParseDuration(tag.Get("max"))
		if d < low || d > high {
			r.add(key, "%q is impossible; want %s to %s", s, tag.Get("min"), tag.Get("max"))
			return
		}
		*target = d
		return
	case *[]PolicyConfig:
		*target = blocks(r, key, v, defaultPolicy)
		return
	case *[]HookConfig:
		*target = blocks(r, key, v, defaultHook)
		return
	case encoding.TextUnmarshaler:
		s, ok := v.(string)
		if !ok {
			r.add(key, "want a text in quotes; got %s", describe(v))
			return
		}
		if s == "" {
			r.add(key, "is empty")
			return
		}
		if err := target.UnmarshalText([]byte(s)); err != nil {
			r.add(key, "%v", err)
		}
		return
	}
	switch into.Kind() {
	case reflect.Struct:
		table, ok := v.(map[string]any)
		if !ok {
			r.add(key, "is a table: write [%s] on a line of its own, and its keys below; got %s", key, describe(v))
			return
		}
		r.table(key, into, table)
	case reflect.Slice:
		list, ok := v.([]any)
		if !ok {
			r.add(key, `want a list such as ["a", "b"]; got %s`, describe(v))
			return
		}
		into.SetZero() // a list takes the place of the default, and does not add to it
		for i, item := range list {
			one := reflect.New(into.Type().Elem()).Elem()
			where := fmt.Sprintf("%s[%d]", key, i)
			if one.Kind() == reflect.Pointer {
				one.Set(reflect.New(one.Type().Elem()))
				r.value(where, tag, one.Elem(), item)
			} else {
				r.value(where, tag, one, item)
			}
			if k, ok := one.Interface().(topology.Key); ok && slices.Contains(into.Interface().([]topology.Key), k) {
				r.add(where, "%v is there twice", k)
			}
			if !r.bad[where] {
				into.Set(reflect.Append(into, one))
			}
		}
	case reflect.String:
		s, ok := v.(string)
		if !ok {
			r.add(key, "want a text in quotes; got %s", describe(v))
			return
		}
		if words := strings.Fields(tag.Get("oneof")); len(words) > 0 && !slices.Contains(words, s) {
			r.add(key, "%q is not possible; want %s%s", s, either(words), meant(s, words))
			return
		}
		into.SetString(s)
	case reflect.Bool:
		b, ok := v.(bool)
		if !ok {
			r.add(key, "want true or false, without quotes; got %s", describe(v))
			return
		}
		into.SetBool(b)
	case reflect.Int:
		n, ok := v.(int64)
		if !ok {
			r.add(key, "want a whole number, without quotes; got %s", describe(v))
			return
		}
		low, _ := strconv.ParseInt(tag.Get("min"), 10, 64)
		high, _ := strconv.ParseInt(tag.Get("max"), 10, 64)
		if n < low || n > high {
			r.add(key, "%d is impossible; want %d to %d", n, low, high)
			return
		}
		into.SetInt(n)
	}
}

// blocks reads a table that is written [[so]].
func blocks[T any](r *reader, key string, v any, fresh func() T) []T {
	tables, ok := v.([]map[string]any)
	if !ok {
		r.add(key, "want blocks that begin with [[%s]]; got %s", key, describe(v))
		return nil
	}
	var out []T
	for i, table := range tables {
		one := fresh()
		r.table(fmt.Sprintf("%s[%d]", key, i), reflect.ValueOf(&one).Elem(), table)
		out = append(out, one)
	}
	return out
}

// describe never shows a text: it may be a password that was put in the wrong place.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return "a text"
	case int64, float64, bool:
		return fmt.Sprint(v)
	case []any, []map[string]any:
		return "a list"
	case map[string]any:
		return "a table"
	}
	return "a date or time"
}

func either(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	if len(quoted) == 1 {
		return quoted[0]
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " or " + quoted[len(quoted)-1]
}

// credentials is what a path may begin with that leads to what the service manager hands over; no other variable is looked at.
const credentials = "$CREDENTIALS_DIRECTORY"

// values checks what the types can't say: what keys mean together, and the files that they point at.
func (r *reader) values(c *Config) {
	for key, p := range map[string]*string{
		"http.token_file": &c.HTTP.TokenFile, "http.tls_cert": &c.HTTP.TLSCert, "http.tls_key": &c.HTTP.TLSKey,
		"servers.password_file": &c.Servers.PasswordFile, "backend.path": &c.Backend.Path, "backend.password_file": &c.Backend.PasswordFile,
		"backend.caretaker_password_file": &c.Backend.CaretakerPasswordFile,
		"peers.secret_file":               &c.Peers.SecretFile, "peers.ca": &c.Peers.CA, "haproxy.socket": &c.HAProxy.Socket,
		"haproxy.http_cert": &c.HAProxy.HTTPCert,
	} {
		r.path(key, p)
	}
	r.http(&c.HTTP)
	r.servers(&c.Servers)
	r.discovery(c)

	r.backend(c)
	r.peers(c)
	r.haproxy(&c.HAProxy)
	if !r.bad["lease.tick"] && !r.bad["lease.ttl"] && 4*c.Lease.Tick > c.Lease.TTL {
		r.add("lease.tick", "%v is more than a quarter of lease.ttl (%v): a late beat or two would lose the lead", c.Lease.Tick, c.Lease.TTL)
	}
	r.policies(c.Policies)
	r.hooks(c.Hooks)
}

// path makes a path absolute, and leads one that begins with credentials to where they are.
func (r *reader) path(key string, p *string) {
	if strings.ContainsRune(*p, 0) {
		r.add(key, "is no path: it holds a zero byte")
		*p = ""
		return
	}
	if name, ok := strings.CutPrefix(*p, credentials+"/"); ok {
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			r.add(key, "%s is not set: the service manager sets it for the service that has LoadCredential=; for a command, name the running service's: "+
				"CREDENTIALS_DIRECTORY=/run/credentials/orchestrator.service", credentials)
			*p = ""
			return
		}
		*p = filepath.Join(dir, name)
	}
	*p = beside(r.file, *p)
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

func (r *reader) servers(s *ServersConfig) {
	if s.User == "" && !r.bad["servers.user"] {
		r.add("servers.user", "is empty; name the account on the managed servers")
	}
	if s.PasswordFile != "" {
		s.Password = r.secret("servers.password_file", s.PasswordFile)
	} else {
		s.Password = Secret(os.Getenv(PasswordVariable))
	}
	s.Authorities = r.security("servers.tls", &s.TLS)
	if !r.bad["servers.connect_timeout"] && !r.bad["servers.probe_timeout"] && s.ConnectTimeout > s.ProbeTimeout {
		r.add("servers.connect_timeout", "%v is longer than servers.probe_timeout (%v), which includes it", s.ConnectTimeout, s.ProbeTimeout)
	}
}

// TLSConfig is how to talk to managed servers; nil is plain text.
func (s ServersConfig) TLSConfig() (*tls.Config, error) { return tlsConfig(s.TLS) }

// TLSConfig is how to talk to the backend; nil is plain text.
func (b BackendConfig) TLSConfig() (*tls.Config, error) { return tlsConfig(b.TLS) }

func tlsConfig(how string) (*tls.Config, error) {
	switch how {
	case "off":
		return nil, nil
	case "verify":
		return &tls.Config{MinVersion: tls.VersionTLS12}, nil
	}
	pool, _, err := authorities(how)
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, nil
}

// authorities reads those of a file, and returns its text, too.
func authorities(file string) (*x509.CertPool, string, error) {
	pem, err := readRegular(file, maxConfig)
	if err != nil {
		return nil, "", fmt.Errorf("read authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, "", fmt.Errorf("read authorities: %s holds no certificate in PEM form", file)
	}
	return pool, string(pem), nil
}

// backend checks what a shared backend needs; one in a file needs its path only.
func (r *reader) backend(c *Config) {
	b := &c.Backend
	if b.Path == "" && !r.bad["backend.path"] {
		r.add("backend.path", "is empty; name the file in which the daemon shall remember things")
	}
	if b.PasswordFile != "" {
		b.Password = r.secret("backend.password_file", b.PasswordFile)
	} else {
		b.Password = Secret(os.Getenv(BackendPasswordVariable))
	}
	switch {
	case r.bad["backend.caretaker_password_file"]:
	case b.CaretakerPasswordFile != "" && b.CaretakerUser == "":
		r.add("backend.caretaker_password_file", "needs backend.caretaker_user, whose password it is")
	case b.CaretakerUser != "" && b.CaretakerPasswordFile == "":
		r.add("backend.caretaker_user", "needs backend.caretaker_password_file, a file with its password")
	case b.CaretakerUser != "":
		b.CaretakerPassword = r.secret("backend.caretaker_password_file", b.CaretakerPasswordFile)
	}
	if b.Kind != "mysql" {
		return
	}
	if !r.bad["backend.address"] {
		r.address("backend.address", b.Address, "of HAProxy, or of the one server")
	}
	for key, text := range map[string]string{"backend.database": b.Database, "backend.user": b.User} {
		if text == "" && !r.bad[key] {
			r.add(key, "is empty")
		}
	}
	if !word.MatchString(b.Database) && b.Database != "" {
		r.add("backend.database", "%q is no name for a database here; want letters, digits and _", b.Database)
	}
	b.Authorities = r.security("backend.tls", &b.TLS)
	if !r.bad["backend.timeout"] && !r.bad["lease.ttl"] && 4*b.Timeout > c.Lease.TTL {
		r.add("backend.timeout", "%v is more than a quarter of lease.ttl (%v): one statement that hangs would lose the lead", b.Timeout, c.Lease.TTL)
	}
	if len(c.Peers.Daemons) == 0 && !r.bad["peers.daemons"] {
		r.add("peers.daemons", "is empty, and others may share this backend: name the API of every other daemon; a daemon that really is alone keeps its backend in a file (backend.kind = \"sqlite\")")
	}
}

var word = regexp.MustCompile(`^[A-Za-z0-9_]{1,64}$`)

// address wants "host:port".
func (r *reader) address(key, text, of string) {
	host, port, err := net.SplitHostPort(text)
	if n, bad := strconv.Atoi(port); err != nil || host == "" || bad != nil || n < 1 || n > 65535 {
		r.add(key, `%q is no address; want "host:port" %s`, text, of)
	}
}

// security wants what TLS may be, and returns the authorities that it names a file of.
func (r *reader) security(key string, tls *string) (text string) {
	const want = `want "off", "verify", or the path of a PEM file with authorities`
	switch {
	case r.bad[key] || *tls == "off" || *tls == "verify":
	case *tls == "":
		r.add(key, "is empty; "+want)
	default:
		*tls = beside(r.file, *tls)
		var err error
		if _, text, err = authorities(*tls); err != nil {
			r.add(key, "%v; "+want, err)
		}
	}
	return text
}

func (r *reader) peers(c *Config) {
	p := &c.Peers
	for i, text := range p.Daemons {
		key := fmt.Sprintf("peers.daemons[%d]", i)
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
			r.add(key, `%q is no address of a daemon; want "http://host:port" or "https://host:port"`, text)
		}
		if slices.Contains(p.Daemons[:i], text) {
			r.add(key, "%q is there twice", text)
		}
	}
	if p.SecretFile != "" {
		p.Secret = r.secret("peers.secret_file", p.SecretFile)
		if slices.ContainsFunc(secret.Lines(string(p.Secret)), func(line string) bool { return len(line) < 16 }) {
			r.add("peers.secret_file", "%s holds a secret of less than 16 characters; make one with: openssl rand -hex 32", p.SecretFile)
		}
	} else if len(p.Daemons) > 0 && !r.bad["peers.secret_file"] {
		r.add("peers.secret_file", "is empty; daemons that ask each other prove by a shared secret who they are: openssl rand -hex 32 > FILE, the same on all of them")
	}
	if p.CA != "" {
		var err error
		if _, p.Authorities, err = authorities(p.CA); err != nil {
			r.add("peers.ca", "%v", err)
		}
	}
}

func (r *reader) haproxy(h *HAProxyConfig) {
	if h.Agent != "" && !r.bad["haproxy.agent"] {
		r.address("haproxy.agent", h.Agent, "to listen on")
	}
	for key, text := range map[string]string{"haproxy.database": h.Database, "haproxy.http": h.HTTP} {
		if !r.bad[key] {
			r.address(key, text, "on which HAProxy shall listen")
		}
	}
}

func (r *reader) discovery(c *Config) {
	if !r.bad["discovery.max_backoff"] && !r.bad["discovery.poll"] && c.Discovery.MaxBackoff < c.Discovery.Poll {
		r.add("discovery.max_backoff", "%v is shorter than discovery.poll (%v)", c.Discovery.MaxBackoff, c.Discovery.Poll)
	}
	if !r.bad["servers.probe_timeout"] && !r.bad["analysis.silence"] && c.Servers.ProbeTimeout >= c.Analysis.Silence {
		key := "servers.probe_timeout"
		if _, ok := r.lines[key]; !ok {
			key = "analysis.silence"
		}
		r.add(key, "servers.probe_timeout (%v) must be shorter than analysis.silence (%v): one slow answer would look like death",
			c.Servers.ProbeTimeout, c.Analysis.Silence)
	}
}

func (r *reader) policies(policies []PolicyConfig) {
	all := -1 // the first policy that names every cluster
	for i, p := range policies {
		key := fmt.Sprintf("policy[%d]", i)
		if all >= 0 {
			r.add(key, `is never used: the %s policy names every cluster ("*"), and the first that names one counts; put it last`, ordinal(all+1))
		}
		r.clusters(key+".clusters", p.Clusters)
		if all < 0 && slices.Contains(p.Clusters, "*") {
			all = i
		}
	}
}

// clusters checks the patterns by which a block names clusters.
func (r *reader) clusters(key string, patterns []string) {
	if len(patterns) == 0 && !r.about(key) {
		r.add(key, `names no cluster; ["*"] is every cluster`)
	}
	for _, pattern := range patterns {
		expr, isExpr := strings.CutPrefix(pattern, "~")
		switch {
		case pattern == "":
			r.add(key, "holds an empty name")
		case isExpr:
			if _, err := regexp.Compile(expr); err != nil {
				r.add(key, "%q: %v", pattern, err)
			}
		default:
			if _, err := path.Match(pattern, ""); err != nil {
				r.add(key, `%q is no pattern; * stands for anything, ? for a letter, [a-z] for one of some; before others write \`, pattern)
			}
		}
	}
}

func ordinal(n int) string {
	if n <= 3 {
		return []string{"", "first", "second", "third"}[n]
	}
	return strconv.Itoa(n) + "th"
}

// secret reads a file that holds one, and insists that not everybody can.
func (r *reader) secret(key, file string) Secret {
	data, err := readRegular(file, 64<<10)
	if errors.Is(err, os.ErrPermission) {
		r.add(key, "%v; let the group of the daemon read it: chgrp orchestrator %s && chmod 640 %s", err, file, file)
		return ""
	}
	if err != nil {
		r.add(key, "%v", err)
		return ""
	}
	if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o007 != 0 {
		r.add(key, "%s is open to everybody (mode %04o): chmod o= %s", file, info.Mode().Perm(), file)
		return ""
	}
	s := strings.TrimRight(string(data), "\r\n")
	if len(data) == 0 {
		r.add(key, "%s is empty", file)
	} else if strings.TrimSpace(s) == "" { // of those that may have several lines, none would be left
		r.add(key, "%s has nothing but blanks in it", file)
	}
	return Secret(s)
}

// unknown says what to write instead of a key that doesn't exist in a table.
func unknown(t reflect.Type, at, name string) string {
	here := keysOf(t)
	if at == "" {
		for _, section := range here { // a key that stands above the first [table]
			if f, _ := fieldOf(t, section); f.Type.Kind() == reflect.Struct && slices.Contains(keysOf(f.Type), name) {
				return fmt.Sprintf("unknown key; it belongs below [%s]", section)
			}
		}
	} else {
		whole := reflect.TypeFor[Config]()
		for i := range whole.NumField() {
			if s := whole.Field(i); !slices.Contains(here, name) && s.Type.Kind() == reflect.Struct && slices.Contains(keysOf(s.Type), name) {
				return fmt.Sprintf("unknown key; it belongs below [%s]", s.Tag.Get("toml"))
			}
		}
	}
	if name == "password" || name == "token" {
		if slices.Contains(here, name+"_file") {
			return fmt.Sprintf("unknown key; secrets are not written in here: put it into a file of its own, and the path of that into %s_file", name)
		}
	}
	if m := meant(name, here); m != "" {
		return "unknown key" + m
	}
	return "unknown key; possible are " + strings.Join(here, ", ")
}

func keysOf(t reflect.Type) []string {
	var out []string
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("toml"); name != "-" {
			out = append(out, name)
		}
	}
	return out
}

// meant asks whether the nearest of the words was meant, if one is near.
func meant(wrong string, words []string) string {
	if len(wrong) > 100 {
		return ""
	}
	plain := strings.NewReplacer("-", "_", " ", "_").Replace(strings.ToLower(wrong))
	best, distance := "", 1+max(1, len(wrong)/3)
	for _, w := range words {
		if d := edits(plain, w); d < distance {
			best, distance = w, d
		}
	}
	if best == "" && len(plain) > 2 {
		for _, w := range words { // a piece of the right word, or the right word with something added
			if strings.Contains(w, plain) || strings.Contains(plain, w) {
				best = w
				break
			}
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// edits counts the letters to insert, delete, replace or swap with their neighbour to make b of a.
func edits(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// TLSConfig is how to talk to the other daemons; nil is what the system trusts.
func (p PeersConfig) TLSConfig() (*tls.Config, error) {
	if p.CA == "" {
		return nil, nil
	}
	return tlsConfig(p.CA)
}
