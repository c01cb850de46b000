package discovery

import (
	"slices"
	"time"
)

const (
	// fewest servers that are asked for the first time at once.
	fewest = 32
	// brisk is within what an answer to a first probe shows that the machine and the network can do more.
	brisk = 100 * time.Millisecond
)

// greetings hold back first probes: of servers that have not answered yet. A first probe connects, and costs many times
// what a later one does. A whole fleet that is asked at once on a slow machine takes so long that the deadlines pass,
// and nothing becomes known. So few are asked at first, and each brisk answer makes room for one more.
type greetings struct {
	underway int
	room     int
	most     int
	// waiting are held, and not in the queue. The last one is asked first: the replicas of a primary that has just
	// answered go before the next primary, so that clusters become whole one after another. Those that were asked in
	// vain are at the beginning, and keep nobody waiting.
	waiting []*server
}

// admit says whether a server that is due may be asked now. One that must wait is kept.
func (g *greetings) admit(s *server) bool {
	if s.met {
		return true
	}
	if g.underway >= g.room {
		s.held = true
		if s.probe.Asked.IsZero() {
			g.waiting = append(g.waiting, s)
		} else {
			g.waiting = slices.Insert(g.waiting, 0, s)
		}
		return false
	}
	g.underway++
	return true
}

// end takes notice of the end of a first probe.
func (g *greetings) end(took time.Duration, answered bool) {
	g.underway--
	if answered && took < brisk {
		g.room = min(g.room+1, g.most)
	}
}

// take ends the wait of the one that is asked next.
func (g *greetings) take() *server {
	last := len(g.waiting) - 1
	s := g.waiting[last]
	g.waiting[last] = nil
	g.waiting = g.waiting[:last]
	s.held = false
	return s
}

// greeted takes notice of the end of a first probe, and puts into the queue who may be asked now.
func (f *Fleet) greeted(took time.Duration, answered bool) {
	g := &f.greetings
	g.end(took, answered)
	for free := g.room - g.underway; free > 0 && len(g.waiting) > 0; {
		s := g.take()
		if f.servers[s.key] == s { // else it was removed meanwhile
			f.queue.put(s)
			free--
		}
	}
}
