package discovery

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/plural"
	"orchestrator/daemon/topology"
)

// A name that is known by a registration alone may be anybody's: any account that may replicate can register any host
// and port. What is there is asked and shown, and is a stranger until it and the server at which it registered have
// confirmed each other. That server lists the server id of the other (on MySQL also its UUID: MariaDB's have none), the
// other receives from it and names its identity, and their positions move together: what the replica has received the
// source has when it is asked after that, and the replica has all that the source had before, or has got more since.
// Who has a replication account and takes the trouble to replicate can have all that: then it is a replica.

// acquaintance is what is kept of how a server became known.
type acquaintance struct {
	stranger *topology.Stranger // nil: it is one of the fleet; never changed, only replaced
	by       *server            // whose list of registrations brought it, while it is a stranger
	brought  int                // strangers that the list of this server has brought
	leftOut  int                // names on it that are not looked at
	waits    bool               // for room for some of them
	vetted   bool               // it was a stranger, and is confirmed
	level    bool               // a stranger has what its source had, or has got more
	looks    int                // how often its source was asked for its sake
	wanted   bool               // it is to be asked for the sake of a stranger that has registered with it
	over     gtid.Set           // what it has, and its source, asked later, has not
	overAt   time.Time          // since when

	as       topology.Confirmation  // as whom it is vetted
	recalled *topology.Confirmation // as whom it was confirmed, until it has answered
	unproved bool                   // it is not admitted, and nobody has confirmed it
}

const (
	// hasty is how often a source is asked at once for the sake of a stranger that has answered.
	hasty = 3
	// overdrawn is for how long a source must lack what a confirmed replica has, so that the replica is not believed:
	// a source sends what it has not committed yet.
	overdrawn = 5 * time.Second
)

func (s *server) is(kinds ...topology.StrangerKind) bool {
	return s.stranger != nil && slices.Contains(kinds, s.stranger.Kind)
}

// estrange says that no decision may rest on a server.
func (f *Fleet) estrange(s *server, kind topology.StrangerKind, why string) {
	if s.stranger == nil {
		f.strange++
	}
	s.stranger = &topology.Stranger{Kind: kind, Since: time.Now(), Why: why}
	s.level, s.looks = false, 0
	f.renew(s)
}

// trust makes a stranger one of the fleet.
func (f *Fleet) trust(s *server, why string) {
	if s.stranger == nil {
		return
	}
	f.part(s)
	s.stranger, s.over, s.overAt = nil, gtid.Set{}, time.Time{}
	f.log(slog.LevelInfo, "server admitted", "server", s.key, "why", why)
	f.renew(s)
	if s.instance != nil {
		f.acquaint(s)
	}
}

// bar says that a server may not be asked.
func (f *Fleet) bar(s *server, why string) {
	if s.is(topology.NotAdmitted) {
		return
	}
	f.log(slog.LevelWarn, "server not admitted", "server", s.key, "why", why)
	f.estrange(s, topology.NotAdmitted, why)
	k := s.key
	f.after = append(f.after, func() { f.prober.Forget(k) })
}

// unbar has a server be what it was before, now that it may be asked.
func (f *Fleet) unbar(s *server) {
	if s.by != nil || s.unproved {
		f.estrange(s, topology.Unconfirmed, "")
		return
	}
	f.trust(s, "it is admitted now")
}

// part ends the count of a stranger.
func (f *Fleet) part(s *server) {
	if s.stranger == nil {
		return
	}
	f.strange--
	if s.by != nil {
		s.by.brought--
		s.by = nil
	}
}

// renew has all see that a server has become a stranger, or none.
func (f *Fleet) renew(s *server) {
	if s.instance != nil {
		f.unlink(s)
		f.link(s)
	}
	f.stale(s)
	f.touch(s)
	f.tell(s, time.Now())
}

// acquaint follows what a server of the fleet says of others.
func (f *Fleet) acquaint(s *server) {
	i := s.instance
	f.enroll(s, i.Registered)
	f.vouch(s)
	f.link(s)
	f.testify(s)
	for n, c := range i.Channels {
		if n < len(s.sources) && s.sources[n] == f.canon(c.Source) { // else it is known by its UUID, under another name
			f.meet(c.Source, s)
		}
	}
	f.introduce(s)
	f.prefer(s)
	f.meetReplicas(s)
}

// introduce adds those that have registered with a server, as far as there is room for strangers. Where the room for
// all is used up, the server waits for some: a fleet that is found by its registrations has many more than that.
func (f *Fleet) introduce(s *server) {
	left, waits := 0, false
	for _, k := range s.instance.Registered {
		if f.at(k) != nil {
			continue
		}
		if s.brought >= f.o.MaxRegistered || f.strange >= f.o.MaxStrangers {
			left++
			waits = waits || s.brought < f.o.MaxRegistered
			continue
		}
		if t := f.add(k, s.key.String()); t != nil {
			f.brings(t, s)
		}
	}
	if waits && !s.waits {
		s.waits = true
		f.waiting = append(f.waiting, s)
	}
	if left != s.leftOut {
		s.leftOut = left
		f.tell(s, time.Now())
	}
}

// introduceMore gives the room of strangers that were confirmed, or are gone, to those that wait for it. No source is
// asked for that: what registered is known.
func (f *Fleet) introduceMore() {
	for len(f.waiting) > 0 && f.strange < f.o.MaxStrangers {
		s := f.waiting[0]
		f.waiting = f.waiting[1:]
		if s.waits = false; f.servers[s.key] == s && s.up() && s.stranger == nil {
			f.introduce(s)
		}
	}
}

// brings makes a server that was just added a stranger, on the account of the one that named it.
func (f *Fleet) brings(t, by *server) {
	if t.stranger == nil {
		f.estrange(t, topology.Unconfirmed, "")
	}
	if t.by = by; t.name == "" {
		t.name = by.name // it is no cluster
	}
	by.brought++
}

// meetReplicas looks for strangers that a server confirms, and for replicas that have more than it.
func (f *Fleet) meetReplicas(s *server) {
	if f.strange > 0 {
		for _, k := range s.instance.Registered {
			if t := f.at(k); t != nil && t != s && t.up() {
				f.introduced(t, s)
			}
		}
	}
	for _, r := range f.replicas[s.key] {
		if r.vetted && r.up() {
			f.audit(r, s)
			f.vetAgain(r, s)
		}
	}
}

// audit finds out that a replica whom nobody has named has more than its living source, asked later.
func (f *Fleet) audit(r, source *server) {
	o := source.instance
	if r.over.Empty() && o.Executed.Contains(all(r.instance)) { // as nearly always
		return
	}
	now := time.Now()
	if r.over = r.over.Subtract(o.Executed); r.over.Empty() {
		r.over, r.overAt = foreign(r).Subtract(o.Executed), now
		return
	}
	if now.Sub(r.overAt) < overdrawn || o.Stalled != nil || f.shared(r, source) {
		return
	}
	why := fmt.Sprintf("it has %s that its source %v, asked later, does not have (%s)",
		plural.Count(r.over.Count(), "transaction"), source.key, r.over.Text())
	f.log(slog.LevelWarn, "a replica has more than its source, and is not believed", "server", r.key, "why", why)
	f.estrange(r, topology.Ahead, why)
}

// shared says that most replicas of a source have what it lacks: then it is the source that has lost it.
func (f *Fleet) shared(r, source *server) bool {
	have, of := 0, 0
	for _, q := range f.replicas[source.key] {
		if q.up() {
			if of++; all(q.instance).Contains(r.over) {
				have++
			}
		}
	}
	return of > 1 && 2*have > of
}
