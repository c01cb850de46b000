package sim

import (
	"flag"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

var (
	worlds = flag.Int("worlds", 100_000, "how many random worlds to try")
	seed   = flag.Uint64("seed", 0, "play this one world only, and print it")
)

// Each property, and the break of the code that it was seen to catch:
//
//	never dead while a reachable replica receives        —
func TestWorlds(t *testing.T) {
	if *seed != 0 {
		stats, v := Run(*seed)
		if v != nil {
			t.Fatal(v)
		}
		t.Logf("%+v", stats)
		return
	}
	n := *worlds
	if testing.Short() || racing {
		n = min(n, 2000)
	}
	var next atomic.Uint64
	var mu sync.Mutex
	var sum Stats
	var failed []*Violation
	var all sync.WaitGroup
	for range runtime.NumCPU() {
		all.Go(func() {
			for {
				s := next.Add(1)
				if s > uint64(n) {
					return
				}
				stats, v := Run(s)
				mu.Lock()
				sum = sum.plus(stats)
				if v != nil {
					failed = append(failed, v)
				}
				stop := len(failed) >= 5
				mu.Unlock()
				if stop {
					return
				}
			}
		})
	}
	all.Wait()
	for _, v := range failed {
		t.Error(v)
	}
	t.Logf("%d worlds: %+v", n, sum)
	if sum.Promotions < n/10 || sum.Withdrawn < n/200 || sum.Fenced < n/100 || sum.Crashes < n/100 {
		t.Errorf("too little happens in these worlds to prove anything: %+v", sum)
	}
}

func (s Stats) plus(o Stats) Stats {
	s.Promotions += o.Promotions
	s.Withdrawn += o.Withdrawn
	s.Refused += o.Refused
	s.Fenced += o.Fenced
	s.Crashes += o.Crashes
	s.Lost += o.Lost
	s.Moved += o.Moved
	return s
}
