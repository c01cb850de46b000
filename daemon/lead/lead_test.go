package lead_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"orchestrator/backend"
	"orchestrator/backend/sqlstore"
	"orchestrator/daemon/lead"
)

const (
	ttl  = 5 * time.Second
	tick = time.Second
)

// row is a lease in memory, as every daemon sees it that is not cut off.
type row struct {
	mu   sync.Mutex
	hold backend.Hold
}

func (r *row) take(seen, next backend.Hold) backend.Hold {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hold == seen {
		r.hold = next
	}
	return r.hold
}

func (r *row) beat(h backend.Hold) backend.Hold {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.Wins(r.hold) {
		r.hold = h
	}
	return r.hold
}

// path is one daemon's way to the row, with its faults. fault is asked before each call.
type path struct {
	row   *row
	fault func() fault
}

type fault struct {
	before, after time.Duration // until the call acts; until its answer arrives
	deaf          bool          // the call does not hear its context
	lost          bool          // the call never acts
	err           error         // the answer, although it may have acted
	late          time.Duration // it acts that much after the caller got his error
}

var errCut = errors.New("the line is cut")

func (p path) call(ctx context.Context, act func() backend.Hold) (backend.Hold, error) {
	f := p.fault()
	wait := func(d time.Duration) bool {
		done := ctx.Done()
		if f.deaf {
			done = nil
		}
		select {
		case <-time.After(d):
			return true
		case <-done:
			return false
		}
	}
	if f.late > 0 {
		go func() { time.Sleep(f.late); act() }()
		return backend.Hold{}, errCut
	}
	if !wait(f.before) {
		return backend.Hold{}, ctx.Err()
	}
	var h backend.Hold
	if !f.lost {
		h = act()
	}
	if !wait(f.after) {
		return backend.Hold{}, ctx.Err()
	}
	return h, f.err
}

func (p path) Read(ctx context.Context) (backend.Hold, error) {
	return p.call(ctx, func() backend.Hold { return p.row.beat(backend.Hold{}) })
}

func (p path) Take(ctx context.Context, seen, next backend.Hold) (backend.Hold, error) {
	return p.call(ctx, func() backend.Hold { return p.row.take(seen, next) })
}

func (p path) Beat(ctx context.Context, h backend.Hold) (backend.Hold, error) {
	return p.call(ctx, func() backend.Hold { return p.row.beat(h) })
}

func sound() fault { return fault{} }

// switchable is a fault that a test turns on and off.
type switchable struct{ atomic.Pointer[fault] }

func (s *switchable) now() fault {
	if f := s.Load(); f != nil {
		return *f
	}
	return fault{}
}

// daemon runs a Lease and notes when it leads.
type daemon struct {
	*lead.Lease
	stop    func() // in order
	started atomic.Int64
	leads   atomic.Bool
}

func start(t *testing.T, id string, l backend.Lease) *daemon {
	return startWith(t, lead.Options{ID: id}, l)
}

func startWith(t *testing.T, o lead.Options, l backend.Lease) *daemon {
	o.TTL, o.Tick = ttl, tick
	d := &daemon{Lease: lead.New(l, o)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := d.Run(ctx, func(leading context.Context) {
			d.started.Add(1)
			d.leads.Store(true)
			<-leading.Done()
			d.leads.Store(false)
		}); err != nil {
			t.Error(err)
		}
	}()
	d.stop = func() { cancel(); <-ended }
	t.Cleanup(d.stop)
	return d
}

// within waits, in steps of 10 ms, until the daemon leads, or not, and returns how long that took.
func within(t *testing.T, limit time.Duration, d *daemon, leads bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for time.Since(begin) <= limit {
		synctest.Wait()
		if d.leads.Load() == leads && d.Status().Leading == leads {
			return time.Since(begin)
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("after %v leading is %v and not %v", limit, d.leads.Load(), leads)
	return 0
}

func TestOneDaemonLeadsAtOnceAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := start(t, "a", path{&row{}, sound})
		within(t, 0, d, true)
		time.Sleep(time.Hour)
		if s := d.Status(); s != (lead.Status{Leading: true, Holder: "a", Term: 1}) || d.started.Load() != 1 {
			t.Errorf("after an hour: %+v, started %d times", s, d.started.Load())
		}
		d.stop()
		if d.leads.Load() || d.Status().Leading {
			t.Error("it leads after its end")
		}
	})
}

func TestTheNextLeads(t *testing.T) {
	const delay = 240 * time.Millisecond
	for name, tc := range map[string]struct {
		crash bool
		limit time.Duration
	}{
		"at once after a release": {false, tick + 3*delay},
		// to see the last beat, and to take, it must ask
		"after the TTL and a tick after a crash": {true, ttl + tick + 3*delay},
	} {
		t.Run(name, func(t *testing.T) {
			for ms := range 20 { // wherever between two beats
				synctest.Test(t, func(t *testing.T) {
					r := &row{}
					var line switchable
					a := start(t, "a", path{r, line.now})
					within(t, tick, a, true)
					time.Sleep(time.Duration(ms) * 53 * time.Millisecond)
					b := start(t, "b", path{r, func() fault { return fault{before: delay} }})
					time.Sleep(10*time.Second + time.Duration(ms*ms)*7*time.Millisecond)
					if b.leads.Load() {
						t.Fatal("two lead")
					}
					if tc.crash {
						line.Store(&fault{lost: true, err: errCut})
					}
					a.stop()
					within(t, tc.limit, b, true)
					if s := b.Status(); s.Term != 2 || s.Holder != "b" {
						t.Errorf("the next: %+v", s)
					}
					b.stop()
				})
			}
		})
	}
}

// The lease of a process that is known to have ended is not waited for; that of one that is believed to have, and
// beats, is.
func TestTheNextLeadsSoonWhenTheLeaderIsKnownToHaveEnded(t *testing.T) {
	for ms := range 20 {
		synctest.Test(t, func(t *testing.T) {
			r := &row{}
			var line switchable
			a := start(t, "a", path{r, line.now})
			within(t, tick, a, true)
			time.Sleep(time.Duration(ms) * 53 * time.Millisecond)
			var known atomic.Bool
			b := startWith(t, lead.Options{ID: "b", Gone: func(id string) bool { return id == "a" && known.Load() }},
				path{r, sound})
			time.Sleep(10 * time.Second)
			known.Store(true) // a mistake: it beats
			time.Sleep(10 * time.Second)
			if b.leads.Load() {
				t.Fatal("two lead")
			}
			line.Store(&fault{lost: true, err: errCut})
			a.stop()
			took := within(t, 2*tick+50*time.Millisecond, b, true)
			if s := b.Status(); s.Term != 2 {
				t.Errorf("after %v: %+v", took, s)
			}
			b.stop()
		})
	}
}

func TestDoubtEndsTheReign(t *testing.T) {
	for name, f := range map[string]fault{
		"the backend refuses":                {lost: true, err: errCut},
		"the backend hangs":                  {before: time.Hour},
		"the backend hangs and hears nobody": {before: time.Minute, deaf: true},
		"answers do not arrive":              {after: time.Hour},
		"answers come too late":              {before: 4 * time.Second, deaf: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var line switchable
				a := start(t, "a", path{&row{}, line.now})
				within(t, tick, a, true)
				time.Sleep(10*time.Second + 1)
				line.Store(&f)
				if took := within(t, ttl, a, false); took < tick {
					t.Errorf("it ended after %v: one lost beat is no doubt", took)
				}
				line.Store(nil)
				within(t, 2*time.Minute, a, true)
				if s := a.Status(); s.Term < 2 {
					t.Errorf("a new reign in the old term: %+v", s)
				}
				a.stop()
			})
		})
	}
}

func TestAShortFaultIsNoDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var line switchable
		a := start(t, "a", path{&row{}, line.now})
		within(t, tick, a, true)
		for range 10 {
			line.Store(&fault{before: time.Hour})
			time.Sleep(1500 * time.Millisecond)
			line.Store(nil)
			time.Sleep(3 * time.Second)
		}
		if n := a.started.Load(); n != 1 {
			t.Errorf("it began %d times", n)
		}
		a.stop()
	})
}

// A beat that was written though its answer was lost moves the row once. To write the same again is no sign of life.
func TestALostAnswerIsNotConfirmedByWritingTheSameAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var line switchable
		r := &row{}
		a := start(t, "a", path{r, line.now})
		within(t, tick, a, true)
		line.Store(&fault{err: errCut})
		time.Sleep(2500 * time.Millisecond)
		before := r.beat(backend.Hold{})
		line.Store(nil)
		time.Sleep(tick)
		if after := r.beat(backend.Hold{}); after.Beat <= before.Beat || !a.leads.Load() {
			t.Errorf("the row stood at %v, and is now at %v", before, after)
		}
		a.stop()
	})
}

// The row may be ours although we were not told: then there is nobody to wait for.
func TestATakingWhoseAnswerWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var line switchable
		a := start(t, "a", path{&row{}, line.now})
		line.Store(&fault{err: errCut}) // before the first look, for which nothing is lost but time
		time.Sleep(tick / 2)
		line.Store(nil)
		asked := 0
		b := start(t, "b", path{&row{}, func() fault {
			if asked++; asked == 2 {
				return fault{err: errCut} // the first is the look, the second the taking
			}
			return fault{}
		}})
		within(t, 2*tick, b, true)
		within(t, tick, a, true)
	})
}

func TestTheHighestTermSeenCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &row{hold: backend.Hold{Holder: "z#1", Term: 41, Beat: 9}}
		a := start(t, "a", path{r, sound})
		time.Sleep(tick / 2)
		r.mu.Lock()
		r.hold = backend.Hold{Term: 3, Beat: 1} // the backend is another, older copy now
		r.mu.Unlock()
		if took := within(t, ttl+2*tick, a, true); took < ttl {
			t.Errorf("it leads after %v, although what the backend has forgotten may be in force", took)
		}
		if s := a.Status(); s.Term != 42 {
			t.Errorf("after 41 comes %+v", s)
		}
	})
}

func TestAnotherTookIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &row{}
		a := start(t, "a", path{r, sound})
		within(t, tick, a, true)
		r.beat(backend.Hold{Holder: "b#1", Term: 7, Beat: 1})
		within(t, tick, a, false)
		if s := a.Status(); s != (lead.Status{Holder: "b", Term: 7}) {
			t.Errorf("status %+v", s)
		}
		within(t, ttl+tick, a, true)
		if s := a.Status(); s.Term != 8 {
			t.Errorf("after 7 comes %+v", s)
		}
		a.stop()
	})
}

// A backend that was switched to a stale copy knows old terms only.
func TestTermsRiseAlthoughTheBackendGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &row{hold: backend.Hold{Holder: "z#1", Term: 41, Beat: 9}}
		a := start(t, "a", path{r, sound})
		within(t, ttl+tick, a, true)
		r.mu.Lock()
		r.hold = backend.Hold{Term: 3, Beat: 1}
		r.mu.Unlock()
		time.Sleep(tick + 1)
		if h := r.beat(backend.Hold{}); h.Term != 42 || !a.leads.Load() {
			t.Errorf("the row is %v", h)
		}
		a.stop()

		r.hold = backend.Hold{}
		b := start(t, "b", path{r, sound})
		within(t, tick, b, true)
		b.stop()
	})
}

func TestItWaitsForTheWorkToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var line switchable
		var running, most atomic.Int64
		l := lead.New(path{&row{}, line.now}, lead.Options{ID: "a", TTL: ttl, Tick: tick})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			l.Run(ctx, func(leading context.Context) {
				most.Store(max(most.Load(), running.Add(1)))
				<-leading.Done()
				time.Sleep(time.Minute) // it does not hurry
				running.Add(-1)
			})
		}()
		time.Sleep(tick)
		line.Store(&fault{lost: true, err: errCut})
		time.Sleep(2 * ttl)
		line.Store(nil)
		time.Sleep(20 * time.Second)
		if l.Status().Leading {
			t.Error("it leads again while the work of before runs")
		}
		time.Sleep(time.Minute)
		if !l.Status().Leading {
			t.Error("it does not lead again")
		}
		cancel()
		<-ended
		if running.Load() != 0 || most.Load() != 1 {
			t.Errorf("%d still run; at once there were %d", running.Load(), most.Load())
		}
	})
}

func TestWorkThatEndsByItselfGivesUpTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &row{}
		l := lead.New(path{r, sound}, lead.Options{ID: "a", TTL: ttl, Tick: tick})
		ctx, cancel := context.WithTimeout(t.Context(), tick/2)
		defer cancel()
		l.Run(ctx, func(context.Context) {})
		if h := r.beat(backend.Hold{}); h.Holder != "" || h.Term != 1 {
			t.Errorf("the row is %v", h)
		}
	})
}

// Two daemons under one name are two: each start of a process is somebody new.
func TestTheSameNameTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &row{}
		one, two := start(t, "a", path{r, sound}), start(t, "a", path{r, sound})
		time.Sleep(time.Minute)
		if one.leads.Load() == two.leads.Load() || one.started.Load()+two.started.Load() != 1 {
			t.Error("both lead, or none, or they took it from each other")
		}
		one.stop()
		two.stop()
	})
}

// Whatever the lines to the backend do, there are never two who lead; and when they are sound again, there is one.
func TestNeverTwo(t *testing.T) {
	runs := 300
	if racing || testing.Short() {
		runs = 20
	}
	for seed := range runs {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(seed), 0))
			var mu sync.Mutex
			random := func(max time.Duration) time.Duration {
				mu.Lock()
				defer mu.Unlock()
				return time.Duration(rng.Int64N(int64(max)))
			}
			chance := func(percent int) bool { return random(100) < time.Duration(percent) }
			r := &row{}
			var leading atomic.Int64
			var reigns atomic.Int64
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			healed := time.Now().Add(2 * time.Minute)
			for i := range 3 {
				var cutUntil time.Time
				line := func() fault {
					if time.Now().After(healed) {
						return fault{}
					}
					if time.Now().Before(cutUntil) {
						return fault{lost: true, before: random(2 * time.Second), err: errCut}
					}
					if chance(5) {
						cutUntil = time.Now().Add(random(10 * time.Second))
					}
					f := fault{before: random(100 * time.Millisecond), after: random(100 * time.Millisecond)}
					if chance(20) {
						f.before = random(8 * time.Second)
					}
					if chance(20) {
						f.after = random(8 * time.Second)
					}
					if chance(10) {
						f.late = random(8 * time.Second)
					}
					if chance(10) {
						f.err = errCut
					}
					f.deaf = chance(30)
					return f
				}
				wg.Go(func() {
					for ctx.Err() == nil { // each turn is a process; it ends in order, or is killed
						l := lead.New(path{r, line}, lead.Options{ID: fmt.Sprint("d", i), TTL: ttl, Tick: tick})
						life, kill := context.WithTimeout(ctx, random(time.Minute))
						if time.Now().After(healed) {
							life, kill = context.WithCancel(ctx)
						}
						l.Run(life, func(c context.Context) {
							reigns.Add(1)
							if n := leading.Add(1); n > 1 {
								t.Errorf("seed %d: %d lead", seed, n)
							}
							<-c.Done()
							time.Sleep(random(ttl / 5)) // what it may take to stop
							leading.Add(-1)
						})
						kill()
					}
				})
			}
			time.Sleep(2*time.Minute + 3*ttl)
			// A process begun before the healing may still end by itself: then there is one more change.
			for i := 0; leading.Load() != 1 && i < 600; i++ {
				time.Sleep(tick / 10)
			}
			if leading.Load() != 1 {
				t.Errorf("seed %d: with sound lines %d lead", seed, leading.Load())
			}
			if reigns.Load() < 2 {
				t.Errorf("seed %d: only %d reigns: this run has shown little", seed, reigns.Load())
			}
			cancel()
			wg.Wait()
			time.Sleep(10 * time.Second) // late acts end
		})
	}
}

func TestTwoDaemonsOnOneSQLiteFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "store.db")
		open := func() *sqlstore.Store {
			s, err := sqlstore.OpenSQLite(file)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		sa, sb := open(), open()
		defer sa.Close()
		defer sb.Close()
		a := start(t, "a", sa.Lease("leader"))
		within(t, tick, a, true)
		b := start(t, "b", sb.Lease("leader"))
		time.Sleep(time.Minute)
		if !a.leads.Load() || b.leads.Load() {
			t.Fatalf("a leads: %v, b leads: %v", a.leads.Load(), b.leads.Load())
		}
		a.stop()
		within(t, tick, b, true)
		a = start(t, "a", sa.Lease("leader"))
		time.Sleep(time.Minute)
		if a.leads.Load() || !b.leads.Load() {
			t.Fatalf("a leads: %v, b leads: %v", a.leads.Load(), b.leads.Load())
		}
		sb.Close() // b cannot reach its store any more
		within(t, ttl, b, false)
		within(t, ttl+tick, a, true)
		if s := a.Status(); s.Term != 3 {
			t.Errorf("a leads in %+v", s)
		}
		b.stop()
		a.stop()
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewPedanticRegistry()
		l := lead.New(path{&row{}, sound}, lead.Options{ID: "a", Registerer: registry,
			Logger: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go l.Run(ctx, func(c context.Context) { <-c.Done() })
		time.Sleep(tick)
		if n, err := testutil.GatherAndCount(registry); err != nil || n != 4 {
			t.Errorf("%d metrics, %v", n, err)
		}
		problems, err := testutil.GatherAndLint(registry)
		if err != nil || len(problems) > 0 {
			t.Error(problems, err)
		}
		cancel()
		synctest.Wait()
	})
}
