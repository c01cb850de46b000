// Package lead makes one daemon of several the leader, by the lease that they share. It decides nothing that a leader decides: it
// hands out a context that ends with the leadership. Leases make two leaders rare; what makes them harmless is checked at the servers.
//
// The one idea: time is measured only by one's own monotonic clock, from a moment that is safe. A leader counts from before it asked
// for its last confirmed beat, and stops early; the others count from after they saw the row move, and wait the full TTL.
package lead

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/backend"
)

// Options of a Lease.
type Options struct {
	// ID names this daemon to people and to the other daemons. In the row it carries a random part too, new at each start of the process: a
	// daemon must not mistake for its own what its predecessor held.
	ID string
	// TTL is how long the row must stand still before another takes it; default backend.LeaseTTL. The same for all daemons of a backend.
	TTL time.Duration
	// Tick is the time from beat to beat, and from look to look; default a fifth of the TTL, at most a quarter.
	Tick time.Duration
	// Highest is the highest term that this daemon knew in its former life, and Remember keeps one for the next life: terms rise although the
	// backend went back in time and everybody was started anew. Remember is asked before a term is used, and one that it can't keep is not used.
	Highest  int64
	Remember func(term int64) error // nil: nothing is kept
	// Gone says that the process of that ID is known to have ended. Its lease is taken as soon as a beat is overdue. That it is
	// mistaken is as bad as a lease that ran out unnoticed: rare, and not what acting is made safe by. nil: nothing is known.
	Gone func(id string) bool

	Turned     func()                // called at each turn of Run, and by that proves that it doesn't hang; nil: nobody asks
	Logger     *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: no metrics
}

// Lease takes part in who leads.
type Lease struct {
	lease    backend.Lease
	id       string
	ttl      time.Duration
	tick     time.Duration
	logger   *slog.Logger
	failed   prometheus.Counter
	started  prometheus.Counter
	remember func(term int64) error
	gone     func(id string) bool
	turned   func()
	asked    chan chan error // for a step-down

	// Of Run alone:
	kept  int64     // the highest term that is kept for the next life
	aside time.Time // until then a free lease is left to others
	beat  int64     // the last one tried, confirmed or not; it never starts again
	since time.Time // row was seen first
	bad   bool      // the last call failed

	forgetful bool // the last term could not be kept, and this was said

	mu      sync.Mutex
	row     backend.Hold // as last seen
	known   bool         // row has ever been read
	highest int64        // term ever seen: terms rise although a backend may go back in time
	reign   *reign       // while fn runs, though its context may have ended
}

// Status says who leads, as far as this daemon knows.
type Status struct {
	Leading bool   `json:"leading"` // this daemon leads
	Holder  string `json:"holder"`  // ID of the one that last held the lease; "" when it is free or not known
	Term    int64  `json:"term"`
}

// New returns the part of this daemon in the lease; Run plays it.
func New(lease backend.Lease, o Options) *Lease {
	var unique [6]byte
	rand.Read(unique[:]) // never fails
	l := &Lease{lease: lease, id: o.ID + "#" + hex.EncodeToString(unique[:]), ttl: o.TTL, tick: o.Tick, logger: o.Logger,
		highest: o.Highest, kept: o.Highest, remember: o.Remember, gone: o.Gone, turned: o.Turned, asked: make(chan chan error)}
	if l.remember == nil {
		l.remember = func(int64) error { return nil }
	}
	if l.gone == nil {
		l.gone = func(string) bool { return false }
	}
	if l.turned == nil {
		l.turned = func() {}
	}
	if l.ttl <= 0 {
		l.ttl = backend.LeaseTTL
	}
	if l.tick <= 0 {
		l.tick = l.ttl / 5
	}
	l.tick = min(l.tick, l.ttl/4)
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	l.failed = prometheus.NewCounter(prometheus.CounterOpts{Name: "orchestrator_lease_failures_total", Help: "Calls to the lease in the backend that failed or took too long."})
	l.started = prometheus.NewCounter(prometheus.CounterOpts{Name: "orchestrator_lease_won_total", Help: "How often this daemon has become the leader."})
	if o.Registerer != nil {
		o.Registerer.MustRegister(l.failed, l.started,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "orchestrator_leader", Help: "1 while this daemon leads, else 0."}, func() float64 {
				if l.Status().Leading {
					return 1
				}
				return 0
			}),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "orchestrator_lease_term", Help: "Term of the lease as last seen."}, func() float64 {
				return float64(l.Status().Term)
			}))
	}
	return l
}

// reserve is how long before others may take the lease its holder has stopped: time for fn to end, and for clocks that run unevenly.
func (l *Lease) reserve() time.Duration { return l.ttl / 5 }

// patience is how long one call to the backend may take; after one that hung there is time for another before the reign ends.
func (l *Lease) patience() time.Duration { return l.ttl / 4 }

// Status tells without asking the backend.
func (l *Lease) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Status{Leading: l.reign != nil && l.reign.lasts(), Holder: bare(l.row.Holder), Term: l.row.Term}
}

// bare is the ID without the random part.
func bare(holder string) string {
	if i := strings.LastIndexByte(holder, '#'); i >= 0 {
		return holder[:i]
	}
	return holder
}

// Run takes part until ctx ends, then releases the lease if it holds it. Each time the lease is won it calls fn in a goroutine of its own.
// The context of fn ends when the lease is lost or on any doubt about it; until fn has returned, Run does not try again. A fn that returns
// by itself gives the leadership up.
func (l *Lease) Run(ctx context.Context, fn func(leading context.Context)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			_ = l.leave(ctx, "the daemon stops") // that it failed was logged, and costs the next a TTL
			return nil
		case <-timer.C:
		case <-l.over():
		case done := <-l.asked:
			done <- l.stepDown(ctx)
		}
		timer.Reset(l.turn(ctx, fn))
		l.turned()
	}
}

// StepDown ends the leadership as planned: what runs under it ends first, then the lease is released, and left to others for a TTL. It returns when
// the lease is free. It is an error to ask a daemon that does not lead, or that can't reach the lease: then it leads no more, and the others wait for the TTL.
func (l *Lease) StepDown(ctx context.Context) error {
	done, err := l.ask(ctx)
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("step down: what runs under the leadership has not ended yet: %w", context.Cause(ctx))
	}
}

// Yield begins what StepDown does, and does not wait for it: it is for what runs under the leadership and must end first.
func (l *Lease) Yield(ctx context.Context) error {
	_, err := l.ask(ctx)
	return err
}

func (l *Lease) ask(ctx context.Context) (done chan error, err error) {
	done = make(chan error, 1)
	select {
	case l.asked <- done:
		return done, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("step down: %w", context.Cause(ctx))
	}
}

func (l *Lease) stepDown(ctx context.Context) error {
	if s := l.Status(); !s.Leading {
		leader := s.Holder
		if leader == "" {
			leader = "nobody, as far as it knows,"
		}
		return fmt.Errorf("step down: this daemon does not lead; %s does", leader)
	}
	err := l.leave(ctx, "it was asked to step down")
	l.aside = time.Now().Add(l.ttl)
	if err != nil {
		return fmt.Errorf("step down: this daemon leads no more, and could not release the lease, which others take after %s: %w", l.ttl, err)
	}
	return nil
}

// over returns what is closed when fn has returned; nil while it is not running.
func (l *Lease) over() <-chan struct{} {
	if l.reign == nil {
		return nil
	}
	return l.reign.done
}

// turn does what is to be done now and returns when to come again.
func (l *Lease) turn(ctx context.Context, fn func(context.Context)) time.Duration {
	switch r := l.reign; {
	case r == nil:
		l.watch(ctx, fn)
	case r.ctx.Err() != nil && ctx.Err() != nil:
		return l.tick // it ended because everything ends: Run releases what is held
	case r.ctx.Err() != nil:
		l.end("the backend has not confirmed the lease in time")
		l.watch(ctx, fn)
	case r.returned():
		_ = l.leave(ctx, "its work has ended by itself")
	default:
		l.keep(ctx)
	}
	if wait := l.still() - time.Since(l.since); l.reign == nil && wait > 0 {
		return min(wait, l.tick) // to look a tick too late would add it to each failover
	}
	return l.tick
}

// watch looks at the lease of another, or of nobody, and takes it when it may.
func (l *Lease) watch(ctx context.Context, fn func(context.Context)) {
	if ctx.Err() != nil {
		return // nobody would be there to lead
	}
	if !l.takeable() {
		row, err := l.call(ctx, func(ctx context.Context) (backend.Hold, error) { return l.lease.Read(ctx) })
		if err != nil {
			return
		}
		l.see(row)
		l.note(row.Term, "another daemon leads in it")
		if !l.takeable() {
			return
		}
	}
	seen, next := l.row, l.next(max(l.highest, l.row.Term)+1)
	if !l.note(next.Term, "this daemon does not lead in it, therefore") {
		return
	}
	asked := time.Now()
	row, err := l.call(ctx, func(ctx context.Context) (backend.Hold, error) { return l.lease.Take(ctx, seen, next) })
	if err != nil {
		return
	}
	l.see(row)
	if row != next {
		return
	}
	if !time.Now().Before(asked.Add(l.ttl - l.reserve())) {
		return // it took so long that others may count it as dead already
	}
	l.begin(ctx, asked, fn)
}

// next returns a row of ours that was never tried before. What failed may have been written all the same: to find the same row there again
// would look like a confirmation, though the row did not move, and the others count on from the first time.
func (l *Lease) next(term int64) backend.Hold {
	l.beat++
	return backend.Hold{Holder: l.id, Term: term, Beat: l.beat}
}

// takeable says that the row, as last seen, may be replaced: it has stood still for the TTL, or since its holder has ended for longer than a beat takes;
// or nobody holds it; or we do, by a taking whose answer was lost.
func (l *Lease) takeable() bool {
	if time.Now().Before(l.aside) {
		return false // it stepped down: it is the others' turn
	}
	if !l.known || time.Since(l.since) >= l.still() {
		return l.known
	}
	// A row that is older than what was seen before comes from a backend that went back in time: somebody may hold what it has forgotten.
	return l.row.Term >= l.highest && (l.row.Holder == "" || l.row.Holder == l.id)
}

// still is for how long the row must stand still before it is taken: if its holder is known to have ended, until a beat is overdue.
func (l *Lease) still() time.Duration {
	if l.row.Term >= l.highest && l.gone(bare(l.row.Holder)) {
		return min(l.tick*3/2, l.ttl)
	}
	return l.ttl
}

// see remembers the row. The clock of its standing still starts when the answer is here, and not when it was asked for: it may have moved
// while the question was under way.
func (l *Lease) see(row backend.Hold) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.known || row != l.row {
		l.since = time.Now()
	}
	l.row, l.known, l.highest = row, true, max(l.highest, row.Term)
}

// note keeps a term for the next life, and says whether it is kept.
func (l *Lease) note(term int64, what string) bool {
	if term <= l.kept {
		return true
	}
	err := l.remember(term)
	if err == nil {
		l.kept, l.forgetful = term, false
		return true
	}
	if !l.forgetful {
		l.logger.Error("a term can't be kept for the next life of this daemon", "term", term, "what", what, "error", err)
		l.forgetful = true
	}
	return false
}

// keep beats.
func (l *Lease) keep(ctx context.Context) {
	next := l.next(l.row.Term)
	asked := time.Now()
	row, err := l.call(ctx, func(ctx context.Context) (backend.Hold, error) { return l.lease.Beat(ctx, next) })
	if err != nil {
		return // until the reign ends by its timer there may be another answer
	}
	if row != next {
		l.reign.cancel()
		l.see(row)
		l.end("another holds the lease")
		return
	}
	l.see(row)
	l.reign.extend(asked.Add(l.ttl - l.reserve()))
}

func (l *Lease) call(ctx context.Context, ask func(context.Context) (backend.Hold, error)) (backend.Hold, error) {
	within, cancel := context.WithTimeout(ctx, l.patience())
	defer cancel()
	row, err := ask(within)
	if err != nil && ctx.Err() == nil {
		l.failed.Inc()
		if !l.bad {
			l.logger.Warn("the lease cannot be reached", "leading", l.reign != nil, "error", err)
		}
		l.bad = true
	}
	if err == nil && l.bad {
		l.logger.Info("the lease can be reached again")
		l.bad = false
	}
	return row, err
}

func (l *Lease) begin(ctx context.Context, asked time.Time, fn func(context.Context)) {
	r := newReign(ctx, asked.Add(l.ttl-l.reserve()), fn)
	l.mu.Lock()
	l.reign = r
	l.mu.Unlock()
	l.started.Inc()
	l.logger.Info("leading", "term", l.row.Term)
}

// end waits until fn has returned.
func (l *Lease) end(why string) {
	l.reign.stop()
	l.mu.Lock()
	l.reign = nil
	l.mu.Unlock()
	l.logger.Info("no longer leading", "term", l.row.Term, "why", why)
}

// leave ends the reign and says so in the row, so that the next need not wait. ctx may have ended.
func (l *Lease) leave(ctx context.Context, why string) error {
	if l.reign == nil {
		return nil
	}
	term := l.row.Term
	l.end(why)
	// It is higher than any beat of ours that may still be under way, which must not bring the lease back.
	free := l.next(term)
	free.Holder = ""
	row, err := l.call(context.WithoutCancel(ctx), func(ctx context.Context) (backend.Hold, error) {
		return l.lease.Beat(ctx, free)
	})
	if err == nil {
		l.see(row)
	}
	return err
}
