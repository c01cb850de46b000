// Package declared keeps what people have declared about servers and clusters: downtime, promotion rules, tags, aliases, what is
// forgotten, and whether recoveries are switched off. It judges nothing by it, and knows nothing of what servers say.
//
// The one idea: writes go through to the store and return when they are there; reads come from memory and never wait. What is
// not known is never taken for "nothing was declared" where that would let something act.
package declared

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"orchestrator/backend"
)

// Book is what was declared. Safe for concurrent use.
type Book struct {
	store  backend.Store
	clock  *backend.Clock
	writer string
	turn   chan struct{} // holds one token: who takes it writes, or refreshes; so a refresh never overlooks a write

	mu      sync.RWMutex
	page    page
	edition uint64    // rises with each change of page, and whenever a downtime ends
	ends    time.Time // when the next downtime ends; zero: none does
	reason  string    // why the page is not to be relied on; "" when it is
}

// Open reads what was declared. It fails when the store cannot be read. Records that make no sense don't stop it: the rest is there, and
// RecoveriesOff says what is wrong.
func Open(ctx context.Context, store backend.Store, clock *backend.Clock, writer string) (*Book, error) {
	b := &Book{store: store, clock: clock, writer: writer, turn: make(chan struct{}, 1), page: newPage(), reason: "nothing was read yet"}
	b.turn <- struct{}{}
	if err := b.Refresh(ctx); err != nil && !errors.Is(err, errUnreadable) {
		return nil, fmt.Errorf("open what was declared: %w", err)
	}
	return b, nil
}

var errUnreadable = errors.New("a record makes no sense")

// Refresh reads the store again: other daemons write there too. When it fails, what was known stays, and recoveries count as off.
func (b *Book) Refresh(ctx context.Context) error {
	err := b.alone(ctx, func() error {
		p, err := b.read(ctx)
		b.mu.Lock()
		defer b.mu.Unlock()
		before, reason := b.page, b.reason
		if err == nil || errors.Is(err, errUnreadable) {
			b.page = p
		}
		b.reason = ""
		if err != nil {
			b.reason = err.Error()
		}
		if reason != b.reason || !reflect.DeepEqual(before, b.page) {
			b.turnPage()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read what was declared: %w", err)
	}
	return nil
}

// alone runs do while nobody else writes or refreshes.
func (b *Book) alone(ctx context.Context, do func() error) error {
	select {
	case <-b.turn:
		defer func() { b.turn <- struct{}{} }()
		return do()
	case <-ctx.Done():
		return fmt.Errorf("wait for another write: %w", ctx.Err())
	}
}

func (b *Book) read(ctx context.Context) (page, error) {
	p := newPage()
	var wrong []error
	for _, kind := range []string{kindDowntime, kindRule, kindTag, kindForgotten, kindAlias, kindSetting} {
		records, err := b.store.List(ctx, kind)
		if err != nil {
			return p, err
		}
		for _, r := range records {
			b.clock.Observe(r.Version)
			if err := p.apply(r); err != nil {
				wrong = append(wrong, fmt.Errorf("%w: %w", errUnreadable, err))
			}
		}
	}
	return p, errors.Join(wrong...)
}

// put stores one record, sees that it is what is stored then, and only then enters it into the page.
func (b *Book) put(ctx context.Context, kind, key string, document any) error {
	r := backend.Record{Kind: kind, Key: key, Deleted: true}
	if document != nil {
		var err error
		if r, err = backend.Encode(kind, key, document); err != nil {
			return err
		}
	}
	r.Writer = b.writer
	return b.alone(ctx, func() error {
		r.Version = b.clock.Next()
		if err := r.Check(); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		r, err := backend.Write(ctx, b.store, b.clock, r)
		if err != nil {
			return err
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		defer b.turnPage()
		return b.page.apply(r)
	})
}

// turnPage notes that the page is another one than before; mu is held.
func (b *Book) turnPage() {
	b.edition++
	b.ends = time.Time{}
	for _, d := range b.page.downtimes {
		if d.Until.After(time.Now()) && (b.ends.IsZero() || d.Until.Before(b.ends)) {
			b.ends = d.Until
		}
	}
}

// Edition is the same as long as everything that was declared is, and no downtime has ended.
func (b *Book) Edition() uint64 {
	b.mu.RLock()
	edition, ends := b.edition, b.ends
	b.mu.RUnlock()
	if ends.IsZero() || ends.After(time.Now()) {
		return edition
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ends.Equal(ends) {
		b.turnPage()
	}
	return b.edition
}
