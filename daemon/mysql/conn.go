package mysql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"

	"orchestrator/daemon/topology"
)

// conn is one connection, used by one goroutine at a time. database/sql is not in between: its pool would retry, and open more, behind our back.
type conn struct {
	driver driver.Conn
	wire   *wire
}

// row is one row by lower-case column name; a NULL is absent.
type row map[string]string

// get returns the first of the columns that the row has: servers name the same thing in two vocabularies.
func (r row) get(names ...string) string {
	for _, n := range names {
		if v, ok := r[n]; ok {
			return v
		}
	}
	return ""
}

func (r row) uint(names ...string) uint64 {
	n, _ := strconv.ParseUint(r.get(names...), 10, 64)
	return n
}

func (r row) on(names ...string) bool {
	switch strings.ToUpper(r.get(names...)) {
	case "", "0", "OFF", "NO":
		return false
	}
	return true // read_only of MariaDB 12 has more ways to be on than one
}

// connect logs in to the server at k.
func (s *Servers) connect(ctx context.Context, k topology.Key) (c *conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.ConnectTimeout)
	defer cancel()
	c = &conn{}
	cfg := mysqldriver.NewConfig()
	cfg.User, cfg.Passwd = s.credentials()
	cfg.Net = "tcp"
	cfg.Addr = net.JoinHostPort(k.Host, strconv.Itoa(k.Port))
	cfg.InterpolateParams = true
	cfg.CheckConnLiveness = false // a broken one is noticed by using it
	cfg.Logger = &mysqldriver.NopLogger{}
	if s.o.Daemon != "" {
		cfg.ConnectionAttributes = "program_name:orchestrator"
	}
	if s.o.TLS != nil {
		cfg.TLS = s.o.TLS.Clone()
		if !cfg.TLS.InsecureSkipVerify || cfg.TLS.ServerName == "" {
			cfg.TLS.ServerName = k.Host
		}
	}
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 3}}
		raw, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		c.wire = &wire{Conn: raw}
		return c.wire, nil
	}
	connector, err := mysqldriver.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	defer func() {
		if p := recover(); p != nil { // the driver trusts the greeting's inner lengths
			c.wire.Close()
			c, err = nil, fmt.Errorf("connect: %w: its greeting makes no sense", errAlien)
		}
	}()
	c.driver, err = connector.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", c.cause(ctx, err))
	}
	return c, nil
}

// cause puts in place of the driver's "invalid connection" what really happened on the wire.
func (c *conn) cause(ctx context.Context, err error) error {
	var told *mysqldriver.MySQLError
	if errors.As(err, &told) {
		return err
	}
	if ctx.Err() != nil {
		if c.wire == nil {
			return fmt.Errorf("no answer to connecting: %w", context.Cause(ctx))
		}
		if !c.wire.greeted() {
			return fmt.Errorf("connected, and no greeting came (a server that hangs, or no MySQL or MariaDB): %w", context.Cause(ctx))
		}
		return fmt.Errorf("no answer in time: %w", context.Cause(ctx))
	}
	if c.wire != nil && (errors.Is(err, mysqldriver.ErrInvalidConn) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF)) {
		if below := c.wire.failed(); below != nil {
			return below
		}
	}
	return err
}

func (c *conn) close() {
	if c.wire != nil {
		// Not the driver's Close: it would write, and on a hung server wait.
		_ = c.wire.Close()
	}
	if c.driver != nil {
		_ = c.driver.Close()
	}
}

// query runs one statement and reads all that it returns.
func (c *conn) query(ctx context.Context, q statement, args ...any) (rows []row, err error) {
	defer func() {
		if p := recover(); p != nil {
			rows, err = nil, fmt.Errorf("%s: %w: its answer makes no sense", q.text, errAlien)
		}
	}()
	values := make([]driver.NamedValue, len(args))
	for i, a := range args {
		values[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	fail := func(err error) error { return &refusal{statement: q, cause: c.cause(ctx, err)} }
	r, err := c.driver.(driver.QueryerContext).QueryContext(ctx, q.text, values)
	if err != nil {
		return nil, fail(err)
	}
	defer r.Close()
	names := r.Columns()
	for i := range names {
		names[i] = strings.ToLower(names[i])
	}
	cells := make([]driver.Value, len(names))
	for len(names) > 0 {
		switch err := r.Next(cells); {
		case errors.Is(err, io.EOF):
			return rows, nil
		case err != nil:
			return nil, fail(err)
		}
		one := row{}
		for i, cell := range cells {
			switch cell := cell.(type) {
			case nil:
			case []byte:
				one[names[i]] = string(cell)
			default:
				one[names[i]] = fmt.Sprint(cell)
			}
		}
		rows = append(rows, one)
	}
	return rows, nil
}

// one is query for statements that return one row; the row may be empty.
func (c *conn) one(ctx context.Context, q statement, args ...any) (row, error) {
	rows, err := c.query(ctx, q, args...)
	if err != nil || len(rows) == 0 {
		return row{}, err
	}
	return rows[0], nil
}

// wire remembers how the connection below the driver failed, which the driver keeps to itself, and refuses what does not greet
// like a server: the driver would wait for the megabytes that the first letters of "SSH-" promise.
type wire struct {
	net.Conn
	mu      sync.Mutex
	greet   bool
	failure error
}

const longestGreeting = 64 << 10

func (w *wire) Read(p []byte) (int, error) {
	if !w.greeted() && len(p) >= 5 {
		n, err := io.ReadAtLeast(w.Conn, p, 5)
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF):
			return 0, w.note(fmt.Errorf("%w: it sent %d bytes and hung up", errAlien, n))
		case err != nil:
			return 0, w.note(err)
		}
		length := int(p[0]) | int(p[1])<<8 | int(p[2])<<16
		if length < 3 || length > longestGreeting || p[4] != 10 && p[4] != 0xff {
			return 0, w.note(fmt.Errorf("%w: it greets with %q", errAlien, p[:min(n, 16)]))
		}
		w.mu.Lock()
		w.greet = true
		w.mu.Unlock()
		return n, nil
	}
	n, err := w.Conn.Read(p)
	return n, w.note(err)
}

func (w *wire) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	return n, w.note(err)
}

func (w *wire) note(err error) error {
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.failure == nil {
			w.failure = err
		}
	}
	return err
}

func (w *wire) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failure
}

func (w *wire) greeted() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.greet
}
