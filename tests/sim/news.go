package sim

import (
	"strings"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/tests/world"
)

// news are what people and hooks are told. While nothing changes, they are told everything once.
type news struct {
	state   uint64 // of the world
	changed int    // the tick at which that changed last, or a step failed
	closed  map[topology.Key]int
	blocked map[string]map[string]int // by episode and reason, the tick
	chosen  map[chosen][]int          // the ticks at which a candidate took the place of another
}

// chosen is the candidate of an episode.
type chosen struct {
	episode string
	key     topology.Key
}

// silence is for how many ticks a server may be silent before that counts.
var silence = int(analysis.Defaults.Silence / world.Step)

// look notes whether the world has changed.
func (n *news) look(state uint64, tick int) {
	if state != n.state {
		n.state, n.changed = state, tick
	}
}

// told holds that an episode is not opened, closed and opened again while nothing has changed, and that a reason is not
// given, taken back and given again.
func (r *run) told(before, e plan.Episode) {
	n := &r.news
	if n.closed == nil {
		n.closed, n.blocked = map[topology.Key]int{}, map[string]map[string]int{}
	}
	n.look(r.state(), r.Tick)
	if before.ID == "" {
		if at, again := n.closed[e.Failed]; again && at > n.changed+silence {
			r.hurt("news are told once", "the episode of %v was closed at %d and is opened again: %s", e.Failed, at,
				e.Code)
		}
		n.blocked[e.ID] = map[string]int{}
	}
	if before.Closed.IsZero() && !e.Closed.IsZero() && e.Promoted.IsZero() {
		n.closed[e.Failed] = r.Tick
	}
	if e.Blocked != before.Blocked && before.Blocked != "" && words(e.Blocked) == words(before.Blocked) {
		r.hurt("what is on record changes with the reason only", "%q was %q", e.Blocked, before.Blocked)
	}
	if e.Blocked == "" || len(e.Failing) > 0 || // how a step fails may change each time
		words(e.Blocked) == words(before.Blocked) || n.blocked[e.ID] == nil {
		return
	}
	if at, again := n.blocked[e.ID][words(e.Blocked)]; again && at > n.changed {
		r.hurt("news are told once", "the failover of %v was blocked at %d for the same reason: %s", e.Failed, at,
			e.Blocked)
	}
	n.blocked[e.ID][words(e.Blocked)] = r.Tick
}

// turns holds that candidates do not take turns while nothing changes, unless steps fail at them.
func (r *run) turns(before, e plan.Episode) {
	if before.Candidate == e.Candidate || len(e.Failing) > 0 {
		return
	}
	if r.news.chosen == nil {
		r.news.chosen = map[chosen][]int{}
	}
	c := chosen{e.ID, e.Candidate}
	ticks := append(r.news.chosen[c], r.Tick)
	r.news.chosen[c] = ticks
	if again := len(ticks) - 3; again >= 0 && ticks[again] > r.news.changed {
		r.hurt("candidates do not take turns for ever", "%v is chosen for the third time, and nothing has changed",
			e.Candidate)
	}
}

// words are the reason without its numbers, times and GTIDs, which may count up, and without their grammar.
func words(reason string) string {
	var out []string
	for word := range strings.FieldsSeq(reason) {
		if word = strings.Trim(word, "(.,;)"); word != "" && (word[0] < '0' || word[0] > '9') {
			out = append(out, strings.TrimSuffix(strings.Replace(word, "are", "is", 1), "s"))
		}
	}
	return strings.Join(out, " ")
}

// state is what the world is like, time and positions apart.
func (r *run) state() uint64 {
	h := uint64(len(r.Cut))<<8 + uint64(len(r.Unresolved))
	add := func(n int) { h = h*1099511628211 ^ uint64(n) }
	bit := func(b bool) {
		n := 0
		if b {
			n = 1
		}
		add(n)
	}
	bit(r.off == "")
	for _, v := range r.Servers {
		for _, n := range []int{int(v.Health), v.Source, v.IOErrno, v.SQLErrno, v.Writer, v.Log} {
			add(n)
		}
		for _, b := range []bool{v.ReadOnly, v.IO, v.Connected, v.SQL, v.Detached, v.Locked > 0, v.LagTicks > 0,
			v.Semi.Fallen, v.Semi.Source, v.Stray, v.Executed == v.Received, v.Purged == world.Set{},
			v.Scheduler, r.Reaches(-1, v.N)} {
			bit(b)
		}
	}
	return h
}
