// Package server is the one way to speak to a MySQL or MariaDB server, managed or part of a backend: it connects within
// a time, asks a question, and gives the rows by column name. It knows the words of each flavour and version, what the
// error numbers mean, which privileges a statement needs, and how a server is told from another one.
//
// It decides nothing, keeps no pool and never asks twice: what to ask, and what to do about a failure, is for the
// packages above it (mysql, sqlstore, pair). The one idea: everything that a server says crosses this boundary, where
// it is bounded in time and size on the socket below the driver, and read by name, so that nothing behind it depends on
// what a server likes to send.
//
// Where to look: server and login (a connection); conn, answers, row and sql (questions, and rows by name); wire,
// packets, room and deciphered (how much, and for how long, is read); words and quote (statements by flavour and
// version); replication, grants, identity, key and errors (what is made of answers).
package server

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"

	"orchestrator/daemon/printable"
	"orchestrator/daemon/topology"
)

// Account is a name and a password, as a server takes them.
type Account struct{ User, Password string }

// Options say how to connect.
type Options struct {
	Account
	Security
	Database string        // "": none
	Timeout  time.Duration // of connecting: the dial, TLS and the login together; 1 s by default
	// Silence is how long to wait for the next bytes of an answer, whatever time a question has in all. 0: as long as
	// that.
	Silence time.Duration
	// Several is for connections that only ask: QueryAll may send several statements at once. Not for those that act:
	// there a value that was not quoted should be no more than an error. Nor are they for database/sql.
	Several bool
	Budget  Budget
	Room    *Room // that the answers of all connections share; nil: each has its own budget only
	// Admit says why no connection may be made to an address, before anything is sent there; nil: to any.
	Admit func(netip.Addr) error
}

// Budget is the most that the answer to one question may be. What is longer breaks the connection. Zero is the default
// of each. Columns are always bounded: at most 4,096.
type Budget struct {
	Bytes int64         // 8 MiB by default
	Rows  int           // 100,000 by default
	Time  time.Duration // where the context of the question has no deadline; a minute by default
}

// Stored is the budget of questions to a backend, whose answers hold what was stored: a fleet of 10,000 servers is some
// 40 MB. All answers of one backend share a Room of so many bytes.
func Stored() Budget { return Budget{Bytes: 128 << 20, Rows: 1_000_000} }

// maxColumns is what a table of MySQL has at most; no question of ours has more.
const maxColumns = 4096

func (b Budget) withDefaults() Budget {
	if b.Bytes == 0 {
		b.Bytes = 8 << 20
	}
	if b.Rows == 0 {
		b.Rows = 100_000
	}
	if b.Time <= 0 {
		b.Time = time.Minute
	}
	return b
}

// keepAlive finds out within 20 s that the other machine is gone from an idle connection.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 3}

// Dial logs in to the server at address (host:port).
func Dial(ctx context.Context, address string, o Options) (*Conn, error) {
	c, err := attempt(ctx, address, o)
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// attempt returns a connection also where it fails, which tells how far it came.
func attempt(ctx context.Context, address string, o Options) (*Conn, error) {
	if o.Timeout <= 0 {
		o.Timeout = time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	c := &Conn{budget: o.Budget.withDefaults()}
	connector, err := c.connector(address, o)
	if err == nil {
		err = c.login(ctx, connector)
	}
	if err != nil && c.wire != nil && c.wire.login.unserved() {
		if f := Failure(err); f == topology.Denied || f == topology.Other {
			err = c.wire.login.refusal(address, o.Security, err)
		}
	}
	if err != nil {
		return c, fmt.Errorf("connect: %w", err)
	}
	if o.Several {
		c.dismiss()
	}
	return c, nil
}

func (c *Conn) connector(address string, o Options) (driver.Connector, error) {
	cfg := mysqldriver.NewConfig()
	cfg.User, cfg.Passwd, cfg.DBName = o.User, o.Password, o.Database
	cfg.Net, cfg.Addr = "tcp", address
	// No prepared statements: one round trip, and nothing that a server or a proxy must remember.
	cfg.InterpolateParams = true
	cfg.MultiStatements = o.Several
	cfg.Logger = &mysqldriver.NopLogger{}
	cfg.ConnectionAttributes = "program_name:orchestrator"
	if o.TLS != nil {
		cfg.TLS = o.TLS.Clone()
		if cfg.TLS.ServerName == "" {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			cfg.TLS.ServerName = host
		}
	}
	if len(o.Keys) == 0 {
		cfg.ServerPubKey = nobodys()
	}
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		d := &net.Dialer{KeepAliveConfig: keepAlive}
		if o.Admit != nil {
			d.ControlContext = admits(o.Admit)
		}
		raw, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		c.wire = &wire{TCPConn: raw.(*net.TCPConn), silence: o.Silence, budget: c.budget, room: o.Room,
			secured: o.TLS != nil}
		if o.TLS == nil {
			c.wire.login = &handshake{keys: o.Keys}
		}
		c.wire.bound(ctx)
		return c.wire, nil
	}
	return mysqldriver.NewConnector(cfg)
}

// admits has a dialler ask before it connects to an address, which is that of no name any more.
func admits(admit func(netip.Addr) error) func(context.Context, string, string, syscall.RawConn) error {
	return func(_ context.Context, _, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err == nil {
			err = admit(to.Addr())
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrBarred, err)
		}
		return nil
	}
}

func (c *Conn) login(ctx context.Context, connector driver.Connector) (err error) {
	defer guard(&err) // the driver trusts the greeting's inner lengths
	opened, err := connector.Connect(ctx)
	if err != nil {
		return c.loginFailure(ctx, err)
	}
	c.wire.release()
	c.wire.login = nil
	c.driver = opened.(driverConn)
	c.above, err = c.wire.decipher(opened)
	return err
}

// loginFailure says at which point nobody answered, and puts in place of the driver's "invalid connection" what
// happened.
func (c *Conn) loginFailure(ctx context.Context, err error) error {
	late := c.late(ctx)
	switch {
	case Number(err) != 0:
		return short(err)
	case c.wire == nil && late != nil:
		return fmt.Errorf("no answer to connecting: %w", late)
	case c.wire == nil:
		return err
	case late != nil && !c.wire.greeted.Load():
		return fmt.Errorf("connected, but no greeting came (a server that hangs, or not MySQL or MariaDB): %w", late)
	case !c.wire.heard.Load():
		return fmt.Errorf("%w: the connection was closed without a word, as by a proxy that has no server to serve",
			c.Cause(ctx, err))
	}
	return c.Cause(ctx, err)
}

// short cuts the message of an error that a server reported to a length that servers have.
func short(err error) error {
	if reported, ok := errors.AsType[*mysqldriver.MySQLError](err); ok {
		reported.Message = printable.Clip(reported.Message, longestText)
	}
	return err
}

// guard turns a panic of the driver about what a server sent into an error.
func guard(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: what it sent makes no sense", ErrAlien)
	}
}

// Address is what Dial takes.
func Address(k topology.Key) string { return net.JoinHostPort(k.Host, fmt.Sprint(k.Port)) }
