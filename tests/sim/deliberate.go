package sim

import (
	"slices"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/tests/world"
)

// deliberate is what goes wrong besides in some other worlds: people switch recoveries off, and what a candidate was
// compared with dies at the worst moment.
var deliberate = []fault{(*run).switchOff, (*run).switchOff, (*run).switchOn, (*run).dieOnceCommitted,
	(*run).dieOnceCommitted}

func (r *run) switchOff(*world.Server) {
	r.Say("recoveries are switched off")
	r.off = "ann works there"
}

func (r *run) switchOn(*world.Server) {
	r.Say("recoveries are switched on")
	r.off = ""
}

// begun holds that no recovery is begun while recoveries are switched off.
func (r *run) begun(before, e plan.Episode) {
	began := (before.Stage == "" || before.Stage == plan.Suspected) && e.Stage != plan.Suspected
	if r.off != "" && began {
		r.hurt("while recoveries are off nothing is begun", "the recovery of %v is begun", e.Failed)
	}
}

// continued holds that while recoveries are switched off a server is changed only by a recovery that was under way, or
// for one.
func (r *run) continued(w plan.Work, step plan.Step) {
	underWay := slices.ContainsFunc(r.episodes, func(e plan.Episode) bool {
		return e.Kind.Promotes() && e.Closed.IsZero() && e.Stage != plan.Suspected
	})
	if r.off != "" && w.Kind == plan.Aftercare && !underWay {
		r.hurt("while recoveries are off nothing is begun", "%s at %v", step.Kind, step.At)
	}
}

// dieOnceCommitted has the primary die, and once its failover is committed the only replica with GTID, too, that has as
// much as one without: the others have lost the connection to the primary before.
func (r *run) dieOnceCommitted(*world.Server) {
	p := r.primary()
	if p == nil || r.open() != "" {
		return
	}
	var direct []*world.Server
	for _, v := range r.Servers {
		if v.Source == p.N && v.Health == world.Alive && v.Connected && v.Applies() {
			direct = append(direct, v)
		}
	}
	if len(direct) < 3 {
		return
	}
	r.Say("%v replicates without GTID; only %v receives as much", direct[0].Key, direct[1].Key)
	direct[0].Coordinates, direct[1].Coordinates = true, false
	direct[0].LagTicks = 40 // what it has only received has no GTID yet
	for _, v := range direct[2:] {
		r.Cut[[2]int{v.N, p.N}] = true
	}
	r.after(3, func() { r.kill(p) })
	r.onCommit = func() { r.kill(direct[1]) }
}

// hangOnceCommitted has the primary die where only a replica of an intermediate source may be promoted, and applies for
// a while; and once the failover is committed that source hangs. Its other replica is then no server of the failover.
func (r *run) hangOnceCommitted() {
	p := r.primary()
	if p == nil || r.open() != "" {
		return
	}
	below := map[*world.Server][]*world.Server{}
	for _, v := range r.Servers {
		if v.Source >= 0 && v.Health == world.Alive && v.Connected && !v.Coordinates && v.Locked == 0 {
			below[r.Servers[v.Source]] = append(below[r.Servers[v.Source]], v)
		}
	}
	for _, m := range below[p] {
		if len(below[m]) < 2 {
			continue
		}
		r.Say("only %v, a replica of %v, may be promoted", below[m][0].Key, m.Key)
		for _, v := range r.Servers {
			v.Rule = topology.MustNot
			if v == below[m][0] {
				v.Rule = ""
			}
			r.Heard(v).Rule = v.Rule
		}
		below[m][0].LagTicks = 60
		r.after(3, func() { r.kill(p) })
		r.onCommit = func() {
			r.after(2, func() {
				r.Say("%v hangs", m.Key)
				m.Health = world.Hung
			})
		}
		return
	}
}
