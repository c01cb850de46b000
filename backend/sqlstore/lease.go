package sqlstore

import (
	"cmp"
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
		var r holdRow
		err := c.QueryRowContext(ctx, d.leaseRead, l.name).Scan(&r.holder, &r.term, &r.beat)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err == nil {
			h, err = l.hold(r)
		}
		return err
	})
	return h, err
}

// holdRow is a row of leases as it is read.
type holdRow struct {
	holder     any
	term, beat number
}

// wrong says why the row of a file is no lease; "" if it is one. A holder of bytes is never found by its text.
func (r holdRow) wrong() string {
	if _, ok := r.holder.(string); !ok {
		return fmt.Sprintf("holder is %s, not a text", shown(r.holder))
	}
	return r.numbers()
}

func (r holdRow) numbers() string {
	return cmp.Or(r.term.not("term"), r.beat.not("beat"))
}

func (r holdRow) hold() backend.Hold {
	var holder text
	_ = holder.Scan(r.holder) // never fails
	return backend.Hold{Holder: string(holder), Term: r.term.value, Beat: r.beat.value}
}

// hold is what the row says. One that can't be read is one that nobody has written, in a file: it can be taken.
func (l lease) hold(r holdRow) (backend.Hold, error) {
	if l.store.mysql != nil {
		if wrong := r.numbers(); wrong != "" {
			return backend.Hold{}, fmt.Errorf("%w: what it has is no lease: %s", backend.ErrUnavailable, wrong)
		}
		return r.hold(), nil
	}
	n := name{leaseTable, l.name}
	found := func(rows map[name]string) { l.store.unreadable.found(rows, func(o name) bool { return o == n }) }
	if wrong := r.wrong(); wrong != "" {
		found(map[name]string{n: wrong})
		return backend.Hold{}, nil
	}
	found(nil)
	return r.hold(), nil
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
