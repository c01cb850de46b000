package gtid

import (
	"slices"
	"strings"
)

// From returns the part of a MySQL set that the server with this UUID wrote, under any tag.
func (s Set) From(uuid string) Set {
	var out Set
	for id, is := range s.mysql {
		if u, _, _ := strings.Cut(id, ":"); strings.EqualFold(u, uuid) {
			if out.mysql == nil {
				out.mysql = map[string][]interval{}
			}
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
