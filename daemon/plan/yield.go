package plan

import (
	"fmt"

	"orchestrator/daemon/topology"
)

// Sight divides the replicas that were alive before the incident: those that this daemon sees, and those that may live and are silent to it.
func Sight(s Situation, e Episode) (seen, silent []topology.Key) {
	for _, k := range Electorate(s, e) {
		switch v := s.Snapshot.Server(k); {
		case v.Up():
			seen = append(seen, k)
		case !proved(v.Probe.Failure):
			silent = append(silent, k)
		}
	}
	return seen, silent
}

// Yield says that another daemon should lead, and why; "" when none should. A replica that is silent to the leader only may have received what
// nobody else has, and whoever sees it is to choose: the other daemon reaches every replica that this one sees, and one more. So it never goes in
// circles: each who yields sees less than the one before whom it does. Answers are what the others said about each replica.
func Yield(self Standing, seen, silent []topology.Key, answers map[topology.Key][]Peer) string {
	reaches := func(name string, k topology.Key) bool {
		for _, p := range answers[k] {
			if p.Name == name {
				return p.Answered && p.Reaches && !p.Leading && p.Face != "" && p.Face == self.Face
			}
		}
		return false
	}
	for _, missing := range silent {
		for _, p := range answers[missing] {
			all := reaches(p.Name, missing)
			for _, k := range seen {
				all = all && reaches(p.Name, k)
			}
			if all {
				return fmt.Sprintf("%s reaches %v, which is silent to this daemon and may have received more, and all that this daemon reaches: it is to lead", p.Name, missing)
			}
		}
	}
	return ""
}
