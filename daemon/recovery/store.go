package recovery

import (
	"context"
	"errors"

	"orchestrator/backend"
)

// batch is episodes that are stored together, in one transaction. While one is under way, those of all clusters wait
// for the next: where hundreds of primaries die at once, each with transactions of its own, the recoveries would queue
// for the disk.
type batch struct {
	records []backend.Record
	stored  chan struct{} // closed when they are, or could not be
}

// store puts records into the batch that waits, and returns what is closed when that is stored; mu is held.
func (r *Runner) store(ctx context.Context, records []backend.Record) <-chan struct{} {
	if r.waiting == nil {
		r.waiting = &batch{stored: make(chan struct{})}
	}
	b := r.waiting
	b.records = append(b.records, records...)
	if !r.storing {
		r.storing = true
		r.writes.Go(func() { r.storeAll(context.WithoutCancel(ctx)) }) // what was done was done, whoever leads now
	}
	return b.stored
}

// storeAll stores one batch after another until none waits.
func (r *Runner) storeAll(ctx context.Context) {
	for b := r.nextBatch(); b != nil; b = r.nextBatch() {
		if len(b.records) > 0 {
			short, cancel := context.WithTimeout(ctx, storeTime)
			r.unstorable(r.Outbox.Put(short, b.records...))
			cancel()
		}
		close(b.stored)
	}
}

func (r *Runner) unstorable(err error) {
	var refused backend.Refusals
	errors.As(err, &refused)
	for _, one := range refused {
		r.metrics.bookkeeping.Inc()
		r.Logger.Error("an episode could not be stored; the recovery goes on, and storing is tried again", "episode",
			one.Record.Key, "err", one.Err)
	}
}

func (r *Runner) nextBatch() *batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.waiting
	r.waiting, r.storing = nil, b != nil
	return b
}
