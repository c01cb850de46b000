package sqlstore

import (
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"

	"orchestrator/backend"
)

// MySQLOptions say where a MySQL or MariaDB server is, and what may be behind its address.
type MySQLOptions struct {
	Address  string // host:port of the server, or of the proxy before a pair
	Database string // which must exist; default "orchestrator"
	User     string
	Password string
	TLS      *tls.Config   // nil: plain text
	Timeout  time.Duration // of one statement, and of connecting; default a second
	Logger   *slog.Logger  // nil: silent
	// Accept is asked at the first connection, and at each whose identity differs from the one in use, or that has lost
	// records, unless that one is unfit anyway. An error refuses it, and is what the caller of the store gets. It is
	// called for one connection at a time, and must end with its context.
	Accept func(ctx context.Context, current, offered Identity) error
}

// OpenMySQL returns the store in a server. It does no I/O: a backend that is down is no reason not to start.
//
// Its statements are bounded by the context and by Options.Timeout, and done again where that may help: every one of
// them is a merge, or reads back what stands then. What can't be reached, or is refused, gives errors that wrap
// backend.ErrUnavailable.
func OpenMySQL(o MySQLOptions) (*Store, error) {
	if o.Database == "" {
		o.Database = "orchestrator"
	}
	if o.Timeout <= 0 {
		o.Timeout = time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Accept == nil {
		o.Accept = func(context.Context, Identity, Identity) error { return nil }
	}
	name := "backend " + o.Address + "/" + o.Database
	host, _, err := net.SplitHostPort(o.Address)
	if err != nil || o.User == "" {
		return nil, fmt.Errorf("open %s: want an address as host:port, and a user", name)
	}
	m := &mysqlServer{options: o, host: host, turn: make(chan struct{}, 1), sessions: map[*session]bool{}}
	pool := func(connections int) *sql.DB {
		db := sql.OpenDB(m)
		db.SetMaxOpenConns(connections)
		db.SetMaxIdleConns(connections)
		// A proxy that sends new connections elsewhere without closing the old ones is found out that soon.
		db.SetConnMaxLifetime(time.Minute)
		return db
	}
	return &Store{name: name, read: pool(4), write: pool(1), hold: pool(1), lend: m.lend, mysql: m}, nil
}

// mysqlServer opens connections, and sees to it that all of them are to one server.
type mysqlServer struct {
	options MySQLOptions
	host    string
	turn    chan struct{} // who puts something in decides about an identity
	dials   atomic.Int64

	mu       sync.Mutex
	identity Identity
	epoch    int64 // rises with each change of the identity, and when the server has lost what it held; 0 is none yet
	newest   int64 // the highest version that it is known to have held in this epoch
	dialled  int64 // number of the dial that brought the identity
	sessions map[*session]bool
}

// session is one connection. database/sql gives it to one goroutine at a time.
type session struct {
	conn
	wire     *wire
	server   *mysqlServer
	identity Identity
	epoch    int64
}

// conn is what the driver's connections are.
type conn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

// wire remembers how the connection below the driver failed, which the driver keeps to itself.
type wire struct {
	*net.TCPConn
	heard   atomic.Bool
	failure atomic.Pointer[error]
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.TCPConn.Read(p)
	if n > 0 {
		w.heard.Store(true)
	}
	return n, w.note(err)
}

func (w *wire) Write(p []byte) (int, error) {
	n, err := w.TCPConn.Write(p)
	return n, w.note(err)
}

func (w *wire) note(err error) error {
	if err != nil {
		w.failure.CompareAndSwap(nil, &err)
	}
	return err
}

// Driver is only for database/sql.
func (m *mysqlServer) Driver() driver.Driver { return &mysql.MySQLDriver{} }

// Connect opens a connection, and returns it only if its server is the one in use, or becomes the one in use.
func (m *mysqlServer) Connect(ctx context.Context) (driver.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, m.options.Timeout)
	defer cancel()
	number, held := m.dials.Add(1), m.held()
	s, err := m.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if err := m.admit(ctx, s, number, held); err != nil {
		s.conn.Close()
		return nil, err
	}
	return s, nil
}

func (m *mysqlServer) dial(ctx context.Context) (s *session, err error) {
	s = &session{server: m}
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr, c.DBName = m.options.User, m.options.Password, "tcp", m.options.Address,
		m.options.Database
	c.InterpolateParams = true // no prepared statements: one round trip, and no state in a proxy or server
	c.ReadTimeout, c.WriteTimeout = m.options.Timeout, m.options.Timeout
	c.ConnectionAttributes = "program_name:orchestrator"
	c.Logger = &mysql.NopLogger{}
	if m.options.TLS != nil {
		c.TLS = m.options.TLS.Clone()
		if c.TLS.ServerName == "" {
			c.TLS.ServerName = m.host
		}
	}
	c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		s.wire = &wire{TCPConn: raw.(*net.TCPConn)}
		return s.wire, nil
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil { // the driver trusts the lengths in a greeting
			s.wire.Close()
			err = fmt.Errorf("the server there is not MySQL or MariaDB (%v)", p)
		}
	}()
	opened, err := connector.Connect(ctx)
	if err != nil {
		if s.wire != nil && !s.wire.heard.Load() && ctx.Err() == nil {
			return nil, fmt.Errorf("%w: the connection was closed without an answer, as by a proxy that serves "+
				"no server", err)
		}
		return nil, s.cause(err)
	}
	s.conn = opened.(conn)
	if s.identity, err = readIdentity(ctx, s.conn); err != nil {
		s.conn.Close()
		return nil, fmt.Errorf("identify the server: %w", s.cause(err))
	}
	return s, nil
}

// holding is what a server is known to have held at a time.
type holding struct{ epoch, newest int64 }

func (m *mysqlServer) held() holding {
	m.mu.Lock()
	defer m.mu.Unlock()
	return holding{m.epoch, m.newest}
}

// wrote records that the server holds a version.
func (s *session) wrote(version int64) {
	m := s.server
	m.mu.Lock()
	defer m.mu.Unlock()
	if s.epoch == m.epoch {
		m.newest = max(m.newest, version)
	}
}

// admit decides about the server of a new connection. If it is another server than before, all connections to the
// previous one are closed first: from then on, nothing reaches that one. A server that has less than it held before the
// connection was opened also counts as another one, whatever its name: it was installed again, or restored, or its last
// commits were not durable.
func (m *mysqlServer) admit(ctx context.Context, s *session, number int64, held holding) error {
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return fmt.Errorf("wait for the check of another connection: %w", ctx.Err())
	}
	m.mu.Lock()
	current, same := m.identity, m.epoch > 0 && m.identity.ID == s.identity.ID
	lost := same && held.epoch == m.epoch && s.identity.Newest < held.newest
	same = same && !lost
	late := m.epoch > 0 && !same && number < m.dialled
	m.mu.Unlock()
	if late {
		// It was opened to the previous server, before the switch.
		return driver.ErrBadConn
	}
	if why := s.identity.Unfit(); why != "" {
		return refused(s.identity, errors.New(why))
	}
	if !same {
		if err := m.options.Accept(ctx, current, s.identity); err != nil {
			return refused(s.identity, err)
		}
	}
	if !s.identity.Tables {
		for _, statement := range mysqlTables {
			if _, err := s.conn.ExecContext(ctx, statement, nil); err != nil {
				return refused(s.identity, fmt.Errorf("it has no tables, and they can't be created: %w", s.cause(err)))
			}
		}
		s.identity.Tables = true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !same {
		for old := range m.sessions {
			old.wire.Close()
		}
		clear(m.sessions)
		m.epoch++
		m.newest, m.dialled = 0, number
		m.options.Logger.Info("backend in use", "address", m.options.Address, "identity", s.identity.ID, "before",
			current.ID, "flavor", s.identity.Flavor, "version", s.identity.Version)
	}
	if lost {
		m.options.Logger.Warn("backend has lost records", "address", m.options.Address, "identity", s.identity.ID,
			"newest", s.identity.Newest, "held", held.newest)
	}
	m.newest = max(m.newest, s.identity.Newest)
	m.identity = s.identity
	s.epoch = m.epoch
	m.sessions[s] = true
	return nil
}

// refusal is a server that was reached but is not used.
type refusal struct {
	identity Identity
	cause    error
}

func (r *refusal) Error() string {
	return "server " + r.identity.ID + " was refused: " + r.cause.Error()
}
func (r *refusal) Unwrap() error { return r.cause }

func refused(f Identity, why error) error { return &refusal{f, why} }

func (s *session) current() bool {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	return s.server.sessions[s]
}

// ResetSession is called before each use after the first.
func (s *session) ResetSession(ctx context.Context) error {
	if !s.current() {
		return driver.ErrBadConn
	}
	return s.conn.ResetSession(ctx)
}

// IsValid is called after each use.
func (s *session) IsValid() bool { return s.current() && s.conn.IsValid() }

// Close is called when the connection will not be used again. If it was already broken, that is not an error.
func (s *session) Close() error {
	s.server.mu.Lock()
	delete(s.server.sessions, s)
	s.server.mu.Unlock()
	_ = s.conn.Close()
	return nil
}

// cause replaces the driver's "invalid connection" with what happened on the network.
func (s *session) cause(err error) error {
	var told *mysql.MySQLError
	if s.wire == nil || errors.As(err, &told) || errors.Is(err, context.Canceled) ||
		errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if failure := s.wire.failure.Load(); failure != nil {
		return *failure
	}
	return err
}

// How often a statement that collided with another is repeated, and how long it first waits.
const (
	tries = 6
	pause = 5 * time.Millisecond
)

// lend runs do with a connection. If do fails because the connection broke, it runs once more on another: a switch, or
// a restarted server, is not an error. It does not if the server did not answer in time.
func (m *mysqlServer) lend(ctx context.Context, pool *sql.DB, do func(*sql.Conn, dialect) error) error {
	again := true
	for try := 1; ; try++ {
		s, err := m.once(ctx, pool, do)
		switch {
		case err == nil:
			return nil
		case errors.Is(ctx.Err(), context.Canceled):
			return err
		case collided(err) && try < tries:
			if wait(ctx, pause<<try+rand.N(pause<<try)) {
				continue
			}
		case s != nil && again && broken(err):
			again = false
			continue
		}
		if s == nil || broken(err) || unusable(err) || errors.Is(err, context.DeadlineExceeded) ||
			errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("%w: %w", backend.ErrUnavailable, explainMySQL(err))
		}
		return explainMySQL(err)
	}
}

// once returns the session that was used; nil if there was none.
func (m *mysqlServer) once(ctx context.Context, pool *sql.DB, do func(*sql.Conn, dialect) error) (s *session,
	err error) {
	waiting, cancel := context.WithTimeout(ctx, m.options.Timeout)
	defer cancel()
	c, err := pool.Conn(waiting)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	err = c.Raw(func(raw any) error {
		s = raw.(*session)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err = do(c, s.identity.dialect()); err == nil {
		return s, nil
	}
	err = s.cause(err)
	if readOnly(err) || broken(err) || errors.Is(err, os.ErrDeadlineExceeded) {
		// The next connection examines the server again.
		_ = c.Raw(func(any) error { return driver.ErrBadConn })
	}
	return s, err
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func number(err error) uint16 {
	var told *mysql.MySQLError
	if errors.As(err, &told) {
		return told.Number
	}
	return 0
}

// collided says whether another transaction was in the way: a deadlock, or a row that stayed locked for long.
func collided(err error) bool { return number(err) == 1213 || number(err) == 1205 }

// readOnly says whether the server has become read-only since the connection was opened.
func readOnly(err error) bool { return number(err) == 1290 || number(err) == 1836 }

// broken says whether the connection has ended, so that another may work: reset, killed (1317, 1927), timed out as
// idle (4031), shut down (1053), or to a server that has become read-only.
func broken(err error) bool {
	switch number(err) {
	case 0:
	case 1053, 1317, 1927, 4031:
		return true
	default:
		return readOnly(err)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var network net.Error
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.As(err, &network) || errors.Is(err, sql.ErrConnDone)
}

// unusable says whether the server answers, but can't be used as it is.
func unusable(err error) bool {
	switch number(err) {
	case 1021, 1037, 1040, 1041, 1044, 1045, 1114, 1142, 1143, 1146, 1203, 1205, 1213, 1665:
		return true
	}
	return false
}

// explainMySQL adds what to do to errors that operators see.
func explainMySQL(err error) error {
	do := ""
	switch number(err) {
	case 1044, 1142, 1143:
		do = "give the account the grants in docs/backend.md"
	case 1045, 1698:
		do = "check the user and the password"
	case 1049:
		do = "create the database there, as in docs/backend.md"
	case 1114, 1021:
		do = "its disk is full"
	case 1153:
		do = "raise max_allowed_packet there"
	case 1665:
		do = "statements are replicated only with transaction_isolation = 'REPEATABLE-READ'"
	case 3159:
		do = "configure TLS to the backend"
	}
	switch {
	case do != "":
		return fmt.Errorf("%w: %s", err, do)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no answer in time: %w", err)
	}
	return err
}
