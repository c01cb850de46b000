package gtid

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// maxSequence is the largest transaction number that a server gives (2^63-2 on MySQL).
const maxSequence = 1<<63 - 2

// Parse reads a set as servers print it: MySQL's gtid_executed (white space and line breaks allowed) or one of
// MariaDB's positions ("0-1-100,1-2-7"). The empty text is the empty set.
func Parse(text string) (Set, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return Set{}, nil
	}
	if strings.Contains(text, ":") {
		return parseMySQL(text)
	}
	return parseMaria(text)
}

// MustParse is Parse for texts that are known to be good, such as those of tests.
func MustParse(text string) Set {
	s, err := Parse(text)
	if err != nil {
		panic(err)
	}
	return s
}

// cut is what an error shows of a text.
func cut(text string) string {
	const most = 200
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

func parseMySQL(text string) (Set, error) {
	s := Set{mysql: map[string][]interval{}}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" { // a trailing comma, as in a set broken over lines
			continue
		}
		uuid, rest, ok := strings.Cut(part, ":")
		uuid = strings.ToLower(strings.TrimSpace(uuid))
		if !ok || !isUUID(uuid) {
			return Set{}, fmt.Errorf("parse GTID set: %q has no server UUID", cut(part))
		}
		id, tagged := uuid, false
		for field := range strings.SplitSeq(rest, ":") {
			field = strings.ToLower(strings.TrimSpace(field))
			if isTag(field) { // a tag holds for the intervals after it, up to the next tag
				if tagged {
					break // a tag after a tag: the first holds for nothing
				}
				id, tagged = uuid+":"+field, true
				continue
			}
			tagged = false
			i, err := parseInterval(field)
			if err != nil {
				return Set{}, fmt.Errorf("parse GTID set: %q: %w", cut(part), err)
			}
			s.mysql[id] = append(s.mysql[id], i)
		}
		if tagged {
			return Set{}, fmt.Errorf("parse GTID set: %q has a tag without an interval", cut(part))
		}
	}
	for id, is := range s.mysql {
		s.mysql[id] = normal(is)
	}
	return s, nil
}

func parseInterval(field string) (interval, error) {
	first, last, ranged := strings.Cut(field, "-")
	from, err := parseSequence(first)
	if err != nil {
		return interval{}, err
	}
	to := from
	if ranged {
		if to, err = parseSequence(last); err != nil {
			return interval{}, err
		}
	}
	if to < from {
		return interval{}, fmt.Errorf("interval %q ends before it begins", cut(field))
	}
	return interval{from, to}, nil
}

func parseSequence(text string) (uint64, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if err != nil || n == 0 || n > maxSequence {
		return 0, fmt.Errorf("%q is no transaction number (1 to %d)", cut(text), uint64(maxSequence))
	}
	return n, nil
}

func parseMaria(text string) (Set, error) {
	s := Set{maria: map[uint32]position{}}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		f := strings.Split(part, "-")
		if len(f) != 3 {
			return Set{}, fmt.Errorf("parse GTID position: %q is not domain-server-sequence", cut(part))
		}
		domain, err1 := strconv.ParseUint(f[0], 10, 32)
		server, err2 := strconv.ParseUint(f[1], 10, 32)
		first, last, ranged := strings.Cut(f[2], "..")
		if !ranged {
			first, last = "1", first
		}
		from, err4 := strconv.ParseUint(first, 10, 64)
		seq, err3 := strconv.ParseUint(last, 10, 64)
		if err1 != nil || err2 != nil || err3 != nil || err4 != nil || ranged && (from == 0 || from > seq) {
			return Set{}, fmt.Errorf("parse GTID position: %q is not domain-server-sequence", cut(part))
		}
		if seq == 0 { // nothing yet
			continue
		}
		p := position{uint32(server), from, seq}
		// gtid_binlog_state lists several servers a domain
		if old, ok := s.maria[uint32(domain)]; !ok || old.seq < p.seq {
			s.maria[uint32(domain)] = p
		}
	}
	return s, nil
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f':
		default:
			return false
		}
	}
	return true
}

// isTag tells tags (a letter or underscore first, 32 characters at most) from intervals (a digit first).
func isTag(s string) bool {
	if s == "" || len(s) > 32 || s[0] >= '0' && s[0] <= '9' {
		return false
	}
	for _, c := range []byte(s) {
		if c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// String prints the set as a server would: lower case, sorted, without white space.
func (s Set) String() string {
	var b []byte
	last := ""
	for _, id := range slices.Sorted(maps.Keys(s.mysql)) {
		uuid, tag, _ := strings.Cut(id, ":")
		if uuid != last {
			b = append(separated(b), uuid...)
			last = uuid
		}
		if tag != "" {
			b = append(append(b, ':'), tag...)
		}
		for _, i := range s.mysql[id] {
			b = strconv.AppendUint(append(b, ':'), i.from, 10)
			if i.from != i.to {
				b = strconv.AppendUint(append(b, '-'), i.to, 10)
			}
		}
	}
	for _, d := range slices.Sorted(maps.Keys(s.maria)) {
		p := s.maria[d]
		b = strconv.AppendUint(separated(b), uint64(d), 10)
		b = append(strconv.AppendUint(append(b, '-'), uint64(p.server), 10), '-')
		if p.from > 1 {
			b = append(strconv.AppendUint(b, p.from, 10), ".."...)
		}
		b = strconv.AppendUint(b, p.seq, 10)
	}
	return string(b)
}

// Text is String for people. A single transaction of MariaDB reads as its GTID; Parse would take that for all up to it.
func (s Set) Text() string {
	parts := strings.Split(s.String(), ",")
	for i, part := range parts {
		if first, last, ranged := strings.Cut(part, ".."); ranged {
			if at := strings.LastIndexByte(first, '-'); first[at+1:] == last {
				parts[i] = first
			}
		}
	}
	return strings.Join(parts, ",")
}

func separated(b []byte) []byte {
	if len(b) > 0 {
		return append(b, ',')
	}
	return b
}

// MarshalText makes sets readable in JSON.
func (s Set) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is Parse.
func (s *Set) UnmarshalText(text []byte) error {
	var err error
	*s, err = Parse(string(text))
	return err
}
