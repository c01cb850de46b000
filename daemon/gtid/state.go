package gtid

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// State is MariaDB's gtid_binlog_state: by domain, the last transaction that each server wrote, as far as a binary log
// tells. A position names the last writer of a domain only, so of two positions whose writers differ, the one with the
// higher number need not contain the other: the state may show that it does not. The zero value tells nothing.
type State struct {
	last map[uint32]map[uint32]uint64 // by domain and server
}

// ParseState reads a state as servers print it.
func ParseState(text string) (State, error) {
	s := State{map[uint32]map[uint32]uint64{}}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		one, err := parseMaria(part)
		if err != nil {
			return State{}, err
		}
		for d, p := range one.maria {
			if s.last[d] == nil {
				s.last[d] = map[uint32]uint64{}
			}
			s.last[d][p.server] = max(s.last[d][p.server], p.seq)
		}
	}
	if len(s.last) == 0 {
		return State{}, nil
	}
	return s, nil
}

// Size is about how many bytes of memory a state takes.
func (s State) Size() int {
	const domain, writer = 400, 50 // a map in a map's entry; an entry
	n := domain * len(s.last)
	for _, w := range s.last {
		n += writer * len(w)
	}
	return n
}

// Lacks is what of a set a server at a position is shown not to have, although that may have a higher number:
// transactions of another writer, of which it has logged fewer. Where it has logged none of a writer, nothing is shown.
func (s State) Lacks(set, at Set) Set {
	var out Set
	for d, p := range set.maria {
		seq, known := s.last[d][p.server]
		if known && seq < p.seq && at.maria[d].server != p.server && at.maria[d].seq >= p.seq {
			p.from = max(p.from, seq+1)
			if out.maria == nil {
				out.maria = map[uint32]position{}
			}
			out.maria[d] = p
		}
	}
	return out
}

// ByWriter takes sets of MariaDB apart: of each domain, the latest position of each server that wrote in it, as a set
// of its own. A union would name one writer a domain, and hide the others.
func ByWriter(sets []Set) []Set {
	last := map[uint32]map[uint32]position{}
	for _, s := range sets {
		for d, p := range s.maria {
			if last[d] == nil {
				last[d] = map[uint32]position{}
			}
			if q, ok := last[d][p.server]; ok {
				p.from, p.seq = min(p.from, q.from), max(p.seq, q.seq)
			}
			last[d][p.server] = p
		}
	}
	var out []Set
	for _, d := range slices.Sorted(maps.Keys(last)) {
		for _, server := range slices.Sorted(maps.Keys(last[d])) {
			out = append(out, Set{maria: map[uint32]position{d: last[d][server]}})
		}
	}
	return out
}

// Has reports whether it shows that all of a set was logged.
func (s State) Has(set Set) bool {
	for d, p := range set.maria {
		if s.last[d][p.server] < p.seq {
			return false
		}
	}
	return len(set.maria) > 0
}

// Empty reports whether the state tells nothing.
func (s State) Empty() bool { return len(s.last) == 0 }

// Equal reports whether both tell the same.
func (s State) Equal(o State) bool {
	return maps.EqualFunc(s.last, o.last, maps.Equal[map[uint32]uint64, map[uint32]uint64])
}

// With is the state after the last transactions of a set were logged too.
func (s State) With(set Set) State {
	out := State{map[uint32]map[uint32]uint64{}}
	for d, servers := range s.last {
		out.last[d] = maps.Clone(servers)
	}
	for d, p := range set.maria {
		if out.last[d] == nil {
			out.last[d] = map[uint32]uint64{}
		}
		out.last[d][p.server] = max(out.last[d][p.server], p.seq)
	}
	if len(out.last) == 0 {
		return State{}
	}
	return out
}

// String prints the state in the order of domains and servers.
func (s State) String() string {
	var out []string
	for _, d := range slices.Sorted(maps.Keys(s.last)) {
		for _, server := range slices.Sorted(maps.Keys(s.last[d])) {
			out = append(out, fmt.Sprintf("%d-%d-%s", d, server, strconv.FormatUint(s.last[d][server], 10)))
		}
	}
	return strings.Join(out, ",")
}

// MarshalText makes states readable in JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is ParseState.
func (s *State) UnmarshalText(text []byte) error {
	var err error
	*s, err = ParseState(string(text))
	return err
}

// IsZero is Empty, for omitzero.
func (s State) IsZero() bool { return s.Empty() }
