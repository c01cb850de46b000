package sim

import "testing"

// Worlds that hurt a property once, each with what was wrong. They are played always.
func TestWorldsThatHurtOnce(t *testing.T) {
	for _, c := range []struct {
		wrong string
		play  func(uint64) (Stats, *Violation)
		seed  uint64
	}{
		{"the replicas of an emptied primary that died had errant transactions", Run, 41533},
		{"the candidate was kept although another could be followed by more", RunDeaths, 59657},
		{"a replica that was just moved had acknowledged, and died with the primary", RunDeaths, 30577},
	} {
		if _, v := c.play(c.seed); v != nil {
			t.Errorf("%s: %v", c.wrong, v)
		}
	}
}
