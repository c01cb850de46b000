package daemon

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/backend"
	"orchestrator/backend/pair"
	"orchestrator/backend/report"
	"orchestrator/daemon/api"
)

// comparisonKind is the kind of the records that tell how the members of the backend compared. The word is that of
// earlier versions, which read these records too.
const comparisonKind = "comparison"

const (
	// comparisonKept is how long comparisons that found something are kept.
	comparisonKept = 30 * 24 * time.Hour
	// comparisonShown is how many differences a record holds.
	comparisonShown = 100
	// verifyTime bounds one comparison; a fleet of thousands takes a second.
	verifyTime = time.Minute
	// verifyAgain is how soon a comparison that failed is tried again: a member is away.
	verifyAgain = 10 * time.Second
	// verifyCalm is how long the members are left alone after a switch: what is on its way arrives by itself.
	verifyCalm = 3 * time.Second
)

// occasion is what gives rise to a comparison.
type occasion struct {
	why string
	// apart: the members were apart until now, so that what is still on its way is reported too.
	apart bool
}

// schedule says when to compare next.
type schedule struct {
	last  time.Time // when the last comparison began that succeeded
	next  occasion  // of one that is due regardless of last; zero: none is
	ready time.Time // not before
}

// due is the occasion of a comparison that should begin now; the zero one, if none should.
func (s schedule) due(now time.Time, every time.Duration) occasion {
	switch {
	case every == 0 || now.Before(s.ready):
		return occasion{}
	case s.next.why != "":
		return s.next
	case now.Sub(s.last) >= every:
		return occasion{why: "each " + every.String()}
	}
	return occasion{}
}

// verifier knows when to compare the members, and what the last comparison found.
type verifier struct {
	wake chan struct{}

	mu sync.Mutex
	schedule
	found  []pair.Difference // that were left
	merged int               // since the start
}

func newVerifier() *verifier { return &verifier{wake: make(chan struct{}, 1)} }

// soon makes the next comparison due, whenever the last one was.
func (v *verifier) soon(o occasion) {
	v.mu.Lock()
	if !v.next.apart {
		v.next = o
	}
	if v.ready = time.Now(); !v.next.apart {
		v.ready = v.ready.Add(verifyCalm)
	}
	v.mu.Unlock()
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// dueNow is due, for this moment.
func (v *verifier) dueNow(every time.Duration) occasion {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.due(time.Now(), every)
}

// compared takes down what a comparison found. One whose merging failed is repeated soon, and what it found is known.
// One that failed before it found anything leaves what the last one found.
func (v *verifier) compared(at time.Time, o occasion, found pair.Verification, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ready = at.Add(verifyAgain)
	if err != nil {
		if len(found.Differences) > 0 {
			v.found = found.Differences
		}
		return
	}
	v.last, v.found = at, found.Differences
	v.merged += len(found.Merged) + len(found.Arrived)
	if v.next == o {
		v.next = occasion{}
	}
}

// differ names the records in which the members still differed when they were compared last.
func (v *verifier) differ() (out []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i, d := range v.found {
		if i == comparisonShown {
			return append(out, fmt.Sprintf("and %d more", len(v.found)-i))
		}
		out = append(out, fmt.Sprintf("%s %s: %v | %v", d.Kind, d.Key, d.Held[0], d.Held[1]))
	}
	return out
}

func (v *verifier) metrics() []prometheus.Collector {
	locked := func(value func() float64) func() float64 {
		return func() float64 {
			v.mu.Lock()
			defer v.mu.Unlock()
			return value()
		}
	}
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "orchestrator_backend_differing",
			Help: "Records in which the members of the backend differed when this daemon, leading, compared and " +
				"merged them last."},
			locked(func() float64 { return float64(len(v.found)) })),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "orchestrator_backend_compared_timestamp_seconds",
			Help: "When this daemon, leading, compared the members of the backend last, in Unix time; 0 when it has " +
				"not."},
			locked(func() float64 {
				if v.last.IsZero() {
					return 0
				}
				return float64(v.last.UnixMilli()) / 1000
			})),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "orchestrator_backend_merged_total",
			Help: "Records in which the members of the backend differed, and that this daemon has merged."},
			locked(func() float64 { return float64(v.merged) })),
	}
}

// verifyAll compares the members again and again while this daemon leads, and merges what differs.
func (m *pairMode) verifyAll(ctx context.Context) error {
	m.verifier.soon(occasion{why: "a new leader"})
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.verifier.wake:
		case <-tick.C:
		}
		o := m.verifier.dueNow(m.config.Backend.Compare)
		if o.why == "" {
			continue
		}
		select {
		case m.turn <- struct{}{}:
			m.verify(ctx, o)
			<-m.turn
		default: // something else is done there
		}
	}
}

// verify compares once. Its caller has the turn.
func (m *pairMode) verify(ctx context.Context, o occasion) {
	short, cancel := context.WithTimeout(ctx, verifyTime)
	defer cancel()
	at := time.Now()
	v, err := m.admin.Verify(short, true)
	if ctx.Err() != nil {
		return
	}
	if !o.apart {
		v.Arrived = nil // in a pair that works something is always on its way
	}
	m.verifier.compared(at, o, v, err)
	switch {
	case err != nil && len(v.Differences) > 0:
		m.log.Warn("the members of the backend differ, and merging them failed", "occasion", o.why, "differ",
			len(v.Differences), "err", err)
		return
	case err != nil:
		m.log.Warn("comparing the members of the backend failed", "occasion", o.why, "err", err)
		return
	}
	if worthKeeping(v) {
		m.log.Warn("the members of the backend differed", "occasion", o.why,
			"arrived", len(v.Arrived), "merged", len(v.Merged), "left", len(v.Differences), "records", v.Records)
	}
	if err := m.keepComparison(ctx, at, o.why, v); err != nil {
		m.log.Error("a comparison of the backend's members could not be stored", "err", err)
	}
}

// worthKeeping says that something differed besides the records of comparisons, each of which is written after
// comparing.
func worthKeeping(v pair.Verification) bool {
	return slices.ContainsFunc(slices.Concat(v.Arrived, v.Merged, v.Differences),
		func(d pair.Difference) bool { return d.Kind != comparisonKind })
}

// keepComparison stores the last comparison, and for a month those that found something.
func (m *sharedMode) keepComparison(ctx context.Context, at time.Time, why string, v pair.Verification) error {
	keys := []string{"last"}
	if worthKeeping(v) {
		keys = append(keys, at.UTC().Format("20060102T150405Z"))
	}
	p := api.BackendComparison{At: at.UTC(), By: m.id, Why: why, Comparison: v}
	for _, list := range []*[]report.Difference{&p.Comparison.Differences, &p.Comparison.Merged,
		&p.Comparison.Arrived} {
		p.More += max(0, len(*list)-comparisonShown)
		*list = (*list)[:min(comparisonShown, len(*list))]
	}
	var records []backend.Record
	for _, key := range keys {
		r, err := m.clock.Encode(m.id, comparisonKind, key, p)
		if err != nil {
			return err
		}
		records = append(records, r)
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	return backend.PutEach(ctx, m.journal, records...)
}

// comparisons are those on record: the last one, and those that found something, the newest first.
func (m *sharedMode) comparisons(ctx context.Context) (last *api.BackendComparison, found []api.BackendComparison,
	err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	records, err := m.journal.List(ctx, comparisonKind)
	if err != nil {
		return nil, nil, err
	}
	found = []api.BackendComparison{}
	for _, r := range records {
		p, err := backend.Decode[api.BackendComparison](r)
		switch {
		case err != nil:
			m.log.Error("skip an unreadable comparison on record", "key", r.Key, "err", err)
		case r.Key == "last":
			last = &p
		default:
			found = append(found, p)
		}
	}
	slices.Reverse(found)
	return last, found, nil
}
