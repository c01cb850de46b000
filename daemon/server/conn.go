package server

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"

	"orchestrator/daemon/topology"
)

// Statement is a whole statement, and the privileges that it needs, written as GRANT takes them.
type Statement struct {
	Text, Needs string
	// Most rows are kept, and those after them are read and dropped; 0: more than the budget is an error.
	Most int
}

// Conn is one connection, used by one goroutine at a time; only Break may be called beside another call. It asks with
// Query or QueryAll, or is given to database/sql, whose driver's interfaces it has (sql.go).
type Conn struct {
	driver driverConn    // has logged in, and serves database/sql; nil: the connection was dialled for questions alone
	above  io.ReadWriter // the wire, or what deciphers it
	wire   *wire
	budget Budget

	// Known after Recognise.
	Dialect Dialect
	Account string // CURRENT_USER(): user@host as the server knows it
}

// driverConn is what the driver's connections are.
type driverConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ExecerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

// Close ends the connection without a word: a server that hangs would not take one.
func (c *Conn) Close() {
	c.Break()
	if c.driver != nil {
		_ = c.driver.Close()
	}
}

// Remote is the address of the server; the zero address where that is not known.
func (c *Conn) Remote() netip.Addr {
	if a, ok := c.wire.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr()
	}
	return netip.Addr{}
}

// Break closes the socket, and with it whatever is under way. Close must still be called.
func (c *Conn) Break() {
	if c.wire != nil {
		c.wire.breakUp()
	}
}

// Query runs one statement and reads all that it returns. A failure is a *Refusal. After a failure that the server did
// not report itself (Number is 0), the connection is of no use any more.
func (c *Conn) Query(ctx context.Context, q Statement, args ...any) ([]Row, error) {
	answers, err := c.query(ctx, q.Text, []int{q.Most}, args)
	if err != nil {
		return nil, &Refusal{Statement: q, Account: c.Account, Cause: c.Cause(ctx, err)}
	}
	return answers[0], nil
}

// QueryAll is Query for several statements in one round trip, on a connection that was dialled with Options.Several.
// Each must be one that returns columns. Where one fails, those after it are not run; the answers of those before it
// come with the *Refusal.
func (c *Conn) QueryAll(ctx context.Context, all ...Statement) ([][]Row, error) {
	texts, most := make([]string, len(all)), make([]int, len(all))
	for n, q := range all {
		texts[n], most[n] = q.Text, q.Most
	}
	answers, err := c.query(ctx, strings.Join(texts, ";\n"), most, nil)
	if err != nil {
		failed := all[min(len(answers), len(all)-1)]
		return answers, &Refusal{Statement: failed, Account: c.Account, Cause: c.Cause(ctx, err)}
	}
	return answers, nil
}

// query sends a text that holds a statement for each of most: how many rows of its answer are kept, see Statement.
// Where one fails, it returns the answers of those before.
func (c *Conn) query(ctx context.Context, text string, most []int, args []any) (answers [][]Row, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(args) > 0 {
		if text, err = c.wire.packets.fill(text, args); err != nil {
			return nil, err
		}
	}
	c.wire.ask(ctx)
	defer c.wire.release()
	a := c.wire.room.answering(c.above, &c.wire.packets)
	defer c.wire.room.end(a)
	if err = a.ask(text); err == nil {
		answers, err = a.read(most, c.budget.Rows)
	}
	switch {
	case err != nil && Number(err) == 0:
		c.Break() // what is left need not be read
	case err == nil && len(answers) < len(most):
		err = fmt.Errorf("%w: it returned %d answers to %d questions", ErrAlien, len(answers), len(most))
	}
	return answers, err
}

// One is Query for a statement that returns one row. Where it returns none, the row is empty.
func (c *Conn) One(ctx context.Context, q Statement, args ...any) (Row, error) {
	rows, err := c.Query(ctx, q, args...)
	if err != nil || len(rows) == 0 {
		return Row{}, err
	}
	return rows[0], nil
}

// Named is Query for a list of Variable_name and Value, read as one row.
func (c *Conn) Named(ctx context.Context, q Statement) (Row, error) {
	rows, err := c.Query(ctx, q)
	if err != nil {
		return Row{}, err
	}
	return Named(rows), nil
}

// Who asks a server what it speaks, and as whom it knows us.
var Who = Statement{Text: "SELECT VERSION() AS version, CURRENT_USER() AS account"}

// Recognise asks Who. A connection outlives no server, so once is enough.
func (c *Conn) Recognise(ctx context.Context) error {
	rows, err := c.Query(ctx, Who)
	if err != nil {
		return err
	}
	return c.Meet(rows)
}

// Meet takes in the answer to Who.
func (c *Conn) Meet(answer []Row) (err error) {
	var who Row
	if len(answer) > 0 {
		who = answer[0]
	}
	c.Account = who.Get("account")
	c.Dialect.Flavor, c.Dialect.Version, err = topology.ParseVersion(who.Get("version"))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAlien, err)
	}
	return nil
}

// AwaitEnd says nothing, and returns nil as soon as the other side ends the connection or says anything. When ctx ends
// first, its error is returned. Only Close may follow: the driver is let go, as its buffers are of no use to one that
// waits.
func (c *Conn) AwaitEnd(ctx context.Context) error {
	if err := c.wire.SetDeadline(time.Time{}); err != nil {
		return err
	}
	c.dismiss()
	c.wire.muted.Store(true)
	stop := context.AfterFunc(ctx, c.Break)
	defer stop()
	_, _ = c.wire.TCPConn.Read(make([]byte, 1))
	return ctx.Err()
}

// dismiss lets the driver go, which has a buffer and a goroutine, and leaves the connection as it is.
func (c *Conn) dismiss() {
	if c.driver == nil {
		return
	}
	c.wire.muted.Store(true)
	_ = c.driver.Close()
	c.driver = nil
	c.wire.muted.Store(false)
}

// Cause puts what happened on the wire in place of the driver's "invalid connection".
func (c *Conn) Cause(ctx context.Context, err error) error {
	if err == nil || Number(err) != 0 || isAny(err, ErrAlien, ErrTooMuch) {
		return err
	}
	if late := c.late(ctx); late != nil {
		return fmt.Errorf("no answer in time: %w", late)
	}
	if c.wire == nil || !isAny(err, mysqldriver.ErrInvalidConn, driver.ErrBadConn, io.EOF) {
		return err
	}
	if below := c.wire.failure.Load(); below != nil {
		return *below
	}
	return err
}

// late says how the time for the question ended; nil: it did not. The socket and the context have one deadline, and
// either may be first to notice.
func (c *Conn) late(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if c.wire != nil {
		if below := c.wire.failure.Load(); below != nil && errors.Is(*below, os.ErrDeadlineExceeded) {
			return *below
		}
	}
	return nil
}

// Refusal is a statement that failed.
type Refusal struct {
	Statement Statement
	Account   string // that it was run as, where it is known
	Cause     error
}

func (r *Refusal) Error() string { return firstLine(r.Statement.Text) + ": " + r.Cause.Error() }
func (r *Refusal) Unwrap() error { return r.Cause }

// firstLine keeps long statements out of errors.
func firstLine(text string) string {
	first, _, more := strings.Cut(strings.TrimSpace(text), "\n")
	if more {
		first += " …"
	}
	return first
}
