package discovery

import "time"

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
	waiting  []*server // in the order in which they will be asked; each is held, and not in the queue
}

// admit says whether a server that is due may be asked now. One that must wait is kept.
func (g *greetings) admit(s *server) bool {
	if s.met {
		return true
	}
	if g.underway >= g.room {
		s.held = true
		g.waiting = append(g.waiting, s)
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

// greeted takes notice of the end of a first probe, and puts into the queue who may be asked now.
func (f *Fleet) greeted(took time.Duration, answered bool) {
	g := &f.greetings
	g.end(took, answered)
	for free := g.room - g.underway; free > 0 && len(g.waiting) > 0; {
		s := g.waiting[0]
		g.waiting[0] = nil
		g.waiting = g.waiting[1:]
		s.held = false
		if f.servers[s.key] == s { // else it was removed meanwhile
			f.queue.put(s)
			free--
		}
	}
}
