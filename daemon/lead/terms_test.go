package lead_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"orchestrator/backend"
	"orchestrator/daemon/lead"
)

func (r *row) set(h backend.Hold) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hold = h
}

// disk keeps the highest term of a daemon between its lives.
type disk struct {
	term atomic.Int64
	full atomic.Bool
}

func (d *disk) options(id string) lead.Options {
	return lead.Options{ID: id, Highest: d.term.Load(), Remember: func(term int64) error {
		if d.full.Load() {
			return errors.New("the disk is full")
		}
		d.term.Store(term)
		return nil
	}}
}

func TestTermsRiseThroughARestartAndAnOlderBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d := &row{hold: backend.Hold{Term: 40, Beat: 1}}, &disk{}
		a := startWith(t, d.options("a"), path{r, sound})
		within(t, tick, a, true)
		a.stop()
		if d.term.Load() != 41 {
			t.Fatalf("on disk is %d", d.term.Load())
		}
		again := startWith(t, d.options("a"), path{r, sound})
		within(t, tick, again, true) // an ordinary restart waits for nothing
		again.stop()
		r.set(backend.Hold{Term: 3, Beat: 1})
		late := startWith(t, d.options("a"), path{r, sound})
		if took := within(t, ttl+2*tick, late, true); took < ttl {
			t.Errorf("it leads after %v, although what the backend has forgotten may be in force", took)
		}
		if s := late.Status(); s.Term != 43 || d.term.Load() != 43 {
			t.Errorf("after 42 comes %+v, on disk is %d", s, d.term.Load())
		}
		late.stop()
	})
}

func TestTheTermsOfOthersAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d := &row{hold: backend.Hold{Holder: "z#1", Term: 41, Beat: 9}}, &disk{}
		a := startWith(t, d.options("a"), path{r, sound})
		time.Sleep(tick)
		a.stop()
		if d.term.Load() != 41 {
			t.Errorf("on disk is %d", d.term.Load())
		}
	})
}

func TestATermThatCannotBeKeptIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, d := &row{}, &disk{}
		d.full.Store(true)
		a := startWith(t, d.options("a"), path{r, sound})
		time.Sleep(time.Minute)
		if h := r.beat(backend.Hold{}); a.leads.Load() || h != (backend.Hold{}) {
			t.Errorf("it leads: %v, the row is %v", a.leads.Load(), h)
		}
		d.full.Store(false)
		within(t, tick, a, true)
		a.stop()
	})
}

func TestStepDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &row{}
		a := start(t, "a", path{r, sound})
		within(t, tick, a, true)
		b := start(t, "b", path{r, sound})
		time.Sleep(10 * time.Second)
		if err := b.StepDown(t.Context()); err == nil || !strings.Contains(err.Error(), "a does") {
			t.Errorf("one that does not lead: %v", err)
		}
		if err := a.StepDown(t.Context()); err != nil || a.leads.Load() || a.Status().Leading {
			t.Errorf("it leads %v, %v", a.leads.Load(), err)
		}
		within(t, tick, b, true)
		time.Sleep(time.Minute)
		if a.leads.Load() || !b.leads.Load() {
			t.Errorf("a leads %v, b leads %v", a.leads.Load(), b.leads.Load())
		}
		if err := b.StepDown(t.Context()); err != nil {
			t.Error(err)
		}
		within(t, tick, a, true)
		b.stop()

		// With nobody else there, it leads again after a while.
		if err := a.StepDown(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(ttl - tick)
		if a.leads.Load() {
			t.Error("it took back at once what it gave away")
		}
		within(t, 3*tick, a, true)
		a.stop()
		ctx, cancel := context.WithTimeout(t.Context(), tick)
		defer cancel()
		if err := a.StepDown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a daemon that has ended: %v", err)
		}
	})
}

// What runs under the leadership may give it away: nothing waits for the caller to end.
func TestTransfer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &row{}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		var left atomic.Bool
		a := lead.New(path{r, sound}, lead.Options{ID: "a", TTL: ttl, Tick: tick})
		go func() {
			defer close(ended)
			_ = a.Run(ctx, func(leading context.Context) {
				time.Sleep(10 * time.Second)
				if err := a.Transfer(leading); err != nil {
					t.Error(err)
				}
				<-leading.Done()
				left.Store(true)
			})
		}()
		time.Sleep(5 * time.Second)
		b := start(t, "b", path{r, sound})
		time.Sleep(4 * time.Second)
		if left.Load() || b.leads.Load() {
			t.Error("it leaves before it is asked to")
		}
		time.Sleep(2*time.Second + tick)
		if !left.Load() || !b.leads.Load() {
			t.Errorf("a has left: %v, b leads: %v", left.Load(), b.leads.Load())
		}
		b.stop()
		cancel()
		<-ended
	})
}

func TestStepDownWithoutABackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var line switchable
		a := start(t, "a", path{&row{}, line.now})
		within(t, tick, a, true)
		line.Store(&fault{lost: true, err: errCut})
		if err := a.StepDown(t.Context()); err == nil || a.leads.Load() {
			t.Errorf("it leads %v, %v", a.leads.Load(), err)
		}
		line.Store(nil)
		a.stop()
	})
}

// Whatever befalls two daemons on one backend: there are never two contexts alive at once.
func TestNeverTwoContexts(t *testing.T) {
	for name, happen := range map[string]func(r *row, a, b *switchable){
		"nothing": func(*row, *switchable, *switchable) {},
		// What a stopped process does not do is call the backend; its timers go off by the time that passed.
		"one is frozen for longer than the TTL": func(_ *row, a, _ *switchable) {
			a.Store(&fault{before: 3 * ttl, deaf: true})
			time.Sleep(2 * ttl)
			a.Store(nil)
		},
		"each in turn is frozen": func(_ *row, a, b *switchable) {
			for range 3 {
				a.Store(&fault{before: 2 * ttl, deaf: true})
				time.Sleep(ttl + tick)
				a.Store(nil)
				b.Store(&fault{before: 2 * ttl, deaf: true})
				time.Sleep(ttl + tick)
				b.Store(nil)
			}
		},
		"the backend hangs for both": func(_ *row, a, b *switchable) {
			a.Store(&fault{before: time.Hour})
			b.Store(&fault{before: time.Hour})
			time.Sleep(3 * ttl)
			a.Store(nil)
			b.Store(nil)
		},
		"the backend goes back to before they came": func(r *row, _,
			_ *switchable) {
			r.set(backend.Hold{Term: 2, Beat: 1})
		},
		"the backend goes back to nothing": func(r *row, _, _ *switchable) { r.set(backend.Hold{}) },
		"the backend goes back to a former holder": func(r *row, _,
			_ *switchable) {
			r.set(backend.Hold{Holder: "z#1", Term: 4, Beat: 7})
		},
		"it goes back again and again": func(r *row, _, _ *switchable) {
			for ms := range 40 {
				r.set(backend.Hold{Term: int64(ms % 6), Beat: 1})
				time.Sleep(time.Duration(331+ms*7) * time.Millisecond)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			offsets := 8 // wherever between two beats
			if racing {
				offsets = 1
			}
			for offset := range offsets {
				synctest.Test(t, func(t *testing.T) {
					r := &row{hold: backend.Hold{Term: 5, Beat: 1}}
					var la, lb switchable
					a, b := start(t, "a", path{r, la.now}), start(t, "b", path{r, lb.now}) // at the same moment
					stop := make(chan struct{})
					two := 0
					var watch atomic.Bool
					go func() {
						defer watch.Store(true)
						for {
							select {
							case <-stop:
								return
							// more often would be too much for the race detector
							case <-time.After(5 * time.Millisecond):
								if a.leads.Load() && b.leads.Load() {
									two++
								}
							}
						}
					}()
					time.Sleep(3*ttl + time.Duration(offset)*137*time.Millisecond)
					happen(r, &la, &lb)
					time.Sleep(4 * ttl)
					if a.leads.Load() == b.leads.Load() {
						t.Errorf("in the end a leads %v, b leads %v", a.leads.Load(), b.leads.Load())
					}
					close(stop)
					synctest.Wait()
					if two > 0 {
						t.Errorf("for some %d ms there were two", 5*two)
					}
					a.stop()
					b.stop()
				})
			}
		})
	}
}
