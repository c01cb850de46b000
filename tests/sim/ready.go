package sim

import (
	"slices"
	"strings"

	"orchestrator/daemon/plan"
	"orchestrator/tests/world"
)

// The primary of a cluster that may have many faults dies, and nothing else happens: the daemon is well, and no step is
// lost. What readiness said a moment before must then come true. A failover that is possible ends within its bound, and
// one that is not is refused with its reason, once.

const (
	settles   = 4   // ticks that a fault has to show before that
	readyAt   = 60  // the tick at which readiness is asked for, and the primary killed
	readyEnd  = 300 // ticks within which all must be well again, or refused
	promoteBy = 40  // ticks within which a ready cluster has a new primary, and the time that its applier needs
)

// RunReady plays one world of that kind, and returns the first property that was hurt, or nil.
func RunReady(seed uint64) (Stats, *Violation) { return retold(seed, playReady) }

func playReady(seed uint64, tell bool) (Stats, *Violation) {
	grow := world.New
	if seed%2 == 0 {
		grow = world.NewTree
	}
	r := newRun(grow(seed), seed, tell)
	r.steadily = true
	r.policy = r.anyPolicy()
	for r.Tick < readyAt {
		r.Advance()
		r.odd()
		if r.Tick%20 == 0 {
			r.ProbeAll()
		}
	}
	r.ProbeAll()
	p := r.Servers[0]
	said := plan.IfDies(r.situation(), p.Key)
	ready := said.Ready()
	if ready {
		r.Stats.Ready++
	}
	r.Say("ready: %v %v", ready, said.Main().Refused)
	for range r.Rand.IntN(3) {
		r.Advance()
	}
	possible := r.possible()
	lag := r.slowest()
	r.kill(p)
	promoted := r.await(lag)
	if r.found == nil {
		r.kept(said, promoted, possible)
	}
	return r.Stats, r.found
}

// await lets the daemon work until nothing more is to do, and says whether there was a new primary in time.
func (r *run) await(lag int) (promoted bool) {
	died := r.Tick
	for r.Tick < died+readyEnd+lag && r.found == nil {
		r.Advance()
		r.live()
		if promoted = promoted || r.primary() != nil && r.Tick <= died+promoteBy+lag; promoted && r.open() == "" {
			r.live()
			break
		}
	}
	return promoted
}

// kept holds readiness, and what is told, against what came of it.
func (r *run) kept(said plan.Previewed, promoted, possible bool) {
	d := plan.Next(r.situation())
	switch {
	case said.Ready() && !promoted && !r.ahead():
		r.hurt("readiness that says yes is kept", "no server was promoted in time: %s; %v", r.open(), d.Refused())
	case possible && !promoted && !r.ahead():
		r.hurt("a failover that is possible ends within its bound", "no server was promoted in time: %s; %v; %v",
			r.open(), d.Refused(), codes(r.situation()))
	case r.primary() == nil && r.open() == "" && len(d.Refused()) == 0 && d.Wait() == "":
		r.hurt("what is not done is refused", "nothing is said of a dead primary")
	case said.Ready() && promoted && strings.Contains(r.open(), string(plan.PrimaryFailover)):
		r.hurt("readiness that says yes is kept", "the failover did not end: %s", r.open())
	}
}

// ahead says that a replica that can't pass it on has received more than others by chance: nobody can know that before,
// nor that another can't reach it.
func (r *run) ahead() bool {
	return slices.ContainsFunc(r.Servers, func(v *world.Server) bool {
		return v.N > 0 && slices.ContainsFunc(r.Servers, func(o *world.Server) bool {
			reaches := r.Reaches(o.N, v.N) && !r.Unresolved[[2]int{o.N, v.N}]
			return o.N > 0 && !o.Received.Has(v.Received) && (!r.gives(v) || !reaches)
		})
	})
}

// odd gives servers faults that last, now and then.
func (r *run) odd() {
	if r.Rand.IntN(20) > 0 || r.Tick > readyAt-settles {
		return
	}
	v := r.Servers[r.Rand.IntN(len(r.Servers))]
	if v.N == 0 {
		if r.Rand.IntN(2) == 0 {
			r.Purge(v)
		}
		return
	}
	lasting := []func(*run, *world.Server){(*run).kill, (*run).lag, (*run).purge, (*run).stopApplier, (*run).lock,
		(*run).stopReceiver, (*run).unresolve, (*run).cut, (*run).cutFromDaemon, (*run).hang}
	lasting[r.Rand.IntN(len(lasting))](r, v)
}

// slowest is for how many ticks something keeps the servers from applying, or from being changed.
func (r *run) slowest() int {
	n := 0
	for _, v := range r.Servers {
		n = max(n, v.LagTicks, v.Locked)
	}
	return n
}

// possible says that a failover is, as far as this simulation can judge: somebody can be promoted, has all, and nobody
// forbids it.
func (r *run) possible() bool {
	p := r.Servers[0]
	if !r.policy.RecoverPrimary || r.Heard(p).Downtime != nil || r.Unresolved[[2]int{-1, p.N}] || p.Stray {
		return false
	}
	var living []*world.Server
	witness := false
	for _, v := range r.Servers[1:] {
		if r.reachable(v) {
			living = append(living, v)
			witness = witness || v.Source == p.N && v.IO && !r.Unresolved[[2]int{v.N, p.N}] && r.Reaches(v.N, p.N)
		}
	}
	if !witness || !r.heard(living) {
		return false
	}
	for _, v := range living {
		if v.Source != p.N || !r.fit(v) || !v.Applies() {
			continue
		}
		best := true
		for _, o := range living {
			best = best && (v.Received.Has(o.Received) || r.partial(o))
		}
		if best {
			return true
		}
	}
	return false
}
