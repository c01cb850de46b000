package plan

import (
	"fmt"

	"orchestrator/daemon/topology"
)

// Sight divides the voters: those that this daemon reaches, and those that may live and are silent to it.
func Sight(s Situation, e Episode) (seen, silent []topology.Key) {
	for _, k := range Voters(s, e) {
		switch v := s.Snapshot.Server(k); {
		case v.Up():
			seen = append(seen, k)
		case !v.Probe.Failure.Dead():
			silent = append(silent, k)
		}
	}
	return seen, silent
}

// Transfer says why another daemon should lead; "" when none should. A replica that is silent only to the leader may
// have received what no other server has, so a daemon that reaches it should choose the candidate. That daemon must
// reach every replica that this one reaches, and one more, so the leadership never goes in circles. Answers are what
// the other daemons reported about each replica.
func Transfer(self PeerStatus, seen, silent []topology.Key, answers map[topology.Key][]Peer) string {
	reaches := func(name string, k topology.Key) bool {
		for _, p := range answers[k] {
			if p.Name == name {
				return p.Answered && p.Reaches && !p.Leading && p.Identity != "" && p.Identity == self.Identity
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
				return fmt.Sprintf("%s reaches %v, which is silent to this daemon and may have received more, "+
					"and all that this daemon reaches: that daemon should lead", p.Name, missing)
			}
		}
	}
	return ""
}
