package pair

import (
	"context"
	"fmt"
	"sync"
	"time"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// site is a member with its one permanent connection. The holder of turn may use the other fields.
type site struct {
	key  topology.Key
	o    *Options
	turn chan struct{}

	conn     *server.Conn   // nil: not connected
	dialect  server.Dialect // of the server that was connected to last
	id       string         // server identity
	serverID uint32

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
func (s *site) connect(ctx context.Context) (err error) {
	if s.conn != nil {
		return nil
	}
	if s.conn, err = s.dial(ctx, s.o.Account); err == nil {
		err = s.recognise(ctx)
	}
	if err != nil {
		s.hangUp()
		return explain(err, s.o.Account.User)
	}
	return nil
}

func (s *site) dial(ctx context.Context, a Account) (*server.Conn, error) {
	most := s.o.StatementTimeout
	if deadline, ok := ctx.Deadline(); ok {
		most = time.Until(deadline)
	}
	return server.Dial(ctx, server.Address(s.key), server.Options{Account: a, Security: s.o.Security, Timeout: most,
		Budget: server.Stored(), Room: server.NewRoom(server.Stored().Bytes)})
}

func (s *site) recognise(ctx context.Context) error {
	if err := s.conn.Recognise(ctx); err != nil {
		return err
	}
	vars, err := s.conn.Named(ctx, server.AskIdentity)
	if err != nil {
		return err
	}
	s.dialect, s.id, s.serverID = s.conn.Dialect, server.UUID(vars), uint32(vars.Uint("server_id"))
	_, err = s.conn.Query(ctx, shortWait)
	return err
}

func (s *site) hangUp() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
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
	err := s.once(ctx, do)
	if err == nil || server.Number(err) != 0 || !kept || ctx.Err() != nil {
		return err
	}
	// The connection may have been closed long ago. Then nothing of do has reached the server; and everything that is
	// done here may be done twice.
	return s.once(ctx, do)
}

func (s *site) once(ctx context.Context, do func(ctx context.Context) error) error {
	err := s.connect(ctx)
	if err == nil {
		err = do(ctx)
	}
	if err != nil && server.Number(err) == 0 {
		s.hangUp()
	}
	return err
}

// exec runs one statement on the kept connection, within StatementTimeout.
func (s *site) exec(ctx context.Context, q server.Statement, args ...any) error {
	err := s.use(ctx, s.o.StatementTimeout, func(ctx context.Context) error {
		_, err := s.query(ctx, q, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("at %v: %w", s.key, err)
	}
	return nil
}

// tell says a word about a channel.
func (s *site) tell(ctx context.Context, w server.Word, channel string) error {
	return s.exec(ctx, s.dialect.Say(w), channel)
}

// all runs the statements of a word that may be several.
func (s *site) all(ctx context.Context, w server.Word) error {
	for _, q := range s.dialect.SayAll(w) {
		if err := s.exec(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

func (s *site) query(ctx context.Context, q server.Statement, args ...any) ([]server.Row, error) {
	rows, err := s.conn.Query(ctx, q, args...)
	if err != nil {
		return nil, explain(err, s.conn.Account)
	}
	return rows, nil
}

// one is query for statements that return one row; the row may be empty.
func (s *site) one(ctx context.Context, q server.Statement, args ...any) (server.Row, error) {
	rows, err := s.query(ctx, q, args...)
	if err != nil || len(rows) == 0 {
		return server.Row{}, err
	}
	return rows[0], nil
}

// explain adds which GRANT is missing, if one is.
func explain(err error, account string) error {
	switch {
	case server.MissingGrant(err) != "":
		return fmt.Errorf("%w; a privilege is missing: %s", err, server.MissingGrant(err))
	case server.Means(err, server.PrivilegeMissing):
		return fmt.Errorf("%w; the account %s lacks a privilege: use another account with --user", err, account)
	case server.Means(err, server.LoginDenied):
		return fmt.Errorf("%w; check user and password (--user, --password-file)", err)
	}
	return err
}
