// Package haproxy is what the program knows about HAProxy: the configuration that it ships, the answers to HAProxy's
// agent checks, a small client of HAProxy's runtime socket, and a linter for existing configurations.
//
// It doesn't know which member of a pair is fit to serve; the caller of Agent does. The one idea: HAProxy serves a
// member only while a daemon confirms that it is fit. So a restart, a reload, a dead daemon or a returning member can
// stop service, but never make HAProxy serve a stale member.
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

// Versions are the versions that a configuration can be written for: the oldest HAProxy that reads it.
var Versions = [...]string{"2.6", "3.1"}

// Values is what a configuration is rendered from. Addresses are "host:port".
type Values struct {
	Version  string   // one of Versions
	Socket   string   // path of the runtime socket
	Database string   // where HAProxy serves the backend
	HTTP     string   // where it serves the leader's API
	Agent    string   // where the daemon answers agent checks
	Members  []string // members of the pair, in order of preference
	Daemons  []Daemon // daemons that share it
	CA       string   // path of the authorities of daemons that serve HTTPS; "" means those of the system
	Cert     string   // path of a PEM file with certificate and key, to serve the API by HTTPS; "" means plain HTTP
	// Identity is the header in which the daemons believe a proxy; "" means none. HAProxy removes it from requests:
	// the daemons may believe HAProxy's address, and its clients could name themselves anybody.
	Identity string
}

// Daemon is where one daemon serves its API.
type Daemon struct {
	Address string
	TLS     bool
	Name    string // with TLS: the host name that its certificate must have; "" means the host of Address
}

//go:embed haproxy.cfg.tmpl
var text string

var configuration = template.Must(template.New("haproxy.cfg").Funcs(template.FuncMap{
	"name": ServerName,
	"word": quote,
	"tls":  verify,
	"ge3":  func(version string) bool { return version == Versions[1] },
}).Parse(text))

// Render returns the configuration. The error names all invalid values.
func Render(v Values) (string, error) {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if !slices.Contains(Versions[:], v.Version) {
		bad("version %q: there are configurations for %s", v.Version, strings.Join(Versions[:], " and "))
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
	if v.Identity != "" && !headerName.MatchString(v.Identity) {
		bad("header %q: it has other characters than letters, digits and -", v.Identity)
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

// verify returns the settings of a server that make HAProxy verify the certificate and its name. Without a name, any
// certificate that the authorities have signed would pass.
func verify(d Daemon, ca string) string {
	if !d.TLS {
		return ""
	}
	return " ssl verify required ca-file " + quote(ca) + " verifyhost " + d.Name
}

// normal returns the values with each address in the form in which HAProxy connects to it or listens there.
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
			problems = append(problems, fmt.Errorf("member %s is listed twice", v.Members[i]))
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
				"host name, but %q is not one; name the daemon by its host name", d.Address, d.Name))
		}
		if slices.ContainsFunc(v.Daemons[:i], func(d Daemon) bool { return d.Address == v.Daemons[i].Address }) {
			problems = append(problems, fmt.Errorf("daemon %s is listed twice", v.Daemons[i].Address))
		}
	}
	return v, errors.Join(problems...)
}

var headerName = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

var hostname = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,253}$`)

// address checks an address. If HAProxy is to connect to it, an address that means "all of this machine" becomes a
// local address.
func address(a *string, connect bool) error {
	host, port, err := net.SplitHostPort(*a)
	n, notNumber := strconv.Atoi(port)
	if err != nil || notNumber != nil || n < 1 || n > 65535 {
		return fmt.Errorf(`%q is not an address; want "host:port", with a port from 1 to 65535`, *a)
	}
	ip, notIP := netip.ParseAddr(host)
	switch {
	case host != "" && notIP != nil && !hostname.MatchString(host), notIP == nil && ip.Zone() != "":
		return fmt.Errorf("%q is not an address that HAProxy can read", *a)
	case !connect && host == "":
		host = "*" // HAProxy's notation for all addresses
	case connect && notIP == nil && ip.Is6() && ip.IsUnspecified():
		host = "::1"
	case connect && (host == "" || notIP == nil && ip.IsUnspecified()):
		host = "127.0.0.1"
	}
	*a = net.JoinHostPort(host, strconv.Itoa(n))
	return nil
}

// ServerName returns the name of the server with an address, in the configuration, at the runtime socket and in
// questions to the agent: the address without brackets, which a name can't have.
func ServerName(address string) string {
	return strings.NewReplacer("[", "", "]", "").Replace(address)
}

// quote quotes a path for HAProxy if needed.
func quote(path string) string {
	if strings.ContainsAny(path, " \t\"\\#$") {
		return "'" + path + "'"
	}
	return path
}
