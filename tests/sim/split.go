package sim

import (
	"fmt"
	"slices"
	"strings"

	"orchestrator/backend"
	"orchestrator/daemon/analysis"
	"orchestrator/daemon/plan"
	"orchestrator/tests/world"
)

// Two daemons share a backend of two members. Then everything is split in two, at random: each daemon reaches some
// servers, one of the members, and perhaps the other daemon. The primary dies, hangs, or is on one side only. Each
// daemon analyses and plans as it does alone, with its own memory.

const (
	leaseTTL  = 20 // ticks without movement until a lease is taken
	leaseStop = 16 // ticks without confirmation until its holder stops
	splitEnd  = 160
)

// pair is a world with two daemons in it.
type pair struct {
	*world.World
	seed     uint64
	daemons  []*half
	rows     [2]backend.Hold // of the lease, by member of the backend
	splitAt  int
	side     map[int]int       // of daemons and servers; 0: both
	apart    bool              // the daemons can't talk to each other
	one      bool              // the backend stays in one piece
	locks    map[int]*half     // by server
	lockedAt map[int]int       // tick, by server
	promoted map[string]string // candidate, by whom and why it was permitted
}

// half is one daemon.
type half struct {
	n         int // -1 or -2
	id        string
	episodes  []plan.Episode
	leads     bool
	confirmed int // tick of the last beat
	row       backend.Hold
	seen      int // tick since which the row stands still
	highest   int64
	beat      int64
	frozen    int // ticks left
	pending   []plan.Step
	why       string // why they are permitted
	byLocks   bool
	due       int
}

// SplitStats tell what came of the splits.
type SplitStats struct{ Promotions, ByAgreement, ByLocks, Refused, TwoLeaders, Frozen int }

// Plus adds up.
func (s SplitStats) Plus(o SplitStats) SplitStats {
	return SplitStats{s.Promotions + o.Promotions, s.ByAgreement + o.ByAgreement, s.ByLocks + o.ByLocks,
		s.Refused + o.Refused, s.TwoLeaders + o.TwoLeaders, s.Frozen + o.Frozen}
}

// RunSplit plays one world, and returns the first property that was hurt, or nil.
func RunSplit(seed uint64) (SplitStats, *Violation) { return retold(seed, playSplit) }

func playSplit(seed uint64, tell bool) (SplitStats, *Violation) {
	p := &pair{World: world.New(seed), seed: seed, side: map[int]int{}, locks: map[int]*half{}, lockedAt: map[int]int{},
		promoted: map[string]string{}}
	if tell {
		p.Tell()
	}
	p.daemons = []*half{{n: -1, id: "a#1"}, {n: -2, id: "b#1"}}
	p.splitAt = p.Tick + 10 + p.Rand.IntN(30)
	faultAt, two := p.splitAt+p.Rand.IntN(40), false
	var s SplitStats
	for p.Tick < splitEnd && len(p.promoted) < 2 {
		p.Advance()
		if p.Tick == p.splitAt {
			p.split()
		}
		if p.Tick == faultAt {
			p.fail()
		}
		for _, i := range p.Rand.Perm(2) {
			d := p.daemons[i]
			if d.frozen > 0 {
				d.frozen--
				continue
			}
			p.lease(d)
			p.Daemon = d.n
			p.ProbeAll()
			if len(d.pending) > 0 {
				p.act(d, &s)
			} else if d.leads && p.Tick >= p.splitAt {
				p.turn(d, &s)
			}
			if p.Rand.IntN(120) == 0 {
				d.frozen = 1 + p.Rand.IntN(2*leaseTTL)
				s.Frozen++
				p.Say("%s is frozen for %d ticks", d.id, d.frozen)
			}
		}
		two = two || p.daemons[0].leads && p.daemons[1].leads
	}
	if two {
		s.TwoLeaders++
	}
	s.Promotions = len(p.promoted)
	if len(p.promoted) > 1 {
		return s, &Violation{Property: "never two promotions in one split", Seed: seed, Says: fmt.Sprint(p.promoted),
			Log: p.World.Log}
	}
	return s, nil
}

// split cuts the world in two.
func (p *pair) split() {
	p.side[-1], p.side[-2] = 1, 2
	switch p.Rand.IntN(5) {
	case 0: // only the backend is split
		p.side[-2] = 1
	case 1: // only the servers are
		p.side[-2], p.one = 1, true
	}
	p.apart = p.side[-2] == 2 || p.Rand.IntN(3) == 0
	overlap := p.Rand.IntN(3) == 0
	for _, v := range p.Servers {
		if p.side[v.N] = 1 + p.Rand.IntN(2); overlap && p.Rand.IntN(2) == 0 {
			p.side[v.N] = 0
		}
	}
	for a, s := range p.side {
		for b, o := range p.side {
			if s*o == 2 {
				p.Cut[[2]int{a, b}] = true
			}
		}
	}
	p.Say("split: %v, the daemons are apart: %v", p.side, p.apart)
}

func (p *pair) fail() {
	switch v := p.Servers[0]; p.Rand.IntN(4) {
	case 0, 1:
		v.Health, v.Connected = world.Dead, false
		p.Say("%v killed", v.Key)
	case 2:
		v.Health = world.Hung
		p.Say("%v hangs", v.Key)
	}
}

// lease is lead.Lease in ticks. Each daemon reaches the member of its side; until the split the members replicate.
func (p *pair) lease(d *half) {
	m := 0
	if p.Tick >= p.splitAt && !p.one {
		m = d.n*-1 - 1
	} else {
		p.rows[1] = p.rows[0]
	}
	if d.row != p.rows[m] {
		d.row, d.seen = p.rows[m], p.Tick
	}
	d.highest = max(d.highest, d.row.Term)
	if d.leads && p.Tick-d.confirmed > leaseStop {
		p.stop(d, "it has not confirmed its lease in time")
	}
	if d.leads {
		if h := (backend.Hold{Holder: d.id, Term: d.highest, Beat: d.beat + 1}); h.Wins(p.rows[m]) ||
			p.rows[m].Holder == d.id {
			d.beat++
			d.row, d.seen, d.confirmed, p.rows[m] = h, p.Tick, p.Tick, h
		} else {
			p.stop(d, "another leads")
		}
		return
	}
	if d.row.Holder != "" && p.Tick-d.seen < leaseTTL || d.row.Term < d.highest {
		return
	}
	d.beat++
	d.highest++
	h := backend.Hold{Holder: d.id, Term: d.highest, Beat: d.beat}
	d.leads, d.confirmed, d.row, d.seen, p.rows[m] = true, p.Tick, h, p.Tick, h
	p.Say("%s leads in term %d", d.id, d.highest)
}

func (p *pair) stop(d *half, why string) {
	p.Say("%s leads no more: %s", d.id, why)
	d.leads, d.pending = false, nil
	p.unlock(d)
}

func (p *pair) standing(d *half) plan.PeerStatus {
	face := "x"
	if p.Tick >= p.splitAt && d.n == -2 && !p.one {
		face = "y"
	}
	return plan.PeerStatus{ID: d.id, Name: d.id[:1], Leading: d.leads, Leader: d.row.Holder, Term: d.row.Term,
		Identity: face}
}

func (p *pair) other(d *half) *half {
	if p.daemons[0] == d {
		return p.daemons[1]
	}
	return p.daemons[0]
}

// lock takes the lock of a server: one of a lower term is broken when it was held for too long.
func (p *pair) lock(d *half, n int) bool {
	if v := p.Servers[n]; v.Health != world.Alive || !p.Reaches(d.n, n) {
		return false
	}
	if h := p.locks[n]; h != nil && h != d && (h.highest >= d.highest || p.Tick-p.lockedAt[n] < leaseTTL) {
		return false
	}
	if p.locks[n] != d {
		p.locks[n], p.lockedAt[n] = d, p.Tick
	}
	return true
}

func (p *pair) unlock(d *half) {
	for n, h := range p.locks {
		if h == d {
			delete(p.locks, n)
		}
	}
}

func (p *pair) situation(d *half) plan.Situation {
	return plan.Situate(plan.Facts{Cluster: "c", Snapshot: p.Snapshot(), Thresholds: analysis.Defaults,
		Episodes: d.episodes, Policy: permissive})
}

// permit is recovery.Gate.
func (p *pair) permit(d *half, s plan.Situation, e plan.Episode, locks bool) (bool, string) {
	o := p.other(d)
	peer := plan.Peer{Name: o.id[:1]}
	if !p.apart && o.frozen == 0 || p.Tick < p.splitAt {
		peer.Answered, peer.PeerStatus = true, p.standing(o)
		failed := p.Find(e.Failed)
		peer.Reaches = failed.Health == world.Alive && p.Reaches(o.n, failed.N)
	}
	c := plan.Claim{Failed: e.Failed, Promoted: e.Stage == plan.Promoted, Self: p.standing(d), Peers: []plan.Peer{peer}}
	if locks {
		c.Locks.Alive = plan.Voters(s, e)
		for _, k := range c.Locks.Alive {
			if p.lock(d, p.Find(k).N) {
				c.Locks.Held = append(c.Locks.Held, k)
			}
		}
	}
	return plan.Permit(c)
}

// turn is one round of recovery.Runner, until something irreversible is decided: that is done some ticks later.
func (p *pair) turn(d *half, stats *SplitStats) {
	s := p.situation(d)
	decision := plan.Next(s)
	permitted, again := map[string]bool{}, false
	d.byLocks = false
	for _, w := range decision.Works {
		if !w.Irreversible() || w.Episode == nil {
			continue
		}
		ok, why := p.permit(d, s, *w.Episode, false)
		if !ok {
			d.byLocks = true
			ok, why = p.permit(d, s, *w.Episode, true)
		}
		if !ok {
			stats.Refused++
			p.unlock(d)
			continue
		}
		permitted[w.ID()], again, d.why = true, true, why
	}
	if again {
		p.ProbeAll() // once more, under the locks
		decision = plan.Next(p.situation(d))
	}
	for i := range decision.Works {
		if w := &decision.Works[i]; w.Episode != nil && !permitted[w.ID()] {
			w.Steps = slices.DeleteFunc(slices.Clone(w.Steps), func(s plan.Step) bool { return s.Kind.Irreversible() })
		}
	}
	for _, e := range decision.Episodes() {
		if at := slices.IndexFunc(d.episodes, func(o plan.Episode) bool { return o.ID == e.ID }); at >= 0 {
			d.episodes[at] = e
		} else {
			d.episodes = append([]plan.Episode{e}, d.episodes...)
		}
	}
	d.pending, d.due = decision.Steps(), p.Tick+p.Rand.IntN(4)
	if len(d.pending) == 0 {
		p.unlock(d)
	}
}

// act does what was decided. A step that was permitted by locks is done under the lock that was held for it.
func (p *pair) act(d *half, stats *SplitStats) {
	if p.Tick < d.due {
		return
	}
	steps := d.pending
	d.pending = nil
	for _, step := range steps {
		n := p.Find(step.At).N
		if held := p.locks[n] == d; d.byLocks && step.Kind.Irreversible() && !held || !p.lock(d, n) {
			p.Say("%s: %s at %v: locked by another", d.id, step.Kind, step.At)
			continue
		}
		if err := p.Do(step, 1); err != nil {
			p.Say("%s: %s at %v: %v", d.id, step.Kind, step.At, err)
			continue
		}
		p.Say("%s did it: %s", d.id, d.why)
		if step.Kind == plan.Promote {
			if p.promoted[step.At.String()] == "" {
				p.promoted[step.At.String()] = fmt.Sprintf("by %s at %d: %s", d.id, p.Tick, d.why)
				if stats.ByLocks++; strings.HasPrefix(d.why, "every daemon") {
					stats.ByLocks--
					stats.ByAgreement++
				}
			}
		}
	}
	if !d.byLocks { // those are held until the turn ends
		p.unlock(d)
	}
}
