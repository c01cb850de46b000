package server

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
)

// What database/sql asks of a connection. It gets the driver's own errors, of which it knows some (driver.ErrBadConn);
// Cause tells what is behind them. Every question has the deadline of its context and its budget on the socket, as with
// Query.

// QueryContext is for database/sql.
func (c *Conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (r driver.Rows, err error) {
	defer guard(&err)
	c.wire.ask(ctx)
	r, err = c.driver.QueryContext(context.Background(), query, args)
	if err != nil {
		c.wire.release()
		return nil, err
	}
	return &openRows{Rows: r, wire: c.wire}, nil
}

// openRows belong to a question that ends when they are closed.
type openRows struct {
	driver.Rows
	wire *wire
	rows int
	over bool
}

func (r *openRows) Next(cells []driver.Value) (err error) {
	defer guard(&err)
	err = r.Rows.Next(cells)
	switch {
	case err == nil && r.rows == r.wire.budget.Rows:
		r.wire.breakUp()
		return fmt.Errorf("%w: more than %d rows", ErrTooMuch, r.rows)
	case err == nil:
		r.rows++
	case errors.Is(err, io.EOF) && !r.over:
		if r.over = true; len(r.Columns()) > 0 && !r.wire.packets.taken(r.rows) {
			r.wire.breakUp()
			return errIncomplete
		}
	}
	return err
}

func (r *openRows) Close() (err error) {
	defer guard(&err)
	defer r.wire.release()
	return r.Rows.Close()
}

// ExecContext is for database/sql.
func (c *Conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (r driver.Result, err error) {
	defer guard(&err)
	c.wire.ask(ctx)
	defer c.wire.release()
	return c.driver.ExecContext(context.Background(), query, args)
}

// BeginTx is for database/sql.
func (c *Conn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	c.wire.ask(ctx)
	defer c.wire.release()
	tx, err := c.driver.BeginTx(context.Background(), o)
	if err != nil {
		return nil, err
	}
	return openTx{tx, c}, nil
}

// openTx ends by questions that have no context: only silence ends them early.
type openTx struct {
	driver.Tx
	c *Conn
}

func (t openTx) Commit() error {
	t.c.wire.ask(context.Background())
	defer t.c.wire.release()
	return t.Tx.Commit()
}

func (t openTx) Rollback() error {
	t.c.wire.ask(context.Background())
	defer t.c.wire.release()
	return t.Tx.Rollback()
}

// Ping is for database/sql.
func (c *Conn) Ping(ctx context.Context) error {
	c.wire.ask(ctx)
	defer c.wire.release()
	return c.driver.Ping(context.Background())
}

// ResetSession is for database/sql: it tells whether an idle connection is still open.
func (c *Conn) ResetSession(ctx context.Context) error { return c.driver.ResetSession(ctx) }

// IsValid is for database/sql.
func (c *Conn) IsValid() bool { return c.driver.IsValid() }

// CheckNamedValue is for database/sql.
func (c *Conn) CheckNamedValue(v *driver.NamedValue) error { return c.driver.CheckNamedValue(v) }

// Prepare is for database/sql, which calls it only for values that no statement of ours has.
func (c *Conn) Prepare(query string) (driver.Stmt, error) { return c.driver.Prepare(query) }

// Begin is for database/sql, which calls BeginTx instead.
func (c *Conn) Begin() (driver.Tx, error) { return c.BeginTx(context.Background(), driver.TxOptions{}) }
