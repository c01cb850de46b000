package sim

// Kind of random worlds.
type Kind struct {
	Name string
	Play func(seed uint64) (Stats, *Violation)
	// Again is the flag of the test that plays one world of the kind again.
	Again string
	share uint64 // of 20 worlds
}

// kinds are all kinds.
var kinds = []Kind{
	{"faults of all kinds", Run, "-run TestWorlds -seed", 15},
	{"a primary that dies alone", RunReady, "-run TestReadiness -dead", 2},
	{"several deaths close together", RunDeaths, "-run TestDeathsCloseTogether -death", 3},
}

// KindOf is the kind of the world that has the number among the mixed ones.
func KindOf(seed uint64) Kind {
	n := seed % 20
	for _, k := range kinds {
		if n < k.share {
			return k
		}
		n -= k.share
	}
	panic("the shares do not add up")
}

// Plus adds up.
func (s Stats) Plus(o Stats) Stats {
	s.Promotions += o.Promotions
	s.Withdrawn += o.Withdrawn
	s.Refused += o.Refused
	s.Fenced += o.Fenced
	s.Crashes += o.Crashes
	s.Lost += o.Lost
	s.Moved += o.Moved
	s.Survivable += o.Survivable
	s.Adopted += o.Adopted
	s.Blocked += o.Blocked
	s.Ready += o.Ready
	return s
}
