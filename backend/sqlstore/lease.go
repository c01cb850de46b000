package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"orchestrator/backend"
)

// Lease returns the lease of that name.
func (s *Store) Lease(name string) backend.Lease { return lease{s, name} }

type lease struct {
	store *Store
	name  string
}

// Read returns the row.
func (l lease) Read(ctx context.Context) (backend.Hold, error) {
	h, err := l.read(ctx, l.store.read)
	if err != nil {
		return backend.Hold{}, fmt.Errorf("read lease %q in %s: %w", l.name, l.store.name, err)
	}
	return h, nil
}

func (l lease) read(ctx context.Context, db interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}) (h backend.Hold, err error) {
	if err := l.store.sound(); err != nil {
		return h, err
	}
	err = db.QueryRowContext(ctx, l.store.dialect.leaseRead, l.name).Scan(&h.Holder, &h.Term, &h.Beat)
	if errors.Is(err, sql.ErrNoRows) {
		return backend.Hold{}, nil
	}
	return h, err
}

// Take replaces the row by next if it still is what was seen.
func (l lease) Take(ctx context.Context, seen, next backend.Hold) (backend.Hold, error) {
	if !next.Wins(seen) {
		// On the other member of a pair such a row would lose against what it is to replace.
		return backend.Hold{}, fmt.Errorf("take lease %q in %s: %v does not win over %v", l.name, l.store.name, next, seen)
	}
	h, err := l.change(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, l.store.dialect.leaseTake, next.Holder, next.Term, next.Beat, l.name, seen.Holder, seen.Term, seen.Beat)
		if err == nil && seen == (backend.Hold{}) {
			_, err = tx.ExecContext(ctx, l.store.dialect.leaseFirst, next.Holder, next.Term, next.Beat, l.name)
		}
		return err
	})
	if err != nil {
		return backend.Hold{}, fmt.Errorf("take lease %q in %s as %v: %w", l.name, l.store.name, next, err)
	}
	return h, nil
}

// Beat merges the row.
func (l lease) Beat(ctx context.Context, h backend.Hold) (backend.Hold, error) {
	got, err := l.change(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, l.store.dialect.leaseBeat, l.name, h.Holder, h.Term, h.Beat)
		return err
	})
	if err != nil {
		return backend.Hold{}, fmt.Errorf("beat lease %q in %s as %v: %w", l.name, l.store.name, h, err)
	}
	return got, nil
}

// change writes and reads back what is there then. The counts of affected rows say nothing: a proxy, a repeated statement or a
// server's settings change them; what stands in the row is what others will see.
func (l lease) change(ctx context.Context, write func(*sql.Tx) error) (h backend.Hold, err error) {
	if err := l.store.sound(); err != nil {
		return h, err
	}
	tx, err := l.store.write.BeginTx(ctx, nil)
	if err != nil {
		return h, err
	}
	defer tx.Rollback() // after a Commit it does nothing
	if err := write(tx); err != nil {
		return h, err
	}
	if h, err = l.read(ctx, tx); err != nil {
		return h, err
	}
	return h, tx.Commit()
}
