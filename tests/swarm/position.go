package swarm

import (
	"fmt"
	"strconv"
	"strings"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// position is what a server has executed or received, without holes: on MySQL the last transaction of each writer,
// sorted by UUID; on MariaDB the last one of the only domain, or nothing. It is never changed once it is made.
type position []last

// last is the last transaction that came from a writer.
type last struct {
	uuid   string // MySQL
	server uint32 // MariaDB
	number uint64
}

// wrote is the position after n more transactions of v's own.
func (p position) wrote(v *Server, n uint64) position {
	if v.Flavor == topology.MariaDB {
		return position{{server: v.id, number: p.count() + n}}
	}
	before := uint64(0)
	for _, l := range p {
		if l.uuid == v.uuid {
			before = l.number
		}
	}
	return p.with(position{{uuid: v.uuid, number: before + n}})
}

// with is what is in either. Of two positions of MariaDB it is the further one.
func (p position) with(o position) position {
	switch {
	case len(o) == 0:
		return p
	case len(p) == 0:
		return o
	case p[0].uuid == "": // MariaDB
		if o[0].number > p[0].number {
			return o
		}
		return p
	}
	out := make(position, 0, len(p)+len(o))
	for len(p) > 0 && len(o) > 0 {
		switch c := strings.Compare(p[0].uuid, o[0].uuid); {
		case c < 0:
			out, p = append(out, p[0]), p[1:]
		case c > 0:
			out, o = append(out, o[0]), o[1:]
		default:
			out = append(out, last{uuid: p[0].uuid, number: max(p[0].number, o[0].number)})
			p, o = p[1:], o[1:]
		}
	}
	return append(append(out, p...), o...)
}

// count is the number of transactions.
func (p position) count() (n uint64) {
	for _, l := range p {
		n += l.number
	}
	return n
}

// String prints it as a server of its flavour does.
func (p position) String() string {
	var b []byte
	for i, l := range p {
		if i > 0 {
			b = append(b, ",\n"...)
		}
		switch {
		case l.uuid == "":
			b = fmt.Appendf(b, "0-%d-", l.server)
		case l.number == 1:
			b = append(append(b, l.uuid...), ':')
		default:
			b = append(append(b, l.uuid...), ":1-"...)
		}
		b = strconv.AppendUint(b, l.number, 10)
	}
	return string(b)
}

// holds says whether a set, as the daemon writes it, is in p.
func (p position) holds(set string) (bool, error) {
	wanted, err := gtid.Parse(set)
	if err != nil {
		return false, err
	}
	have, err := gtid.Parse(p.String())
	return err == nil && have.Contains(wanted), err
}

// parsePosition reads a position of MariaDB.
func parsePosition(text string) (position, error) {
	if text == "" {
		return nil, nil
	}
	var domain int
	var l last
	if _, err := fmt.Sscanf(text, "%d-%d-%d", &domain, &l.server, &l.number); err != nil || domain != 0 {
		return nil, fmt.Errorf("read position %q: want one of domain 0", text)
	}
	return position{l}, nil
}
