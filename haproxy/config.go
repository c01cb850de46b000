// Package haproxy is what the program knows of HAProxy: the configuration that it ships, the answers to HAProxy's agent
// checks, a small client of HAProxy's runtime socket, and what is wrong with a configuration that somebody has already.
//
// It doesn't know which member of a pair is fit to serve; that is asked of whoever opens the Agent. The one idea:
// HAProxy serves a member only while a daemon vouches for it, so a restart, a reload, a dead daemon or a member that
// comes back all end with nobody served rather than with somebody served by a stale member.
package haproxy

import (
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
)

// Backend is the name of the section with the members, as runtime commands need it.
const Backend = "members"

// Versions that a configuration can be written for: the least version of HAProxy that reads it.
var Versions = [...]string{"2.6", "3.1"}

// Values is what a configuration is rendered from. Addresses are "host:port".
type Values struct {
	Version  string   // one of Versions
	Socket   string   // path of the runtime socket
	Database string   // where HAProxy serves the backend
	HTTP     string   // where it serves the leader's API
	Agent    string   // where the daemon answers agent checks
	Members  []string // of the pair, the one to prefer first
	Daemons  []Daemon // that share it
	CA       string   // authorities of daemons that serve HTTPS; "" is those of the system
	Cert     string   // path of a PEM file with certificate and key, to serve the API by HTTPS; "" is plain HTTP
}

// Daemon is where one daemon serves its API.
type Daemon struct {
	Address string
	TLS     bool
	Name    string // with TLS: what its certificate must be for; "" is the host of Address
}

//go:embed haproxy.cfg.tmpl
var text string

var configuration = template.Must(template.New("haproxy.cfg").Funcs(template.FuncMap{
	"name": ServerName,
	"word": quote,
	"tls":  verify,
	"ge3":  func(version string) bool { return version == Versions[1] },
}).Parse(text))

// Render writes the configuration. The error names all values that don't do.
func Render(v Values) (string, error) {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if !slices.Contains(Versions[:], v.Version) {
		bad("version %q: there is a configuration for %s", v.Version, strings.Join(Versions[:], " and "))
	}
	v, err := v.normal()
	if err != nil {
		problems = append(problems, err)
	}
	if v.CA == "" {
		v.CA = "@system-ca"
	}
	paths := []string{v.Socket, v.CA}
	if v.Cert != "" {
		paths = append(paths, v.Cert)
	}
	for _, path := range paths {
		if path == "" || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == '\'' || r == 0x7f }) {
			bad("path %q can't be written into a configuration of HAProxy", path)
		}
	}
	if len(problems) > 0 {
		return "", fmt.Errorf("write a configuration for HAProxy: %w", errors.Join(problems...))
	}
	host, port, _ := net.SplitHostPort(v.Agent) // address has looked
	start := "disabled"
	if v.Version == Versions[1] {
		start = "init-state fully-down"
	}
	var b strings.Builder
	err = configuration.Execute(&b, struct {
		Values
		Backend, AgentHost, AgentPort, Start string
	}{v, Backend, host, port, start})
	return b.String(), err
}

// verify are the words of a server that have HAProxy look whose certificate it is shown. Without a name, any that the
// authorities have signed would do.
func verify(d Daemon, ca string) string {
	if !d.TLS {
		return ""
	}
	return " ssl verify required ca-file " + quote(ca) + " verifyhost " + d.Name
}

// normal has each address as HAProxy is to connect to it, or to listen there.
func (v Values) normal() (Values, error) {
	var problems []error
	fix := func(what string, a *string, connect bool) {
		if err := address(a, connect); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", what, err))
		}
	}
	fix("where HAProxy serves the backend", &v.Database, false)
	fix("where HAProxy serves the API", &v.HTTP, false)
	fix("where the agent answers", &v.Agent, true)
	v.Members, v.Daemons = slices.Clone(v.Members), slices.Clone(v.Daemons)
	if len(v.Members) == 0 {
		problems = append(problems, errors.New("no member of the pair is named"))
	}
	for i := range v.Members {
		fix("member", &v.Members[i], true)
		if slices.Contains(v.Members[:i], v.Members[i]) {
			problems = append(problems, fmt.Errorf("member %s is there twice", v.Members[i]))
		}
	}
	for i := range v.Daemons {
		d := &v.Daemons[i]
		fix("daemon", &d.Address, true)
		if d.TLS && d.Name == "" {
			d.Name, _, _ = net.SplitHostPort(d.Address)
		}
		if _, err := netip.ParseAddr(d.Name); d.TLS && (err == nil || !hostname.MatchString(d.Name)) {
			problems = append(problems, fmt.Errorf("daemon %s serves HTTPS: HAProxy compares its certificate with a "+
				"host name, and %q is none; name the daemon by its host name", d.Address, d.Name))
		}
		if slices.ContainsFunc(v.Daemons[:i], func(d Daemon) bool { return d.Address == v.Daemons[i].Address }) {
			problems = append(problems, fmt.Errorf("daemon %s is there twice", v.Daemons[i].Address))
		}
	}
	return v, errors.Join(problems...)
}

var hostname = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,253}$`)

// address checks one. Where it is to be connected to, an address that means "all of this machine" becomes one that can
// be.
func address(a *string, connect bool) error {
	host, port, err := net.SplitHostPort(*a)
	n, notNumber := strconv.Atoi(port)
	if err != nil || notNumber != nil || n < 1 || n > 65535 {
		return fmt.Errorf(`%q is no address; want "host:port", with a port from 1 to 65535`, *a)
	}
	ip, notIP := netip.ParseAddr(host)
	switch {
	case host != "" && notIP != nil && !hostname.MatchString(host), notIP == nil && ip.Zone() != "":
		return fmt.Errorf("%q is no address that HAProxy reads", *a)
	case !connect && host == "":
		host = "*" // its word for all addresses
	case connect && notIP == nil && ip.Is6() && ip.IsUnspecified():
		host = "::1"
	case connect && (host == "" || notIP == nil && ip.IsUnspecified()):
		host = "127.0.0.1"
	}
	*a = net.JoinHostPort(host, strconv.Itoa(n))
	return nil
}

// ServerName is how the server for an address is called in the configuration and at the runtime socket, and what
// HAProxy asks the agent for: the address itself, without the brackets that a name can't have.
func ServerName(address string) string {
	return strings.NewReplacer("[", "", "]", "").Replace(address)
}

// quote makes a word of a path for HAProxy.
func quote(path string) string {
	if strings.ContainsAny(path, " \t\"\\#$") {
		return "'" + path + "'"
	}
	return path
}
