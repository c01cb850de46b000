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
	h, err := l.run(ctx, l.store.read, func(*sql.Conn, dialect) error { return nil })
	if err != nil {
		return backend.Hold{}, fmt.Errorf("read lease %q in %s: %w", l.name, l.store.name, err)
	}
	return h, nil
}

// run changes the row and reads what is there then. The counts of affected rows say nothing: a proxy, a repeated
// statement or a server's settings change them; what stands in the row is what others will see. No transaction holds
// the two together: what another daemon writes between them may as well be seen.
func (l lease) run(ctx context.Context, pool *sql.DB, change func(*sql.Conn, dialect) error) (h backend.Hold,
	err error) {
	err = l.store.lend(ctx, pool, func(c *sql.Conn, d dialect) error {
		if err := change(c, d); err != nil {
			return err
		}
		h = backend.Hold{}
		err := c.QueryRowContext(ctx, d.leaseRead, l.name).Scan(&h.Holder, &h.Term, &h.Beat)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return h, err
}

// Take replaces the row by next if it still is what was seen.
func (l lease) Take(ctx context.Context, seen, next backend.Hold) (backend.Hold, error) {
	if !next.Wins(seen) {
		// On the other member of a pair such a row would lose against what it is to replace.
		return backend.Hold{}, fmt.Errorf("take lease %q in %s: %v does not win over %v", l.name, l.store.name, next,
			seen)
	}
	h, err := l.run(ctx, l.store.hold, func(c *sql.Conn, d dialect) error {
		_, err := c.ExecContext(ctx, d.leaseTake, next.Holder, next.Term, next.Beat, l.name, seen.Holder, seen.Term,
			seen.Beat)
		if err == nil && seen == (backend.Hold{}) {
			_, err = c.ExecContext(ctx, d.leaseFirst, l.name, next.Holder, next.Term, next.Beat)
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
	got, err := l.run(ctx, l.store.hold, func(c *sql.Conn, d dialect) error {
		_, err := c.ExecContext(ctx, d.leaseBeat, l.name, h.Holder, h.Term, h.Beat)
		return err
	})
	if err != nil {
		return backend.Hold{}, fmt.Errorf("beat lease %q in %s as %v: %w", l.name, l.store.name, h, err)
	}
	return got, nil
}
