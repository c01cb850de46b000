package mysql

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// ErrNotYet is returned by AwaitApplied, and by steps that need the relay logs applied first: nothing was changed, look and ask again.
var ErrNotYet = errors.New("not everything received is applied yet")

// ErrExpect is what a step found in place of what it had been promised. Nothing was changed.
type ErrExpect struct{ What, Expected, Seen string }

func (e *ErrExpect) Error() string {
	return fmt.Sprintf("%s: expected %s, found %s; nothing was changed", e.What, e.Expected, e.Seen)
}

// site is a server during a step: the connection that acts, and what it saw when it began.
type site struct {
	*conn
	s       *Servers
	key     topology.Key
	dialect dialect
	known   known
	topology.Instance
	slavePos gtid.Set
}

// Do does one step, within Options.StepTimeout. Each may be done again at any time: what already holds is left alone. What the step
// expects is checked on the connection that acts, while that holds the server's advisory lock.
func (s *Servers) Do(ctx context.Context, step plan.Step) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.StepTimeout)
	defer cancel()
	if err := s.do(ctx, step); err != nil {
		return fmt.Errorf("%s at %v: %w", step.Kind, step.At, explain(err))
	}
	return nil
}

func (s *Servers) do(ctx context.Context, step plan.Step) error {
	if _, err := s.server(step.At); err != nil {
		return err
	}
	if h := s.heldAt(step.At); h != nil {
		return s.on(ctx, h, func(c *conn) error { return s.step(ctx, c, step) })
	}
	c, err := s.connect(ctx, step.At)
	if err != nil {
		return err
	}
	defer c.close() // which frees the lock as well
	term := s.o.Term()
	id, err := s.lock(ctx, c, step.At, term)
	if err != nil {
		return err
	}
	if err := s.step(ctx, c, step); err != nil {
		if !survives(err) {
			s.lose(step.At, id)
		}
		return err
	}
	// The lock goes with the connection, but only once the server has noticed that this is closed; the next step is at once.
	_, _ = c.query(ctx, releasing(term))
	return nil
}

// step is what is done at a server, on a connection that holds its lock.
func (s *Servers) step(ctx context.Context, c *conn, step plan.Step) error {
	t := &site{conn: c, s: s, key: step.At}
	err := t.do(ctx, step)
	if r := (*refusal)(nil); errors.As(err, &r) {
		r.account = t.known.account
	}
	return err
}

func (t *site) do(ctx context.Context, step plan.Step) error {
	if _, err := t.query(ctx, shortWaits); err != nil {
		return err
	}
	if err := t.known.recognise(ctx, t.conn); err != nil {
		return err
	}
	vars, err := t.named(ctx, askVariables)
	if err != nil {
		return err
	}
	t.Instance = t.known.instance
	t.dialect = speak(t.Flavor, t.Version, vars.on("performance_schema"))
	if t.UUID = strings.ToLower(vars.get("server_uuid")); t.UUID == "" {
		t.UUID = madeUUID(vars)
	}
	t.SemiSync.ReplicaEnabled = vars.on("rpl_semi_sync_replica_enabled", "rpl_semi_sync_slave_enabled")
	if err := t.look(ctx); err != nil {
		return err
	}
	if err := t.expect(step.Expect); err != nil {
		return err
	}
	return t.act(ctx, step)
}

// query is that of the connection, with the points at which tests kill the daemon.
func (t *site) query(ctx context.Context, q statement, args ...any) ([]row, error) {
	t.s.crash.point(q)
	defer t.s.crash.point(q)
	return t.conn.query(ctx, q, args...)
}

// look reads positions and channels anew.
func (t *site) look(ctx context.Context) error {
	r, err := t.one(ctx, t.dialect.poll)
	if err != nil {
		return err
	}
	t.ReadOnly = r.on("read_only") || r.on("super_read_only")
	t.SuperReadOnly = r.on("super_read_only")
	if t.slavePos, err = positions(&t.Instance, r); err != nil {
		return err
	}
	rows, err := t.query(ctx, t.dialect.channels)
	if err != nil {
		return err
	}
	t.Channels, err = channels(rows, t.Instance, t.slavePos)
	return err
}

func (t *site) expect(e plan.Expect) error {
	if e.UUID != "" && !strings.EqualFold(e.UUID, t.UUID) {
		return &ErrExpect{"another server stands behind this address", "identity " + e.UUID, t.UUID}
	}
	if !t.Executed.Contains(e.Executed) {
		return &ErrExpect{"it has not executed what it should have", e.Executed.String(), t.Executed.String()}
	}
	if !e.Within.Empty() {
		if more := t.received().Subtract(e.Within); !more.Empty() {
			return &ErrExpect{"it has received more than its new source has", "at most " + e.Within.String(), more.String() + " besides"}
		}
	}
	for _, c := range t.Channels {
		if !e.NotFrom.IsZero() && c.Source == e.NotFrom && c.IO != topology.Stopped {
			return &ErrExpect{"it still receives", "a stopped receiver from " + e.NotFrom.String(), string(c.IO)}
		}
	}
	if !e.Source.IsZero() && len(t.Channels) > 0 {
		for _, c := range t.Channels {
			if c.Source.Attached() == e.Source {
				return nil
			}
		}
		return &ErrExpect{"it has another source", e.Source.String(), t.Channels[0].Source.String()}
	}
	return nil
}

func (t *site) received() gtid.Set {
	all := t.Executed
	for _, c := range t.Channels {
		all = all.Union(c.Received)
	}
	return all
}

func (t *site) act(ctx context.Context, step plan.Step) error {
	switch step.Kind {
	case plan.RestartReceiver:
		return t.restartReceivers(ctx, step.From)
	case plan.StopReceiver:
		return t.each(ctx, step.From, func(c topology.Channel) error {
			if c.IO == topology.Stopped {
				return nil
			}
			return t.of(ctx, t.dialect.stopReceiver, c.Name)
		})
	case plan.StartReceiver:
		return t.each(ctx, step.From, func(c topology.Channel) error {
			if c.IO != topology.Stopped {
				return nil
			}
			return t.of(ctx, t.dialect.startReceiver, c.Name)
		})
	case plan.StartApplier:
		return t.each(ctx, step.From, func(c topology.Channel) error {
			if c.SQL != topology.Stopped {
				return nil
			}
			return t.of(ctx, t.dialect.startApplier, c.Name)
		})
	case plan.AwaitApplied:
		return t.await(ctx, step.Set)
	case plan.Promote:
		return t.promote(ctx, step.Expect)
	case plan.Repoint:
		return t.repoint(ctx, step)
	case plan.Fence:
		return t.fence(ctx)
	case plan.Detach:
		return t.detach(ctx, step.From)
	}
	return fmt.Errorf("there is no such step")
}

// each goes through the channels from a source, or all when none is named.
func (t *site) each(_ context.Context, source topology.Key, do func(topology.Channel) error) error {
	for _, c := range t.Channels {
		if source.IsZero() || c.Source.Attached() == source {
			if err := do(c); err != nil {
				return err
			}
		}
	}
	return nil
}

// of runs a statement that names a channel.
func (t *site) of(ctx context.Context, q statement, channel string, args ...any) error {
	if t.dialect.nameFirst {
		args = append([]any{channel}, args...)
	} else {
		args = append(args, channel)
	}
	_, err := t.query(ctx, q, args...)
	return err
}

func (t *site) restartReceivers(ctx context.Context, source topology.Key) error {
	return t.each(ctx, source, func(c topology.Channel) error {
		if c.IO == topology.Stopped || c.IO == topology.Connecting { // one that connects is finding out already; a stopped one was stopped on purpose
			return nil
		}
		if t.Flavor == topology.MariaDB && !c.Drained(t.slavePos) {
			return fmt.Errorf("%w: MariaDB throws received relay logs away when its receiver starts (received %v, applied %v)", ErrNotYet, c.Received, t.slavePos)
		}
		if err := t.of(ctx, t.dialect.stopReceiver, c.Name); err != nil {
			return err
		}
		if t.Flavor == topology.MariaDB { // it may have received more between the look and the stop
			if err := t.look(ctx); err != nil {
				return err
			}
			for _, now := range t.Channels {
				if now.Name == c.Name && !now.Drained(t.slavePos) {
					return fmt.Errorf("%w: the receiver stays stopped, for its start would throw away what came in last", ErrNotYet)
				}
			}
		}
		return t.of(ctx, t.dialect.startReceiver, c.Name)
	})
}

func (t *site) await(ctx context.Context, set gtid.Set) error {
	if t.Executed.Contains(set) {
		return nil
	}
	r, err := t.one(ctx, t.dialect.await, set.String())
	if err != nil {
		return err
	}
	if r.get("missing") == "0" {
		return nil
	}
	if err := t.look(ctx); err != nil {
		return err
	}
	if left := set.Subtract(t.Executed); !left.Empty() {
		return fmt.Errorf("%w: %d transactions left (%v)", ErrNotYet, left.Count(), left)
	}
	return nil
}

// promote ends replication for good. What was received is looked at again after everything stands still: between the plan and now, more may have come.
func (t *site) promote(ctx context.Context, e plan.Expect) error {
	for _, c := range t.Channels {
		if c.IO != topology.Stopped {
			if err := t.of(ctx, t.dialect.stopReceiver, c.Name); err != nil {
				return err
			}
		}
	}
	if len(t.Channels) > 0 {
		if err := t.look(ctx); err != nil {
			return err
		}
		for _, c := range t.Channels {
			// Where the plan says what must be executed, the operator may have allowed to lose the rest.
			if e.Executed.Empty() && !c.Drained(t.Executed) {
				return fmt.Errorf("%w: received %v, executed %v; its receiver is stopped, and it was not promoted", ErrNotYet, c.Received, t.Executed)
			}
		}
		if err := t.expect(e); err != nil {
			return err
		}
		for _, c := range t.Channels {
			if err := t.of(ctx, t.dialect.stop, c.Name); err != nil {
				return err
			}
			if err := t.of(ctx, t.dialect.reset, c.Name); err != nil {
				return err
			}
		}
	}
	if t.SemiSync.ReplicaEnabled {
		// Best done before writes come; a promotion does not fail for it.
		for _, q := range semiSyncSource {
			if _, err := t.query(ctx, q); err == nil {
				break
			}
		}
	}
	if !t.ReadOnly {
		return nil
	}
	for _, q := range t.dialect.writable {
		if _, err := t.query(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// repoint keeps user, password and TLS settings: a server keeps what a CHANGE does not name.
func (t *site) repoint(ctx context.Context, step plan.Step) error {
	to := step.Source
	if to.IsZero() || to.Detached() {
		return fmt.Errorf("the step names no source to follow")
	}
	if len(t.Channels) == 0 {
		return fmt.Errorf("it has no source yet, and so no replication user and password that could be kept: " +
			"set it up with CHANGE REPLICATION SOURCE TO (CHANGE MASTER TO) once, by hand")
	}
	if len(t.Channels) > 1 {
		return fmt.Errorf("it replicates from %d sources: such a server is not moved by itself", len(t.Channels))
	}
	c := t.Channels[0]
	if c.Source == to && c.AutoPosition {
		if c.IO != topology.Stopped && c.SQL != topology.Stopped {
			return nil
		}
		return t.of(ctx, t.dialect.start, c.Name)
	}
	// MySQL changes the host while the applier goes on with what it has; all else stops it.
	q, stop := t.dialect.changeHostWithKey, t.dialect.stopReceiver
	if c.SSL {
		q = t.dialect.changeHost
	}
	if t.Flavor == topology.MariaDB || !c.AutoPosition {
		q, stop = t.dialect.changeAuto, t.dialect.stop
	}
	if err := t.of(ctx, stop, c.Name); err != nil {
		return err
	}
	if err := t.look(ctx); err != nil {
		return err
	}
	if err := t.expect(step.Expect); err != nil { // more may have come in before it stopped
		return err
	}
	if t.Flavor == topology.MariaDB && !t.slavePos.Contains(t.BinlogWritten) {
		// What a former primary wrote itself is not in gtid_slave_pos, and its new source would send it again.
		if _, err := t.query(ctx, setSlavePos, t.Executed.String()); err != nil {
			return err
		}
	}
	if err := t.of(ctx, q, c.Name, to.Host, int64(to.Port)); err != nil {
		return err
	}
	return t.of(ctx, t.dialect.start, c.Name)
}

// fence makes the server refuse writes. Its clients are disconnected first: another server was promoted in its place, and whoever still
// talks to this one talks to the wrong one; and the statement would wait for their transactions, and for commits that hang in semi-sync, with
// nobody left to acknowledge them. What comes in between is disconnected by another round.
func (t *site) fence(ctx context.Context) error {
	if t.SuperReadOnly || t.ReadOnly && t.Flavor == topology.MariaDB {
		return nil
	}
	var killed []string
	for range 4 {
		more, busy, err := t.disconnectClients(ctx)
		killed = append(killed, more...)
		if err != nil {
			return fmt.Errorf("disconnect clients, so that SET GLOBAL read_only need not wait for them; disconnected %s: %w", strings.Join(killed, ", "), err)
		}
		if !busy {
			// MySQL goes on waiting for the acknowledgement of a commit whose client is gone. Nobody hears of it as committed any more.
			for _, q := range semiSyncSourceOff {
				if _, err := t.query(ctx, q); err == nil {
					break
				}
			}
		}
		var told *mysqldriver.MySQLError
		if err = t.readOnly(ctx); err == nil {
			if len(killed) > 0 {
				t.s.logger.Warn("fence disconnected clients", "at", t.key, "clients", strings.Join(killed, ", "))
			}
			return nil
		}
		if !errors.As(err, &told) || told.Number != lockWaitTimeout {
			return err
		}
	}
	return fmt.Errorf("SET GLOBAL read_only did not come through although clients were disconnected: %s", strings.Join(killed, ", "))
}

func (t *site) readOnly(ctx context.Context) error {
	for _, q := range t.dialect.readOnly {
		if _, err := t.query(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// disconnectClients ends the connections of clients, and says whether one that it may not end is busy.
func (t *site) disconnectClients(ctx context.Context) (killed []string, busy bool, err error) {
	rows, err := t.query(ctx, t.dialect.clients)
	if err != nil {
		return nil, false, err
	}
	own, _ := t.s.credentials()
	for _, r := range rows {
		if r.get("user") == own { // ours, and those of other daemons
			continue
		}
		id, err := strconv.ParseInt(r.get("id"), 10, 64)
		if err != nil {
			return killed, busy, fmt.Errorf("read connection id: %w", err)
		}
		if _, err := t.query(ctx, kill, id); err != nil {
			var told *mysqldriver.MySQLError
			if errors.As(err, &told) && told.Number == noSuchThread {
				continue
			}
			if errors.As(err, &told) && told.Number == notOwner {
				// MySQL shields accounts that have SYSTEM_USER from those that lack it.
				busy = busy || r.get("command") != "Sleep"
				t.s.logger.Warn("fence could not disconnect a client: GRANT SYSTEM_USER would allow it", "at", t.key, "client", r.get("user"), "id", id)
				continue
			}
			return killed, busy, err
		}
		killed = append(killed, fmt.Sprintf("%s@%s (%d)", r.get("user"), r.get("host"), id))
	}
	wait := time.NewTimer(50 * time.Millisecond) // for them to roll back
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
	return killed, busy, nil
}

// detach stops a replica that can't be kept, and spoils the name of its source so that nothing starts it again by chance. Taking the
// two slashes away again is all it takes to undo it. While relay logs are not applied only the receiver is stopped: a change of source would drop them.
func (t *site) detach(ctx context.Context, source topology.Key) error {
	return t.each(ctx, source, func(c topology.Channel) error {
		if c.IO != topology.Stopped {
			if err := t.of(ctx, t.dialect.stopReceiver, c.Name); err != nil {
				return err
			}
		}
		if c.Source.Detached() {
			return nil
		}
		if err := t.look(ctx); err != nil {
			return err
		}
		for _, now := range t.Channels {
			if now.Name != c.Name || !now.Drained(t.Executed) {
				continue
			}
			if err := t.of(ctx, t.dialect.stop, c.Name); err != nil {
				return err
			}
			return t.of(ctx, t.dialect.changeHost, c.Name, c.Source.Detach().Host, int64(c.Source.Port))
		}
		return nil
	})
}
