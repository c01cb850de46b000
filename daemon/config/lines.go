package config

import (
	"fmt"
	"strings"
)

// locate finds the line of every key of a valid TOML document: "discovery.poll" → 12. Items of lists and of repeated
// tables have an index ("discovery.seeds[0]", "policy[1].clusters"). The TOML package does not report lines.
//
// It does not look into inline tables; their keys count as being on the line of what encloses them.
func locate(text string) map[string]int {
	l := locator{text: text, line: 1, found: map[string]int{}}
	repeated := map[string]int{} // how many tables [[of this name]] there were
	table := ""
	for l.blank(); l.pos < len(l.text); l.blank() {
		line := l.line
		if !strings.HasPrefix(l.text[l.pos:], "[") {
			key := join(table, l.name('='))
			l.mark(key, line)
			l.value(key)
			continue
		}
		l.next()
		twice := strings.HasPrefix(l.text[l.pos:], "[")
		if twice {
			l.next()
		}
		table = l.name(']')
		if twice {
			l.next()
			l.mark(table, line)
			n := repeated[table]
			repeated[table] = n + 1
			table = fmt.Sprintf("%s[%d]", table, n)
		}
		l.mark(table, line)
	}
	return l.found
}

type locator struct {
	text  string
	pos   int
	line  int
	found map[string]int
}

func (l *locator) mark(key string, line int) {
	if _, ok := l.found[key]; !ok {
		l.found[key] = line
	}
}

// next skips one byte; at the end it stays there.
func (l *locator) next() {
	if l.pos < len(l.text) {
		if l.text[l.pos] == '\n' {
			l.line++
		}
		l.pos++
	}
}

// blank skips white space and comments.
func (l *locator) blank() {
	for l.pos < len(l.text) {
		switch l.text[l.pos] {
		case ' ', '\t', '\r', '\n':
			l.next()
		case '#':
			for l.pos < len(l.text) && l.text[l.pos] != '\n' {
				l.next()
			}
		default:
			return
		}
	}
}

// name reads a dotted key, and the byte that ends it.
func (l *locator) name(end byte) string {
	var b strings.Builder
	for l.pos < len(l.text) && l.text[l.pos] != end && l.text[l.pos] != '\n' {
		switch c := l.text[l.pos]; c {
		case '"', '\'':
			from := l.pos
			l.quoted()
			b.WriteString(strings.Trim(l.text[from:l.pos], string(c)))
			continue
		case ' ', '\t', '\r':
		default:
			b.WriteByte(c)
		}
		l.next()
	}
	l.next()
	return b.String()
}

// quoted skips a text in any of the four kinds of quotes.
func (l *locator) quoted() {
	mark := l.text[l.pos : l.pos+1]
	escapes := mark == `"`
	if strings.HasPrefix(l.text[l.pos:], strings.Repeat(mark, 3)) {
		mark = strings.Repeat(mark, 3)
	}
	for range mark {
		l.next()
	}
	for l.pos < len(l.text) {
		if escapes && l.text[l.pos] == '\\' {
			l.next()
			l.next()
			continue
		}
		if strings.HasPrefix(l.text[l.pos:], mark) {
			for range mark {
				l.next()
			}
			for len(mark) == 3 && strings.HasPrefix(l.text[l.pos:], mark[:1]) { // such a text may end with more quotes
				l.next()
			}
			return
		}
		l.next()
	}
}

// value skips the value of a key, and marks the items of a list.
func (l *locator) value(key string) {
	depth, items, fresh := 0, 0, false
	for l.pos < len(l.text) {
		c := l.text[l.pos]
		if fresh && depth == 1 && !strings.ContainsRune(" \t\r\n,]#", rune(c)) {
			l.mark(fmt.Sprintf("%s[%d]", key, items), l.line)
			items++
			fresh = false
		}
		switch c {
		case '"', '\'':
			l.quoted()
			continue
		case '#':
			for l.pos < len(l.text) && l.text[l.pos] != '\n' {
				l.next()
			}
			continue
		case '[', '{':
			depth++
			fresh = depth == 1
		case ']', '}':
			depth--
		case ',':
			fresh = depth == 1
		case '\n':
			if depth <= 0 {
				return
			}
		}
		l.next()
	}
}
