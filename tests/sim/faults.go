package sim

import "orchestrator/tests/world"

// fault lets something go wrong, now and then.
func (r *run) fault() {
	if r.Rand.IntN(25) > 0 {
		return
	}
	v := r.Servers[r.Rand.IntN(len(r.Servers))]
	if r.Rand.IntN(2) == 0 { // half of all faults hit whoever is the primary
		for _, p := range r.Servers {
			if p.Health == world.Alive && !p.ReadOnly && !p.Stray {
				v = p
			}
		}
	}
	switch r.Rand.IntN(12) {
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
	case 11:
		if v.Health == world.Alive {
			r.Purge(v)
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

// heal brings everything back. Servers start with their configured settings, so a former primary comes back writable.
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
