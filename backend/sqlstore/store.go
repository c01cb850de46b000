// Package sqlstore keeps records and leases in a database: two tables, and statements that a dialect holds whole. It
// knows nothing about the meaning of the records.
//
// The one idea: every write is a merge done by the database in one statement, so that writing needs no reading before
// it, and a write that is lost, repeated or late does no harm.
package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"orchestrator/backend"
	"orchestrator/daemon/plural"
)

// Store implements backend.Store, and hands out leases that are stored with the records. Safe for concurrent use.
type Store struct {
	name string // for errors: what the operator calls the database
	read *sql.DB
	// one connection: writers of one process queue here, where their contexts count, and not in the database
	write *sql.DB
	hold  *sql.DB // for changes of a lease
	lend  lender
	mysql *mysqlServer // nil for SQLite
	file  *file        // nil for a server

	unreadable *unreadable
}

// lender runs do with a connection of the pool, and the dialect of its server. do may run more than once.
type lender func(ctx context.Context, pool *sql.DB, do func(*sql.Conn, dialect) error) error

// Put merges the records, all of them or none.
func (s *Store) Put(ctx context.Context, records ...backend.Record) error {
	if len(records) == 0 {
		return nil
	}
	for _, r := range records {
		if err := r.Check(); err != nil {
			return fmt.Errorf("put into %s: %w", s.name, err)
		}
	}
	if err := s.put(ctx, winners(records)); err != nil {
		return fmt.Errorf("put %s into %s: %w", plural.Count(len(records), "record"), s.name, err)
	}
	return nil
}

// winners sorts the records and keeps one a key. All writers lock rows in the same order, so that they never wait for
// each other in a circle; and no statement touches a row twice.
func winners(records []backend.Record) []backend.Record {
	out := slices.Clone(records)
	slices.SortStableFunc(out, func(a, b backend.Record) int {
		switch c := strings.Compare(a.Kind, b.Kind); {
		case c != 0:
			return c
		case a.Key != b.Key:
			return strings.Compare(a.Key, b.Key)
		case a.Wins(b):
			return -1
		case b.Wins(a):
			return 1
		}
		return 0
	})
	return slices.CompactFunc(out, func(a, b backend.Record) bool { return a.Kind == b.Kind && a.Key == b.Key })
}

// The most that one statement carries: far below what the databases take (SQLite: 32766 values; MySQL:
// max_allowed_packet, 16 MiB).
const (
	maxRows  = 500
	maxBytes = 1 << 20
)

func (s *Store) put(ctx context.Context, records []backend.Record) error {
	return s.lend(ctx, s.write, func(c *sql.Conn, d dialect) error {
		if err := d.put(ctx, c, records); err != nil {
			return err
		}
		return c.Raw(func(raw any) error {
			if session, ok := raw.(*session); ok {
				session.wrote(slices.MaxFunc(records, func(a, b backend.Record) int {
					return cmp.Compare(a.Version, b.Version)
				}).Version)
			}
			return nil
		})
	})
}

func (d dialect) put(ctx context.Context, c *sql.Conn, records []backend.Record) error {
	for _, r := range records {
		if err := d.merge.fits(r); err != nil {
			return err
		}
	}
	first, values := d.merge.part(records)
	if len(first) == len(records) {
		_, err := c.ExecContext(ctx, d.merge.of(len(first)), values...)
		return err
	}
	tx, err := c.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after a Commit it does nothing
	for len(records) > 0 {
		first, values := d.merge.part(records)
		if _, err := tx.ExecContext(ctx, d.merge.of(len(first)), values...); err != nil {
			return err
		}
		records = records[len(first):]
	}
	return tx.Commit()
}

// each merges records that have nothing to do with each other, outside of a transaction. One that the server refuses
// does not keep the others out. An error is one of the server, or of the connection.
func (d dialect) each(ctx context.Context, c *sql.Conn, records []backend.Record) (refused backend.Refusals,
	err error) {
	var below error
	merge := func(ctx context.Context, records ...backend.Record) error {
		if below != nil {
			return below
		}
		if err := d.merge.fits(records[0]); err != nil {
			return err
		}
		_, values := d.merge.part(records)
		_, err := c.ExecContext(ctx, d.merge.of(len(records)), values...)
		if broken(err) || collided(err) || unusable(err) || errors.Is(whole(err), backend.ErrUnavailable) {
			below = err // lend knows what to do about it
		}
		return err
	}
	for len(records) > 0 {
		first, _ := d.merge.part(records)
		records = records[len(first):]
		var some backend.Refusals
		errors.As(backend.Each(ctx, merge, first...), &some)
		if err := cmp.Or(below, ctx.Err()); err != nil {
			return nil, err
		}
		refused = append(refused, some...)
	}
	return refused, nil
}

// part returns the first records, as many as one statement carries, and their values. What does not fit is alone.
func (m multirow) part(records []backend.Record) (first []backend.Record, values []any) {
	n, bytes, most := 0, 0, maxBytes
	if m.most > 0 {
		most = min(most, int(m.most/4)) // far from it
	}
	for n < len(records) && n < maxRows && (n == 0 || bytes+quoted(records[n]) < most) {
		r := records[n]
		values = append(values, r.Kind, r.Key, r.Version, r.Writer, r.Deleted, string(r.Document))
		bytes += quoted(r)
		n++
	}
	return records[:n], values
}

// fits says why a record is too long for the server.
func (m multirow) fits(r backend.Record) error {
	if needs := int64(quoted(r) + len(m.head) + len(m.tail)); m.most > 0 && needs > m.most {
		return fmt.Errorf("%s %q takes %d bytes in a statement, and the server takes %d: raise max_allowed_packet "+
			"there", r.Kind, r.Key, needs, m.most)
	}
	return nil
}

// quoted is about how many bytes a record takes in a statement, and not less.
func quoted(r backend.Record) int {
	n := len(r.Document) + 2*(len(r.Kind)+len(r.Key)+len(r.Writer)) + 64
	for _, b := range r.Document {
		switch b {
		case 0, '\n', '\r', 26, '\'', '"', '\\':
			n++
		}
	}
	return n
}

// Get returns the live record, or backend.ErrNotFound.
func (s *Store) Get(ctx context.Context, kind, key string) (backend.Record, error) {
	found, err := s.query(ctx, func(d dialect) string { return d.get }, kind, key)
	if err != nil {
		return backend.Record{}, fmt.Errorf("get %s %q from %s: %w", kind, key, s.name, err)
	}
	if len(found) == 0 {
		return backend.Record{}, fmt.Errorf("get %s %q from %s: %w", kind, key, s.name, backend.ErrNotFound)
	}
	return found[0], nil
}

// List returns the live records of a kind, sorted by key.
func (s *Store) List(ctx context.Context, kind string) ([]backend.Record, error) {
	return s.list(ctx, kind, false)
}

func (s *Store) list(ctx context.Context, kind string, deleted bool) ([]backend.Record, error) {
	found, err := s.query(ctx, func(d dialect) string { return d.list }, kind, deleted)
	if err != nil {
		return nil, fmt.Errorf("list %s from %s: %w", kind, s.name, err)
	}
	return found, nil
}

// Everything returns all records, the deleted too, sorted by kind and key.
func (s *Store) Everything(ctx context.Context) ([]backend.Record, error) {
	found, err := s.query(ctx, func(d dialect) string { return d.everything })
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.name, err)
	}
	return found, nil
}

func (s *Store) query(ctx context.Context, statement func(dialect) string, values ...any) (out []backend.Record,
	err error) {
	err = s.lend(ctx, s.read, func(c *sql.Conn, d dialect) error {
		var bad map[name]string
		if out, bad, err = query(ctx, c, statement(d), values...); err != nil {
			return err
		}
		if len(bad) > 0 && s.mysql != nil { // its columns have types: this is another table, or no server of ours
			return fmt.Errorf("%w: what it has is no record: %v", backend.ErrUnavailable,
				slices.Collect(maps.Values(bad)))
		}
		s.unreadable.found(bad, within(values))
		return nil
	})
	return out, err
}

func query(ctx context.Context, c *sql.Conn, statement string, values ...any) (out []backend.Record,
	bad map[name]string, err error) {
	rows, err := c.QueryContext(ctx, statement, values...)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.kind, &r.key, &r.version, &r.writer, &r.deleted, &r.document); err != nil {
			return nil, nil, fmt.Errorf("%w: what it has is no record: %w", backend.ErrUnavailable, err)
		}
		one := r.record()
		if why := r.wrong(); why != "" {
			if bad == nil {
				bad = map[name]string{}
			}
			bad[name{one.Kind, one.Key}] = why
		}
		out = append(out, one)
	}
	return out, bad, rows.Err()
}

// Purge removes records for good. On a pair of which one member purges later, a purged record may come back from the
// other; it is a tombstone there too, so nothing that was deleted lives again.
func (s *Store) Purge(ctx context.Context, kind string, before int64, all bool) error {
	err := s.lend(ctx, s.write, func(c *sql.Conn, d dialect) error {
		_, err := c.ExecContext(ctx, d.purge, kind, before, all)
		return err
	})
	if err != nil {
		return fmt.Errorf("purge %s in %s: %w", kind, s.name, err)
	}
	return nil
}

// Identity identifies the database, or the server behind the connection, after making sure that it answers.
func (s *Store) Identity(ctx context.Context) (id string, err error) {
	err = s.lend(ctx, s.read, func(c *sql.Conn, _ dialect) error {
		if s.mysql == nil {
			id = "sqlite:" + s.name
			return nil
		}
		return c.Raw(func(raw any) error {
			session := raw.(*session)
			id = session.identity.ID
			return session.Ping(ctx)
		})
	})
	if err != nil {
		return "", fmt.Errorf("identify %s: %w", s.name, err)
	}
	return id, nil
}

// Close ends all connections.
func (s *Store) Close() error {
	if s.file != nil {
		s.end()
	}
	if err := errors.Join(s.read.Close(), s.write.Close(), s.hold.Close()); err != nil {
		return fmt.Errorf("close %s: %w", s.name, err)
	}
	return nil
}
