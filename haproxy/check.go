package haproxy

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Complaint is one thing that is wrong with a configuration of HAProxy.
type Complaint struct {
	File  string
	Line  int
	What  string // what is wrong
	Then  string // what happens because of it, with the measured figure where there is one
	Write string // what to write or do
}

func (c Complaint) String() string {
	return fmt.Sprintf("%s:%d: %s\n    then: %s\n    write: %s", c.File, c.Line, c.What, c.Then, c.Write)
}

// MaxConfiguration is how long a configuration may be, in bytes.
const MaxConfiguration = 1 << 20

// Check reports what is wrong with a configuration. With want, it also compares members, agent, socket and daemons
// with the configuration that Render would write, and ignores backends that hold no member. Without want, it takes
// every backend in TCP mode for a pair.
func Check(file, text string, want *Values) []Complaint {
	c := &checker{file: file, told: map[string]bool{}}
	if want != nil {
		v, _ := want.normal() // Render reports what is wrong with it
		c.want = &v
	}
	if len(text) > MaxConfiguration {
		c.complain(1, fmt.Sprintf("longer than %d bytes", MaxConfiguration), "it was not checked",
			"check the file that HAProxy really loads")
		return c.out
	}
	sections, open := parse(text)
	for _, at := range open {
		c.complain(at, "a quote is not closed", "HAProxy refuses the file, or reads it differently from how it looks",
			"close the quote")
	}
	c.global(sections)
	c.proxies(sections)
	for i, l := range slices.Collect(strings.Lines(text)) {
		c.agentText(i+1, l)
	}
	slices.SortStableFunc(c.out, func(a, b Complaint) int { return a.Line - b.Line })
	return c.out
}

// CheckAgent looks in the text of an agent, such as a Lua file that the configuration loads, for answers that HAProxy
// ignores.
func CheckAgent(file, text string) []Complaint {
	c := &checker{file: file, told: map[string]bool{}}
	for i, l := range slices.Collect(strings.Lines(text)) {
		c.agentText(i+1, l)
	}
	return c.out
}

// Loads are the Lua files that a configuration names.
func Loads(text string) []string {
	var out []string
	sections, _ := parse(text[:min(len(text), MaxConfiguration)])
	for _, s := range sections {
		for _, l := range s.lines {
			if (l.has("lua-load") || l.has("lua-load-per-thread")) && len(l.words) > 1 && len(out) < 20 {
				out = append(out, l.words[1])
			}
		}
	}
	return out
}

type checker struct {
	file string
	want *Values
	told map[string]bool
	out  []Complaint
}

// complain reports a problem once per line: eight servers with the same default-server have one mistake.
func (c *checker) complain(at int, what, then, write string) {
	if key := fmt.Sprint(at, what); !c.told[key] {
		c.told[key] = true
		c.out = append(c.out, Complaint{c.file, at, what, then, write})
	}
}

var ignoredAnswer = regexp.MustCompile(`\b(down|failed|stopped)#`)

func (c *checker) agentText(at int, text string) {
	if m := ignoredAnswer.FindString(text); m != "" {
		word := strings.TrimSuffix(m, "#")
		c.complain(at, fmt.Sprintf("%q has no space before the #", m),
			"HAProxy doesn't understand the answer, ignores it, and goes on serving the server", word+" #why")
	}
}

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
	if !hard {
		c.complain(at, "no hard-stop-after", "a reload leaves the old process and its sessions, and that process no "+
			"longer hears checks or agents: measured, a session stayed on a member that was no longer fit for as "+
			"long as the client kept it",
			"hard-stop-after 500ms")
	}
}

// unverified says whether HAProxy verifies no certificate unless the server says otherwise.
func (c *checker) unverified(sections []section) bool {
	for _, s := range sections {
		if s.kind == "global" && slices.ContainsFunc(s.lines,
			func(l line) bool { return l.has("ssl-server-verify", "none") }) {
			return true
		}
	}
	return false
}

// proxies checks each frontend, backend and listen, with the defaults that hold for it.
func (c *checker) proxies(sections []section) {
	var last *section
	named := map[string]*section{}
	pairs, leaders, firstHTTP := 0, 0, 0
	unverified, secure := c.unverified(sections), false
	var offers []proxy // HTTP
	found := map[string]bool{}
	for i := range sections {
		s := &sections[i]
		switch s.kind {
		case "defaults":
			last = s
			named[s.name] = s
			continue
		case "frontend", "backend", "listen":
		default:
			continue
		}
		p := proxy{section: s}
		defaults := last
		if s.from != "" {
			defaults = named[s.from]
		}
		if defaults != nil {
			p.inherited = defaults.lines
		}
		p.read()
		for _, v := range p.servers {
			found[v.address] = true
		}
		http := p.value("mode") == "http"
		if http && s.kind != "backend" && (c.want == nil || p.binds(c.want.HTTP)) {
			offers = append(offers, p)
		}
		switch {
		case http && len(p.servers) > 0:
			if c.want != nil && !c.daemon(p) {
				break
			}
			if p.leads() {
				leaders++
			} else if firstHTTP == 0 {
				firstHTTP = s.at
			}
			c.api(p, unverified)
			secure = secure || slices.ContainsFunc(p.servers, func(s server) bool { return s.has("ssl") })
		case !http && s.kind == "frontend" && (c.want == nil || p.binds(c.want.Database)):
			c.timeouts(p, "client")
		case !http && len(p.servers) > 0 && (c.want == nil || c.member(p)):
			pairs++
			c.pair(p)
		}
	}
	if leaders == 0 && firstHTTP > 0 {
		c.complain(firstHTTP, "no leader check before the API",
			"changes go to daemons that don't lead, which answer 503",
			"option httpchk GET /health/leader, http-check expect status 200, and check at each server")
	}
	if secure {
		for _, p := range offers {
			c.plain(p)
		}
	}
	if c.want == nil {
		if pairs == 0 {
			c.complain(1, "no backend in TCP mode with servers", "nothing here serves a pair",
				"orchestrator haproxy config writes a complete configuration")
		}
		return
	}
	for _, m := range c.want.Members {
		if !found[m] {
			c.complain(1, fmt.Sprintf("member %s (backend.members) is not a server here", m),
				"HAProxy never serves it, even when no other member is fit",
				fmt.Sprintf("server %s %s agent-send \"%s\\n\"", ServerName(m), m, ServerName(m)))
		}
	}
}

func (c *checker) member(p proxy) bool {
	return slices.ContainsFunc(p.servers, func(s server) bool { return slices.Contains(c.want.Members, s.address) })
}

func (c *checker) daemon(p proxy) bool {
	return slices.ContainsFunc(p.servers, func(s server) bool {
		return slices.ContainsFunc(c.want.Daemons, func(d Daemon) bool { return d.Address == s.address })
	})
}
