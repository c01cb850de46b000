// Package gtid knows the two ways in which servers name what they have executed: sets of MySQL
// (uuid[:tag]:intervals) and positions of MariaDB (domain-server-sequence, one per domain).
//
// One type, Set, holds either, so that a comparison of two servers need not ask for their flavour. The one idea:
// both are sets of transactions, and all that a decision ever asks is "does this one contain that one, and if
// not, what is missing?". A MariaDB position stands for everything up to its sequence number in its domain.
//
// It does no I/O, and knows nothing of servers or topologies.
//
// Where to look: gtid (the set and its algebra); text (parsed and printed); writers (who wrote what); state (MariaDB's
// gtid_binlog_state); memo (sets that are parsed again with each poll).
package gtid

import (
	"cmp"
	"maps"
	"math"
	"slices"
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

// Size is about how many bytes of memory a set takes.
func (s Set) Size() int {
	const source, span = 160, 24 // a map's entry with its key; an interval
	n := source * (len(s.mysql) + len(s.maria))
	for _, is := range s.mysql {
		n += span * len(is)
	}
	return n
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
		out.mysql = make(map[string][]interval, len(s.mysql)+len(o.mysql))
		maps.Copy(out.mysql, s.mysql)
		for id, is := range o.mysql {
			out.mysql[id] = join(out.mysql[id], is)
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

// join returns the intervals of both; they are normal.
func join(a, b []interval) []interval {
	switch { // the usual cases are shared: nobody changes them
	case within(b, a):
		return a
	case within(a, b):
		return b
	}
	return normal(slices.Concat(a, b))
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
