// Package declared keeps what people have declared about servers and clusters: downtime, promotion rules, tags,
// aliases, discovered and forgotten servers, and whether recoveries are switched off. It decides nothing by that, and
// knows nothing of what servers report.
//
// The one idea: writes go through to the store, and return when the store has them; reads come from memory, and never
// wait. What is not known never counts as "nothing was declared" where that would let something act.
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

// Declarations are all that was declared. Safe for concurrent use.
type Declarations struct {
	store  backend.Store
	clock  *backend.Clock
	writer string
	turn   chan struct{} // holds one token: who takes it writes or refreshes, so that a refresh never misses a write

	mu      sync.RWMutex
	content content
	edition uint64    // rises with each change of content, and when a downtime or a request ends
	ends    time.Time // when the next downtime or request ends; zero: none does
	reason  string    // why content cannot be relied on; "" when it can
}

// Open reads what was declared. It fails when the store cannot be read. Unreadable records do not stop it: the others
// are there, and RecoveriesOff says what is wrong.
func Open(ctx context.Context, store backend.Store, clock *backend.Clock, writer string) (*Declarations, error) {
	ds := &Declarations{
		store: store, clock: clock, writer: writer, turn: make(chan struct{}, 1),
		content: newContent(), reason: "nothing has been read yet",
	}
	ds.turn <- struct{}{}
	if err := ds.Refresh(ctx); err != nil && !errors.Is(err, errUnreadable) {
		return nil, fmt.Errorf("open the declarations: %w", err)
	}
	return ds, nil
}

var errUnreadable = errors.New("a record is unreadable")

// Refresh reads the store again, because other daemons write there too. When it fails, what was known stays, and
// recoveries count as off.
func (ds *Declarations) Refresh(ctx context.Context) error {
	err := ds.alone(ctx, func() error {
		c, err := ds.read(ctx)
		ds.mu.Lock()
		defer ds.mu.Unlock()
		before, reason := ds.content, ds.reason
		if err == nil || errors.Is(err, errUnreadable) {
			ds.content = c
		}
		ds.reason = ""
		if err != nil {
			ds.reason = err.Error()
		}
		if reason != ds.reason || !reflect.DeepEqual(before, ds.content) {
			ds.changed()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read the declarations: %w", err)
	}
	return nil
}

// alone runs do while nobody else writes or refreshes.
func (ds *Declarations) alone(ctx context.Context, do func() error) error {
	select {
	case <-ds.turn:
		defer func() { ds.turn <- struct{}{} }()
		return do()
	case <-ctx.Done():
		return fmt.Errorf("wait for another write: %w", ctx.Err())
	}
}

func (ds *Declarations) read(ctx context.Context) (content, error) {
	c := newContent()
	var wrong []error
	for _, kind := range []string{kindDowntime, kindRule, kindTag, kindDiscovered, kindForgotten, kindAlias,
		RequestKind, kindSetting} {
		records, err := ds.store.List(ctx, kind)
		if err != nil {
			return c, err
		}
		for _, r := range records {
			_ = ds.clock.See(r) // what was acknowledged counts all the same
			if err := c.apply(r); err != nil {
				wrong = append(wrong, fmt.Errorf("%w: %w", errUnreadable, err))
			}
		}
	}
	return c, errors.Join(wrong...)
}

// put stores one record, checks that it is what is stored then, and only then takes it over.
func (ds *Declarations) put(ctx context.Context, kind, key string, document any) error {
	r := backend.Record{Kind: kind, Key: key, Deleted: true}
	if document != nil {
		var err error
		if r, err = backend.Encode(kind, key, document); err != nil {
			return err
		}
	}
	r.Writer = ds.writer
	return ds.alone(ctx, func() error {
		r.Version = ds.clock.Next()
		if err := r.Check(); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		r, err := backend.Write(ctx, ds.store, ds.clock, r)
		if err != nil {
			return err
		}
		ds.mu.Lock()
		defer ds.mu.Unlock()
		defer ds.changed()
		return ds.content.apply(r)
	})
}

// changed notes that content is different now; mu is held.
func (ds *Declarations) changed() {
	ds.edition++
	ds.ends = time.Time{}
	now := time.Now()
	end := func(at time.Time) {
		if at.After(now) && (ds.ends.IsZero() || at.Before(ds.ends)) {
			ds.ends = at
		}
	}
	for _, d := range ds.content.downtimes {
		end(d.Until)
	}
	for _, r := range ds.content.requests {
		end(r.Until)
	}
}

// Edition stays the same while nothing is declared and nothing that was ends.
func (ds *Declarations) Edition() uint64 {
	ds.mu.RLock()
	edition, ends := ds.edition, ds.ends
	ds.mu.RUnlock()
	if ends.IsZero() || ends.After(time.Now()) {
		return edition
	}
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if ds.ends.Equal(ends) {
		ds.changed()
	}
	return ds.edition
}
