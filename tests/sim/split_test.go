package sim

import (
	"flag"
	"testing"
)

var splits = flag.Int("splits", 2000, "how many random splits to try")

// The breaks of the code that this was seen to catch. In plan: a majority of half; a replica that somebody else moved
// read as free. In the lock: a lock of a lower term broken at once.
func TestSplits(t *testing.T) {
	n := *splits
	if testing.Short() {
		n = min(n, 200)
	}
	if racing {
		n = min(n, 200)
	}
	sum := many(t, n, RunSplit)
	if sum.ByAgreement < n/100 || sum.ByLocks < n/20 || sum.Refused < n || sum.TwoLeaders < n/4 || sum.Frozen < n/4 {
		t.Errorf("too little happens in these worlds to prove anything: %+v", sum)
	}
}
