package config

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

// Risks are what the configuration allows and what it costs, where that is no error: one sentence each.
func (c Config) Risks() (out []string) {
	if r := c.unencrypted(); r != "" {
		out = append(out, r)
	}
	out = append(out, c.expiring(time.Now())...)
	if host, _, err := net.SplitHostPort(c.HAProxy.Agent); err == nil && !local(host) {
		out = append(out, fmt.Sprintf("haproxy.agent is %q: other machines can reach it, and it needs no password; "+
			"listen on 127.0.0.1, where the HAProxy of this machine asks", c.HAProxy.Agent))
	}
	if c.HTTP.IdentityHeader != "" && slices.ContainsFunc(c.HTTP.IdentityFrom, func(n Network) bool {
		return n.Addr().IsLoopback()
	}) {
		out = append(out, fmt.Sprintf("http.identity_from names this machine: every account here can send %s, and be "+
			"any user; let the proxy run where nobody else can log in", c.HTTP.IdentityHeader))
	}
	return out
}

// unencrypted says what connections without TLS risk, unless all go to this machine.
func (c Config) unencrypted() string {
	var keys []string
	if c.Servers.TLS == "off" && !here(c.Discovery.Seeds) {
		keys = append(keys, "servers.tls")
	}
	members := c.Backend.Members
	if len(members) == 0 {
		if k, err := topology.ParseKey(c.Backend.Address); err == nil {
			members = []topology.Key{k}
		}
	}
	if c.Backend.Kind != "sqlite" && c.Backend.TLS == "off" && !here(members) {
		keys = append(keys, "backend.tls")
	}
	if len(keys) == 0 {
		return ""
	}
	verb := "is"
	if len(keys) > 1 {
		verb = "are"
	}
	return fmt.Sprintf(`%s %s "off": anyone on the network between can read and change what the daemon and the servers `+
		"say to each other, act with the account of the daemon while it is connected, and try out passwords on what "+
		"they read; set a PEM file with the authority of the servers", strings.Join(keys, " and "), verb)
}

// here says that all of these are on this machine; of none, it is not known.
func here(keys []topology.Key) bool {
	return len(keys) > 0 && !slices.ContainsFunc(keys, func(k topology.Key) bool { return !local(k.Host) })
}

// expiresSoon is when the alert about a certificate begins, too.
const expiresSoon = 14 * 24 * time.Hour

// expiring says which files have a certificate that has expired, or soon will.
func (c Config) expiring(now time.Time) (out []string) {
	files := c.Certificates()
	for _, use := range slices.Sorted(maps.Keys(files)) {
		ends, err := FirstEndOf(files[use])
		switch date := ends.UTC().Format(time.RFC3339); {
		case err != nil || ends.After(now.Add(expiresSoon)): // who reads the file says what is wrong with it
		case ends.Before(now):
			out = append(out, fmt.Sprintf("%s has a certificate that expired at %s: replace it", files[use],
				date))
		default:
			out = append(out, fmt.Sprintf("%s has a certificate that expires at %s: replace it before that",
				files[use], date))
		}
	}
	return out
}
