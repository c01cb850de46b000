package discovery

import (
	"fmt"

	"orchestrator/daemon/topology"
)

// What has been confirmed once is stored, and is known to a daemon that starts, or begins to lead, when the source is
// dead and can confirm nobody any more. It holds for the server that was confirmed: where another one answers at its
// address, that one is a stranger.

// Confirmed returns whom this daemon has confirmed since the last call.
func (f *Fleet) Confirmed() []topology.Confirmation {
	f.mu.Lock()
	defer f.unlock()
	out := f.confirmed
	f.confirmed = nil
	return out
}

// Doubts says whether there are strangers that a confirmation could make servers of the fleet.
func (f *Fleet) Doubts() bool {
	f.mu.Lock()
	defer f.unlock()
	if f.strange > 0 {
		for _, s := range f.servers {
			if s.is(topology.Unconfirmed) {
				return true
			}
		}
	}
	return false
}

// Recall says whom an earlier life of this daemon, or another daemon, has confirmed. Those that were never heard of are
// left out: a confirmation makes nobody known.
func (f *Fleet) Recall(all []topology.Confirmation) {
	f.mu.Lock()
	defer f.unlock()
	for _, c := range all {
		s := f.at(c.Key)
		if s == nil || s.seed || s.vetted {
			continue
		}
		switch {
		case s.probe.Answered.IsZero():
			s.recalled = &c
		case c.Confirms(s.instance): // else this daemon has known another server there all the time
			s.recalled = &c
			f.recognize(s)
		}
	}
}

// vet notes that a stranger and its source have confirmed each other.
func (f *Fleet) vet(s *server) {
	s.vetted, s.as = true, topology.Confirmation{Key: s.key, ServerID: s.instance.ServerID, UUID: s.instance.UUID}
	f.confirmed = append(f.confirmed, s.as)
}

// vetAgain notes who a replica is now that was confirmed as another server, such as one that was set up anew.
func (f *Fleet) vetAgain(r, source *server) {
	if !r.as.Confirms(r.instance) && f.doubt(r, source) == "" {
		f.vet(r)
	}
}

// recognize compares a server that has answered with the one that was confirmed at its address. A primary that is
// another server now is none of those that could be promoted, and has nobody who could confirm it.
func (f *Fleet) recognize(s *server) {
	c := s.recalled
	if c == nil {
		return
	}
	s.recalled = nil
	switch same := c.Confirms(s.instance); {
	case same:
		if s.vetted, s.as, s.level = true, *c, true; s.is(topology.Unconfirmed) {
			f.trust(s, "it and its source have confirmed each other earlier, as is on record")
		}
	case s.stranger == nil && len(s.instance.Channels) > 0:
		f.estrange(s, topology.Unconfirmed, fmt.Sprintf("another server was confirmed at this address, with "+
			"server_id %d and the UUID %s; this one has %d and %s", c.ServerID, c.UUID, s.instance.ServerID,
			s.instance.UUID))
	}
}
