// Package lead makes one daemon of several the leader, by the lease that they share. It takes no decision of a leader:
// it hands out a context that ends with the leadership. Leases make two leaders rare; checks at the servers make them
// harmless.
//
// The one idea: each daemon measures time only by its own monotonic clock, from a moment that is safe. A leader counts
// from before it sent its last confirmed beat, and stops early. The others count from after they saw the row move, and
// wait for the whole TTL.
package lead

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/backend"
)

// Options of a Lease.
type Options struct {
	// ID names this daemon to people and to the other daemons. In the row it also has a random part, which is new for
	// each process: a daemon must not mistake the row of the process before it for its own.
	ID string
	// TTL is how long the row must stand still before another daemon takes it; default backend.LeaseTTL. The same for
	// all daemons of a backend.
	TTL time.Duration
	// Tick is the time from beat to beat, and from look to look; default a fifth of the TTL, at most a quarter.
	Tick time.Duration
	// Highest is the highest term that the process before this one knew, and Remember keeps a term for the next one:
	// terms rise although the backend went back in time and every daemon was restarted. Remember is called before a
	// term is used; a term that it cannot keep is not used.
	Highest  int64
	Remember func(term int64) error // nil: nothing is kept
	// Gone says that the process with that ID is known to have ended. Its lease is taken as soon as a beat is overdue.
	// A mistake is as bad as a lease that ran out unnoticed: rare, and not what safety rests on. nil: nothing is known.
	Gone func(id string) bool

	Turned     func()                // called at each turn of Run, which shows that it does not hang; nil: nobody asks
	Logger     *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: no metrics
}

// Lease is the part of this daemon in who leads.
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
	kept  int64     // the highest term that is kept for the next process
	aside time.Time // until then a free lease is left to others
	beat  int64     // the last one tried, confirmed or not; it only rises
	since time.Time // when row was first seen
	bad   bool      // the last call failed

	forgetful bool // the last term could not be kept, which was logged

	mu      sync.Mutex
	row     backend.Hold // as last seen
	known   bool         // row has ever been read
	highest int64        // the highest term ever seen: terms rise although a backend may go back in time
	reign   *reign       // while fn runs, though its context may have ended
}

// Status says who leads, as far as this daemon knows.
type Status struct {
	Leading bool   `json:"leading"` // this daemon leads
	Holder  string `json:"holder"`  // ID of the one that last held the lease; "" when it is free or not known
	Term    int64  `json:"term"`
}

// New returns the part of this daemon in the lease, which Run plays.
func New(lease backend.Lease, o Options) *Lease {
	var unique [6]byte
	rand.Read(unique[:]) // never fails
	l := &Lease{lease: lease, id: o.ID + "#" + hex.EncodeToString(unique[:]), ttl: o.TTL, tick: o.Tick,
		logger:  o.Logger,
		highest: o.Highest, kept: o.Highest, remember: o.Remember, gone: o.Gone, turned: o.Turned,
		asked: make(chan chan error)}
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
	l.failed = prometheus.NewCounter(prometheus.CounterOpts{Name: "orchestrator_lease_failures_total",
		Help: "Calls to the lease in the backend that failed or took too long."})
	l.started = prometheus.NewCounter(prometheus.CounterOpts{Name: "orchestrator_lease_won_total",
		Help: "How often this daemon has become the leader."})
	if o.Registerer != nil {
		o.Registerer.MustRegister(l.failed, l.started,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "orchestrator_leader",
				Help: "1 while this daemon leads, else 0."}, func() float64 {
				if l.Status().Leading {
					return 1
				}
				return 0
			}),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "orchestrator_lease_term",
				Help: "Term of the lease as last seen."}, func() float64 {
				return float64(l.Status().Term)
			}))
	}
	return l
}

// reserve is how long its holder has stopped before others may take the lease: time for fn to end, and for clocks that
// run unevenly.
func (l *Lease) reserve() time.Duration { return l.ttl / 5 }

// patience is how long one call to the backend may take. After one that hung there is time for another one before the
// reign ends.
func (l *Lease) patience() time.Duration { return l.ttl / 4 }

// Status is what this daemon knows, without asking the backend.
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

// Run takes part until ctx ends, then releases the lease if it holds it. Each time it wins the lease, it calls fn in a
// goroutine of its own. The context of fn ends when the lease is lost or in doubt; Run does not try again before fn has
// returned. A fn that returns by itself gives up the leadership.
func (l *Lease) Run(ctx context.Context, fn func(leading context.Context)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			_ = l.leave(ctx, "the daemon stops") // a failure was logged, and costs the next leader a TTL
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

// turn does what must be done now, and returns how long to wait for the next turn.
func (l *Lease) turn(ctx context.Context, fn func(context.Context)) time.Duration {
	switch r := l.reign; {
	case r == nil:
		l.watch(ctx, fn)
	case r.ctx.Err() != nil && ctx.Err() != nil:
		return l.tick // everything ends: Run releases the lease
	case r.ctx.Err() != nil:
		l.end("the backend has not confirmed the lease in time")
		l.watch(ctx, fn)
	case r.returned():
		_ = l.leave(ctx, "its work has ended by itself")
	default:
		l.keep(ctx)
	}
	if wait := l.still() - time.Since(l.since); l.reign == nil && wait > 0 {
		return min(wait, l.tick) // to look a tick too late would add a tick to each failover
	}
	return l.tick
}

// watch looks at a lease that another daemon or nobody holds, and takes it when it may.
func (l *Lease) watch(ctx context.Context, fn func(context.Context)) {
	if ctx.Err() != nil {
		return // this daemon stops
	}
	if !l.takeable() {
		row, err := l.call(ctx, func(ctx context.Context) (backend.Hold, error) { return l.lease.Read(ctx) })
		if err != nil {
			return
		}
		l.see(row)
		l.note(row.Term, "another daemon leads in this term")
		if !l.takeable() {
			return
		}
	}
	seen, next := l.row, l.next(max(l.highest, l.row.Term)+1)
	if !l.note(next.Term, "this daemon does not lead in this term, therefore") {
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
		return // it took so long that others may already count this daemon as dead
	}
	l.begin(ctx, asked, fn)
}

// next returns a row of this daemon that was never tried before. A write that failed may have happened all the same. To
// find the same row again would look like a confirmation, although the row did not move, and the others go on counting
// from the first time.
func (l *Lease) next(term int64) backend.Hold {
	l.beat++
	return backend.Hold{Holder: l.id, Term: term, Beat: l.beat}
}

// takeable says that the row, as last seen, may be replaced: it has stood still for the TTL, or, if its holder has
// ended, for longer than a beat takes; or nobody holds it; or this daemon does, by a take whose answer was lost.
func (l *Lease) takeable() bool {
	if time.Now().Before(l.aside) {
		return false // it stepped down: now the others have their turn
	}
	if !l.known || time.Since(l.since) >= l.still() {
		return l.known
	}
	// A row that is older than what was seen before comes from a backend that went back in time: a daemon may hold a
	// lease that it lost.
	return l.row.Term >= l.highest && (l.row.Holder == "" || l.row.Holder == l.id)
}

// still is how long the row must stand still before it is taken. If its holder is known to have ended: until a beat is
// overdue.
func (l *Lease) still() time.Duration {
	if l.row.Term >= l.highest && l.gone(bare(l.row.Holder)) {
		return min(l.tick*3/2, l.ttl)
	}
	return l.ttl
}

// see remembers the row. It counts as standing still from when the answer arrives, not from when it was asked for: it
// may have moved in between.
func (l *Lease) see(row backend.Hold) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.known || row != l.row {
		l.since = time.Now()
	}
	l.row, l.known, l.highest = row, true, max(l.highest, row.Term)
}

// note keeps a term for the next process, and says whether it is kept.
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
		l.logger.Error("a term cannot be stored for the next start of this daemon", "term", term, "what", what, "error",
			err)
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
		return // there may be another answer before the timer of the reign ends it
	}
	if row != next {
		l.reign.cancel()
		l.see(row)
		l.end("another daemon holds the lease")
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
