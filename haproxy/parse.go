package haproxy

import (
	"slices"
	"strings"
)

// section is one section of a configuration, from a keyword such as "backend" to the next.
type section struct {
	kind, name string
	at         int    // line
	from       string // the defaults that a proxy names, or ""
	lines      []line
}

type line struct {
	at    int
	words []string
}

func (l line) has(words ...string) bool {
	return len(l.words) >= len(words) && slices.Equal(l.words[:len(words)], words)
}

// kinds are the keywords that begin a section.
var kinds = []string{
	"global", "defaults", "frontend", "backend", "listen", "userlist", "peers", "resolvers", "mailers", "cache",
	"program", "ring", "http-errors", "fcgi-app", "log-forward", "log-profile", "crt-store", "traces", "acme",
	"crt-list", "healthcheck",
}

// parse never fails: it returns what it doesn't understand as words. open are the lines with an unclosed quote.
func parse(text string) (sections []section, open []int) {
	at := 0
	for raw := range strings.Lines(text) {
		at++
		words, closed := split(raw)
		if !closed {
			open = append(open, at)
		}
		if len(words) == 0 {
			continue
		}
		if slices.Contains(kinds, words[0]) && (len(sections) == 0 ||
			!slices.Contains([]string{"crt-list", "healthcheck"}, words[0])) {
			s := section{kind: words[0], at: at}
			if len(words) > 1 && words[1] != "from" {
				s.name = words[1]
			}
			if i := slices.Index(words, "from"); i > 0 && i+1 < len(words) {
				s.from = words[i+1]
			}
			sections = append(sections, s)
			continue
		}
		if len(sections) == 0 {
			sections = append(sections, section{kind: "global", at: at})
		}
		last := &sections[len(sections)-1]
		last.lines = append(last.lines, line{at: at, words: words})
	}
	return sections, open
}

var escaped = strings.NewReplacer("n", "\n", "r", "\r", "t", "\t")

// split splits a line into words as HAProxy does: spaces separate words, # begins a comment, quotes and backslashes
// protect.
func split(raw string) (words []string, closed bool) {
	var b strings.Builder
	word, quote := false, byte(0)
	end := func() {
		if word {
			words = append(words, b.String())
		}
		word = false
		b.Reset()
	}
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case c == '\\' && quote != '\'' && i+1 < len(raw):
			i++
			word = true
			b.WriteString(escaped.Replace(raw[i : i+1]))
		case quote != 0:
			b.WriteByte(c)
		case c == '"' || c == '\'':
			quote, word = c, true
		case c == '#':
			end()
			return words, true
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			end()
		default:
			word = true
			b.WriteByte(c)
		}
	}
	end()
	return words, quote == 0
}

// withValue are the settings of a server that take a value.
var withValue = []string{
	"addr", "agent-addr", "agent-inter", "agent-port", "agent-send", "alpn", "ca-file", "check-alpn", "check-proto",
	"check-sni", "ciphers", "ciphersuites", "client-sigalgs", "cookie", "crl-file", "crt", "curves", "downinter",
	"error-limit", "fall", "fastinter", "guid", "hash-key", "id", "idle-ping", "init-addr", "init-state", "inter",
	"log-bufsize", "log-proto", "max-reuse", "maxconn", "maxqueue", "minconn", "namespace", "npn", "observe",
	"on-error", "on-marked-down", "on-marked-up", "pool-conn-name", "pool-low-conn", "pool-max-conn",
	"pool-purge-delay", "port", "proto", "redir", "resolve-net", "resolve-opts", "resolve-prefer", "resolvers",
	"rise", "set-proxy-v2-tlv-fmt", "shard", "sigalgs", "slowstart", "sni", "socks4", "source", "ssl-max-ver",
	"ssl-min-ver", "tcp-ut", "track", "usesrc", "verify", "verifyhost", "weight", "ws",
}

// settings are the settings of one server, including its defaults.
type settings map[string]setting

type setting struct {
	value string
	at    int // the line that sets it
}

func (s settings) add(l line, words []string) {
	for i := 0; i < len(words); i++ {
		key, one := words[i], setting{at: l.at}
		if slices.Contains(withValue, key) && i+1 < len(words) {
			i++
			one.value = words[i]
		}
		if plain, negated := strings.CutPrefix(key, "no-"); negated {
			delete(s, plain)
			continue
		}
		if key == "enabled" {
			delete(s, "disabled")
			continue
		}
		s[key] = one
	}
}
