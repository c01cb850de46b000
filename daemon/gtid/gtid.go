// Package gtid knows the two ways in which servers name what they have executed: sets of MySQL
// (uuid[:tag]:intervals) and positions of MariaDB (domain-server-sequence, one per domain).
//
// One type, Set, holds either, so that a comparison of two servers need not ask for their flavour. The one idea:
// both are sets of transactions, and all that a decision ever asks is "does this one contain that one, and if
// not, what is missing?". A MariaDB position stands for everything up to its sequence number in its domain.
//
// It does no I/O, and knows nothing of servers or topologies.
package gtid

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Set is a set of transactions. The zero value is the empty set. Sets are values: no method changes its receiver.
type Set struct {
	mysql map[string][]interval // by "uuid" or "uuid:tag"; sorted, disjoint, not adjacent, never empty
	maria map[uint32]position   // by domain
}

// interval is closed on both sides: 5-5 holds one transaction.
type interval struct{ from, to uint64 }

// position stands for the transactions from to seq of a domain; a whole position begins at 1, a difference later.
// server is the one that wrote seq.
type position struct {
	server    uint32
	from, seq uint64
}

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
			return Set{}, fmt.Errorf("parse GTID set: %q has no server UUID", part)
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
				return Set{}, fmt.Errorf("parse GTID set: %q: %w", part, err)
			}
			s.mysql[id] = append(s.mysql[id], i)
		}
		if tagged {
			return Set{}, fmt.Errorf("parse GTID set: %q has a tag without an interval", part)
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
		return interval{}, fmt.Errorf("interval %q ends before it begins", field)
	}
	return interval{from, to}, nil
}

func parseSequence(text string) (uint64, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if err != nil || n == 0 || n > maxSequence {
		return 0, fmt.Errorf("%q is no transaction number (1 to %d)", text, uint64(maxSequence))
	}
	return n, nil
}

func parseMaria(text string) (Set, error) {
	s := Set{maria: map[uint32]position{}}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		f := strings.Split(part, "-")
		if len(f) != 3 {
			return Set{}, fmt.Errorf("parse GTID position: %q is not domain-server-sequence", part)
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
			return Set{}, fmt.Errorf("parse GTID position: %q is not domain-server-sequence", part)
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

// normal sorts and joins intervals that touch or overlap.
func normal(is []interval) []interval {
	slices.SortFunc(is, func(a, b interval) int { return cmp.Compare(a.from, b.from) })
	out := is[:0]
	for _, i := range is {
		if n := len(out); n > 0 && i.from <= out[n-1].to+1 {
			out[n-1].to = max(out[n-1].to, i.to)
			continue
		}
		out = append(out, i)
	}
	return out
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

// Empty reports whether the set holds nothing.
func (s Set) Empty() bool { return len(s.mysql) == 0 && len(s.maria) == 0 }

// Contains reports whether every transaction of o is in s.
func (s Set) Contains(o Set) bool {
	for id, is := range o.mysql {
		if !within(is, s.mysql[id]) {
			return false
		}
	}
	for d, p := range o.maria {
		if q, both := s.maria[d]; !both || p.without(q).seq != 0 {
			return false
		}
	}
	return true
}

// within reports whether b has all of a; both are normal, so that each interval of a must be in one of b.
func within(a, b []interval) bool {
	for _, i := range a {
		for len(b) > 0 && b[0].to < i.from {
			b = b[1:]
		}
		if len(b) == 0 || i.from < b[0].from || i.to > b[0].to {
			return false
		}
	}
	return true
}

// Equal reports whether both hold the same transactions.
func (s Set) Equal(o Set) bool { return s.Contains(o) && o.Contains(s) }

// Same says that the two read the same, letter for letter. It costs less than Equal, for which only the transactions
// count.
func (s Set) Same(o Set) bool {
	return len(s.mysql) == len(o.mysql) && maps.Equal(s.maria, o.maria) &&
		maps.EqualFunc(s.mysql, o.mysql, slices.Equal)
}

// Missing counts the transactions of o that s lacks.
func (s Set) Missing(o Set) uint64 { return o.Subtract(s).Count() }

// Count is the number of transactions in the set. On MariaDB it counts from the beginning of each domain, so only the
// counts of differences mean something to people; see Missing. What is too much for the number is the largest number.
func (s Set) Count() uint64 {
	var n uint64
	add := func(from, to uint64) {
		if more := to - from + 1; n+more >= n {
			n += more
		} else {
			n = math.MaxUint64
		}
	}
	for _, is := range s.mysql {
		for _, i := range is {
			add(i.from, i.to)
		}
	}
	for _, p := range s.maria {
		add(p.from, p.seq)
	}
	return n
}

// Subtract returns what is in s and not in o. Of a MariaDB domain in which both hold the same sequence number from
// different servers, that last transaction is returned: the two have parted there, though nobody knows for how long.
// Where o holds the middle of a domain of s, as only a difference can, all of the domain is returned: a hole can't be
// told.
func (s Set) Subtract(o Set) Set {
	var out Set
	for id, is := range s.mysql {
		if left := subtract(is, o.mysql[id]); len(left) > 0 {
			if out.mysql == nil {
				out.mysql = map[string][]interval{}
			}
			out.mysql[id] = left
		}
	}
	for d, p := range s.maria {
		if q, both := o.maria[d]; both {
			p = p.without(q)
		}
		if p.seq == 0 {
			continue
		}
		if out.maria == nil {
			out.maria = map[uint32]position{}
		}
		out.maria[d] = p
	}
	return out
}

// without returns the transactions of p that are not in q; the zero position when there are none.
func (p position) without(q position) position {
	apart := q.seq < p.from || q.from > p.seq
	whole := q.from <= p.from // q holds the beginning of p
	switch {
	case apart:
		return p
	case q.seq > p.seq || q.seq == p.seq && q.server == p.server:
		if whole {
			return position{}
		}
		p.seq = q.from - 1
	case !whole:
		return p
	case q.seq == p.seq:
		p.from = p.seq
	default:
		p.from = q.seq + 1
	}
	return p
}

// subtract takes the intervals of b out of those of a; both are normal.
func subtract(a, b []interval) []interval {
	var out []interval
	for _, i := range a {
		for _, j := range b {
			if j.to < i.from {
				continue
			}
			if j.from > i.to {
				break
			}
			if j.from > i.from {
				out = append(out, interval{i.from, j.from - 1})
			}
			i.from = j.to + 1
			if i.from > i.to {
				break
			}
		}
		if i.from <= i.to {
			out = append(out, i)
		}
	}
	return out
}

// Union returns what is in either. Of a MariaDB domain the further position is kept, the receiver's where both are
// equally far.
func (s Set) Union(o Set) Set {
	switch { // the usual cases cost nothing
	case s.Contains(o):
		return s
	case o.Contains(s):
		return o
	}
	out := Set{}
	if len(s.mysql)+len(o.mysql) > 0 {
		out.mysql = map[string][]interval{}
		for _, m := range []map[string][]interval{s.mysql, o.mysql} {
			for id, is := range m {
				out.mysql[id] = normal(slices.Concat(out.mysql[id], is))
			}
		}
	}
	if len(s.maria)+len(o.maria) > 0 {
		out.maria = map[uint32]position{}
		for _, m := range []map[uint32]position{s.maria, o.maria} {
			for d, p := range m {
				q, ok := out.maria[d]
				if ok && p.seq <= q.seq {
					p, q = q, p
				}
				// they touch: what one lacks at the beginning, the other has
				if ok && q.from < p.from && q.seq >= p.from-1 {
					p.from = q.from
				}
				out.maria[d] = p
			}
		}
	}
	return out
}

// Intersect returns what is in both. Of a MariaDB domain the nearer position is kept.
func (s Set) Intersect(o Set) Set {
	out := Set{}
	for id, is := range s.mysql {
		if both := subtract(is, subtract(is, o.mysql[id])); len(both) > 0 {
			if out.mysql == nil {
				out.mysql = map[string][]interval{}
			}
			out.mysql[id] = both
		}
	}
	for d, p := range s.maria {
		q, ok := o.maria[d]
		if !ok || p.seq == q.seq && p.server != q.server && p.seq == 1 {
			continue
		}
		// parted at the last transaction; who wrote the one before is not known
		if p.seq == q.seq && p.server != q.server {
			p.seq--
		} else if q.seq < p.seq {
			p.server, p.seq = q.server, q.seq
		}
		if p.from = max(p.from, q.from); p.from > p.seq {
			continue
		}
		if out.maria == nil {
			out.maria = map[uint32]position{}
		}
		out.maria[d] = p
	}
	return out
}

// From returns the part of a MySQL set that the server with this UUID wrote, under any tag.
func (s Set) From(uuid string) Set {
	out := Set{mysql: map[string][]interval{}}
	for id, is := range s.mysql {
		if u, _, _ := strings.Cut(id, ":"); strings.EqualFold(u, uuid) {
			out.mysql[id] = is
		}
	}
	return out
}

// Writers returns the UUIDs of the servers that wrote a MySQL set, sorted.
func (s Set) Writers() []string {
	var out []string
	for id := range s.mysql {
		u, _, _ := strings.Cut(id, ":")
		out = append(out, u)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// LastWriters returns, by domain, the server_id that wrote the last transaction of a MariaDB position.
func (s Set) LastWriters() map[uint32]uint32 {
	out := map[uint32]uint32{}
	for d, p := range s.maria {
		out[d] = p.server
	}
	return out
}

// SameWriters says that the last transaction was written by the same server in each domain of MariaDB that both have.
func (s Set) SameWriters(o Set) bool {
	writers := s.LastWriters()
	for domain, writer := range o.LastWriters() {
		if w, ok := writers[domain]; ok && w != writer {
			return false
		}
	}
	return true
}

// LastBy is what a MariaDB set has of the domains in which the server with that id wrote last.
func (s Set) LastBy(server uint32) Set {
	return s.ofDomains(func(p position) bool { return p.server == server })
}

// NotLastBy is the rest of LastBy.
func (s Set) NotLastBy(server uint32) Set {
	return s.ofDomains(func(p position) bool { return p.server != server })
}

func (s Set) ofDomains(keep func(position) bool) Set {
	out := Set{maria: map[uint32]position{}}
	for d, p := range s.maria {
		if keep(p) {
			out.maria[d] = p
		}
	}
	return out
}

// MarshalText makes sets readable in JSON.
func (s Set) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is Parse.
func (s *Set) UnmarshalText(text []byte) error {
	var err error
	*s, err = Parse(string(text))
	return err
}
