package lab

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// settledWithin is how long replication may take to begin.
const settledWithin = 60 * time.Second

// Replication is what a server says of its (first) source.
type Replication struct {
	Source  topology.Key
	IO, SQL string // "Yes", "No", "Connecting"
}

// Running says that both threads run.
func (r Replication) Running() bool { return r.IO == "Yes" && r.SQL == "Yes" }

// Replication asks the server; a server that replicates from nobody gives the zero value.
func (s *Server) Replication(ctx context.Context) (Replication, error) {
	statement, host, port, io, applier := status(s.Flavor)
	row, err := s.Row(ctx, statement)
	if err != nil || row == nil {
		return Replication{}, err
	}
	n, err := strconv.Atoi(row[port])
	if err != nil {
		return Replication{}, fmt.Errorf("%s at %v: port %q: %w", statement, s.Key, row[port], err)
	}
	return Replication{Source: topology.Key{Host: row[host], Port: n}, IO: row[io], SQL: row[applier]}, nil
}

// Received is what a replica has received from its source, applied or not. (MariaDB counts a transaction when it begins
// to come.)
func (s *Server) Received(ctx context.Context) (gtid.Set, error) {
	statement, column := "SHOW REPLICA STATUS", "Retrieved_Gtid_Set"
	if s.Flavor == MariaDB {
		statement, column = "SHOW SLAVE STATUS", "Gtid_IO_Pos"
	}
	row, err := s.Row(ctx, statement)
	if err != nil {
		return gtid.Set{}, err
	}
	return gtid.Parse(row[column])
}

// Executed is all that a server has committed.
func (s *Server) Executed(ctx context.Context) (gtid.Set, error) {
	variable := "gtid_executed"
	if s.Flavor == MariaDB {
		variable = "gtid_current_pos"
	}
	var text string
	if err := s.DB().QueryRowContext(ctx, "SELECT @@GLOBAL."+variable).Scan(&text); err != nil {
		return gtid.Set{}, fmt.Errorf("read %s at %v: %w", variable, s.Key, err)
	}
	return gtid.Parse(text)
}

// Row is the first row of an answer, by the names of its columns; nil where there is none.
func (s *Server) Row(ctx context.Context, statement string) (map[string]string, error) {
	rows, err := s.DB().QueryContext(ctx, statement)
	if err != nil {
		return nil, fmt.Errorf("%s at %v: %w", statement, s.Key, err)
	}
	defer rows.Close()
	return readRow(rows)
}

// readRow reads one row by its columns' names; nil where there is none.
func readRow(rows *sql.Rows) (map[string]string, error) {
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	if !rows.Next() {
		return nil, rows.Err()
	}
	values := make([]sql.NullString, len(names))
	into := make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	if err := rows.Scan(into...); err != nil {
		return nil, err
	}
	row := map[string]string{}
	for i, name := range names {
		row[name] = values[i].String
	}
	return row, nil
}

// ReplicateFrom makes a server replicate from source and waits until it does.
func (l *Lab) ReplicateFrom(ctx context.Context, replica, source *Server) error {
	if err := replica.Exec(ctx, follow(replica.Flavor, source.Key)...); err != nil {
		return err
	}
	return AwaitReplication(ctx, source, replica)
}

// AwaitReplication waits until the replicas replicate from source, both threads running.
func AwaitReplication(ctx context.Context, source *Server, replicas ...*Server) error {
	ctx, cancel := context.WithTimeout(ctx, settledWithin)
	defer cancel()
	for _, replica := range replicas {
		for {
			r, err := replica.Replication(ctx)
			if err == nil && r.Source == source.Key && r.Running() {
				break
			}
			if wait := pause(ctx, 10*time.Millisecond); wait != nil {
				return fmt.Errorf("wait until %v replicates from %v: it says %+v (%v); its log: %s", replica.Key,
					source.Key, r, err, replica.Log())
			}
		}
	}
	return nil
}

// Replicas starts n servers like spec that replicate from primary.
func (l *Lab) Replicas(ctx context.Context, primary *Server, n int, spec Spec) ([]*Server, error) {
	spec.Flavor, spec.Name, spec.ServerID = primary.Flavor, "", 0
	servers, failed := make([]*Server, n), make([]error, n)
	done := make(chan struct{})
	for i := range n {
		go func() {
			defer func() { done <- struct{}{} }()
			if servers[i], failed[i] = l.Start(ctx, spec); failed[i] == nil {
				failed[i] = l.ReplicateFrom(ctx, servers[i], primary)
			}
		}()
	}
	for range n {
		<-done
	}
	return servers, errors.Join(failed...)
}

// Cluster starts a writable primary and n replicas of it.
func (l *Lab) Cluster(ctx context.Context, spec Spec, n int) (primary *Server, replicas []*Server, err error) {
	if primary, err = l.Start(ctx, spec); err != nil {
		return nil, nil, err
	}
	// before they connect: what a replica and its source agree on then holds as long as the connection
	if spec.Semisync {
		if err := primary.Exec(ctx, waitForReplicas[primary.Flavor]); err != nil {
			return nil, nil, err
		}
	}
	if replicas, err = l.Replicas(ctx, primary, n, spec); err != nil {
		return nil, nil, err
	}
	return primary, replicas, primary.SetReadOnly(ctx, false)
}
