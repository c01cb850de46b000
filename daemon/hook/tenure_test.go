package hook

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestTenure(t *testing.T) {
	for _, c := range []struct {
		says string
		seen string // who led, and in which minute: + has it, - lacks it
		want int    // the minute since which it has it
	}{
		{"it is new", "+0", 0},
		{"nothing changes", "+0 +1 +9999", 0},
		{"it comes back years later", "+0 -9 +999999", 999999},
		{"daemons without it lead on and on, and it comes back", "+0 -9 -50 -90 +100", 100},
		{"it is added, and the lead passes to one that was not reloaded yet", "+0 -1 +5", 0},
		{"it is removed, and the lead passes to one that was not reloaded yet, and back", "+0 -9 +20 -30 +40", 0},
		{"each change has its own time to be rolled out", "+0 -50 +100 -110 +160", 0},
		{"the clock is set back", "+999999 +100", 40},
		{"the clock is set back, and the lead passes on", "+999999 +100 +200 +300", 40},
		{"the clock is set back, and set right", "+999999 +100 +1000000", 40},
	} {
		var got Tenure
		for _, word := range strings.Fields(c.seen) {
			var minute int
			fmt.Sscan(word[1:], &minute)
			now := noon.Add(time.Duration(minute) * time.Minute)
			if word[0] == '+' {
				got = got.Has(now)
			} else {
				got = got.Lacks(now)
			}
		}
		if want := noon.Add(time.Duration(c.want) * time.Minute); !got.Since.Equal(want) || !got.Gone.IsZero() {
			t.Errorf("%s: %+v, want since %v", c.says, got, want)
		}
	}
}
