package discovery

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"orchestrator/daemon/topology"
)

// answer is what a probe returned.
type answer struct {
	instance topology.Instance
	failure  topology.Failure
	err      error
}

// finish takes in what a probe returned, and says when the server is due next.
func (f *Fleet) finish(s *server, flight uint64, asked time.Time, a answer) {
	now := time.Now()
	if a.err != nil && a.failure == topology.OK {
		a.failure = topology.Other
	}
	f.metrics.probed(a.failure, now.Sub(asked))
	if f.servers[s.key] != s { // forgotten, or found to be another one, meanwhile
		return
	}
	s.flight = 0
	if f.forgotten(s.key) {
		f.forget(s)
		return
	}
	before := s.state()
	if !asked.Before(s.probe.Asked) { // a late answer tells what was, and something newer is known
		if a.failure == topology.OK {
			s = f.answered(s, asked, a.instance)
		} else {
			f.failed(s, asked, a)
		}
	}
	if s == nil || f.servers[s.key] != s {
		return
	}
	if s.stranger != nil {
		f.seekConfirmation(s)
	}
	f.note(s, before, asked, now)
	s.settle(flight) // after the subscribers were told: who looked finds it there
	if s.flight == 0 {
		s.due = f.next(s, asked, now)
		if s.again {
			s.due, s.again = time.Time{}, false
		}
		f.queue.put(s)
	}
	f.watch(s)
}

// settle lets those go who waited for a probe like this one.
func (s *server) settle(flight uint64) {
	s.waiters = slices.DeleteFunc(s.waiters, func(w waiter) bool {
		if w.after < flight {
			close(w.done)
			return true
		}
		return false
	})
}

// fleeting is for how long a server is kept that never answered and that nobody replicates from or asked for.
const fleeting = time.Hour

// kept is for how long a server is kept that has not answered. A name that is registered stays, or it would be found
// anew, and be asked often again.
func (f *Fleet) kept(s *server) time.Duration {
	switch {
	case s.stranger == nil:
		return fleeting
	case len(f.names.enrolled[s.key]) > 0:
		return math.MaxInt64
	}
	return time.Minute
}

// failed keeps the books on a probe that was not answered.
func (f *Fleet) failed(s *server, asked time.Time, a answer) {
	if s.trial {
		f.tried[s.key] = time.Now().Add(retry)
		f.remove(s)
		return
	}
	p := &s.probe
	news := p.Failure != a.failure
	if p.Failure == topology.OK {
		p.FailingSince, p.Failures = asked, 0
		f.stale(s)
		s.unsure()
	}
	p.Asked, p.Failure, p.Error = asked, a.failure, ""
	p.Failures++
	if a.err != nil {
		p.Error = a.err.Error()
	}
	if s.instance == nil && !s.seed && asked.Sub(p.FailingSince) > f.kept(s) && len(f.refs[ref{key: s.key}]) == 0 {
		f.log(slog.LevelInfo, "server not kept", "server", s.key, "why",
			"it never answered, and nothing replicates from it")
		f.remove(s)
		return
	}
	if a.failure == topology.Barred {
		f.bar(s, p.Error)
		return
	}
	if !news {
		return
	}
	f.log(slog.LevelWarn, "server down", "server", s.key, "failure", a.failure, "err", p.Error)
	if len(f.replicas[s.key]) > 0 {
		f.suspect(s)
	}
}

// suspect asks at once all those who can bear witness about a server, or take its place.
func (f *Fleet) suspect(s *server) {
	for _, r := range f.replicas[s.key] {
		f.want(r)
	}
	for _, k := range s.sources {
		if t := f.servers[k]; t != nil {
			f.want(t)
		}
		for _, r := range f.replicas[k] {
			if r != s {
				f.want(r)
			}
		}
	}
}

// answered takes in what a server said; it returns the server that it belongs to, which may be one known before under
// another name, or nil.
func (f *Fleet) answered(s *server, asked time.Time, said topology.Instance) *server {
	was, old, i := s.probe, s.instance, &said
	s.readAt = time.Now()
	since(i, s, asked)
	share(i, old)
	if old != nil && instanceDifference(old, i) == unchanged && sameHeartbeats(old, i) {
		i = old
	}
	s.instance = i
	s.probe = topology.Probe{Asked: asked, Answered: asked}
	if !s.trial && (was.Failure != topology.OK || was.Answered.IsZero()) {
		f.stale(s)
		s.unsure()
		if was.Failure == topology.OK {
			f.log(slog.LevelInfo, "server up", "server", s.key)
		} else {
			f.log(slog.LevelInfo, "server up again", "server", s.key, "after", was.Failure, "down_for",
				asked.Sub(was.FailingSince).Round(time.Millisecond))
		}
		select {
		case s.revived <- struct{}{}:
		default:
		}
	}
	uuid := ""
	if old != nil {
		uuid = old.UUID
		if old.ReadOnly != i.ReadOnly {
			f.stale(s)
		}
	}
	s.depart(old, was, asked)
	f.learn(s, uuid)
	f.leads(s.key, s)
	if s.is(topology.NotAdmitted) {
		f.unbar(s)
	}
	f.recognize(s)
	if s.stranger == nil {
		f.seek(s, old)
	}
	s = f.identify(s)
	switch {
	case s == nil:
		return nil
	case s.stranger == nil:
		f.acquaint(s)
	default: // what it says of others is not followed
		f.link(s)
		f.measure(s, old)
	}
	return s
}

// depart notes which source the server followed when it ceases to follow any. What an earlier life of this daemon saw
// does not count: the server may have left its source at any time since. Nor does it when it is another server now.
func (s *server) depart(old *topology.Instance, was topology.Probe, asked time.Time) {
	switch {
	case len(s.instance.Channels) > 0 || old != nil && old.UUID != s.instance.UUID:
		s.left = nil
	case old != nil && len(old.Channels) > 0 && len(s.sources) > 0 && !was.Answered.IsZero():
		s.left = &topology.Departure{From: s.sources[0], Seen: asked, Filters: slices.ContainsFunc(old.Channels,
			func(c topology.Channel) bool { return c.Filters })}
	}
}

// meet adds the source that a server of the fleet names, if it is not known.
func (f *Fleet) meet(k topology.Key, by *server) {
	switch t := f.at(k); {
	case t == nil:
		f.add(k, by.key.String())
	case t.is(topology.Unconfirmed, topology.Ahead):
		f.trust(t, fmt.Sprintf("%v follows it", by.key))
	}
}

// since fills in how long each receiver has been as it is.
func since(i *topology.Instance, s *server, asked time.Time) {
	for n := range i.Channels {
		c := &i.Channels[n]
		if !c.IOSince.IsZero() {
			continue
		}
		c.IOSince = asked
		if !s.up() {
			continue
		}
		for _, o := range s.instance.Channels {
			if o.Name == c.Name && o.Source == c.Source && o.IO == c.IO && !o.IOSince.IsZero() {
				c.IOSince = o.IOSince
			}
		}
	}
}
