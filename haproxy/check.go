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
	What  string // is wrong
	Then  string // is what happens; with what was measured, where something was
	Write string // what to write or do
}

func (c Complaint) String() string {
	return fmt.Sprintf("%s:%d: %s\n    then: %s\n    write: %s", c.File, c.Line, c.What, c.Then, c.Write)
}

// MaxConfiguration is how long a configuration may be, in bytes.
const MaxConfiguration = 1 << 20

// Check says what is wrong with a configuration. With want, the one that Render would write counts too: members, agent,
// socket and daemons are compared, and backends that hold no member are left alone. Without it every backend in TCP
// mode counts as a pair's.
func Check(file, text string, want *Values) []Complaint {
	c := &checker{file: file, told: map[string]bool{}}
	if want != nil {
		v, _ := want.normal() // what is wrong with it, Render says
		c.want = &v
	}
	if len(text) > MaxConfiguration {
		c.complain(1, fmt.Sprintf("longer than %d bytes", MaxConfiguration), "nobody read it",
			"check the file that HAProxy really loads")
		return c.out
	}
	sections, open := parse(text)
	for _, at := range open {
		c.complain(at, "a quote is not closed", "HAProxy refuses the file, or reads it otherwise than it looks",
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

// CheckAgent looks for one thing in the text of an agent, such as a Lua file that the configuration loads: answers that
// HAProxy ignores.
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

// complain says a thing once a line: eight servers with the same default-server have one mistake.
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
		c.complain(at, fmt.Sprintf("%q has no blank before the #", m),
			"HAProxy doesn't understand the answer, ignores it, and goes on serving the server", word+" #why")
	}
}

// local says that a stats socket is reached from this machine only.
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
						"whoever reaches it switches members, without a password", "a path, or level user")
				}
				if !level {
					socket, level = l.words[2], admin
					at = l.at
				}
			case l.has("hard-stop-after"):
				hard = true
			case l.has("nbproc") && !l.has("nbproc", "1"):
				c.complain(l.at, "more than one process", "each process has checks and a view of its own, and the "+
					"runtime socket reaches one of them", "nbthread instead of nbproc, or neither")
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
			`"orchestrator backend status" can't see who is served, and "backend promote" can't prove what it did`,
			write)
	case !level:
		c.complain(at, "the stats socket has no level admin", "the daemon can look, but what it tells HAProxy is "+
			"refused: Permission denied", write)
	case c.want != nil && socket != c.want.Socket:
		c.complain(at, fmt.Sprintf("the stats socket is %s, and the daemon looks at %s (haproxy.socket)", socket,
			c.want.Socket), "the daemon finds no HAProxy", write)
	}
	if !hard {
		c.complain(at, "no hard-stop-after", "a reload leaves the old process behind with its sessions, and that one "+
			"no longer hears checks or agents: measured, a session stayed on the member that was no longer fit for "+
			"as long as the client liked",
			"hard-stop-after 500ms")
	}
}

// unverified says that no certificate of a server is looked at where the server doesn't say otherwise.
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
		c.complain(firstHTTP, "no leader check before the API", "changes go to daemons that don't lead, and answer 503",
			"option httpchk GET /health/leader, http-check expect status 200, and check at each server")
	}
	if secure {
		for _, p := range offers {
			c.plain(p)
		}
	}
	if c.want == nil {
		if pairs == 0 {
			c.complain(1, "no backend in TCP mode with servers", "nothing here stands before a pair",
				"orchestrator haproxy config writes a whole one")
		}
		return
	}
	for _, m := range c.want.Members {
		if !found[m] {
			c.complain(1, fmt.Sprintf("member %s (backend.members) is no server here", m),
				"HAProxy never serves it, also when it is the only one that is fit",
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
			"connect": "a connection to a member that is cut off waits for minutes",
			"client":  "sessions of clients that vanished stay forever",
			"server":  "sessions with a member that vanished stay forever",
			"check": "a check that gets no answer waits for timeout connect and inter together, and who is dead is " +
				"known later",
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
		c.complain(at, "balance is "+b, "as soon as two servers are up, connections are spread over both members, "+
			"and each has what the other lacks", "balance first")
	}
	if l, ok := p.find("option", "mysql-check"); ok {
		c.complain(l.at, "option mysql-check", "it can't log in by caching_sha2_password: measured, MySQL 9.7 "+
			"answers 1251 and stays DOWN for good; and it lets a stale member up",
			"option tcp-check, tcp-check send-lf \"%[srv_name]\\n\", tcp-check expect rstring ^up, and at the "+
				"servers check addr and port of the agent")
	}
	for _, l := range p.all() {
		switch {
		case l.has("load-server-state-from-file") && !l.has("load-server-state-from-file", "none"):
			c.complain(l.at, "states of servers are loaded from a file", "a restart takes a server for up that was "+
				"up once, before the agent has spoken, instead of serving nobody", "leave the line out")
		case l.has("stick-table"), l.has("stick"):
			c.complain(l.at, l.words[0]+": sessions stick to a server", "the table holds clients where the agent "+
				"doesn't want them, and is forgotten at a restart, so that clients part", "leave the line out")
		case l.has("option", "allbackups"):
			c.complain(l.at, "option allbackups", "connections are spread over all backup servers",
				"leave the line out")
		case l.has("use-server"):
			c.complain(l.at, "use-server", "it picks a server past balance first",
				"leave the line out; the agent says who serves")
		case l.has("option", "persist"), l.has("force-persist"):
			c.complain(l.at, strings.Join(l.words[:min(2, len(l.words))], " "),
				"connections go to a server that is down, which is how an unfit member is kept from being served",
				"leave the line out")
		}
	}
	if l, ok := p.find("option", "redispatch"); !ok && len(p.servers) > 1 {
		at := p.at
		if l.at > 0 {
			at = l.at
		}
		c.complain(at, "no option redispatch", "a connection that is refused, as while a member dies, is tried again "+
			"at the same member until it fails", "retries 3, option redispatch 1, timeout connect 250ms")
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
				c.complain(l.at, "the check looks for \"up\" anywhere in the answer",
					"\"down #it is catching up\" passes, and where the agent-check fails the member is served",
					"tcp-check expect rstring ^up")
			}
		}
	}
	agents := map[string]string{} // what asks an agent without a name, to who asks it so
	patience, known := duration(p.value("timeout", "check"))
	if !known {
		patience = 0 // what is missing has been said
	}
	for _, s := range p.servers {
		c.server(s, asksAgent, agents)
		c.silence(s, asksAgent, patience)
	}
}

// How long an agent that is dead, or hangs, may be believed. What is shipped comes to 2 s and 4 s.
const (
	longDead = 3 * time.Second
	longHung = 5 * time.Second
)

// silence checks how soon the check notices that nobody answers any more.
func (c *checker) silence(s server, asksAgent bool, patience time.Duration) {
	if _, ok := s.set["check"]; !ok || !asksAgent {
		return
	}
	fall, inter := 3, 2*time.Second // where nothing is said
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
		c.complain(s.at, fmt.Sprintf("an agent that is dead is believed for %v (fall, 3 where left out, times "+
			"inter, 2s)", dead), "the member of its last word is served all that time, stale or not",
			"inter 250ms fall 8")
	case hung > longHung:
		c.complain(s.at, fmt.Sprintf("an agent that hangs is believed for %v (fall times inter and timeout check "+
			"together)", hung), "the member of its last word is served all that time, stale or not: measured, 10 s "+
			"with timeout check 1s",
			"timeout check 250ms")
	}
}

func (c *checker) server(s server, asksAgent bool, agents map[string]string) {
	at := func(key string) int { return s.set[key].at }
	has := func(key string) bool { _, ok := s.set[key]; return ok }
	name := ServerName(s.address)
	if c.want != nil && asksAgent && s.name != name && slices.Contains(c.want.Members, s.address) {
		c.complain(s.at, fmt.Sprintf("the check asks for %q, the name of the server, and the agent knows this "+
			"member as %q", s.name, name), "the member is never up", "server "+name+" "+s.address)
	}
	host, port := "HOST", "PORT"
	if c.want != nil {
		host, port, _ = net.SplitHostPort(c.want.Agent)
	}
	if has("maxconn") && s.set["maxconn"].value != "0" {
		c.complain(at("maxconn"), "maxconn at a server", "at that many connections balance first sends the next ones "+
			"to the other member, while the first is healthy", "leave it out")
	}
	if has("backup") {
		c.complain(at("backup"), "backup", "new connections go back to the first server the moment its check passes: "+
			"measured, after 0.5 to 2.8 s, to a member that lacked 92 to 98 % of what was written meanwhile, and "+
			"pooled connections stay on the other",
			"leave it out; the agent says who serves")
	}
	if s.set["on-marked-up"].value == "shutdown-backup-sessions" {
		c.complain(at("on-marked-up"), "on-marked-up shutdown-backup-sessions",
			"the return of the first server throws everybody over to it, stale as it is",
			"leave it out; failing back is for an operator, when both are proved equal")
	}
	if s.set["on-marked-down"].value != "shutdown-sessions" {
		c.complain(s.at, "no on-marked-down shutdown-sessions", "pooled connections stay on a member that is no "+
			"longer to serve, and both are written to", "on-marked-down shutdown-sessions")
	}
	if has("ssl") {
		c.complain(at("ssl"), "ssl at a member", "its TLS begins within its own protocol, after its greeting: "+
			"HAProxy's never gets an answer, and the member serves nobody",
			"leave it out; the daemon speaks TLS with the member, through HAProxy, where backend.tls says so")
	}
	if has("check-ssl") {
		c.complain(at("check-ssl"), "check-ssl at a member", "the agent speaks plain text, and the member is never up",
			"leave it out")
	}
	agent := has("agent-check")
	if !agent {
		c.complain(s.at, "no agent-check", "a member that returns is served before it has caught up: measured, "+
			"within 0.5 to 2.8 s, and stale for 20 to 45 s",
			fmt.Sprintf("agent-check agent-addr %s agent-port %s agent-inter 250ms agent-send \"%s\\n\"", host, port,
				name))
	} else {
		to := net.JoinHostPort(s.agentHost(), s.set["agent-port"].value)
		if c.want != nil && to != c.want.Agent {
			c.complain(s.at, fmt.Sprintf("the agent is asked at %s, and the daemon answers at %s (haproxy.agent)", to,
				c.want.Agent), "nobody answers, and nobody is served", fmt.Sprintf("agent-addr %s agent-port %s", host,
				port))
		}
		if !has("agent-send") {
			c.complain(s.at, "no agent-send", "the agent isn't told which member is meant, and answers: down "+
				"#unknown member", fmt.Sprintf("agent-send \"%s\\n\"", name))
		} else {
			sent := to + s.set["agent-send"].value
			if other := agents[sent]; other != "" {
				c.complain(at("agent-send"), fmt.Sprintf("servers %s and %s ask the agent for the same member", other,
					s.name), "both are up, or neither is", fmt.Sprintf("agent-send \"%s\\n\"", name))
			}
			if got := strings.TrimSpace(s.set["agent-send"].value); c.want != nil && got != name {
				c.complain(at("agent-send"), fmt.Sprintf("the agent is asked for %q, and knows this member as %q", got,
					name), "it answers: down #unknown member", fmt.Sprintf("agent-send \"%s\\n\"", name))
			}
			agents[sent] = s.name
		}
		inter, known := duration(s.set["agent-inter"].value)
		if !has("agent-inter") || known && inter > time.Second {
			c.complain(s.at, "the agent is asked seldom (agent-inter, 2s where left out)",
				"a switch takes that long: measured, 0.2 s with agent-inter 250ms", "agent-inter 250ms")
		}
	}
	state := s.set["init-state"].value
	if !has("disabled") && state != "fully-down" && state != "down" {
		c.complain(s.at, "up at start", "after a restart of HAProxy the first server is served before the agent has "+
			"spoken: measured, 0.24 s, and for ever when the agent is dead",
			"disabled; from HAProxy 3.1 on: init-state fully-down")
	}
	switch {
	case !has("check") && agent:
		c.complain(s.at, "no check", "an agent that dies leaves its last word in force for ever",
			fmt.Sprintf("check addr %s port %s inter 250ms fall 8 rise 1", host, port))
	case !has("check"):
		c.complain(s.at, "no check", "a dead server is never noticed",
			fmt.Sprintf("check addr %s port %s inter 250ms fall 8 rise 1", host, port))
	case !asksAgent || !has("addr") && !has("port"):
		c.complain(s.at, "the check asks whether the server listens, and no more",
			"a server that hangs counts as up (measured: as long as the hang, 35 s); and when the agent is dead, a "+
				"member that returns stale is served on the agent's last word",
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

// find is the last line that begins with these words, unless a "no" before them undoes it.
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

// duration reads one of HAProxy's, which counts milliseconds where there is no unit.
func duration(text string) (time.Duration, bool) {
	if n, err := strconv.Atoi(text); err == nil {
		return time.Duration(n) * time.Millisecond, true
	}
	d, err := time.ParseDuration(text)
	return d, err == nil
}
