package haproxy

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// pair checks a backend with members of a pair.
func (c *checker) pair(p proxy) {
	if p.kind == "listen" {
		c.timeouts(p, "client")
	}
	c.timeouts(p, "connect", "server", "check")
	c.balance(p)
	c.options(p)
	asksAgent := c.asksAgent(p)
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

// balance checks which member a new connection goes to, and goes to next.
func (c *checker) balance(p proxy) {
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
	if l, ok := p.find("option", "redispatch"); !ok && len(p.servers) > 1 {
		at := p.at
		if l.at > 0 {
			at = l.at
		}
		c.complain(at, "no option redispatch", "HAProxy retries a refused connection, as while a member dies, at the "+
			"same member until it fails", "retries 3, option redispatch 1, timeout connect 250ms")
	}
}

// options checks for what sends connections past the agent's word.
func (c *checker) options(p proxy) {
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
}

// asksAgent says whether the checks of a backend ask the agent.
func (c *checker) asksAgent(p proxy) bool {
	asks := false
	if _, ok := p.find("option", "tcp-check"); ok {
		for _, l := range p.all() {
			if !l.has("tcp-check", "expect") || len(l.words) < 4 || slices.Contains(l.words, "!") {
				continue
			}
			how, what := l.words[len(l.words)-2], l.words[len(l.words)-1]
			switch {
			case how == "rstring" && strings.HasPrefix(what, "^up"):
				asks = true
			case (how == "string" || how == "rstring") && strings.HasPrefix(what, "up"):
				asks = true
				c.complain(l.at, "the check accepts \"up\" anywhere in the answer",
					"\"down #it is catching up\" passes, and if the agent-check fails, the member is served",
					"tcp-check expect rstring ^up")
			}
		}
	}
	return asks
}

// server checks a member.
func (c *checker) server(s server, asksAgent bool, agents map[string]string) {
	c.memberName(s, asksAgent)
	c.sessions(s)
	c.encryption(s)
	if s.has("agent-check") {
		c.agentCheck(s, agents)
	} else {
		host, port := c.agent()
		c.complain(s.at, "no agent-check", "a returning member is served before it has caught up: measured, after "+
			"0.5 to 2.8 s, and stale for 20 to 45 s",
			fmt.Sprintf("agent-check agent-addr %s agent-port %s agent-inter 250ms agent-send \"%s\\n\"", host, port,
				ServerName(s.address)))
	}
	c.start(s)
	c.check(s, asksAgent)
}

func (c *checker) memberName(s server, asksAgent bool) {
	name := ServerName(s.address)
	if c.want != nil && asksAgent && s.name != name && slices.Contains(c.want.Members, s.address) {
		c.complain(s.at, fmt.Sprintf("the check asks for %q, the name of the server, but the agent knows this "+
			"member as %q", s.name, name), "the member is never up", "server "+name+" "+s.address)
	}
}

// agent is where the agent answers.
func (c *checker) agent() (host, port string) {
	if c.want == nil {
		return "HOST", "PORT"
	}
	host, port, _ = net.SplitHostPort(c.want.Agent)
	return host, port
}

// sessions checks what moves sessions to a member, or keeps them there, against the agent.
func (c *checker) sessions(s server) {
	if s.has("maxconn") && s.set["maxconn"].value != "0" {
		c.complain(s.line("maxconn"), "maxconn at a server", "beyond that many connections, balance first sends new "+
			"ones to the other member, although the first is healthy", "remove it")
	}
	if s.has("backup") {
		c.complain(s.line("backup"), "backup", "new connections go back to the first server as soon as its check "+
			"passes: measured, after 0.5 to 2.8 s, to a member that lacked 92 to 98 % of what was written meanwhile, "+
			"while pooled connections stay on the other",
			"remove it; the agent says which member serves")
	}
	if s.set["on-marked-up"].value == "shutdown-backup-sessions" {
		c.complain(s.line("on-marked-up"), "on-marked-up shutdown-backup-sessions",
			"when the first server returns, all sessions move to it, although it is stale",
			"remove it; an operator switches back, when a comparison shows that both are equal")
	}
	if s.set["on-marked-down"].value != "shutdown-sessions" {
		c.complain(s.at, "no on-marked-down shutdown-sessions", "pooled connections stay on a member that must no "+
			"longer serve, and clients write to both", "on-marked-down shutdown-sessions")
	}
}

// encryption checks that HAProxy leaves it to the members and their clients.
func (c *checker) encryption(s server) {
	if s.has("ssl") {
		c.complain(s.line("ssl"), "ssl at a member", "a member starts TLS inside its own protocol, after its "+
			"greeting: HAProxy's TLS never gets an answer, and no client can connect",
			"remove it; with backend.tls, the daemon itself speaks TLS with the member, through HAProxy")
	}
	if s.has("check-ssl") {
		c.complain(s.line("check-ssl"), "check-ssl at a member", "the agent speaks plain text, so the member is "+
			"never up", "remove it")
	}
}

// agentCheck checks whom the agent is asked for, where and how often.
func (c *checker) agentCheck(s server, agents map[string]string) {
	host, port := c.agent()
	to := net.JoinHostPort(s.agentHost(), s.set["agent-port"].value)
	if c.want != nil && to != c.want.Agent {
		c.complain(s.at, fmt.Sprintf("the agent is asked at %s, but the daemon answers at %s (haproxy.agent)", to,
			c.want.Agent), "the agent never answers, and no member is served",
			fmt.Sprintf("agent-addr %s agent-port %s", host, port))
	}
	c.agentSend(s, to, agents)
	inter, known := duration(s.set["agent-inter"].value)
	if !s.has("agent-inter") || known && inter > time.Second {
		c.complain(s.at, "the agent is asked too rarely (agent-inter, by default 2s)",
			"a switch takes that long: measured, 0.2 s with agent-inter 250ms", "agent-inter 250ms")
	}
}

// agentSend checks what the agent is asked.
func (c *checker) agentSend(s server, to string, agents map[string]string) {
	name := ServerName(s.address)
	if !s.has("agent-send") {
		c.complain(s.at, "no agent-send", "the agent can't tell which member is meant, and answers: down "+
			"#unknown member", fmt.Sprintf("agent-send \"%s\\n\"", name))
		return
	}
	sent := to + s.set["agent-send"].value
	if other := agents[sent]; other != "" {
		c.complain(s.line("agent-send"), fmt.Sprintf("servers %s and %s ask the agent for the same member", other,
			s.name), "either both are up, or neither is", fmt.Sprintf("agent-send \"%s\\n\"", name))
	}
	if got := strings.TrimSpace(s.set["agent-send"].value); c.want != nil && got != name {
		c.complain(s.line("agent-send"), fmt.Sprintf("the agent is asked for %q, but knows this member as %q", got,
			name), "it answers: down #unknown member", fmt.Sprintf("agent-send \"%s\\n\"", name))
	}
	agents[sent] = s.name
}

// start checks that a member is not served before the agent has answered.
func (c *checker) start(s server) {
	state := s.set["init-state"].value
	if !s.has("disabled") && state != "fully-down" && state != "down" {
		c.complain(s.at, "up at start", "after a restart of HAProxy, the first server is served before the agent has "+
			"answered: measured, for 0.24 s, and for ever if the agent is dead",
			"disabled; from HAProxy 3.1 on: init-state fully-down")
	}
}

// check checks that a server which dies or hangs, or whose agent does, is noticed.
func (c *checker) check(s server, asksAgent bool) {
	host, port := c.agent()
	switch {
	case !s.has("check") && s.has("agent-check"):
		c.complain(s.at, "no check", "when the agent dies, its last answer stays in force for ever",
			fmt.Sprintf("check addr %s port %s inter 250ms fall 8 rise 1", host, port))
	case !s.has("check"):
		c.complain(s.at, "no check", "a dead server is never noticed",
			fmt.Sprintf("check addr %s port %s inter 250ms fall 8 rise 1", host, port))
	case !asksAgent || !s.has("addr") && !s.has("port"):
		c.complain(s.at, "the check only asks whether the server listens",
			"a server that hangs counts as up (measured: for the whole 35 s of the hang); and while the agent is "+
				"dead, a stale member that returns is served because of the agent's last answer",
			fmt.Sprintf("option tcp-check, tcp-check send-lf \"%%[srv_name]\\n\", tcp-check expect rstring ^up, and "+
				"here: check addr %s port %s inter 250ms fall 8 rise 1", host, port))
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
	if !s.has("check") || !asksAgent {
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
