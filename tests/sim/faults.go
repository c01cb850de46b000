package sim

import (
	"slices"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/tests/world"
)

// fail lets something go wrong, now and then.
func (r *run) fail() {
	if len(r.faults) == 0 || r.Rand.IntN(16) > 0 {
		return
	}
	v := r.Servers[r.Rand.IntN(len(r.Servers))]
	if p := r.primary(); p != nil && r.Rand.IntN(2) == 0 { // half of all faults hit whoever is the primary
		v = p
	}
	r.faults[r.Rand.IntN(len(r.faults))](r, v)
}

// fault is something that goes wrong at a server.
type fault func(*run, *world.Server)

// faults are what can go wrong with a server; those that are here twice do so more often.
var faults = []fault{
	(*run).kill, (*run).kill, (*run).start, (*run).hang, (*run).hang, (*run).wake, (*run).cutFromDaemon, (*run).cut,
	(*run).mend, (*run).lag, (*run).purge, (*run).stopApplier,
	(*run).lock, (*run).stopReceiver, (*run).unresolve, (*run).openByHand, (*run).dieAfterTests,
	(*run).dieBeforeRelayed, (*run).dieWithAcknowledgers, (*run).restart,
}

// rare are what goes wrong besides in some worlds.
var rare = []fault{(*run).exchange, (*run).exchange, (*run).exchange}

// exchange has the candidate of a failover come back with an empty data directory before it was promoted. Where nobody
// has ever written it would be the same as before.
func (r *run) exchange(*world.Server) {
	for _, e := range r.episodes {
		if r.Idle || !e.Kind.Promotes() || e.Stage != plan.Chosen || !e.Closed.IsZero() {
			continue
		}
		v := r.Find(e.Candidate)
		r.kill(v)
		r.after(1+r.Rand.IntN(5), func() {
			if v.Health != world.Dead {
				return
			}
			r.Start(v, world.Emptied)
			v.ReadOnly = r.Rand.IntN(4) == 0
			v.Stray = !v.ReadOnly
		})
		return
	}
}

func (r *run) kill(v *world.Server) {
	r.Say("%v killed", v.Key)
	v.Health, v.Connected = world.Dead, false
}

// start starts a dead server: most often as it was, sometimes emptied or as another.
func (r *run) start(v *world.Server) {
	if v.Health != world.Dead {
		return
	}
	how := world.Same
	if n := r.Rand.IntN(8); n < 2 && !(v.ReadOnly && r.rightful(v)) {
		how = world.Return(1 + n)
	}
	// It was a replica, and its configuration says read_only. It is opened again where it is known for certain: the
	// times of its starts are known to a second.
	v.Shut = v.Opened && r.Tick-v.Booted > 70 && how == world.Same && r.Heard(v).Downtime == nil &&
		!slices.ContainsFunc(r.Servers, stray) && r.Rand.IntN(3) == 0
	r.Start(v, how)
	if how == world.Emptied && r.rightful(v) {
		v.ReadOnly = false
	}
	if how == world.Emptied && !v.ReadOnly && !r.rightful(v) && !r.replaced(v) {
		v.Stray = true
	}
}

func stray(v *world.Server) bool { return v.Stray }

// rightful says that v is the primary, as far as anybody has made it so.
func (r *run) rightful(v *world.Server) bool {
	if k := plan.PromotedLast(r.episodes); !k.IsZero() {
		return k == v.Key
	}
	return v.N == 0
}

// restart kills a server that is back at once, so that hardly anybody notices.
func (r *run) restart(v *world.Server) {
	r.kill(v)
	r.after(1+r.Rand.IntN(10), func() { r.start(v) })
}

func (r *run) hang(v *world.Server) {
	if v.Health == world.Alive {
		r.Say("%v hangs", v.Key)
		v.Health = world.Hung
	}
}

func (r *run) wake(v *world.Server) {
	if v.Health == world.Hung {
		r.Say("%v goes on", v.Key)
		v.Health = world.Alive
	}
}

func (r *run) cutFromDaemon(v *world.Server) {
	r.Say("%v cut off from the daemon", v.Key)
	r.Cut[[2]int{-1, v.N}] = true
}

func (r *run) cut(v *world.Server) {
	r.Say("%v cut off from all", v.Key)
	r.Cut[[2]int{-1, v.N}] = true
	for _, o := range r.Servers {
		if o != v {
			r.Cut[[2]int{v.N, o.N}] = true
		}
	}
}

func (r *run) mend(*world.Server) {
	r.Say("cuts healed, and all names resolve")
	clear(r.Cut)
	clear(r.Unresolved)
}

func (r *run) lag(v *world.Server) {
	if v.Source >= 0 {
		v.LagTicks = r.Rand.IntN(40)
		r.Say("%v lags for %d ticks", v.Key, v.LagTicks)
	}
}

func (r *run) purge(v *world.Server) {
	if v.Health == world.Alive {
		r.Purge(v)
	}
}

func (r *run) stopApplier(v *world.Server) {
	if v.Source >= 0 && r.Rand.IntN(2) == 0 {
		v.SQL, r.halted[v.N] = false, true
		if r.Rand.IntN(2) == 0 {
			v.SQLErrno = 1062
		}
		r.Say("applier of %v stops, error %d", v.Key, v.SQLErrno)
	}
}

// stopReceiver has a person stop the receiver of a replica.
func (r *run) stopReceiver(v *world.Server) {
	if v.Source < 0 || v.Health != world.Alive {
		return
	}
	r.Say("somebody stops the receiver of %v", v.Key)
	v.IO, v.Connected, r.stopped[v.N] = false, false, true
}

// lock has a backup, or a person, lock a server.
func (r *run) lock(v *world.Server) {
	if v.Health == world.Alive {
		r.Lock(v, 10+r.Rand.IntN(100))
	}
}

// unresolve makes the name of a server unknown: to the daemon, to the replicas, or to all.
func (r *run) unresolve(v *world.Server) {
	whose := r.Rand.IntN(3)
	r.Say("the name of %v does not resolve for %s", v.Key, [...]string{"all", "the daemon", "the replicas"}[whose])
	if whose != 2 {
		r.Unresolved[[2]int{-1, v.N}] = true
	}
	for _, o := range r.Servers {
		if whose != 1 {
			r.Unresolved[[2]int{o.N, v.N}] = true
			o.Connected = o.Connected && o.Source != v.N // else nobody would notice
		}
	}
}

// openByHand has a person open a replica of a dead primary for writes: the right one, or just any.
func (r *run) openByHand(v *world.Server) {
	if v.Source < 0 || v.Health != world.Alive || r.Servers[v.Source].Health == world.Alive {
		return
	}
	r.Say("somebody opens %v for writes", v.Key)
	if v.Applies() {
		v.Executed = v.Received
	}
	r.byHand[v.N] = true
	r.loose(v)
}

// loose makes a replica one that follows nobody and takes writes, and that nobody has chosen.
func (r *run) loose(v *world.Server) {
	v.Stray, v.Source, v.IO, v.SQL, v.Connected, v.Detached, v.ReadOnly = true, -1, false, false, false, false, false
	v.Received, v.Opened = v.Executed, false
}

// dieAfterTests has a person take a replica away for tests while clients pause, so that it has all the data. Then the
// primary dies. It was no replica when that fell silent.
func (r *run) dieAfterTests(v *world.Server) {
	p := r.primary()
	if p == nil || v.Source != p.N || v.Health != world.Alive || !v.Applies() || r.testing(v) || r.open() != "" ||
		r.down > 0 || !r.reachable(v) || !r.reachable(p) || r.Heard(p).Probe.Failure != topology.OK {
		return
	}
	r.Say("clients pause, and %v is taken for tests", v.Key)
	p.Locked = max(p.Locked, 30)
	v.Executed = v.Received.With(p.Executed)
	r.loose(v)
	v.Locked = 30
	r.after(12+r.Rand.IntN(10), func() { r.kill(p) })
}

// testing says that v has replicas of its own, or that others were opened before it: one scratch server is enough.
func (r *run) testing(v *world.Server) bool {
	for _, o := range r.Servers {
		if o.Stray || o.Source == v.N {
			return true
		}
	}
	return false
}

// dieBeforeRelayed lets the primary die when a replica still has to apply what the others have purged.
func (r *run) dieBeforeRelayed(v *world.Server) {
	p := r.primary()
	if p == nil || v.Source < 0 || v.Health != world.Alive {
		return
	}
	v.LagTicks = 20 + r.Rand.IntN(40)
	r.Say("%v lags for %d ticks", v.Key, v.LagTicks)
	r.after(10, func() {
		for _, o := range r.Servers {
			if o != v && o != p && o.Health == world.Alive {
				r.Purge(o)
			}
		}
		r.kill(p)
	})
}

// dieWithAcknowledgers lets the primary die together with replicas that acknowledge what it commits.
func (r *run) dieWithAcknowledgers(*world.Server) {
	p := r.primary()
	if p == nil || !p.Semi.Source {
		return
	}
	for _, o := range r.Servers {
		if o.Source == p.N && o.Semi.Replica && r.Rand.IntN(4) > 0 {
			r.cut(o)
		}
	}
	r.kill(p)
}

// after has something happen some ticks later, while faults happen.
func (r *run) after(ticks int, do func()) {
	if at := r.Tick + ticks; at < faultsEnd {
		r.later[at] = append(r.later[at], do)
	}
}

// heal brings everything back. Servers start with their configured settings, so a former primary comes back writable.
func (r *run) heal() {
	r.Say("everything is healed")
	r.off = ""
	clear(r.Cut)
	clear(r.Unresolved)
	for _, v := range r.Servers {
		if v.Health == world.Dead {
			r.Start(v, world.Same)
		}
		v.Health, v.LagTicks, v.SQLErrno, v.Locked, v.Delayed = world.Alive, 0, 0, 0, false
		if v.Source >= 0 {
			v.SQL = v.SQL || r.halted[v.N]
			v.IO = v.IO || r.stopped[v.N] && v.IOErrno != world.Purged
		}
	}
}
