// Package sim lets random worlds try what must never happen. A run is a cluster on paper, a schedule of faults, and the daemon's own
// judgement and planning in a loop that loses steps, does them by half, and dies at any moment; the same seed gives the same run.
//
// The properties, and beside each the break of the code that was seen to be caught by it, stand in the table of sim_test.go.
package sim

import (
	"fmt"
	"strings"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
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
	policy   plan.Policy
	well     bool // everything has come back
	two      int  // for how many ticks two servers have been writable in the daemon's sight
	found    *Violation
	Stats    Stats
}

// Stats tell what the worlds were made of, so that a simulation in which nothing happens is noticed.
type Stats struct{ Promotions, Withdrawn, Refused, Fenced, Crashes, Lost, Moved int }

// Run plays one world, and returns the first property that was hurt, or nil.
func Run(seed uint64) (Stats, *Violation) {
	r := &run{World: world.New(seed), seed: seed}
	r.policy = plan.Policy{Named: true, RecoverPrimary: true, RecoverIntermediate: true, DrainTimeout: time.Second, AllowUnfenced: true}
	for r.Tick < end && r.found == nil {
		r.Advance()
		if r.Tick < faultsEnd {
			r.fault()
		}
		if r.Tick >= healed && !r.well {
			r.well = true
			r.heal()
		}
		if r.down > 0 {
			r.down--
			r.two = 0
			continue
		}
		if !r.steady() { // most ticks are; to ask about them would make the worlds no richer, only fewer
			r.ProbeAll()
			r.turn()
		}
		r.watch()
	}
	if r.found == nil {
		r.finally()
	}
	return r.Stats, r.found
}

// steady says that the truth gives no reason to act, nor does anything on record.
func (r *run) steady() bool {
	writable := 0
	for _, v := range r.Servers {
		if v.Health != world.Alive || !r.Reaches(-1, v.N) || v.Source >= 0 && !v.Connected {
			return false
		}
		if !v.ReadOnly {
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

// fault lets something go wrong, now and then.
func (r *run) fault() {
	if r.Rand.IntN(25) > 0 {
		return
	}
	v := r.Servers[r.Rand.IntN(len(r.Servers))]
	if r.Rand.IntN(2) == 0 { // half of all faults hit whoever is the primary
		for _, p := range r.Servers {
			if p.Health == world.Alive && !p.ReadOnly {
				v = p
			}
		}
	}
	switch r.Rand.IntN(11) {
	case 0, 1:
		r.Say("%v killed", v.Key)
		v.Health, v.Connected = world.Dead, false
	case 2:
		if v.Health == world.Dead {
			r.Say("%v started", v.Key)
			v.Health, v.Booted = world.Alive, r.Tick
			v.Received = v.Executed.With(v.Received)
			if v.Source >= 0 {
				v.IO, v.SQL = true, true
			}
		}
	case 3, 4:
		if v.Health == world.Alive {
			r.Say("%v hangs", v.Key)
			v.Health = world.Hung
		}
	case 5:
		if v.Health == world.Hung {
			r.Say("%v goes on", v.Key)
			v.Health = world.Alive
		}
	case 6:
		r.Say("%v cut off from the daemon", v.Key)
		r.Cut[[2]int{-1, v.N}] = true
	case 7:
		r.Say("%v cut off from all", v.Key)
		r.Cut[[2]int{-1, v.N}] = true
		for _, o := range r.Servers {
			if o != v {
				r.Cut[[2]int{v.N, o.N}] = true
			}
		}
	case 8:
		r.Say("cuts healed")
		clear(r.Cut)
	case 9:
		if v.Source >= 0 {
			v.LagTicks = r.Rand.IntN(40)
			r.Say("%v lags for %d ticks", v.Key, v.LagTicks)
		}
	case 10:
		if v.Source >= 0 && r.Rand.IntN(2) == 0 {
			v.SQL = false
			if r.Rand.IntN(2) == 0 {
				v.SQLErrno = 1062
			}
			r.Say("applier of %v stops, error %d", v.Key, v.SQLErrno)
		}
	}
}

// heal brings everything back; servers start with what their configuration says, so that a former primary comes back writable.
func (r *run) heal() {
	r.Say("everything is healed")
	clear(r.Cut)
	for _, v := range r.Servers {
		if v.Health == world.Dead {
			v.Booted = r.Tick
			v.Received = v.Executed.With(v.Received)
		}
		v.Health, v.LagTicks, v.SQLErrno = world.Alive, 0, 0
		if v.Source >= 0 {
			v.SQL = true
		}
	}
}

func (r *run) situation() plan.Situation {
	return plan.Situate(plan.Facts{Cluster: "c", Snapshot: r.Snapshot(), Policy: r.policy, Thresholds: analysis.Defaults, Episodes: r.episodes})
}

// turn is that of recovery.Runner: act, look again, ask again.
func (r *run) turn() {
	for range 30 {
		d := plan.Next(r.situation())
		if promotes(d) {
			r.ProbeAll()
			d = plan.Next(r.situation())
		}
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
			if r.Tick < faultsEnd {
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

// check holds a step, just before it is done, against what must never happen.
func (r *run) check(w plan.Work, step plan.Step) {
	e := w.Episode
	if step.Kind == plan.StopReceiver && e.Stage == plan.Committed {
		failed := r.Find(e.Failed)
		for _, v := range r.Servers {
			if v.Source == failed.N && v.Connected && v.Health == world.Alive && failed.Health == world.Alive &&
				r.Reaches(v.N, failed.N) && r.Reaches(-1, v.N) {
				r.hurt("never dead while a reachable replica receives", "%v declared dead, %v receives from it", e.Failed, v.Key)
			}
		}
	}
	if step.Kind != plan.Promote {
		return
	}
	failed, cand := r.Find(e.Failed), r.Find(step.At)
	if cand.Rule == topology.MustNot {
		r.hurt("never against a must_not", "%v is promoted", cand.Key)
	}
	if !cand.LogUpdates {
		r.hurt("never a server that nobody can follow", "%v is promoted", cand.Key)
	}
	all := true
	for _, v := range r.Servers {
		if v == cand || v == failed {
			continue
		}
		reachable := v.Health == world.Alive && r.Reaches(-1, v.N)
		all = all && reachable
		if reachable && v.Source == failed.N && !v.Detached && !cand.Executed.Has(v.Received) {
			r.hurt("never less advanced, nothing received is lost", "%v is promoted with %v, %v received %v", cand.Key, cand.Executed, v.Key, v.Received)
		}
		if reachable && !v.ReadOnly && v.Source < 0 {
			r.hurt("never two writable", "%v is promoted beside %v", cand.Key, v.Key)
		}
	}
	if failed.Health == world.Alive && r.Reaches(-1, failed.N) && !failed.ReadOnly {
		r.hurt("never two writable", "%v is promoted, and %v answers", cand.Key, failed.Key)
	}
	acked := r.Acked[failed.N]
	if all && r.SemiSync && cand.Executed[failed.N] < acked {
		r.hurt("with semi-sync nothing acknowledged is lost", "%v is promoted with %d of %d", cand.Key, cand.Executed[failed.N], acked)
	}
}

// watch looks at the world after each turn.
func (r *run) watch() {
	n := 0
	for _, v := range r.Servers {
		if v.Health == world.Alive && !v.ReadOnly && v.Source < 0 && r.Reaches(-1, v.N) {
			n++
		}
	}
	if n < 2 {
		r.two = 0
		return
	}
	if r.two++; r.two > 10 { // a poll interval is 20 ticks; steps may be lost
		r.hurt("never two writable for longer than it takes to fence", "for %d ticks", r.two)
	}
}

// finally holds what must be true once everything has come back.
func (r *run) finally() {
	writable := 0
	for _, v := range r.Servers {
		if !v.ReadOnly && v.Source < 0 {
			writable++
		}
	}
	if writable != 1 {
		r.hurt("in the end one server is writable", "%d are", writable)
	}
	lost := map[topology.Key]bool{}
	for _, e := range r.episodes {
		for _, l := range e.Lost {
			lost[l.Key] = true
		}
	}
	for _, v := range r.Servers {
		if v.Source >= 0 && !v.Detached && !v.IO && !lost[v.Key] {
			r.hurt("in the end every replica receives, or is reported as lost", "%v does not", v.Key)
		}
	}
	for _, e := range r.episodes {
		if e.Closed.IsZero() {
			r.hurt("every recovery completes", "episode %s of %v is still open at stage %s: %s", e.ID, e.Failed, e.Stage, e.Blocked)
		}
	}
}
