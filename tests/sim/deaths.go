package sim

import (
	"fmt"
	"slices"
	"strings"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/tests/world"
)

// Several servers die close together, and stay dead: the primary, an intermediate source, and sometimes others, in any
// order. The daemon fails too: steps are lost or half done, and it is killed. In the end the cluster has a primary
// again, if a direct replica that can be promoted lives.

const (
	together  = 10  // ticks within which they die: half a second
	deathsEnd = 220 // the tick at which all must be well again, as far as it can be
)

// RunDeaths plays one world of that kind, and returns the first property that was hurt, or nil.
func RunDeaths(seed uint64) (Stats, *Violation) { return retold(seed, playDeaths) }

func playDeaths(seed uint64, tell bool) (Stats, *Violation) {
	r := newRun(world.NewTree(seed), seed, tell)
	dies := r.casualties()
	began := r.Tick + 1 + r.Rand.IntN(20)
	for n := range dies {
		dies[n] += began
	}
	for r.Tick < deathsEnd && r.found == nil {
		r.Advance()
		for _, v := range r.Servers {
			if at, doomed := dies[v.N]; doomed && at == r.Tick {
				r.kill(v)
			}
		}
		r.live()
	}
	if r.found == nil {
		r.survivors()
	}
	return r.Stats, r.found
}

// casualties are the servers that die, and after how many ticks: always the primary, nearly always an intermediate
// source, sometimes others.
func (r *run) casualties() map[int]int {
	dies := map[int]int{0: r.Rand.IntN(together + 1)}
	for _, v := range r.Servers[1:] {
		if r.intermediate(v) && r.Rand.IntN(8) > 0 || r.Rand.IntN(6) == 0 {
			dies[v.N] = r.Rand.IntN(together + 1)
		}
	}
	return dies
}

func (r *run) intermediate(v *world.Server) bool {
	for _, o := range r.Servers {
		if o.Source == v.N {
			return v.N > 0
		}
	}
	return false
}

// survivors holds what must be true when the dead stay dead.
func (r *run) survivors() {
	if r.candidates() == 0 {
		return // nobody is left to witness, or to be promoted
	}
	r.Stats.Survivable++
	primary := r.primary()
	if primary == nil {
		d := plan.Next(r.situation())
		r.hurt("where a direct replica lives, a primary is promoted",
			"there is none: %s; waits: %s; refused: %v; findings: %v", r.open(), d.Wait(), d.Refused(),
			codes(r.situation()))
		return
	}
	if open := r.open(); open != "" {
		r.hurt("every recovery completes although servers stay dead", "%s", open)
	}
	lost, refused := r.lost(), fmt.Sprint(plan.Next(r.situation()).Refused())
	for _, v := range r.Servers {
		lost[v.Key] = lost[v.Key] || strings.Contains(refused, fmt.Sprintf("%v can't be moved", v.Key))
	}
	for _, v := range r.Servers {
		if v.Source >= 0 && r.Heard(r.Servers[v.Source]).Downtime != nil {
			lost[v.Key] = true // people said that its source is not to be repaired
		}
		if v.Health != world.Alive || v == primary || v.Stray || r.belowOneOf(lost, v) {
			continue
		}
		if v.Source < 0 || !v.IO || !r.below(v, primary) || !v.Connected {
			r.hurt("every living replica ends below the new primary, or is reported as lost",
				"%v does not follow %v: %s; %v", v.Key, primary.Key, refused, codes(r.situation()))
		}
	}
}

// belowOneOf says that v, or a server above it, is one of those.
func (r *run) belowOneOf(lost map[topology.Key]bool, v *world.Server) bool {
	for range r.Servers {
		if lost[v.Key] {
			return true
		}
		if v.Source < 0 {
			return false
		}
		v = r.Servers[v.Source]
	}
	return false
}

// candidates are the direct replicas that live, can be promoted, and were not lost by an earlier failover. There is
// none where a server that has no binary log of what it replicates has received more: it can't pass that on, and the
// policy does not allow its loss.
func (r *run) candidates() int {
	var living []*world.Server
	for _, v := range r.Servers[1:] {
		if v.Health == world.Alive { // also one that was to die, and got away
			living = append(living, v)
		}
	}
	n := 0
	lost := r.lost()
	for _, v := range living {
		stuck := slices.ContainsFunc(living, func(o *world.Server) bool {
			return !r.gives(o) && !r.partial(o) && !v.Received.Has(o.Received) // it can't pass that on
		})
		if r.direct[v.N] && !lost[v.Key] && r.fit(v) && !stuck {
			n++
		}
	}
	if !r.heard(living) || r.Heard(r.Servers[0]).Downtime != nil {
		return 0
	}
	return n
}

// fit says that nothing speaks against the promotion of a server that has all that is needed.
func (r *run) fit(v *world.Server) bool {
	return v.Rule != topology.MustNot && r.gives(v) &&
		!r.partial(v) && r.Heard(v).Downtime == nil
}

// gives says that others can get from a server what it has received.
func (r *run) gives(v *world.Server) bool {
	return v.LogUpdates && !v.LogFilters && !v.Delayed && !v.Coordinates && v.SQLErrno == 0
}

// heard says that what the primary committed last, and only with acknowledgements, was acknowledged by somebody who
// still lives, and has it whole.
func (r *run) heard(living []*world.Server) bool {
	return !r.Servers[0].Semi.Source || slices.ContainsFunc(living, func(v *world.Server) bool {
		return v.Semi.Replica && r.direct[v.N] && !r.partial(v)
	})
}

// primary is the one server that lives and takes writes; nil when there is none, or several.
func (r *run) primary() *world.Server {
	var out *world.Server
	for _, v := range r.Servers {
		if v.Open() {
			if out != nil {
				return nil
			}
			out = v
		}
	}
	return out
}

func codes(s plan.Situation) []string {
	var out []string
	for _, f := range s.Findings {
		out = append(out, fmt.Sprintf("%s %v", f.Code, f.At))
	}
	return out
}

// open describes the episodes that are still open; "" when none is.
func (r *run) open() string {
	text := ""
	for _, e := range r.episodes {
		if e.Closed.IsZero() && !r.forbidden(e) {
			text += fmt.Sprintf("%s of %v at stage %s: %s; ", e.Kind, e.Failed, e.Stage, e.Blocked)
		}
	}
	return text
}

// forbidden says that people do not want a dead intermediate source replaced, or that none of its replicas can be
// moved: that stays on record, blocked, as long as it is so.
func (r *run) forbidden(e plan.Episode) bool {
	for _, v := range r.Servers {
		if v.Key == e.Failed && r.Heard(v).Downtime == nil && !strings.Contains(e.Blocked, "can't be moved") {
			return false
		}
	}
	return e.Kind == plan.IntermediateFailover && e.Stage == plan.Suspected && e.Blocked != ""
}

func (r *run) lost() map[topology.Key]bool {
	out := map[topology.Key]bool{}
	for _, e := range r.episodes {
		for _, l := range e.Lost {
			out[l.Key] = true
		}
	}
	return out
}

// lostForGood are those that a person has to repair: who was only out of reach is cared for when it is back.
func (r *run) lostForGood() map[topology.Key]bool {
	out := map[topology.Key]bool{}
	for _, e := range r.episodes {
		for _, l := range e.Lost {
			out[l.Key] = out[l.Key] || !strings.HasPrefix(l.Why, "out of reach")
		}
	}
	return out
}
