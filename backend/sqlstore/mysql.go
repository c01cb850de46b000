package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"orchestrator/backend"
	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// MySQLOptions say where a MySQL or MariaDB server is, and what may be behind its address.
type MySQLOptions struct {
	Address  string // host:port of the server, or of the proxy before a pair
	Database string // which must exist; default "orchestrator"
	User     string
	Password string
	server.Security
	Timeout time.Duration // of one statement, and of connecting; default a second
	Logger  *slog.Logger  // nil: silent
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
	if _, _, err := net.SplitHostPort(o.Address); err != nil || o.User == "" {
		return nil, fmt.Errorf("open %s: want an address as host:port, and a user", name)
	}
	m := &mysqlServer{options: o, room: server.NewRoom(server.Stored().Bytes), turn: make(chan struct{}, 1),
		sessions: map[*session]bool{}}
	pool := func(connections int) *sql.DB {
		db := sql.OpenDB(m)
		db.SetMaxOpenConns(connections)
		db.SetMaxIdleConns(connections)
		// A proxy that sends new connections elsewhere without closing the old ones is found out that soon.
		db.SetConnMaxLifetime(time.Minute)
		return db
	}
	return &Store{name: name, read: pool(4), write: pool(1), hold: pool(1), lend: m.lend, mysql: m,
		unreadable: newUnreadable()}, nil
}

// mysqlServer opens connections, and ensures that all of them are to one server.
type mysqlServer struct {
	options MySQLOptions
	room    *server.Room  // that the answers to all connections share
	turn    chan struct{} // the goroutine whose element is in it decides about a server identity
	dials   atomic.Int64

	mu       sync.Mutex
	identity Identity
	epoch    int64 // rises with each change of the identity, and when the server has lost records; 0: none yet
	newest   int64 // the highest version that it is known to have held in this epoch
	dialled  int64 // number of the dial that found the identity
	sessions map[*session]bool
}

// session is one connection. database/sql gives it to one goroutine at a time.
type session struct {
	*server.Conn
	of       *mysqlServer
	identity Identity
	epoch    int64
}

// Driver is only for database/sql.
func (m *mysqlServer) Driver() driver.Driver { return nil }

// Connect opens a connection, and returns it only if its server is the one in use, or becomes the one in use.
func (m *mysqlServer) Connect(ctx context.Context) (driver.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, m.options.Timeout)
	defer cancel()
	number, held := m.dials.Add(1), m.held()
	s, err := m.dial(ctx)
	if err != nil {
		return nil, err
	}
	if err := m.admit(ctx, s, number, held); err != nil {
		s.Conn.Close()
		return nil, err
	}
	return s, nil
}

func (m *mysqlServer) dial(ctx context.Context) (*session, error) {
	o := m.options
	c, err := server.Dial(ctx, o.Address, server.Options{
		Account: server.Account{User: o.User, Password: o.Password}, Database: o.Database, Security: o.Security,
		Timeout: o.Timeout, Silence: o.Timeout,
		Budget: server.Stored(), Room: m.room,
	})
	if err != nil {
		return nil, err
	}
	s := &session{Conn: c, of: m}
	if s.identity, err = readIdentity(ctx, c); err != nil {
		c.Close()
		return nil, fmt.Errorf("identify the server: %w", err)
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
	m := s.of
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
			if _, err := s.ExecContext(ctx, statement, nil); err != nil {
				return refused(s.identity, fmt.Errorf("it has no tables, and they can't be created: %w", s.Cause(ctx,
					err)))
			}
		}
		s.identity.Tables = true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !same {
		for old := range m.sessions {
			old.Break()
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
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	return s.of.sessions[s]
}

// ResetSession is called before each use after the first.
func (s *session) ResetSession(ctx context.Context) error {
	if !s.current() {
		return driver.ErrBadConn
	}
	return s.Conn.ResetSession(ctx)
}

// IsValid is called after each use.
func (s *session) IsValid() bool { return s.current() && s.Conn.IsValid() }

// Close is called when the connection will not be used again. If it was already broken, that is not an error.
func (s *session) Close() error {
	s.of.mu.Lock()
	delete(s.of.sessions, s)
	s.of.mu.Unlock()
	s.Conn.Close()
	return nil
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
	err = s.Cause(ctx, err)
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

// collided says whether another transaction was in the way.
func collided(err error) bool { return server.Means(err, server.Collision) }

// readOnly says whether the server has become read-only since the connection was opened.
func readOnly(err error) bool { return server.Means(err, server.ReadOnly) }

// broken says whether the connection has ended, so that another may work: reset, killed, timed out as idle, shut down,
// or to a server that has become read-only.
func broken(err error) bool {
	if server.Number(err) != 0 {
		return server.Means(err, server.ShuttingDown, server.Interrupted, server.ConnectionEnded, server.ReadOnly)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var network net.Error
	return server.Failure(err) == topology.Reset || errors.As(err, &network) || errors.Is(err, sql.ErrConnDone)
}

// unusable says whether the server answers, but can't be used as it is. What it says may make no sense.
func unusable(err error) bool {
	return errors.Is(err, server.ErrTooMuch) || server.Failure(err) == topology.Alien ||
		server.Means(err, server.DiskFull, server.OutOfMemory, server.TooMany, server.PrivilegeMissing,
			server.LoginDenied, server.NoTable, server.Collision, server.UnsafeLevel)
}

// explainMySQL adds what to do to errors that operators see.
func explainMySQL(err error) error {
	for _, advice := range []struct {
		about server.Meaning
		do    string
	}{
		{server.PrivilegeMissing, "give the account the grants in docs/backend.md"},
		{server.LoginDenied, "check the user and the password"},
		{server.NoDatabase, "create the database there, as in docs/backend.md"},
		{server.DiskFull, "its disk is full"},
		{server.PacketTooLarge, "raise max_allowed_packet there"},
		{server.UnsafeLevel, "statements are replicated only with transaction_isolation = 'REPEATABLE-READ'"},
		{server.TLSRequired, "configure TLS to the backend"},
	} {
		if server.Means(err, advice.about) {
			return fmt.Errorf("%w: %s", err, advice.do)
		}
	}
	return err
}
