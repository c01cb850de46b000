// Package mysql is the only code that talks to managed servers: it asks them (Probe), notices that they die (Watch), and changes them (Do).
//
// It judges and decides nothing. The one idea: everything that differs between flavours and versions stands in one place, the dialect, which
// is chosen by what the server says of itself when a connection is opened.
package mysql

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"

	"orchestrator/daemon/topology"
)

// Options of Servers.
type Options struct {
	User, Password string
	TLS            *tls.Config // nil: plain text
	Resolve        string      // see discovery; names are taken as given here
	ConnectTimeout time.Duration
	ProbeTimeout   time.Duration // of a probe as a whole
	StepTimeout    time.Duration
	Logger         *slog.Logger
	Daemon         string // name of this daemon
}

// Servers holds a kept-open connection to each server that was asked.
type Servers struct {
	o Options

	mu       sync.Mutex
	user     string
	password string
	links    map[topology.Key]*link
	closed   bool
}

// New makes Servers; nothing is connected yet.
func New(o Options) *Servers {
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = time.Second
	}
	if o.ProbeTimeout <= 0 {
		o.ProbeTimeout = time.Second
	}
	if o.StepTimeout <= 0 {
		o.StepTimeout = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Servers{o: o, user: o.User, password: o.Password, links: map[topology.Key]*link{}}
}

// link is the kept connection to one server. Its lock is held by the probe that uses it.
type link struct {
	sync.Mutex
	conn    *conn
	fixed   topology.Instance // what rarely changes, as read last
	fixedAt time.Time
	stallAt time.Time
	stalled *topology.Stall
	dialect dialect
}

// conn is one connection, with the socket below it.
type conn struct {
	db     *sql.DB
	sql    *sql.Conn
	socket net.Conn
}

func (c *conn) close() {
	if c == nil {
		return
	}
	// The socket first: to say goodbye to a server that hangs would wait for it.
	if c.socket != nil {
		c.socket.Close()
	}
	c.sql.Close()
	c.db.Close()
}

// dial opens a connection and logs in.
func (s *Servers) dial(ctx context.Context, k topology.Key) (*conn, error) {
	s.mu.Lock()
	user, password, closed := s.user, s.password, s.closed
	s.mu.Unlock()
	if closed {
		return nil, errors.New("closed")
	}
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr = user, password, "tcp", k.String()
	c.Timeout = s.o.ConnectTimeout
	c.InterpolateParams = true // one round trip a question
	c.AllowNativePasswords = true
	c.Logger = log.New(io.Discard, "", 0) // what breaks is reported by whoever asked
	if s.o.TLS != nil {
		c.TLS = s.o.TLS.Clone()
		c.TLS.ServerName = k.Host
	}
	out := &conn{}
	c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		d := net.Dialer{Timeout: s.o.ConnectTimeout, KeepAlive: 5 * time.Second}
		socket, err := d.DialContext(ctx, network, addr)
		out.socket = socket
		return socket, err
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	out.db = sql.OpenDB(connector)
	out.db.SetMaxOpenConns(1)
	if out.sql, err = out.db.Conn(ctx); err != nil {
		if out.socket != nil {
			out.socket.Close()
		}
		out.db.Close()
		return nil, err
	}
	return out, nil
}

// link returns the place of the connection to k.
func (s *Servers) link(k topology.Key) *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.links[k]
	if l == nil {
		l = &link{}
		s.links[k] = l
	}
	return l
}

// Forget closes the connection to k.
func (s *Servers) Forget(k topology.Key) {
	s.mu.Lock()
	l := s.links[k]
	delete(s.links, k)
	s.mu.Unlock()
	if l != nil {
		l.Lock()
		defer l.Unlock()
		l.drop()
	}
}

func (l *link) drop() {
	l.conn.close()
	l.conn = nil
}

// SetCredentials changes the account for connections that are opened from now on.
func (s *Servers) SetCredentials(user, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.user, s.password = user, password
}

// Close closes all connections.
func (s *Servers) Close() error {
	s.mu.Lock()
	s.closed = true
	links := s.links
	s.links = map[topology.Key]*link{}
	s.mu.Unlock()
	for _, l := range links {
		l.Lock()
		l.drop()
		l.Unlock()
	}
	return nil
}

// row is the answer of a SHOW, by column; NULL is absent.
type row map[string]string

func rows(ctx context.Context, c *conn, query string, args ...any) ([]row, error) {
	answer, err := c.sql.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	names, err := answer.Columns()
	if err != nil {
		return nil, err
	}
	var out []row
	for answer.Next() {
		values := make([]sql.NullString, len(names))
		into := make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := answer.Scan(into...); err != nil {
			return nil, err
		}
		r := row{}
		for i, v := range values {
			if v.Valid {
				r[names[i]] = v.String
			}
		}
		out = append(out, r)
	}
	return out, answer.Err()
}

// first returns the value of the first column that the row has: old and new words for one thing.
func (r row) first(names ...string) string {
	for _, n := range names {
		if v, ok := r[n]; ok {
			return v
		}
	}
	return ""
}

// Watch opens an idle connection to k, and returns nil when the other side closes it: that is when a killed server is noticed. It returns an
// error when it can't connect, or when ctx ends.
func (s *Servers) Watch(ctx context.Context, k topology.Key) error {
	short, cancel := context.WithTimeout(ctx, s.o.ConnectTimeout+s.o.ProbeTimeout)
	defer cancel()
	c, err := s.dial(short, k)
	if err != nil {
		return fmt.Errorf("watch %v: %w", k, err)
	}
	defer c.close()
	if _, err := c.sql.ExecContext(short, "SET SESSION wait_timeout = 2147483"); err != nil {
		return fmt.Errorf("watch %v: %w", k, err)
	}
	stop := context.AfterFunc(ctx, func() { c.socket.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	// Nothing is ever sent to an idle client but the news that the server goes down: whatever comes, it is a reason to look.
	err = c.sql.Raw(func(any) error {
		_, err := c.socket.Read(make([]byte, 1))
		return err
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		return fmt.Errorf("watch %v: %w", k, err)
	}
	return nil
}
