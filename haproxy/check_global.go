package haproxy

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// local says whether only this machine can reach a stats socket.
func local(address string) bool {
	for _, family := range []string{"unix@", "abns@", "fd@", "sockpair@"} {
		if strings.HasPrefix(address, family) {
			return true
		}
	}
	if i := strings.Index(address, "@"); i >= 0 { // ipv4@, ipv6@…
		address = address[i+1:]
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return strings.HasPrefix(address, "/") || !strings.Contains(address, ":")
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func (c *checker) global(sections []section) {
	at, socket, level, hard := 1, "", false, false
	for i, s := range sections {
		if s.kind != "global" {
			continue
		}
		if i == 0 || at == 1 {
			at = s.at
		}
		for _, l := range s.lines {
			switch {
			case l.has("stats", "socket") && len(l.words) > 2:
				admin := false
				for i, w := range l.words[:len(l.words)-1] {
					admin = admin || w == "level" && l.words[i+1] == "admin"
				}
				if admin && !local(l.words[2]) {
					c.complain(l.at, "the stats socket listens on the network, with level admin",
						"anyone who reaches it can switch members without a password", "a path, or level user")
				}
				if !level {
					socket, level = l.words[2], admin
					at = l.at
				}
			case l.has("hard-stop-after"):
				hard = true
			case l.has("nbproc") && !l.has("nbproc", "1"):
				c.complain(l.at, "more than one process", "each process has its own checks and its own view, and the "+
					"runtime socket reaches only one of them", "nbthread instead of nbproc, or neither")
			}
		}
	}
	c.socket(at, socket, level)
	if !hard {
		c.complain(at, "no hard-stop-after", "a reload leaves the old process and its sessions, and that process no "+
			"longer hears checks or agents: measured, a session stayed on a member that was no longer fit for as "+
			"long as the client kept it",
			"hard-stop-after 500ms")
	}
}

// socket checks the stats socket that HAProxy is led by: its address, and whether its level is admin.
func (c *checker) socket(at int, socket string, level bool) {
	path := "/run/haproxy/admin.sock"
	if c.want != nil {
		path = c.want.Socket
	}
	write := "stats socket " + quote(path) + " mode 660 level admin expose-fd listeners"
	switch {
	case socket == "":
		c.complain(at, "no stats socket",
			`"orchestrator backend status" can't see who is served, and "backend promote" can't confirm what it did`,
			write)
	case !level:
		c.complain(at, "the stats socket has no level admin",
			"the daemon can read, but HAProxy refuses its commands: Permission denied", write)
	case c.want != nil && socket != c.want.Socket:
		c.complain(at, fmt.Sprintf("the stats socket is %s, but the daemon uses %s (haproxy.socket)", socket,
			c.want.Socket), "the daemon finds no HAProxy", write)
	}
}
