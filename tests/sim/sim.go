// Package sim lets random worlds try what must never happen. A run is a cluster on paper, a schedule of faults, and the
// daemon's own analysis and planning in a loop that loses steps, half does them, and dies at any moment. The same seed
// gives the same run.
//
// The properties are in the table of sim_test.go. Beside each is the break of the code that it was seen to catch.
package sim

import (
	"fmt"
	"strings"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/plan"
	"orchestrator/tests/world"
)

// Violation is a property that did not hold.
type Violation struct {
	Property string
	Seed     uint64
	Says     string
	Log      []string
}

func (v *Violation) Error() string {
	return fmt.Sprintf("seed %d: %s: %s\n%s", v.Seed, v.Property, v.Says, strings.Join(v.Log, "\n"))
}

const (
	faultsEnd = 110 // ticks until which faults happen
	healed    = 150 // the tick at which everything comes back
	end       = 260 // the tick at which all must be well again
)

// run is one world with the daemon in it.
type run struct {
	*world.World
	seed     uint64
	episodes []plan.Episode // on record: they survive the daemon
	down     int            // ticks until the daemon is started again
	direct   map[int]bool   // the servers that followed the primary at first
	faults   bool           // random ones happen
	well     bool           // everything has come back
	two      int            // for how many ticks two servers have been writable in the daemon's sight
	found    *Violation
	Stats    Stats
}

// Stats tell what the worlds were made of, so that a simulation in which nothing happens is noticed.
type Stats struct{ Promotions, Withdrawn, Refused, Fenced, Crashes, Lost, Moved, Survivable int }

// Run plays one world, and returns the first property that was hurt, or nil.
func Run(seed uint64) (Stats, *Violation) {
	r := newRun(world.New(seed), seed)
	r.faults = true
	for r.Tick < end && r.found == nil {
		r.Advance()
		if r.Tick < faultsEnd {
			r.fault()
		}
		if r.Tick >= healed && !r.well {
			r.well = true
			r.heal()
		}
		r.live()
	}
	if r.found == nil {
		r.finally()
	}
	return r.Stats, r.found
}

func newRun(w *world.World, seed uint64) *run {
	r := &run{World: w, seed: seed, direct: map[int]bool{}}
	for _, v := range w.Servers {
		r.direct[v.N] = v.Source == 0
	}
	return r
}

// live lets the daemon have one tick.
func (r *run) live() {
	if r.down > 0 {
		r.down--
		r.two = 0
		return
	}
	if !r.steady() { // most ticks are; to ask about them would make the worlds no richer, only fewer
		r.ProbeAll()
		r.turn()
	}
	r.watch()
}

// steady says that the truth gives no reason to act, nor does anything on record.
func (r *run) steady() bool {
	writable := 0
	for _, v := range r.Servers {
		if v.Health != world.Alive || !r.Reaches(-1, v.N) || v.Source >= 0 && !v.Connected {
			return false
		}
		if !v.ReadOnly && !v.Stray {
			writable++
		}
	}
	for _, e := range r.episodes {
		if e.Closed.IsZero() {
			return false
		}
	}
	return writable == 1 && r.Tick%10 > 0
}

func (r *run) hurt(property, format string, args ...any) {
	if r.found == nil {
		r.found = &Violation{Property: property, Seed: r.seed, Says: fmt.Sprintf(format, args...), Log: r.Log}
	}
}

func (r *run) situation() plan.Situation {
	return plan.Situate(plan.Facts{Cluster: "c", Snapshot: r.Snapshot(), Policy: permissive,
		Thresholds: analysis.Defaults, Episodes: r.episodes})
}

// turn is that of recovery.Runner: act, look again, ask again.
func (r *run) turn() {
	for range 30 {
		d := plan.Next(r.situation())
		if promotes(d) {
			r.ProbeAll()
			d = plan.Next(r.situation())
		}
		r.one(d)
		r.store(d)
		if len(d.Refused()) > 0 {
			r.Stats.Refused++
		}
		if len(d.Steps()) == 0 {
			return
		}
		moved := false
		for _, w := range d.Works {
			for _, step := range w.Steps {
				done, killed := r.step(w, step)
				if killed {
					return
				}
				moved = moved || done && step.Kind != plan.AwaitApplied
			}
		}
		if r.Rand.IntN(40) == 0 { // or between two
			r.die()
			return
		}
		if r.Rand.IntN(3) == 0 { // time passes while steps are done, and the world goes on
			r.Advance()
			if r.faults && r.Tick < faultsEnd {
				r.fault()
			}
		}
		for _, step := range d.Steps() {
			r.Probe(r.Find(step.At).N)
		}
		if !moved {
			return
		}
	}
	r.hurt("a turn ends", "30 rounds were not enough")
}

// step does one, and says whether it was done, and whether the daemon was killed in the middle of it.
func (r *run) step(w plan.Work, step plan.Step) (done, killed bool) {
	r.check(w, step)
	switch n := r.Rand.IntN(40); {
	case n == 0:
		r.Say("%s at %v: lost on the way", step.Kind, step.At)
		return false, false
	case n == 1:
		_ = r.Do(step, r.Rand.Float64())
		r.die()
		return false, true
	}
	if err := r.Do(step, 1); err != nil {
		r.Say("%s at %v: %v", step.Kind, step.At, err)
		return false, false
	}
	switch step.Kind {
	case plan.Promote:
		r.Stats.Promotions++
	case plan.Fence:
		r.Stats.Fenced++
	case plan.Repoint:
		r.Stats.Moved++
	}
	return true, false
}

func promotes(d plan.Decision) bool {
	for _, s := range d.Steps() {
		if s.Kind == plan.Promote {
			return true
		}
	}
	return false
}

func (r *run) die() {
	r.down = 1 + r.Rand.IntN(10)
	r.Stats.Crashes++
	r.Say("the daemon is killed")
}

func (r *run) store(d plan.Decision) {
	put := func(e plan.Episode) {
		if err := e.Check(); err != nil {
			r.hurt("every episode on record is consistent", "%v", err)
		}
		for i := range r.episodes {
			if r.episodes[i].ID == e.ID {
				if r.episodes[i].Closed.IsZero() && !e.Closed.IsZero() {
					r.Say("episode closed: %s", e.Outcome)
					if e.Promoted.IsZero() {
						r.Stats.Withdrawn++
					}
					r.Stats.Lost += len(e.Lost)
				}
				r.episodes[i] = e
				return
			}
		}
		r.Say("episode opened: %s at %v", e.Code, e.Failed)
		r.episodes = append([]plan.Episode{e}, r.episodes...)
	}
	for _, e := range d.Episodes() {
		put(e)
	}
}
