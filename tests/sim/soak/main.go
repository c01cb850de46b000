// Command soak tries a great many random worlds, of all kinds of package sim: WORLDS of them from a number on, on
// several processors. It tells how far it is, so that it can be interrupted and go on from there, and how to play a
// world again in which a property was hurt.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"orchestrator/tests/sim"
)

func main() {
	worlds := flag.Uint64("worlds", 1_000_000, "how many random worlds to try")
	from := flag.Uint64("from", 1, "the number of the first")
	workers := flag.Int("workers", runtime.NumCPU(), "how many are tried at the same time")
	flag.Parse()
	s := &soak{next: *from, end: *from + *worlds, started: time.Now()}
	if !s.run(*workers) {
		os.Exit(1)
	}
}

// soak is one run.
type soak struct {
	next, end uint64 // numbers of worlds
	started   time.Time
	stop      atomic.Bool
	mu        sync.Mutex
	sum       sim.Stats
	done      uint64
	hurt      int
}

// enough is how many worlds in which something was hurt end the run.
const enough = 5

// run tries the worlds, and says whether all properties held.
func (s *soak) run(workers int) bool {
	over := make(chan struct{})
	var all, progress sync.WaitGroup
	progress.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(15 * time.Second):
				s.tell()
			}
		}
	})
	for range workers {
		all.Go(s.work)
	}
	all.Wait()
	close(over)
	progress.Wait()
	s.tell()
	return s.hurt == 0
}

func (s *soak) work() {
	for !s.stop.Load() {
		s.mu.Lock()
		seed := s.next
		s.next++
		s.mu.Unlock()
		if seed >= s.end {
			return
		}
		kind := sim.KindOf(seed)
		stats, v := kind.Play(seed)
		s.mu.Lock()
		s.done++
		s.sum = s.sum.Plus(stats)
		if v != nil {
			s.hurt++
			s.stop.Store(s.hurt >= enough)
			fmt.Printf("%s, %v\nagain: go test ./tests/sim %s %d\n\n", kind.Name, v, kind.Again, seed)
		}
		s.mu.Unlock()
	}
}

// tell says how far the run is: all worlds before the number that it names were tried, or are being tried.
func (s *soak) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := min(s.next, s.end)
	fmt.Printf("%s: %d worlds, %d hurt; go on with FROM=%d WORLDS=%d; %+v\n",
		time.Since(s.started).Round(time.Second), s.done, s.hurt, next, s.end-next, s.sum)
}
