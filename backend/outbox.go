package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"orchestrator/daemon/plural"
)

// Outbox keeps what is written behind until the store has acknowledged it: facts, episodes, steps, what hooks were
// told. Whoever writes need not remember that a write has failed. Of each record it keeps the newest version only.
//
// It is not for what a person declares: that is refused when it can't be stored, and must not be stored later.
type Outbox struct {
	store Store
	now   func() time.Time

	mu      sync.Mutex
	pending map[name]Record
	refused map[name]error // the store takes others, and not these; they are pending too
	down    error          // the store takes nothing; nil: it does, as far as is known
	since   time.Time      // when down began
	again   time.Time      // Flush does nothing before
	pause   time.Duration
}

type name struct{ kind, key string }

const (
	// OutboxMost is how many records an outbox keeps. Beyond it, new ones are refused: they would fill the memory.
	OutboxMost = 50_000

	outboxPause   = time.Second
	outboxPatient = 10 * time.Second
)

// NewOutbox returns an empty one.
func NewOutbox(s Store, now func() time.Time) *Outbox {
	return &Outbox{store: s, now: now, pending: map[name]Record{}, refused: map[name]error{}}
}

// Put keeps the records and tries to store them. With an error, which names them (Refusals), those are still kept, and
// Flush tries again.
func (o *Outbox) Put(ctx context.Context, records ...Record) error {
	full := o.keep(records)
	err := PutEach(ctx, o.store, records...)
	o.settle(ctx, records, err)
	if full != nil && err != nil {
		return errors.Join(full, err)
	}
	return err
}

func (o *Outbox) keep(records []Record) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	dropped := 0
	for _, r := range records {
		n := name{r.Kind, r.Key}
		old, known := o.pending[n]
		switch {
		case known && !r.Wins(old):
		case !known && len(o.pending) >= OutboxMost:
			dropped++
		default:
			o.pending[n] = r
		}
	}
	if dropped > 0 {
		return fmt.Errorf("%s not stored and not kept: %d wait already", plural.Count(dropped, "record"), OutboxMost)
	}
	return nil
}

// settle notes what has become of records. What the end of ctx has broken off says nothing about the store.
func (o *Outbox) settle(ctx context.Context, records []Record, err error) {
	var failed Refusals
	errors.As(err, &failed)
	why := map[name]error{}
	for _, f := range failed {
		why[name{f.Record.Kind, f.Record.Key}] = f.Err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	taken := false
	for _, r := range records {
		n := name{r.Kind, r.Key}
		if why[n] != nil {
			continue
		}
		taken = true
		if kept, known := o.pending[n]; known && !kept.Wins(r) {
			delete(o.pending, n)
			delete(o.refused, n)
		}
	}
	unavailable := false
	for n, err := range why {
		if _, kept := o.pending[n]; !kept {
			continue
		}
		if taken || !errors.Is(err, ErrUnavailable) {
			o.refused[n] = err
		} else {
			unavailable = true
		}
	}
	switch {
	case !unavailable:
		o.down = nil
	case errors.Is(ctx.Err(), context.Canceled):
	default:
		if o.down == nil {
			o.since = o.now()
		}
		o.down = err
	}
	if err == nil {
		o.pause = 0
		return
	}
	o.pause = min(max(2*o.pause, outboxPause), outboxPatient)
	o.again = o.now().Add(o.pause)
}

// Keep keeps the records for the next Flush, for when the store is known to be down. It says what there is no room for.
func (o *Outbox) Keep(records ...Record) error { return o.keep(records) }

// Flush stores what waits, ever more seldom while that fails. It does nothing, and says nothing, before the next
// attempt is due. The error names what still waits.
func (o *Outbox) Flush(ctx context.Context) error {
	o.mu.Lock()
	early := o.now().Before(o.again)
	o.mu.Unlock()
	if early {
		return nil
	}
	return o.Empty(ctx)
}

// Empty is Flush for the last time: it does not wait until the next attempt is due.
func (o *Outbox) Empty(ctx context.Context) error {
	o.mu.Lock()
	records := slices.Collect(maps.Values(o.pending))
	o.mu.Unlock()
	if len(records) == 0 {
		return nil
	}
	slices.SortFunc(records, func(a, b Record) int { return cmp.Compare(a.Version, b.Version) })
	err := PutEach(ctx, o.store, records...)
	o.settle(ctx, records, err)
	return err
}

// List is that of the store, with what waits for it.
func (o *Outbox) List(ctx context.Context, kind string) ([]Record, error) {
	o.mu.Lock() // first: what is stored meanwhile is in both
	waits := map[string]Record{}
	for n, r := range o.pending {
		if n.kind == kind {
			waits[n.key] = r
		}
	}
	o.mu.Unlock()
	records, err := o.store.List(ctx, kind)
	if err != nil || len(waits) == 0 {
		return records, err
	}
	for i, r := range records {
		if w, ok := waits[r.Key]; ok {
			if w.Wins(r) {
				records[i] = w
			}
			delete(waits, r.Key)
		}
	}
	records = slices.AppendSeq(records, maps.Values(waits))
	records = slices.DeleteFunc(records, func(r Record) bool { return r.Deleted })
	slices.SortFunc(records, func(a, b Record) int { return cmp.Compare(a.Key, b.Key) })
	return records, nil
}

// Waits is how many records are not stored yet.
func (o *Outbox) Waits() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.pending)
}

// Down says since when, and why, the store takes nothing; "" while it takes something.
func (o *Outbox) Down() (since time.Time, why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down == nil {
		return time.Time{}, ""
	}
	return o.since, o.down.Error()
}

// Refused are the records that the store refuses while it takes others, by name, each with the reason.
func (o *Outbox) Refused() (says []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for n, err := range o.refused {
		says = append(says, fmt.Sprintf("%s %.80q: %v", n.kind, n.key, err))
	}
	slices.Sort(says)
	return says
}
