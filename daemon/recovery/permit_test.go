package recovery

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// others is what a gate asks, and what it locks.
type others struct {
	mu       sync.Mutex
	self     plan.PeerStatus
	peers    []plan.Peer
	lockable []string
	broken   bool // locks are lost as soon as they are held
	asked    int
	taken    int
	holding  map[*locks]bool
}

type locks struct {
	*others
	keys []topology.Key
}

func (l *locks) Keys(context.Context) []topology.Key {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.holding[l] || l.broken {
		return nil
	}
	return l.keys
}

func (l *locks) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.holding, l)
}

func (o *others) gate() *Gate {
	o.holding = map[*locks]bool{}
	o.self = plan.PeerStatus{ID: "a#1", Name: "a", Leading: true, Leader: "a#1", Term: 5, Identity: "x"}
	return NewGate(func() plan.PeerStatus { o.mu.Lock(); defer o.mu.Unlock(); return o.self },
		func(context.Context, topology.Key) []plan.Peer {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.asked++
			return slices.Clone(o.peers)
		},
		func(_ context.Context, keys []topology.Key, term int64) Locks {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.taken++
			l := &locks{others: o}
			for _, k := range keys {
				if slices.Contains(o.lockable, k.Host) {
					l.keys = append(l.keys, k)
				}
			}
			o.holding[l] = true
			return l
		})
}

func (o *others) change(f func()) { o.mu.Lock(); defer o.mu.Unlock(); f() }

var (
	agreeing = []plan.Peer{{Name: "b", Answered: true, PeerStatus: plan.PeerStatus{ID: "b#1", Name: "b", Leader: "a#1",
		Term: 5, Identity: "x"}}}
	mute = []plan.Peer{{Name: "b", Why: "connection refused"}}
)

func TestPermittedByAgreementOrByLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, o := range map[string]*others{
			"every daemon agrees":        {peers: agreeing},
			"most replicas are locked":   {peers: mute, lockable: []string{"db2", "db3"}},
			"no other daemon configured": {},
		} {
			p := draw(dead)
			r := runner(t, p, open(t))
			r.Claim = o.gate().Claim
			held := 0
			p.before = func(step plan.Step) {
				if step.Kind == plan.Promote {
					o.change(func() { held = len(o.holding) })
				}
			}
			e := run(t, r)
			if e.Candidate.Host != "db2" || e.Blocked != "" {
				t.Errorf("%s: %+v", name, e)
			}
			if byLocks := len(o.lockable) > 0; byLocks != (held == 1) || byLocks != (o.taken > 0) {
				t.Errorf("%s: locks were taken %d times, and %d were held for the promotion", name, o.taken, held)
			}
			if o.asked > 1 {
				t.Errorf("%s: the others were asked %d times for one failover", name, o.asked)
			}
			for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
				left := 0
				if o.change(func() { left = len(o.holding) }); left == 0 {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("%s: %d locks are held for ever", name, left)
				}
			}
		}
	})
}

func TestRefusedUntilPermitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			o    *others
			why  string
			then func(*others)
		}{
			"no answer, no majority": {&others{peers: mute, lockable: []string{"db3"}},
				"b does not answer (connection refused); and locks are held on 1 of the 2",
				func(o *others) { o.peers = agreeing }},
			"b reaches the primary": {&others{peers: []plan.Peer{{Name: "b", Answered: true, Reaches: true,
				PeerStatus: agreeing[0].PeerStatus}}, lockable: []string{"db2", "db3"}},
				"b can reach db1:3306", func(o *others) { o.peers = agreeing }},
			"the locks are lost": {&others{peers: mute, lockable: []string{"db2", "db3"}, broken: true},
				"held on 0 of the 2", func(o *others) { o.broken = false }},
		} {
			p := draw(dead)
			r := runner(t, p, open(t))
			r.Claim = c.o.gate().Claim
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() { _ = r.Run(ctx) }()
			var d plan.Decision
			tries := 0
			for end := time.Now().Add(5 * time.Second); tries < 3 &&
				time.Now().Before(end); time.Sleep(time.Millisecond) {
				d = r.Judged("db1:3306").Decision()
				c.o.change(func() { tries = c.o.asked })
			}
			if tries < 3 {
				t.Fatalf("%s: it was not tried again", name)
			}
			for what, said := range map[string]string{"refused": strings.Join(d.Refused(), "; "), "wait": d.Wait(),
				"decide": r.Judged("db1:3306").Decision().Wait(), "blocked": r.Episodes("")[0].Blocked} {
				if !strings.HasPrefix(said, "not permitted: ") || !strings.Contains(said, c.why) {
					t.Errorf("%s: %s says %q, want %q", name, what, said, c.why)
				}
			}
			p.mu.Lock()
			done := slices.Clone(p.done)
			p.mu.Unlock()
			slices.Sort(done)
			if got := strings.Join(done, ", "); got != "stop_receiver db2, stop_receiver db3" {
				t.Errorf("%s: done without a permit: %s", name, got)
			}
			held := 0
			if c.o.change(func() { held = len(c.o.holding) }); held > 1 { // one of a try under way
				t.Errorf("%s: %d locks are held although nothing is permitted", name, held)
			}
			c.o.change(func() { c.then(c.o) })
			for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
				if e := r.Episodes("")[0]; !e.Closed.IsZero() {
					break
				}
			}
			if e := r.Episodes("")[0]; e.Closed.IsZero() || e.Promoted.IsZero() || e.Blocked != "" ||
				len(r.Judged("db1:3306").Decision().Refused()) > 0 {
				t.Errorf("%s: then: %+v", name, e)
			}
			cancel()
		}
	})
}

// What another daemon did before we had the locks is seen with them in hand.
func TestItLooksAgainUnderTheLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, o := draw(dead), &others{peers: mute, lockable: []string{"db2", "db3"}}
		r := runner(t, p, open(t))
		gate := o.gate()
		r.Claim = func(ctx context.Context, s plan.Situation, e plan.Episode) plan.Claim {
			claim := gate.Claim(ctx, s, e)
			if o.asked == 1 { // just before, somebody promoted the other one
				p.change(func(s *topology.Snapshot) {
					plan.Pretend(s, plan.Step{Kind: plan.Promote, At: topology.Key{Host: "db3", Port: 3306}})
				})
			}
			return claim
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = r.Run(ctx) }()
		for end := time.Now().Add(5 * time.Second); !strings.Contains(r.Judged("db1:3306").Decision().Wait(),
			"db3:3306 takes writes already") && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		cancel()
		if d := r.Judged("db1:3306").Decision(); slices.Contains(p.done, "promote db2") ||
			!strings.Contains(d.Wait(), "db3:3306 takes writes already") {
			t.Errorf("done beside another primary: %v; %s", p.done, d.Wait())
		}
	})
}

// A daemon that has lost its term while it took the locks may nothing.
func TestATermThatEndedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &others{peers: mute, lockable: []string{"db2", "db3"}}
		g := o.gate()
		hold := g.hold
		g.hold = func(ctx context.Context, keys []topology.Key, term int64) Locks {
			l := hold(ctx, keys, term)
			o.change(func() { o.self.Term = 7 })
			return l
		}
		r := runner(t, draw(dead), open(t))
		s := r.Judged("db1:3306").Situation
		c := g.Claim(t.Context(), s, plan.Episode{ID: "e", Failed: topology.Key{Host: "db1", Port: 3306}})
		if ok, why := plan.Permit(c); ok || !strings.Contains(why, "does not lead") {
			t.Errorf("permitted: %v (%s)", ok, why)
		}
		if len(o.holding) > 0 {
			t.Error("and it keeps the locks")
		}
	})
}
