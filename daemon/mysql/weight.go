package mysql

import (
	"fmt"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// What is kept of a server stays as long as the server is watched. The room for answers does not bound that: hundreds
// of servers that each say a little less than they may would fill the machine one after the other. So each has a part
// of its own, hundreds of times what an ordinary server needs, and those that need more share the rest.
const (
	modestWeight = 256 << 10
	mostWeight   = 32 << 20
)

// weigh has the rest be shared. What a server has of it, it keeps until it is forgotten, or needs less.
func (s *Servers) weigh(k topology.Key, v *kept, i topology.Instance) error {
	more := max(0, weight(i)-modestWeight)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.servers[k] != v: // forgotten meanwhile
		return nil
	case more > v.heavy && s.heavy-v.heavy+more > mostWeight:
		v.known = known{}
		return fmt.Errorf("%w: its positions and lists take %d bytes of memory, more than %d together with those of "+
			"other servers", server.ErrTooMuch, modestWeight+more, mostWeight)
	}
	s.heavy += more - v.heavy
	v.heavy = more
	return nil
}

// weight is about how many bytes of memory is kept of what has no bound of its own, or a high one.
func weight(i topology.Instance) int {
	const registration, text = 200, 16 // a name twice, and a UUID; a string besides its letters
	n := i.Executed.Size() + i.Purged.Size() + i.BinlogWritten.Size() + i.BinlogState.Size()
	for _, c := range i.Channels {
		n += c.Received.Size() + len(c.Name) + len(c.IOError) + len(c.SQLError) + len(c.ReadFile) + len(c.ExecFile) +
			len(c.User) + len(c.SourceUUID)
	}
	for _, r := range i.Registrations {
		n += registration + len(r.UUID)
	}
	for _, event := range i.Dormant {
		n += text + len(event)
	}
	return n
}
