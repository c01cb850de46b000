package lab

import (
	"context"
	"errors"
	"fmt"

	"orchestrator/daemon/topology"
)

// The account with which daemons use a backend, and its database; with the documented grants.
const (
	BackendUser, BackendPassword = "orchestrator_backend", "backend-secret"
	BackendDatabase              = "orchestrator"
)

// backendOptions make a server a member of a pair: statements, one applier, writable.
func backendOptions(f topology.Flavor, number int) []string {
	out := []string{"--binlog-format=STATEMENT", "--read-only=0"}
	if f == MariaDB {
		return append(out, "--slave-parallel-threads=0", fmt.Sprintf("--gtid-domain-id=%d", number), "--gtid-strict-mode=0")
	}
	return append(out, "--replica-parallel-workers=1")
}

// backendAccounts are the statements that prepare a member: the database, and the account with the least that it needs. Nothing of it
// enters a binary log.
func backendAccounts() []string {
	return []string{
		"SET SESSION sql_log_bin = 0",
		"CREATE DATABASE " + BackendDatabase,
		fmt.Sprintf("CREATE USER '%s'@'%%' IDENTIFIED BY '%s'", BackendUser, BackendPassword),
		fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON %s.* TO '%s'@'%%'", BackendDatabase, BackendUser),
		"SET SESSION sql_log_bin = 1", // the connection goes back to a pool
	}
}

// Quick are options of members that write to disk when the kernel likes: what is lost then is lost with the machine only, not with a process.
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
	for _, statement := range backendAccounts() {
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

// next is the number that Start will give away.
func (l *Lab) next() (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last+1 >= lockHost {
		return 0, fmt.Errorf("take an address of 127.0.%d.0: all are used up", l.Subnet)
	}
	return l.last + 1, nil
}
