package swarm

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

// scope is what an expression is evaluated in.
type scope struct {
	*session
	row map[string]string // of a table; lower case
}

// expression is evaluated with Swarm.mu held.
type expression func(scope) (string, error)

// parseSelect understands a list of expressions, over no table or over the threads of the server.
func parseSelect(q string, f topology.Flavor) (statement, bool) {
	list, from := q, ""
	if at := outside(q, " FROM "); at >= 0 {
		list, from = q[:at], q[at+len(" FROM "):]
	}
	rows, ok := parseFrom(from)
	if !ok {
		return nil, false
	}
	var cells []expression
	var columns []column
	for _, part := range split(list, ",") {
		name := part
		if at := outside(part, " AS "); at >= 0 {
			part, name = part[:at], part[at+len(" AS "):]
		}
		p := parser{text: part, flavor: f}
		cell, err := p.expression()
		if err != nil || p.text != "" {
			return nil, false
		}
		cells, columns = append(cells, cell), append(columns, column{name: name, number: p.number})
	}
	head := define(columns)
	poll := strings.Contains(list, "@@GLOBAL.read_only")
	return func(s *session) (table, error) {
		now := time.Now()
		s.server.settle(now)
		if poll {
			s.server.asked(now)
		}
		t := table{head: head}
		for _, row := range rows(s) {
			out := make([]string, len(cells))
			for i, cell := range cells {
				var err error
				if out[i], err = cell(scope{s, row}); err != nil {
					return table{}, err
				}
			}
			t.rows = append(t.rows, out)
		}
		return t, nil
	}, true
}

// asked keeps the longest time between two polls.
func (v *Server) asked(now time.Time) {
	if !v.polled.IsZero() {
		v.longest = max(v.longest, now.Sub(v.polled))
	}
	v.polled = now
}

var noThread = map[string]string{"command": null, "state": null, "time": null, "info": null}

// parseFrom knows what is asked of the list of threads, and of the error log.
func parseFrom(from string) (func(*session) []map[string]string, bool) {
	lower := strings.ToLower(from)
	switch {
	case from == "":
		return func(*session) []map[string]string { return []map[string]string{nil} }, true
	case strings.HasPrefix(lower, "(select 1) as one left join") &&
		strings.Contains(lower, "p.command like 'binlog dump%'"):
		return func(s *session) []map[string]string {
			if rows := dumps(s); len(rows) > 0 {
				return rows
			}
			return []map[string]string{noThread}
		}, true
	case strings.Contains(lower, ".processlist") && (strings.Contains(lower, "command not like 'binlog dump%'") ||
		strings.Contains(lower, "state = 'user lock'")):
		return clients, true
	case strings.Contains(lower, ".processlist") && strings.Contains(lower, "command like 'binlog dump%'"):
		return dumps, true
	case strings.HasPrefix(lower, "information_schema.events"), strings.HasPrefix(lower, "mysql.event"),
		strings.Contains(lower, ".processlist") && strings.Contains(lower, "has read all relay log"):
		return func(*session) []map[string]string { return nil }, true
	case strings.HasPrefix(lower, "performance_schema.error_log"):
		return func(*session) []map[string]string { return []map[string]string{{"count(*)": "0"}} }, true
	}
	return nil, false
}

// dumps are the threads that serve replicas.
func dumps(s *session) []map[string]string {
	command, state := "Binlog Dump", "Master has sent all binlog to slave; waiting for more updates"
	if s.server.Flavor == topology.MySQL {
		command, state = "Binlog Dump GTID", "Source has sent all binlog to replica; waiting for more updates"
	}
	var out []map[string]string
	for c := range s.server.followers {
		out = append(out, map[string]string{"id": "1", "user": c.user, "host": c.at.Key.Host + ":40000",
			"command": command, "state": state, "time": strconv.Itoa(int(time.Since(c.since).Seconds())), "info": null})
	}
	return out
}

// clients are all connections but the one that asks.
func clients(s *session) []map[string]string {
	var out []map[string]string
	for id, o := range s.server.sessions {
		if o != s {
			out = append(out, map[string]string{"id": strconv.FormatUint(id, 10), "user": User,
				"host":    "127.0.0.1:40000",
				"command": "Sleep", "state": "", "time": "0", "info": null})
		}
	}
	return out
}

// outside finds a word, in any case, that stands in no brackets and no quotes; -1 when there is none.
func outside(q, word string) int {
	depth, quoted := 0, false
	for i := range len(q) {
		switch c := q[i]; {
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
		case c == ')':
			depth--
		case depth == 0 && i+len(word) <= len(q) && strings.EqualFold(q[i:i+len(word)], word):
			return i
		}
		if depth == 0 && !quoted && i+len(word) <= len(q) && strings.EqualFold(q[i:i+len(word)], word) {
			return i
		}
	}
	return -1
}

// split cuts a list at what separates its parts.
func split(list, separator string) (out []string) {
	for {
		at := outside(list, separator)
		if at < 0 {
			return append(out, strings.TrimSpace(list))
		}
		out, list = append(out, strings.TrimSpace(list[:at])), list[at+1:]
	}
}

// parser reads one expression from the beginning of text.
type parser struct {
	text   string
	flavor topology.Flavor
	number bool // the expression is one
}

var token = regexp.MustCompile(`^(?:'[^']*'|@@(?:GLOBAL\.|SESSION\.)?\w+|\d+|[\w.]+(?:\(\*\))?|[()+=,])`)

func (p *parser) next() string {
	p.text = strings.TrimLeft(p.text, " ")
	t := token.FindString(p.text)
	p.text = strings.TrimLeft(p.text[len(t):], " ")
	return t
}

func (p *parser) takes(t string) bool {
	if strings.HasPrefix(p.text, t) {
		p.next()
		return true
	}
	return false
}

// expression is a sum, or whether two sums are equal.
func (p *parser) expression() (expression, error) {
	left, err := p.sum()
	if err != nil || !p.takes("=") {
		return left, err
	}
	right, err := p.sum()
	p.number = true
	return func(s scope) (string, error) {
		a, err := left(s)
		if err != nil {
			return "", err
		}
		b, err := right(s)
		switch {
		case err != nil:
			return "", err
		case a == null || b == null:
			return null, nil
		case a == b:
			return "1", nil
		}
		return "0", nil
	}, err
}

func (p *parser) sum() (expression, error) {
	left, err := p.term()
	if err != nil || !p.takes("+") {
		return left, err
	}
	right, err := p.sum()
	return func(s scope) (string, error) {
		a, err := left(s)
		if err != nil {
			return "", err
		}
		b, err := right(s)
		if err != nil || a == null || b == null {
			return null, err
		}
		m, _ := strconv.Atoi(a)
		n, _ := strconv.Atoi(b)
		return strconv.Itoa(m + n), nil
	}, err
}

func (p *parser) term() (expression, error) {
	t := p.next()
	lower := strings.ToLower(t)
	switch {
	case t == "":
		return nil, fmt.Errorf("%q is no expression", p.text)
	case t == "(":
		e, err := p.expression()
		if err == nil && !p.takes(")") {
			err = fmt.Errorf("a bracket stays open")
		}
		return e, err
	case strings.HasPrefix(t, "@@"):
		_, name, _ := strings.Cut(lower, ".")
		p.number = name == "read_only" || name == "super_read_only"
		return func(s scope) (string, error) { return s.server.variable(name) }, nil
	case t[0] == '\'':
		return constant(t[1 : len(t)-1]), nil
	case t[0] >= '0' && t[0] <= '9':
		p.number = true
		return constant(t), nil
	case strings.HasPrefix(p.text, "("):
		return p.call(lower)
	}
	_, name, found := strings.Cut(lower, ".")
	if !found {
		name = lower
	}
	p.number = name == "id" || name == "time" || name == "count(*)"
	return func(s scope) (string, error) {
		value, ok := s.row[name]
		if !ok {
			return "", &refusal{1054, "Unknown column '" + name + "'"}
		}
		return value, nil
	}, nil
}

func constant(value string) expression {
	return func(scope) (string, error) { return value, nil }
}

func (p *parser) call(name string) (expression, error) {
	do := functions[name]
	if do == nil {
		return nil, fmt.Errorf("there is no function %s", name)
	}
	p.next()
	var args []expression
	for !p.takes(")") {
		arg, err := p.expression()
		if err != nil {
			return nil, err
		}
		args = append(args, arg)
		p.takes(",")
	}
	p.number = name != "version" && name != "current_user" && name != "binlog_gtid_pos"
	return func(s scope) (string, error) { return do(s, args) }, nil
}
