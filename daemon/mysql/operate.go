package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// Errors of Do, for those who must tell "not now" from "failed".
var (
	ErrExpect = errors.New("not as expected")                    // the server is not as the step expects; nothing was changed
	ErrNotYet = errors.New("not yet")                            // AwaitApplied: the set is not executed yet
	ErrLocked = errors.New("another daemon works at the server") // its advisory lock is taken
)

const (
	// lockName is the advisory lock that whoever changes a server holds there.
	lockName = "orchestrator"
	// lockWait, awaitTime: seconds on the server.
	lockWait, awaitTime = 2, 1
	// fenceTime is how long SET GLOBAL read_only may wait for open transactions before they are ended.
	fenceTime = 2 * time.Second
)

// Do does a step at its server: on one connection, under the server's advisory lock, after checking there that what the step expects is true.
// It can be repeated: what is done already is left as it is.
func (s *Servers) Do(ctx context.Context, step plan.Step) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.StepTimeout)
	defer cancel()
	c, err := s.dial(ctx, step.At)
	if err != nil {
		return fmt.Errorf("%s at %v: connect: %w", step.Kind, step.At, err)
	}
	defer c.close()
	stop := context.AfterFunc(ctx, func() { c.socket.Close() })
	defer stop()
	if err := s.do(ctx, c, step); err != nil {
		return fmt.Errorf("%s at %v: %w", step.Kind, step.At, err)
	}
	return nil
}

// session is a server under our lock, as it was a moment ago.
type session struct {
	*conn
	ctx  context.Context
	d    dialect
	i    topology.Instance
	step plan.Step
}

func (s *Servers) do(ctx context.Context, c *conn, step plan.Step) error {
	var got sql.NullInt64
	if err := c.sql.QueryRowContext(ctx, "SELECT GET_LOCK(?, ?)", lockName, lockWait).Scan(&got); err != nil {
		return fmt.Errorf("take the lock %q: %w", lockName, err)
	}
	if got.Int64 != 1 {
		return ErrLocked
	}
	w := session{conn: c, ctx: ctx, step: step}
	var err error
	if w.i, w.d, err = readIdentity(ctx, c); err != nil {
		return err
	}
	if err := w.look(); err != nil {
		return err
	}
	if err := w.expect(step.Expect); err != nil {
		return err
	}
	switch step.Kind {
	case plan.RestartReceiver:
		return w.restartReceiver()
	case plan.StopReceiver:
		return w.each(w.d.stopReceiver)
	case plan.StartReceiver:
		return w.each(w.d.startReceiver)
	case plan.StartApplier:
		return w.each(w.d.startApplier)
	case plan.AwaitApplied:
		return w.await()
	case plan.Promote:
		return w.promote()
	case plan.Repoint:
		return w.repoint()
	case plan.Fence:
		return w.fence(s)
	case plan.Detach:
		return w.detach()
	}
	return fmt.Errorf("no such step: %q", step.Kind)
}

// readIdentity reads the little that a step needs of what rarely changes.
func readIdentity(ctx context.Context, c *conn) (topology.Instance, dialect, error) {
	var i topology.Instance
	vars, err := named(ctx, c, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'server_uuid', 'server_id', 'hostname', 'report_host', 'port', 'datadir', "+
		"'rpl_semi_sync_replica_enabled', 'rpl_semi_sync_slave_enabled', 'rpl_semi_sync_source_enabled', 'rpl_semi_sync_master_enabled')")
	if err != nil {
		return i, dialect{}, err
	}
	if i.Flavor, i.Version, err = topology.ParseVersion(vars["version"]); err != nil {
		return i, dialect{}, err
	}
	i.UUID = vars["server_uuid"]
	if i.Flavor == topology.MariaDB {
		i.UUID = synthetic(vars)
	}
	d, err := dialectOf(i.Flavor, i.Version)
	return i, d, err
}

// look reads what a step may have to rely on.
func (w *session) look() error {
	if err := readPositions(w.ctx, w.conn, w.d, &w.i); err != nil {
		return err
	}
	var err error
	w.i.Channels, err = readChannels(w.ctx, w.conn, w.d, w.i)
	return err
}

func (w *session) received() gtid.Set {
	return topology.Server{Instance: &w.i}.Received()
}

func (w *session) expect(e plan.Expect) error {
	if e.UUID != "" && e.UUID != w.i.UUID {
		return fmt.Errorf("%w: server %s stands there, not %s", ErrExpect, w.i.UUID, e.UUID)
	}
	if missing := e.Executed.Subtract(w.i.Executed); !missing.Empty() {
		return fmt.Errorf("%w: it has not executed %s", ErrExpect, missing)
	}
	if !e.Within.Empty() {
		if extra := w.received().Subtract(e.Within); !extra.Empty() {
			return fmt.Errorf("%w: it has received %s, which its new source lacks", ErrExpect, extra)
		}
	}
	for _, c := range w.i.Channels {
		if !e.NotFrom.IsZero() && c.Source == e.NotFrom && c.IO == topology.Running {
			return fmt.Errorf("%w: it receives from %v", ErrExpect, e.NotFrom)
		}
	}
	return nil
}

func (w *session) exec(statement string, args ...any) error {
	if _, err := w.sql.ExecContext(w.ctx, statement, args...); err != nil {
		return fmt.Errorf("%s: %w", strings.SplitN(statement, "?", 2)[0], err)
	}
	return nil
}

func quoted(channel string) string { return strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(channel) }

// each runs a statement for every channel. That a thread is already as it should be is said with a warning, not an error.
func (w *session) each(statement string) error {
	for _, c := range w.i.Channels {
		if err := w.exec(fmt.Sprintf(statement, quoted(c.Name))); err != nil {
			return err
		}
	}
	return nil
}

func (w *session) restartReceiver() error {
	for _, c := range w.i.Channels {
		if w.d.flavor == topology.MariaDB && !c.Drained(w.i.Executed) {
			return fmt.Errorf("%w: it has received what it has not applied, and starting its receiver anew would throw that away", ErrExpect)
		}
	}
	if err := w.each(w.d.stopReceiver); err != nil {
		return err
	}
	return w.each(w.d.startReceiver)
}

func (w *session) await() error {
	var answer sql.NullInt64
	if err := w.sql.QueryRowContext(w.ctx, w.d.await, w.step.Set.String(), awaitTime).Scan(&answer); err != nil {
		return fmt.Errorf("wait for what was received to be applied: %w", err)
	}
	if answer.Int64 != 0 {
		return fmt.Errorf("%w: %s", ErrNotYet, w.step.Set.Subtract(w.i.Executed))
	}
	return nil
}

// promote makes the server forget its source and opens it for writes.
func (w *session) promote() error {
	if len(w.i.Channels) > 0 {
		if err := w.each(w.d.stopAll); err != nil {
			return err
		}
		if err := w.look(); err != nil { // something may have arrived before the receiver stopped
			return err
		}
		for _, c := range w.i.Channels {
			if !w.step.Expect.Executed.Contains(c.Received) && !w.i.Executed.Contains(c.Received) {
				return fmt.Errorf("%w: it has received %s and not applied it", ErrExpect, c.Received.Subtract(w.i.Executed))
			}
		}
		if err := w.each(w.d.resetAll); err != nil {
			return err
		}
	}
	if w.d.flavor == topology.MySQL {
		if err := w.exec("SET GLOBAL super_read_only = 0"); err != nil {
			return err
		}
	}
	return w.exec("SET GLOBAL read_only = 0")
}

func (w *session) repoint() error {
	if len(w.i.Channels) == 0 {
		return fmt.Errorf("it replicates from nobody, so its replication account is not known: set replication up by hand, from %v", w.step.Source)
	}
	if len(w.i.Channels) > 1 {
		return fmt.Errorf("%w: it has several sources", ErrExpect)
	}
	c := w.i.Channels[0]
	name := quoted(c.Name)
	if c.Source == w.step.Source {
		return w.exec(fmt.Sprintf(w.d.startAll, name))
	}
	change, args := w.d.repoint(w.i.Version, name, w.step.Source.Host, w.step.Source.Port, c.SSL)
	stop := w.d.stopReceiver // an applier with much to do need not be waited for
	if w.d.flavor == topology.MariaDB || c.SQL != topology.Running {
		stop = w.d.stopAll
	}
	if err := w.exec(fmt.Sprintf(stop, name)); err != nil {
		return err
	}
	if err := w.exec(change, args...); err != nil {
		return err
	}
	return w.exec(fmt.Sprintf(w.d.startAll, name))
}

func (w *session) detach() error {
	if err := w.each(w.d.stopReceiver); err != nil {
		return err
	}
	if err := w.look(); err != nil {
		return err
	}
	for _, c := range w.i.Channels {
		if strings.HasPrefix(c.Source.Host, "//") || !c.Drained(w.i.Executed) {
			continue // done, or still applying what a change would throw away
		}
		if err := w.exec(fmt.Sprintf(w.d.stopAll, quoted(c.Name))); err != nil {
			return err
		}
		if err := w.exec(w.d.spoil(w.i.Version, quoted(c.Name)), "//"+c.Source.Host, c.Source.Port); err != nil {
			return err
		}
	}
	return nil
}

// fence makes the server read-only. That waits for open transactions, and for commits that wait for a semi-sync acknowledgement which will never
// come; whoever holds it up after a moment is disconnected.
func (w *session) fence(s *Servers) error {
	if w.i.ReadOnly && (w.i.SuperReadOnly || w.d.flavor == topology.MariaDB) {
		return nil
	}
	statement := "SET GLOBAL read_only = 1"
	if w.d.flavor == topology.MySQL {
		statement = "SET GLOBAL super_read_only = 1"
	}
	done := make(chan error, 1)
	go func() { done <- w.exec(statement) }()
	late := time.NewTicker(fenceTime)
	defer late.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-late.C:
			if err := s.disconnectClients(w.ctx, w.step.At); err != nil {
				return errors.Join(err, <-done)
			}
		}
	}
}

// disconnectClients ends the connections of all clients but replicas and ourselves.
func (s *Servers) disconnectClients(ctx context.Context, k topology.Key) error {
	c, err := s.dial(ctx, k)
	if err != nil {
		return fmt.Errorf("disconnect clients: %w", err)
	}
	defer c.close()
	all, err := rows(ctx, c, "SELECT ID, USER, COMMAND FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID()")
	if err != nil {
		return fmt.Errorf("disconnect clients: %w", err)
	}
	s.mu.Lock()
	us := s.user
	s.mu.Unlock()
	for _, t := range all {
		if t["USER"] == us || t["USER"] == "system user" || t["USER"] == "event_scheduler" || t["COMMAND"] == "Daemon" || strings.HasPrefix(t["COMMAND"], "Binlog Dump") {
			continue
		}
		const gone = 1094
		var server *mysql.MySQLError
		if _, err := c.sql.ExecContext(ctx, "KILL CONNECTION ?", number(t["ID"])); err != nil && !(errors.As(err, &server) && server.Number == gone) {
			return fmt.Errorf("disconnect client %s: %w", t["ID"], err)
		}
	}
	return nil
}
