// Command soak tries a great many random worlds, of all kinds of package sim: WORLDS of them from a number on, on
// several processors. It tells how far it is, so that it can be interrupted and go on from there, and how to play a
// world again in which a property was hurt.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"orchestrator/tests/sim"
)

func main() {
	worlds := flag.Uint64("worlds", 1_000_000, "how many random worlds to try")
	from := flag.Uint64("from", 1, "the number of the first")
	flag.Parse()
	s := soak{started: time.Now(), many: sim.Many[sim.Stats]{Next: *from, End: *from + *worlds,
		Play: func(n uint64) (sim.Stats, *sim.Violation) { return sim.KindOf(n).Play(n) }, Hurt: hurt}}
	if !s.run() {
		os.Exit(1)
	}
}

func hurt(number uint64, v *sim.Violation) {
	kind := sim.KindOf(number)
	fmt.Printf("%s, %v\nagain: go test ./tests/sim %s %d\n\n", kind.Name, v, kind.Again, number)
}

// soak is one run.
type soak struct {
	many    sim.Many[sim.Stats]
	started time.Time
}

// run tries the worlds, and says whether all properties held.
func (s *soak) run() bool {
	over := make(chan bool)
	go func() { over <- len(s.many.Run()) == 0 }()
	for {
		select {
		case well := <-over:
			s.tell()
			return well
		case <-time.After(15 * time.Second):
			s.tell()
		}
	}
}

// tell says how far the run is.
func (s *soak) tell() {
	played, next, hurt, sum := s.many.Progress()
	fmt.Printf("%s: %d worlds, %d hurt; go on with FROM=%d WORLDS=%d; %+v\n",
		time.Since(s.started).Round(time.Second), played, hurt, next, s.many.End-next, sum)
}
