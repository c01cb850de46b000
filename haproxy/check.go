package haproxy

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
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
			secure = secure || slices.ContainsFunc(p.servers, func(s server) bool { _, ok := s.set["ssl"]; return ok })
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

func (c *checker) timeouts(p proxy, names ...string) {
	for _, name := range names {
		if _, ok := p.find("timeout", name); ok {
			continue
		}
		then := map[string]string{
			"connect": "a connection to a member that is cut off hangs for minutes",
			"client":  "sessions of clients that have disappeared stay open for ever",
			"server":  "sessions with a member that has disappeared stay open for ever",
			"check":   "a check that gets no answer waits for timeout connect plus inter, so a death is detected later",
		}[name]
		value := map[string]string{"connect": "1s", "client": "1h", "server": "1h", "check": "250ms"}[name]
		c.complain(p.at, "no timeout "+name, then, "timeout "+name+" "+value)
	}
}

// pair checks a backend with members of a pair.
func (c *checker) pair(p proxy) {
	if p.kind == "listen" {
		c.timeouts(p, "client")
	}
	c.timeouts(p, "connect", "server", "check")
	if b := p.value("balance"); b != "first" {
		at := p.at
		if l, ok := p.find("balance"); ok {
			at = l.at
		} else {
			b = "roundrobin, the default"
		}
		c.complain(at, "balance is "+b, "when both servers are up, HAProxy spreads connections over both members, "+
			"and each gets writes that the other lacks", "balance first")
	}
	if l, ok := p.find("option", "mysql-check"); ok {
		c.complain(l.at, "option mysql-check", "it can't log in with caching_sha2_password: measured, MySQL 9.7 "+
			"answers 1251 and stays DOWN; and it lets a stale member up",
			"option tcp-check, tcp-check send-lf \"%[srv_name]\\n\", tcp-check expect rstring ^up, and at the "+
				"servers check with addr and port of the agent")
	}
	for _, l := range p.all() {
		switch {
		case l.has("load-server-state-from-file") && !l.has("load-server-state-from-file", "none"):
			c.complain(l.at, "server states are loaded from a file", "after a restart, a server that was up before "+
				"counts as up before the agent has answered; nothing should be served then", "remove the line")
		case l.has("stick-table"), l.has("stick"):
			c.complain(l.at, l.words[0]+": sessions stick to a server", "the table keeps clients on a member against "+
				"the agent, and a restart forgets it, so clients end up on different members", "remove the line")
		case l.has("option", "allbackups"):
			c.complain(l.at, "option allbackups", "HAProxy spreads connections over all backup servers",
				"remove the line")
		case l.has("use-server"):
			c.complain(l.at, "use-server", "it selects a server and ignores balance first",
				"remove the line; the agent says which member serves")
		case l.has("option", "persist"), l.has("force-persist"):
			c.complain(l.at, strings.Join(l.words[:min(2, len(l.words))], " "),
				"connections go to a server that is down, although that state keeps an unfit member from being served",
				"remove the line")
		}
	}
	if l, ok := p.find("option", "redispatch"); !ok && len(p.servers) > 1 {
		at := p.at
		if l.at > 0 {
			at = l.at
		}
		c.complain(at, "no option redispatch", "HAProxy retries a refused connection, as while a member dies, at the "+
			"same member until it fails", "retries 3, option redispatch 1, timeout connect 250ms")
	}
	asksAgent := false
	if _, ok := p.find("option", "tcp-check"); ok {
		for _, l := range p.all() {
			if !l.has("tcp-check", "expect") || len(l.words) < 4 || slices.Contains(l.words, "!") {
				continue
			}
			how, what := l.words[len(l.words)-2], l.words[len(l.words)-1]
			switch {
			case how == "rstring" && strings.HasPrefix(what, "^up"):
				asksAgent = true
			case (how == "string" || how == "rstring") && strings.HasPrefix(what, "up"):
				asksAgent = true
				c.complain(l.at, "the check accepts \"up\" anywhere in the answer",
					"\"down #it is catching up\" passes, and if the agent-check fails, the member is served",
					"tcp-check expect rstring ^up")
			}
		}
	}
	agents := map[string]string{} // agent and question, to the server that sends it
	patience, known := duration(p.value("timeout", "check"))
	if !known {
		patience = 0 // already reported
	}
	for _, s := range p.servers {
		c.server(s, asksAgent, agents)
		c.silence(s, asksAgent, patience)
	}
}

// How long HAProxy may trust the last answer of an agent that is dead, or hangs. The shipped configuration has 2 s and
// 4 s.
const (
	longDead = 3 * time.Second
	longHung = 5 * time.Second
)

// silence checks how soon the check notices that the agent no longer answers.
func (c *checker) silence(s server, asksAgent bool, patience time.Duration) {
	if _, ok := s.set["check"]; !ok || !asksAgent {
		return
	}
	fall, inter := 3, 2*time.Second // HAProxy's defaults
	if n, err := strconv.Atoi(s.set["fall"].value); err == nil && n > 0 && n < 1000 {
		fall = n
	}
	if d, ok := duration(s.set["inter"].value); ok {
		inter = d
	}
	if d, ok := duration(s.set["fastinter"].value); ok {
		inter = d // between the first failure and the last
	}
	dead, hung := time.Duration(fall)*inter, time.Duration(fall)*(inter+patience)
	switch {
	case dead > longDead:
		c.complain(s.at, fmt.Sprintf("a dead agent is trusted for %v (fall, by default 3, times inter, by default 2s)",
			dead), "the member of its last answer is served during that time, stale or not", "inter 250ms fall 8")
	case hung > longHung:
		c.complain(s.at, fmt.Sprintf("an agent that hangs is trusted for %v (fall times the sum of inter and "+
			"timeout check)", hung), "the member of its last answer is served during that time, stale or not: "+
			"measured, 10 s "+
			"with timeout check 1s",
			"timeout check 250ms")
	}
}

func (c *checker) server(s server, asksAgent bool, agents map[string]string) {
	at := func(key string) int { return s.set[key].at }
	has := func(key string) bool { _, ok := s.set[key]; return ok }
	name := ServerName(s.address)
	if c.want != nil && asksAgent && s.name != name && slices.Contains(c.want.Members, s.address) {
		c.complain(s.at, fmt.Sprintf("the check asks for %q, the name of the server, but the agent knows this "+
			"member as %q", s.name, name), "the member is never up", "server "+name+" "+s.address)
	}
	host, port := "HOST", "PORT"
	if c.want != nil {
		host, port, _ = net.SplitHostPort(c.want.Agent)
	}
	if has("maxconn") && s.set["maxconn"].value != "0" {
		c.complain(at("maxconn"), "maxconn at a server", "beyond that many connections, balance first sends new ones "+
			"to the other member, although the first is healthy", "remove it")
	}
	if has("backup") {
		c.complain(at("backup"), "backup", "new connections go back to the first server as soon as its check passes: "+
			"measured, after 0.5 to 2.8 s, to a member that lacked 92 to 98 % of what was written meanwhile, while "+
			"pooled connections stay on the other",
			"remove it; the agent says which member serves")
	}
	if s.set["on-marked-up"].value == "shutdown-backup-sessions" {
		c.complain(at("on-marked-up"), "on-marked-up shutdown-backup-sessions",
			"when the first server returns, all sessions move to it, although it is stale",
			"remove it; an operator switches back, when a comparison shows that both are equal")
	}
	if s.set["on-marked-down"].value != "shutdown-sessions" {
		c.complain(s.at, "no on-marked-down shutdown-sessions", "pooled connections stay on a member that must no "+
			"longer serve, and clients write to both", "on-marked-down shutdown-sessions")
	}
	if has("ssl") {
		c.complain(at("ssl"), "ssl at a member", "a member starts TLS inside its own protocol, after its greeting: "+
			"HAProxy's TLS never gets an answer, and no client can connect",
			"remove it; with backend.tls, the daemon itself speaks TLS with the member, through HAProxy")
	}
	if has("check-ssl") {
		c.complain(at("check-ssl"), "check-ssl at a member", "the agent speaks plain text, so the member is never up",
			"remove it")
	}
	agent := has("agent-check")
	if !agent {
		c.complain(s.at, "no agent-check", "a returning member is served before it has caught up: measured, after "+
			"0.5 to 2.8 s, and stale for 20 to 45 s",
			fmt.Sprintf("agent-check agent-addr %s agent-port %s agent-inter 250ms agent-send \"%s\\n\"", host, port,
				name))
	} else {
		to := net.JoinHostPort(s.agentHost(), s.set["agent-port"].value)
		if c.want != nil && to != c.want.Agent {
			c.complain(s.at, fmt.Sprintf("the agent is asked at %s, but the daemon answers at %s (haproxy.agent)", to,
				c.want.Agent), "the agent never answers, and no member is served",
				fmt.Sprintf("agent-addr %s agent-port %s", host,
					port))
		}
		if !has("agent-send") {
			c.complain(s.at, "no agent-send", "the agent can't tell which member is meant, and answers: down "+
				"#unknown member", fmt.Sprintf("agent-send \"%s\\n\"", name))
		} else {
			sent := to + s.set["agent-send"].value
			if other := agents[sent]; other != "" {
				c.complain(at("agent-send"), fmt.Sprintf("servers %s and %s ask the agent for the same member", other,
					s.name), "either both are up, or neither is", fmt.Sprintf("agent-send \"%s\\n\"", name))
			}
			if got := strings.TrimSpace(s.set["agent-send"].value); c.want != nil && got != name {
				c.complain(at("agent-send"), fmt.Sprintf("the agent is asked for %q, but knows this member as %q", got,
					name), "it answers: down #unknown member", fmt.Sprintf("agent-send \"%s\\n\"", name))
			}
			agents[sent] = s.name
		}
		inter, known := duration(s.set["agent-inter"].value)
		if !has("agent-inter") || known && inter > time.Second {
			c.complain(s.at, "the agent is asked too rarely (agent-inter, by default 2s)",
				"a switch takes that long: measured, 0.2 s with agent-inter 250ms", "agent-inter 250ms")
		}
	}
	state := s.set["init-state"].value
	if !has("disabled") && state != "fully-down" && state != "down" {
		c.complain(s.at, "up at start", "after a restart of HAProxy, the first server is served before the agent has "+
			"answered: measured, for 0.24 s, and for ever if the agent is dead",
			"disabled; from HAProxy 3.1 on: init-state fully-down")
	}
	switch {
	case !has("check") && agent:
		c.complain(s.at, "no check", "when the agent dies, its last answer stays in force for ever",
			fmt.Sprintf("check addr %s port %s inter 250ms fall 8 rise 1", host, port))
	case !has("check"):
		c.complain(s.at, "no check", "a dead server is never noticed",
			fmt.Sprintf("check addr %s port %s inter 250ms fall 8 rise 1", host, port))
	case !asksAgent || !has("addr") && !has("port"):
		c.complain(s.at, "the check only asks whether the server listens",
			"a server that hangs counts as up (measured: for the whole 35 s of the hang); and while the agent is "+
				"dead, a stale member that returns is served because of the agent's last answer",
			fmt.Sprintf("option tcp-check, tcp-check send-lf \"%%[srv_name]\\n\", tcp-check expect rstring ^up, and "+
				"here: check addr %s port %s inter 250ms fall 8 rise 1", host, port))
	}
}

// proxy is a section with what it inherits.
type proxy struct {
	*section
	inherited []line
	servers   []server
}

type server struct {
	at            int
	name, address string
	set           settings
}

func (s server) agentHost() string {
	if a, ok := s.set["agent-addr"]; ok {
		return a.value
	}
	host, _, _ := net.SplitHostPort(s.address)
	return host
}

// all lines that hold, the inherited ones first.
func (p proxy) all() []line { return append(slices.Clone(p.inherited), p.lines...) }

func (p *proxy) read() {
	defaults := settings{}
	for _, l := range p.all() {
		switch {
		case l.has("default-server"):
			defaults.add(l, l.words[1:])
		case l.words[0] == "server" && len(l.words) >= 3:
			s := server{at: l.at, name: l.words[1], address: l.words[2], set: settings{}}
			for k, v := range defaults {
				s.set[k] = v
			}
			s.set.add(l, l.words[3:])
			p.servers = append(p.servers, s)
		}
	}
}

// find returns the last line that begins with these words, unless a later "no" line cancels it.
func (p proxy) find(words ...string) (found line, ok bool) {
	for _, l := range p.all() {
		switch {
		case l.has(words...):
			found, ok = l, true
		case l.has(append([]string{"no"}, words...)...):
			ok = false
		}
	}
	return found, ok
}

// value is the word after a keyword, which may be two words.
func (p proxy) value(keyword ...string) string {
	if l, ok := p.find(keyword...); ok && len(l.words) > len(keyword) {
		return l.words[len(keyword)]
	}
	return ""
}

// checks are the words of all http-check lines.
func (p proxy) checks() []string {
	var out []string
	for _, l := range p.all() {
		if l.has("http-check") {
			out = append(out, l.words...)
		}
	}
	return out
}

func (p proxy) binds(address string) bool {
	return slices.ContainsFunc(p.all(), func(l line) bool {
		return len(l.words) > 1 && l.words[0] == "bind" && l.words[1] == address
	})
}

// duration parses one of HAProxy's, which are in milliseconds if they have no unit.
func duration(text string) (time.Duration, bool) {
	if n, err := strconv.Atoi(text); err == nil {
		return time.Duration(n) * time.Millisecond, true
	}
	d, err := time.ParseDuration(text)
	return d, err == nil
}
