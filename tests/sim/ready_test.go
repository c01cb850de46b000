package sim

import (
	"flag"
	"testing"
)

var (
	deadPrimaries = flag.Int("ready", 23_000, "how many random worlds to try in which only the primary dies")
	deadPrimary   = flag.Uint64("dead", 0, "play this one of them only, and print it")
)

func TestReadiness(t *testing.T) {
	if *deadPrimary != 0 {
		stats, v := RunReady(*deadPrimary)
		if v != nil {
			t.Fatal(v)
		}
		t.Logf("%+v", stats)
		return
	}
	n := *deadPrimaries
	if testing.Short() || racing {
		n = min(n, 300)
	}
	sum := many(t, n, RunReady)
	if sum.Ready < n/6 || sum.Promotions < n/6 || sum.Blocked < n/40 {
		t.Errorf("too little happens in these worlds to prove anything: %+v", sum)
	}
}
