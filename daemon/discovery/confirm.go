package discovery

import (
	"fmt"
	"slices"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/plural"
	"orchestrator/daemon/topology"
)

// introduced says what becomes of a stranger when its source has answered.
func (f *Fleet) introduced(t, source *server) {
	switch {
	case t.is(topology.Unconfirmed):
		why := f.doubt(t, source)
		if why == "" {
			f.vet(t)
			f.trust(t, fmt.Sprintf("it and its source %v have confirmed each other", source.key))
			return
		}
		if why != t.stranger.Why {
			t.stranger = &topology.Stranger{Kind: t.stranger.Kind, Since: t.stranger.Since, Why: why}
			f.touch(t)
			f.tell(t, time.Now())
		}
	case t.is(topology.Ahead) && source.instance.Executed.Contains(foreign(t)):
		f.trust(t, fmt.Sprintf("%v has all that it has", source.key))
	}
}

// doubt says why a stranger and the server at which it registered have not confirmed each other; "" when they have.
func (f *Fleet) doubt(t, source *server) string {
	i, o := t.instance, source.instance
	listed := slices.ContainsFunc(o.Registrations, func(r topology.Registration) bool {
		return f.canon(r.Key) == t.key && r.ServerID == i.ServerID && (o.Flavor == topology.MariaDB || r.UUID == i.UUID)
	})
	n := slices.IndexFunc(i.Channels, func(c topology.Channel) bool { return follows(t, c, source) })
	switch {
	case !listed:
		return fmt.Sprintf("%v lists no replica with its address, its server_id %d and its UUID", source.key,
			i.ServerID)
	case n < 0:
		return fmt.Sprintf("it does not say that it receives from %v", source.key)
	case !i.Channels[n].AutoPosition || foreign(t).Empty():
		return "" // it can't be promoted, and what it has is not known
	case source.probe.Asked.Before(t.readAt):
		return fmt.Sprintf("%v was not asked after it yet", source.key)
	case !o.Executed.Contains(foreign(t)):
		return fmt.Sprintf("it has %s that %v, asked later, does not have",
			plural.Count(o.Executed.Missing(foreign(t)), "transaction"), source.key)
	case !t.level:
		return fmt.Sprintf("it has not received what %v had before it was asked, and nothing since", source.key)
	}
	return ""
}

// follows says that a receiver runs, and tells the identity of a server as that of its source.
func follows(s *server, c topology.Channel, source *server) bool {
	if c.IO != topology.Running {
		return false
	}
	if c.SourceUUID == "" && c.SourceID == 0 {
		return slices.Contains(s.sources, source.key)
	}
	return leadsTo(c, source)
}

// measure notes whether a stranger that has answered has what its source had before it was asked, or got more. before
// is what it said the last time.
func (f *Fleet) measure(s *server, before *topology.Instance) {
	have := foreign(s)
	if before != nil && before.UUID == s.instance.UUID {
		then := all(before)
		s.level = s.level || !have.Empty() && !then.Contains(have) && have.Contains(then)
	}
	for _, k := range append([]topology.Key{s.key}, s.names...) {
		for _, o := range f.names.enrolled[k] {
			if o.stranger != nil || o.instance == nil {
				continue
			}
			s.level = s.level || !o.readAt.After(s.probe.Asked) && have.Contains(o.instance.Executed)
			if s.looks < hasty {
				s.looks++
				o.wanted = true
			}
		}
	}
}

// seekConfirmation has the sources of a stranger that was asked looked at, once the other strangers there that are
// being asked have answered too: one look serves all. Whoever takes long delays the others until the next poll at most.
func (f *Fleet) seekConfirmation(s *server) {
	for _, k := range append([]topology.Key{s.key}, s.names...) {
		for _, o := range f.names.enrolled[k] {
			if o.wanted && !f.awaits(o) {
				o.wanted = false
				f.want(o)
			}
		}
	}
}

// awaits says that a stranger that has registered with a server is being asked.
func (f *Fleet) awaits(o *server) bool {
	return slices.ContainsFunc(f.names.lists[o], func(k topology.Key) bool {
		t := f.at(k)
		return t != nil && t.flight != 0 && t.is(topology.Unconfirmed)
	})
}

// all is what a server has, applied or received.
func all(i *topology.Instance) gtid.Set { return topology.Server{Instance: i}.Received() }

// foreign is what a server has that it did not write itself. Of a MariaDB position only the last writer of a domain is
// known.
func foreign(s *server) gtid.Set {
	i, have := s.instance, all(s.instance)
	if i.Flavor != topology.MariaDB {
		return have.Subtract(have.From(i.UUID))
	}
	return have.NotLastBy(i.ServerID)
}
