package haproxy

import (
	"fmt"
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
	proxies := proxiesOf(sections)
	c.databases(proxies)
	c.apis(proxies, unverified(sections))
	c.unserved(proxies)
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

// unverified says whether HAProxy verifies no certificate unless the server says otherwise.
func unverified(sections []section) bool {
	return slices.ContainsFunc(sections, func(s section) bool {
		return s.kind == "global" &&
			slices.ContainsFunc(s.lines, func(l line) bool { return l.has("ssl-server-verify", "none") })
	})
}

// databases checks what leads to the pair.
func (c *checker) databases(proxies []proxy) {
	pairs := 0
	for _, p := range proxies {
		switch {
		case p.value("mode") == "http":
		case p.kind == "frontend" && (c.want == nil || p.binds(c.want.Database)):
			c.timeouts(p, "client")
		case len(p.servers) > 0 && (c.want == nil || c.member(p)):
			pairs++
			c.pair(p)
		}
	}
	if c.want == nil && pairs == 0 {
		c.complain(1, "no backend in TCP mode with servers", "nothing here serves a pair",
			"orchestrator haproxy config writes a complete configuration")
	}
}

// apis checks what leads to the API.
func (c *checker) apis(proxies []proxy, unverified bool) {
	leads, secure, unchecked := false, false, 0 // the first line without a leader check
	for _, p := range proxies {
		if p.value("mode") != "http" || len(p.servers) == 0 || c.want != nil && !c.daemon(p) {
			continue
		}
		if p.leads() {
			leads = true
		} else if unchecked == 0 {
			unchecked = p.at
		}
		c.api(p, unverified)
		secure = secure || slices.ContainsFunc(p.servers, func(s server) bool { return s.has("ssl") })
	}
	if !leads && unchecked > 0 {
		c.complain(unchecked, "no leader check before the API",
			"changes go to daemons that don't lead, which answer 503",
			"option httpchk GET /health/leader, http-check expect status 200, and check at each server")
	}
	for _, p := range proxies {
		offers := p.value("mode") == "http" && p.kind != "backend" && (c.want == nil || p.binds(c.want.HTTP))
		if secure && offers {
			c.plain(p)
		}
		if offers {
			c.identity(p)
		}
	}
}

// unserved reports members that no proxy has as a server.
func (c *checker) unserved(proxies []proxy) {
	if c.want == nil {
		return
	}
	for _, m := range c.want.Members {
		if !slices.ContainsFunc(proxies, func(p proxy) bool { return p.serves(m) }) {
			c.complain(1, fmt.Sprintf("member %s (backend.members) is not a server here", m),
				"HAProxy never serves it, even when no other member is fit",
				fmt.Sprintf("server %s %s agent-send \"%s\\n\"", ServerName(m), m, ServerName(m)))
		}
	}
}

func (c *checker) member(p proxy) bool { return slices.ContainsFunc(c.want.Members, p.serves) }

func (c *checker) daemon(p proxy) bool {
	return slices.ContainsFunc(c.want.Daemons, func(d Daemon) bool { return p.serves(d.Address) })
}
