package haproxy

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// leads says that a backend sends requests to the daemon that leads.
func (p proxy) leads() bool {
	l, ok := p.find("option", "httpchk")
	return ok && strings.Contains(strings.Join(append(l.words, p.checks()...), " "), "leader")
}

// api checks a backend with daemons.
func (c *checker) api(p proxy, unverified bool) {
	standsIn := false // a server takes requests while no daemon leads
	for _, s := range p.servers {
		_, checked := s.set["check"]
		_, tracks := s.set["track"]
		_, backup := s.set["backup"]
		standsIn = standsIn || backup
		if p.leads() && !checked && !tracks {
			c.complain(s.at, "no check at a daemon", "it counts as alive and leading, whatever its state", "check")
		}
		c.tls(s, unverified)
	}
	if p.leads() && !standsIn {
		c.complain(p.at, "no backup server while no daemon leads",
			"from the death of the leader to the next election, every request gets 503: measured, for 1 to 5 s",
			"list the daemons again, with backup track BACKEND/SERVER, where that backend checks GET /health/live; "+
				"orchestrator haproxy config shows how")
	}
}

// tls checks how HAProxy connects to a daemon.
func (c *checker) tls(s server, unverified bool) {
	_, secure := s.set["ssl"]
	var want *Daemon
	name, ca := "NAME", "@system-ca"
	if host, _, err := net.SplitHostPort(s.address); err == nil && hostname.MatchString(host) {
		name = host
	}
	if c.want != nil {
		if i := slices.IndexFunc(c.want.Daemons, func(d Daemon) bool { return d.Address == s.address }); i >= 0 {
			want = &c.want.Daemons[i]
		}
		if c.want.CA != "" {
			ca = c.want.CA
		}
	}
	if want != nil && want.Name != "" {
		name = want.Name
	}
	write := fmt.Sprintf("ssl verify required ca-file %s verifyhost %s", quote(ca), name)
	how, said := s.set["verify"]
	fixed, named := s.set["verifyhost"]
	sni := strings.HasPrefix(s.set["sni"].value, "str(")
	switch {
	case want != nil && want.TLS && !secure:
		c.complain(s.at, fmt.Sprintf("daemon %s serves HTTPS, but is asked in plain text", s.address), "it is never up",
			write)
	case want != nil && !want.TLS && secure:
		c.complain(s.at, fmt.Sprintf("daemon %s serves plain HTTP, but is asked by HTTPS", s.address), "it is never up",
			"no ssl; or http.tls_cert at the daemon, https:// in peers.daemons")
	case !secure:
	case how.value == "none", unverified && !said:
		c.complain(s.at, "the certificate of a daemon is not verified",
			"anyone in between can pose as the daemon, and gets the token for changes", write)
	case !named && !sni:
		c.complain(s.at, "no verifyhost at a daemon that serves HTTPS",
			"anyone with any certificate of these authorities can pose as the daemon: measured, with a certificate "+
				"for another host", write)
	case want != nil && named && fixed.value != want.Name:
		c.complain(s.at, fmt.Sprintf("verifyhost is %s, but the certificate is for %s", fixed.value, want.Name),
			"the daemon is never up", write)
	}
}

// plain reports a frontend that speaks plain text to the network although the daemons behind it speak TLS.
func (c *checker) plain(p proxy) {
	for _, l := range p.all() {
		if !l.has("bind") || len(l.words) < 2 || slices.Contains(l.words, "ssl") {
			continue
		}
		host, _, err := net.SplitHostPort(l.words[1])
		if err != nil {
			continue // a socket, or an address that HAProxy refuses
		}
		if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && ip.IsLoopback() {
			continue
		}
		c.complain(l.at, "the daemons serve HTTPS, but HAProxy serves the API in plain text",
			"tokens and answers can be read on the network",
			fmt.Sprintf("bind %s ssl crt FILE (haproxy.http_cert)", l.words[1]))
	}
}

// identity reports a frontend that passes on the header in which the daemons believe a proxy. A condition is a choice
// of somebody who has thought of it.
func (c *checker) identity(p proxy) {
	if c.want == nil || c.want.Identity == "" {
		return
	}
	if slices.ContainsFunc(p.all(), func(l line) bool {
		return len(l.words) > 2 && l.has("http-request") && strings.EqualFold(l.words[2], c.want.Identity) &&
			(l.words[1] == "del-header" || l.words[1] == "set-header" && len(l.words) == 4)
	}) {
		return
	}
	c.complain(p.at, fmt.Sprintf("the header %s (http.identity_header) is passed on", c.want.Identity),
		"where http.identity_from has the address of this HAProxy, each of its clients can be any user",
		"http-request del-header "+c.want.Identity+", before what sets it")
}
