// Package sim lets random worlds try what must never happen. A run is a cluster on paper, a schedule of faults, and the
// daemon's own analysis and planning in a loop that loses steps, half does them, and dies at any moment. The same seed
// gives the same run.
//
// The properties are in the table of sim_test.go. Beside each is the break of the code that it was seen to catch.
package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

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
	faultsEnd = 90  // ticks until which faults happen
	healed    = 115 // the tick at which everything comes back
	end       = 225 // the tick at which all must be well again
	calm      = 15  // ticks without any reason to act after which nothing more is expected
)

// run is one world with the daemon in it.
type run struct {
	*world.World
	seed     uint64
	policy   plan.Policy
	off      string         // why recoveries are switched off; "" when they are on
	episodes []plan.Episode // on record: they survive the daemon
	down     int            // ticks until the daemon is started again
	steadily bool           // the daemon is never killed, and no step is lost
	direct   map[int]bool   // the servers that followed the primary at first
	faults   []fault        // what can go wrong at random
	byHand   map[int]bool   // those whom a person has opened for writes
	stopped  map[int]bool   // those whose receiver a person has stopped
	halted   map[int]bool   // those whose applier has stopped by itself, or by a person
	later    map[int][]func()
	onCommit func()      // happens when a failover is committed; may be nil
	well     bool        // everything has come back
	two      int         // for how many ticks two servers have been writable in the daemon's sight
	writes   map[int]int // for how many ticks a server has written that should not, by number
	news     news
	judged   uint64 // the state of the world that the daemon has judged last
	calm     int    // for how many ticks there has been no reason to act, since everything came back
	found    *Violation
	Stats    Stats
}

// Stats tell what the worlds were made of, so that a simulation in which nothing happens is noticed.
type Stats struct {
	Promotions, Withdrawn, Refused, Fenced, Crashes, Lost, Moved, Adopted, Blocked, Survivable, Ready int
}

// Run plays one world, and returns the first property that was hurt, or nil.
func Run(seed uint64) (Stats, *Violation) { return retold(seed, playFaults) }

func playFaults(seed uint64, tell bool) (Stats, *Violation) {
	w := world.New(seed)
	if seed%16 == 12 {
		w = world.NewTree(seed)
	}
	r := newRun(w, seed, tell)
	r.faults, r.policy = faults, r.anyPolicy()
	switch seed % 16 {
	case 7, 15:
		r.faults = slices.Concat(faults, rare)
	case 4:
		r.faults = slices.Concat(faults, deliberate)
	case 12:
		r.faults = nil
		r.after(10, r.hangOnceCommitted)
	}
	for r.Tick < end && r.calm < calm && r.found == nil {
		r.Advance()
		for _, do := range r.later[r.Tick] {
			do()
		}
		if r.Tick < faultsEnd {
			r.fail()
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

func newRun(w *world.World, seed uint64, tell bool) *run {
	if tell {
		w.Tell()
	}
	r := &run{World: w, seed: seed, policy: permissive, direct: map[int]bool{}, byHand: map[int]bool{},
		stopped: map[int]bool{}, halted: map[int]bool{}, later: map[int][]func(){},
		writes: map[int]int{}}
	for _, v := range w.Servers {
		r.direct[v.N] = v.Source == 0
	}
	return r
}

// live lets the daemon have one tick.
func (r *run) live() {
	r.news.look(r.state(), r.Tick)
	if r.down > 0 {
		r.down--
		r.two = 0
		clear(r.writes)
		return
	}
	steady := r.steady()
	if r.calm++; !steady || !r.well {
		r.calm = 0
	}
	if r.due(steady) {
		r.ProbeAll()
		r.turn()
	}
	r.watch()
}

// due says that the daemon has something to do: that the world has changed, or that its next poll is due. In most ticks
// neither is so; to ask about them would make the worlds no richer, only fewer.
func (r *run) due(steady bool) bool {
	every := 4
	if steady {
		every = 10
	}
	if r.Tick%every > 0 && r.news.state == r.judged {
		return false
	}
	r.judged = r.news.state
	return true
}

// steady says that the truth gives no reason to act, nor does anything on record.
func (r *run) steady() bool {
	writable := 0
	for _, v := range r.Servers {
		if v.Health != world.Alive || !r.Reaches(-1, v.N) || v.Source >= 0 && !v.Connected {
			return false
		}
		if v.Open() {
			writable++
		}
	}
	for _, e := range r.episodes {
		if e.Closed.IsZero() {
			return false
		}
	}
	return writable == 1
}

func (r *run) hurt(property, format string, args ...any) {
	if r.found == nil {
		r.found = &Violation{Property: property, Seed: r.seed, Says: fmt.Sprintf(format, args...), Log: r.Log}
	}
}

func (r *run) situation() plan.Situation {
	return plan.Situate(plan.Facts{Cluster: "c", Snapshot: r.snapshot(), Policy: r.policy,
		Thresholds: analysis.Defaults, Episodes: r.episodes, Off: r.off})
}

// turn is that of recovery.Runner: act, look again, ask again.
func (r *run) turn() {
	for range 30 {
		s := r.situation()
		d := plan.Next(s)
		r.unmoved(s, d)
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
				if aims(step) {
					r.hurt("a stranger changes nothing", "%s at %v, source %v", step.Kind, step.At, step.Source)
					return
				}
				done, killed := r.step(w, step)
				if killed {
					return
				}
				moved = moved || done && step.Kind != plan.AwaitApplied
			}
		}
		if !r.steadily && r.Rand.IntN(40) == 0 { // or between two
			r.die()
			return
		}
		if r.Rand.IntN(3) == 0 { // time passes while steps are done, and the world goes on
			r.Advance()
			if r.faults != nil && r.Tick < faultsEnd {
				r.fail()
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
	n := r.Rand.IntN(40)
	if n == 1 && !r.steadily {
		_ = r.Do(step, r.Rand.Float64())
		r.die()
		return false, true
	}
	err := errors.New("lost on the way")
	if n > 0 || r.steadily {
		err = r.Do(step, 1)
	}
	r.tried(w, step, err)
	if err != nil {
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

// tried puts on record how a step went, as recovery.Runner does.
func (r *run) tried(w plan.Work, step plan.Step, err error) {
	done := plan.Done{Step: step}
	if err != nil {
		r.news.changed = r.Tick
		if done.Error = err.Error(); r.Rand.IntN(2) == 0 {
			done.Took = 3 * time.Second
		}
	}
	for i, e := range r.episodes {
		if w.Episode != nil && e.ID == w.Episode.ID {
			r.episodes[i] = e.Tried(done, err)
		}
	}
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

// store puts the episodes of a decision on record.
func (r *run) store(d plan.Decision) {
	for _, w := range d.Works {
		if w.Episode == nil {
			continue
		}
		if err := w.Episode.Check(); err != nil {
			r.hurt("every episode on record is consistent", "%v", err)
		}
		before := r.put(*w.Episode)
		r.preempted(before, w)
		if before.Candidate != w.Episode.Candidate {
			r.Say("chosen: %v: %s", w.Episode.Candidate, w.Episode.Why)
			for _, c := range w.Candidates {
				r.Say("  %v: %s", c.Key, strings.Join(c.Vetoes, "; "))
			}
		}
	}
}

// put puts an episode on record, and returns what was there before.
func (r *run) put(e plan.Episode) (before plan.Episode) {
	at := slices.IndexFunc(r.episodes, func(o plan.Episode) bool { return o.ID == e.ID })
	if at < 0 {
		r.Say("episode opened: %s at %v", e.Code, e.Failed)
		r.episodes = append([]plan.Episode{e}, r.episodes...)
	} else {
		before, r.episodes[at] = r.episodes[at], e
	}
	if before.Closed.IsZero() && !e.Closed.IsZero() {
		r.Say("episode closed: %s", e.Outcome)
		if e.Promoted.IsZero() {
			r.Stats.Withdrawn++
		}
		r.Stats.Lost += len(e.Lost)
	}
	if e.Blocked != before.Blocked && e.Blocked != "" {
		r.Say("blocked: %s", e.Blocked)
		r.Stats.Blocked++
	}
	r.verdict(before, e)
	r.begun(before, e)
	if before.Stage != plan.Committed && e.Stage == plan.Committed && r.onCommit != nil {
		r.onCommit()
		r.onCommit = nil
	}
	r.adoption(before, e)
	r.told(before, e)
	r.turns(before, e)
	r.givenUp(before, e)
	return before
}
