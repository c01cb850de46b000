package pair

import (
	"context"
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"

	"orchestrator/daemon/topology"
)

// site is a member with its one permanent connection. The holder of turn may use the other fields.
type site struct {
	key  topology.Key
	o    *Options
	turn chan struct{}

	db      *sql.DB
	conn    *sql.Conn // nil: not connected
	account string    // CURRENT_USER()
	id      string
	server  uint32
	flavor  topology.Flavor
	version topology.Version
	dialect dialect

	mu      sync.Mutex
	failing time.Time // start of the unbroken series of failed looks; zero while it answers
	seen    string    // id, at the last look that was answered
}

// failed records the result of a look that began at a time, and returns for how long all have failed.
func (s *site) failed(began time.Time, failed bool) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !failed:
		s.failing = time.Time{}
		return 0
	case s.failing.IsZero():
		s.failing = began
	}
	return time.Since(s.failing)
}

// connect logs in, and reads the server identity.
func (s *site) connect(ctx context.Context) error {
	if s.conn != nil {
		return nil
	}
	var err error
	if s.db, err = dial(s.key, s.o.Account, s.o.TLS); err != nil {
		return err
	}
	if s.conn, err = s.db.Conn(ctx); err == nil {
		err = s.recognise(ctx)
	}
	if err != nil {
		_ = s.hangUp()
		return explain(err, statement{}, s.o.Account.User+"@%")
	}
	return nil
}

func dial(k topology.Key, a Account, security *tls.Config) (*sql.DB, error) {
	c := mysql.NewConfig()
	c.User, c.Passwd = a.User, a.Password
	c.Net, c.Addr = "tcp", address(k)
	c.InterpolateParams = true
	c.CheckConnLiveness = false // a broken one is noticed by using it
	c.Logger = &mysql.NopLogger{}
	if security != nil {
		c.TLS = security.Clone()
		if !c.TLS.InsecureSkipVerify || c.TLS.ServerName == "" {
			c.TLS.ServerName = k.Host
		}
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("connect to %v: %w", k, err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	return db, nil
}

func (s *site) recognise(ctx context.Context) error {
	r, err := s.one(ctx, who)
	if err != nil {
		return err
	}
	if s.flavor, s.version, err = topology.ParseVersion(r["version"]); err != nil {
		return err
	}
	s.dialect, s.account, s.server = speak(s.flavor, s.version), r["account"], uint32(r.int("server_id"))
	if s.id, err = s.identity(ctx, r); err != nil {
		return err
	}
	_, err = s.query(ctx, shortWait)
	return err
}

// identity reads the server identity as sqlstore does: the two are compared.
func (s *site) identity(ctx context.Context, r row) (string, error) {
	if s.flavor == topology.MySQL {
		u, err := s.one(ctx, askUUID)
		return strings.ToLower(u["uuid"]), err
	}
	return topology.MadeUUID(r["server_id"], r["hostname"], r["port"], r["datadir"]), nil
}

func (s *site) hangUp() error {
	if s.db == nil {
		return nil
	}
	err := s.db.Close() // first, so that what is given back is closed and not kept
	if s.conn != nil {
		_ = s.conn.Close() // one that broke says so
	}
	s.db, s.conn = nil, nil
	return err
}

// use runs do with the connection, within most, and drops the connection after a connection error. An error of the
// server leaves it intact.
func (s *site) use(ctx context.Context, most time.Duration, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("the previous operation has not ended yet: %w", ctx.Err())
	}
	defer func() { <-s.turn }()
	kept := s.conn != nil
	err := s.connect(ctx)
	if err == nil {
		err = do(ctx)
	}
	var told *mysql.MySQLError
	if err == nil || errors.As(err, &told) {
		return err
	}
	_ = s.hangUp()
	if !kept || ctx.Err() != nil {
		return err
	}
	// The connection may have been closed long ago. Then nothing of do has reached the server; and everything that is
	// done here may be done twice.
	if err = s.connect(ctx); err == nil {
		if err = do(ctx); err != nil && !errors.As(err, &told) {
			_ = s.hangUp()
		}
	}
	return err
}

// exec runs one statement on the kept connection, within StatementTimeout.
func (s *site) exec(ctx context.Context, q statement, args ...any) error {
	err := s.use(ctx, s.o.StatementTimeout, func(ctx context.Context) error {
		_, err := s.query(ctx, q, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("at %v: %w", s.key, err)
	}
	return nil
}

// ofChannel puts the name of a channel where the dialect needs it.
func (s *site) ofChannel(channel string, args ...any) []any {
	if s.dialect.channelFirst {
		return append([]any{channel}, args...)
	}
	return append(args, channel)
}

// row is one row by lower-case column name; a NULL is absent.
type row map[string]string

// get returns the first of the columns that the row has.
func (r row) get(names ...string) string {
	for _, n := range names {
		if v, ok := r[n]; ok {
			return v
		}
	}
	return ""
}

func (r row) int(names ...string) int64 {
	n, _ := strconv.ParseInt(r.get(names...), 10, 64)
	return n
}

func (r row) on(names ...string) bool {
	switch strings.ToUpper(r.get(names...)) {
	case "", "0", "OFF", "NO":
		return false
	}
	return true
}

func (s *site) query(ctx context.Context, q statement, args ...any) ([]row, error) {
	rows, err := query(ctx, s.conn, q.text, args...)
	if err != nil {
		return nil, explain(fmt.Errorf("%s: %w", firstLine(q.text), err), q, s.account)
	}
	return rows, nil
}

func query(ctx context.Context, conn interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}, text string, args ...any) ([]row, error) {
	rows, err := conn.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var out []row
	for rows.Next() {
		cells, into := make([]sql.NullString, len(names)), make([]any, len(names))
		for i := range cells {
			into[i] = &cells[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		r := row{}
		for i, c := range cells {
			if c.Valid {
				r[strings.ToLower(names[i])] = c.String
			}
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

// one is query for statements that return one row; the row may be empty.
func (s *site) one(ctx context.Context, q statement, args ...any) (row, error) {
	rows, err := s.query(ctx, q, args...)
	if err != nil || len(rows) == 0 {
		return row{}, err
	}
	return rows[0], nil
}

// firstLine keeps long statements out of errors.
func firstLine(text string) string {
	first, _, more := strings.Cut(text, "\n")
	if more {
		first += " …"
	}
	return first
}

// Error numbers of servers; the same in both flavours.
const (
	databaseDenied       = 1044
	accessDenied         = 1045
	noSuchDatabase       = 1049
	lockWaitTimeout      = 1205
	tableDenied          = 1142
	noSuchTable          = 1146
	privilegeDenied      = 1227
	accessDeniedMaria    = 1698
	positionPurged       = 1236 // also reported by a receiver
	positionPurgedAtAuto = 13114
)

func number(err error) uint16 {
	var told *mysql.MySQLError
	if errors.As(err, &told) {
		return told.Number
	}
	return 0
}

// explain adds which GRANT is missing, if one is.
func explain(err error, q statement, account string) error {
	switch number(err) {
	case databaseDenied, tableDenied, privilegeDenied:
		if q.needs != "" {
			return fmt.Errorf("%w; a privilege is missing: %s", err, grant(q.needs, account))
		}
		return fmt.Errorf("%w; the account %s lacks a privilege: use another account with --user", err, account)
	case accessDenied, accessDeniedMaria:
		return fmt.Errorf("%w; check user and password (--user, --password-file)", err)
	}
	return err
}

// grant is the statement that gives privileges to an account as CURRENT_USER() prints it.
func grant(privileges, account string) string {
	on := " ON *.*"
	if strings.Contains(privileges, " ON ") {
		on = ""
	}
	return "GRANT " + privileges + on + " TO " + quoteAccount(account)
}

func quoteAccount(account string) string {
	user, host := account, "%"
	if i := strings.LastIndexByte(account, '@'); i >= 0 {
		user, host = account[:i], account[i+1:]
	}
	return quote(user) + "@" + quote(host)
}

func quote(s string) string { return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'" }

// failure classifies a failed look, as far as it says something about the member.
func failure(err error) topology.Failure {
	switch {
	case err == nil:
		return topology.OK
	case number(err) != 0:
		return topology.Other
	case errors.Is(err, syscall.ECONNREFUSED):
		return topology.Refused
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled),
		errors.Is(err, os.ErrDeadlineExceeded):
		return topology.Timeout
	}
	return topology.Reset
}
