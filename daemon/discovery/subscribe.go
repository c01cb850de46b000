package discovery

import (
	"maps"
	"slices"
	"time"
)

// Subscription is one reader's list of the clusters that have changed. A reader that is slow finds each of them once,
// and holds nobody up.
type Subscription struct {
	fleet   *Fleet
	wake    chan struct{}
	changed map[string]struct{} // belongs to Fleet.mu
}

// Subscribe begins a list; all clusters that there are stand on it. What matters for a decision is there at once, and
// while a server with replicas fails so is every probe in its cluster; positions and lag alone bring a cluster onto it
// once per Poll at most. Close it.
func (f *Fleet) Subscribe() *Subscription {
	f.mu.Lock()
	defer f.unlock()
	s := &Subscription{fleet: f, wake: make(chan struct{}, 1), changed: map[string]struct{}{}}
	f.spread()
	for name := range f.clusters {
		s.changed[name] = struct{}{}
	}
	f.subscriptions[s] = struct{}{}
	s.poke()
	return s
}

// Changed signals that Take has something. One signal may stand for many changes.
func (s *Subscription) Changed() <-chan struct{} { return s.wake }

// Take returns the names of the clusters that changed since the last time, sorted. One that has ended is among them.
func (s *Subscription) Take() []string {
	s.fleet.mu.Lock()
	defer s.fleet.unlock()
	s.fleet.spread()
	out := slices.Sorted(maps.Keys(s.changed))
	clear(s.changed)
	return out
}

// Close ends the list.
func (s *Subscription) Close() {
	s.fleet.mu.Lock()
	defer s.fleet.unlock()
	delete(s.fleet.subscriptions, s)
}

func (s *Subscription) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// tell has all subscribers hear of the cluster of a server; which one that is, is found out when they ask.
func (f *Fleet) tell(s *server, now time.Time) {
	if c := s.cluster; c != nil {
		f.revise(c)
		c.told, c.untold = now, false
		f.announce(c.name)
		return
	}
	f.stale(s) // it is news once it has a name
	f.poke()
}

// announce makes a cluster news.
func (f *Fleet) announce(name string) {
	if len(f.subscriptions) > 0 {
		f.news[name] = struct{}{}
		f.poke()
	}
}

func (f *Fleet) poke() {
	for s := range f.subscriptions {
		s.poke()
	}
}

// spread names what has no name yet, and enters what is new on all lists.
func (f *Fleet) spread() {
	f.name()
	for name := range f.news {
		for s := range f.subscriptions {
			s.changed[name] = struct{}{}
		}
	}
	clear(f.news)
}
