package haproxy

import (
	"net"
	"slices"
	"strconv"
	"time"
)

// proxy is a section with what it inherits.
type proxy struct {
	*section
	inherited []line
	servers   []server
}

// proxiesOf are each frontend, backend and listen, with the defaults that hold for it.
func proxiesOf(sections []section) []proxy {
	var out []proxy
	var last *section
	named := map[string]*section{}
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
		defaults := last
		if s.from != "" {
			defaults = named[s.from]
		}
		p := proxy{section: s}
		if defaults != nil {
			p.inherited = defaults.lines
		}
		p.read()
		out = append(out, p)
	}
	return out
}

type server struct {
	at            int
	name, address string
	set           settings
}

func (s server) has(key string) bool { _, ok := s.set[key]; return ok }

// line is where a setting of the server stands.
func (s server) line(key string) int { return s.set[key].at }

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

func (p proxy) serves(address string) bool {
	return slices.ContainsFunc(p.servers, func(s server) bool { return s.address == address })
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
