package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

// The account with which daemons use a backend, and its database; with the documented grants.
const (
	BackendUser, BackendPassword = "orchestrator_backend", "backend-secret"
	BackendDatabase              = "orchestrator"
)

// backendOptions make a server a member of a pair: statements, one applier, writable; what was torn of the relay log by
// a kill is fetched again.
func backendOptions(f topology.Flavor, number int) []string {
	out := []string{"--binlog-format=STATEMENT", "--read-only=0", "--relay-log-recovery=1"}
	if f == MariaDB {
		return append(out, "--slave-parallel-threads=0", fmt.Sprintf("--gtid-domain-id=%d", number),
			"--gtid-strict-mode=0")
	}
	return append(out, "--replica-parallel-workers=1")
}

// backendAccounts are the statements that prepare a member: the database, and the account with the least that it needs.
// Nothing of it enters a binary log.
func backendAccounts(f topology.Flavor) []string {
	look := "REPLICATION CLIENT"
	if f == MariaDB {
		look = "SLAVE MONITOR"
	}
	return []string{
		"SET SESSION sql_log_bin = 0",
		"CREATE DATABASE " + BackendDatabase,
		fmt.Sprintf("CREATE USER '%s'@'%%' IDENTIFIED BY '%s'", BackendUser, BackendPassword),
		fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON %s.* TO '%s'@'%%'", BackendDatabase, BackendUser),
		fmt.Sprintf("GRANT %s ON *.* TO '%s'@'%%'", look, BackendUser),
		"SET SESSION sql_log_bin = 1", // the connection goes back to a pool
	}
}

// Quick are options of members that write to disk when the kernel likes: what is lost then is lost with the machine
// only, not with a process.
func Quick() []string { return []string{"--sync-binlog=0", "--innodb-flush-log-at-trx-commit=2"} }

// Member starts a server that can be a member of a backend pair, alone.
func (l *Lab) Member(ctx context.Context, f topology.Flavor, options ...string) (*Server, error) {
	number, err := l.next()
	if err != nil {
		return nil, err
	}
	s, err := l.Start(ctx, Spec{Flavor: f, ExtraArgs: append(backendOptions(f, number), options...)})
	if err != nil {
		return nil, err
	}
	c, err := s.DB().Conn(ctx) // one connection: the first statement holds for the others
	if err != nil {
		return nil, err
	}
	defer c.Close()
	for _, statement := range backendAccounts(f) {
		if _, err := c.ExecContext(ctx, statement); err != nil {
			return nil, fmt.Errorf("prepare a backend at %v: %w", s.Key, err)
		}
	}
	return s, errors.Join(err, c.Close())
}

// Pair starts two members that replicate each other by statement.
func (l *Lab) Pair(ctx context.Context, f topology.Flavor, options ...string) (a, b *Server, err error) {
	if a, err = l.Member(ctx, f, options...); err != nil {
		return nil, nil, err
	}
	if b, err = l.Member(ctx, f, options...); err != nil {
		return nil, nil, err
	}
	if err := l.ReplicateFrom(ctx, b, a); err != nil {
		return nil, nil, err
	}
	return a, b, l.ReplicateFrom(ctx, a, b)
}

// StopReplica stops both threads of a replica.
func (s *Server) StopReplica(ctx context.Context) error {
	return s.Exec(ctx, map[topology.Flavor]string{MariaDB: "STOP SLAVE", MySQL: "STOP REPLICA"}[s.Flavor])
}

// StartReplica starts them.
func (s *Server) StartReplica(ctx context.Context) error {
	return s.Exec(ctx, map[topology.Flavor]string{MariaDB: "START SLAVE", MySQL: "START REPLICA"}[s.Flavor])
}

// CaughtUp says that s has committed all that other has.
func (s *Server) CaughtUp(ctx context.Context, other *Server) (bool, error) {
	has, err := other.Executed(ctx)
	if err != nil {
		return false, err
	}
	mine, err := s.Executed(ctx)
	return err == nil && mine.Contains(has), err
}

// Drain waits until both members replicate and have committed all of each other.
func Drain(ctx context.Context, a, b *Server) error {
	if err := errors.Join(AwaitReplication(ctx, a, b), AwaitReplication(ctx, b, a)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, settledWithin)
	defer cancel()
	for {
		one, err := a.CaughtUp(ctx, b)
		if err != nil {
			return err
		}
		two, err := b.CaughtUp(ctx, a)
		if err != nil {
			return err
		}
		if one && two {
			return nil
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			ra, _ := a.Replication(context.WithoutCancel(ctx))
			rb, _ := b.Replication(context.WithoutCancel(ctx))
			return fmt.Errorf("wait until %v and %v have drained: %w (they say %+v and %+v)", a.Key, b.Key, err, ra, rb)
		}
	}
}

// Unsafe are the lines of the server's log that say that a statement is not safe to replicate as it is (warning 1592).
func (s *Server) Unsafe() ([]string, error) {
	return s.logged("", "Unsafe statement written to the binary log")
}

// Failed are the lines that say that applying a statement has failed.
func (s *Server) Failed() ([]string, error) {
	return s.logged("[ERROR]", "Slave SQL", "[Repl] Replica SQL", "[Repl] Worker ")
}

// File is the path of a file in the server's data directory.
func (s *Server) File(name string) string { return filepath.Join(s.dir, name) }

// logged are the lines of the log that hold level, and one of the texts.
func (s *Server) logged(level string, texts ...string) (found []string, err error) {
	log, err := os.ReadFile(s.File("error.log"))
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, level) && slices.ContainsFunc(texts,
			func(text string) bool { return strings.Contains(line, text) }) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found, err
}

// next is the number that Start will give away.
func (l *Lab) next() (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last+1 >= lockHost {
		return 0, fmt.Errorf("take an address of 127.0.%d.0: all are used up", l.Subnet)
	}
	return l.last + 1, nil
}
