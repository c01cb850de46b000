package sim

import (
	"flag"
	"testing"
)

var (
	deaths = flag.Int("deaths", 15_000, "how many random worlds to try in which several servers die close together")
	death  = flag.Uint64("death", 0, "play this one of them only, and print it")
)

func TestDeathsCloseTogether(t *testing.T) {
	if *death != 0 {
		stats, v := RunDeaths(*death)
		if v != nil {
			t.Fatal(v)
		}
		t.Logf("%+v", stats)
		return
	}
	n := *deaths
	if testing.Short() || racing {
		n = min(n, 300)
	}
	sum := many(t, n, RunDeaths)
	if sum.Survivable < n/2 || sum.Promotions < n/2 || sum.Crashes < n/20 {
		t.Errorf("too little happens in these worlds to prove anything: %+v", sum)
	}
}
