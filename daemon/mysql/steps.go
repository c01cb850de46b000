package mysql

import (
	"context"
	"errors"
	"fmt"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

func (t *site) act(ctx context.Context, step plan.Step) error {
	switch step.Kind {
	case plan.RestartReceiver:
		return t.restartReceivers(ctx, step.From)
	case plan.StopReceiver:
		return t.stopReceivers(ctx, step.From)
	case plan.StartReceiver:
		return t.startReceivers(ctx, step.From)
	case plan.StartApplier:
		return t.startAppliers(ctx, step.From)
	case plan.AwaitApplied:
		return t.await(ctx, step.Set)
	case plan.Promote:
		return t.promote(ctx, step)
	case plan.Repoint:
		return t.repoint(ctx, step)
	case plan.Fence:
		return t.fence(ctx)
	case plan.Detach:
		return t.detach(ctx, step.From)
	case plan.SemiSyncOn:
		t.first(ctx, semiSyncSource)
		return nil
	case plan.SemiSyncOff:
		t.first(ctx, semiSyncSourceOff)
		return nil
	case plan.TryWrite:
		return t.tryWrite(ctx, step.Table)
	}
	return errors.New("there is no such step")
}

// from are the channels from a source, or all when it is zero.
func (t *site) from(source topology.Key) (out []topology.Channel) {
	for _, c := range t.Channels {
		if source.IsZero() || c.Source.Attached() == source {
			out = append(out, c)
		}
	}
	return out
}

// tell says a word about a channel.
func (t *site) tell(ctx context.Context, w server.Word, channel string) error {
	_, err := t.Query(ctx, t.Dialect.Say(w), channel)
	return err
}

// change changes what a channel replicates from.
func (t *site) change(ctx context.Context, channel string, to topology.Key, besides ...server.Word) error {
	q := t.Dialect.Change(append([]server.Word{server.SourceAddress}, besides...)...)
	_, err := t.Query(ctx, q, t.Dialect.OnChannel(channel, to.Host, to.Port)...)
	return err
}

func (t *site) stopReceivers(ctx context.Context, source topology.Key) error {
	for _, c := range t.from(source) {
		if err := t.stopReceiver(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (t *site) stopReceiver(ctx context.Context, c topology.Channel) error {
	if c.IO == topology.Stopped {
		return nil
	}
	return t.tell(ctx, server.StopReceiver, c.Name)
}

func (t *site) startReceivers(ctx context.Context, source topology.Key) error {
	for _, c := range t.from(source) {
		if c.IO != topology.Stopped {
			continue
		}
		if err := t.tell(ctx, server.StartReceiver, c.Name); err != nil {
			return err
		}
	}
	return nil
}

func (t *site) startAppliers(ctx context.Context, source topology.Key) error {
	for _, c := range t.from(source) {
		if c.SQL != topology.Stopped {
			continue
		}
		if t.Dialect.MariaDB() && c.IO == topology.Stopped && !c.Drained(t.replayed) {
			return &ErrExpect{"MariaDB would throw away what it has received if its applier started now",
				"a receiver that runs, or tries to connect", string(c.IO)}
		}
		if err := t.tell(ctx, server.StartApplier, c.Name); err != nil {
			return err
		}
	}
	return nil
}

func (t *site) restartReceivers(ctx context.Context, source topology.Key) error {
	for _, c := range t.from(source) {
		if c.IO == topology.Stopped || c.IO == topology.Connecting && !c.Rejected() {
			continue // one that connects is finding out already; a stopped one was stopped on purpose
		}
		if err := t.restartReceiver(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (t *site) restartReceiver(ctx context.Context, c topology.Channel) error {
	if t.Dialect.MariaDB() && !c.Drained(t.replayed) {
		return fmt.Errorf("%w: MariaDB throws received relay logs away when its receiver starts (received %v, "+
			"applied %v)",
			ErrNotYet, c.Received, t.replayed)
	}
	if err := t.tell(ctx, server.StopReceiver, c.Name); err != nil {
		return err
	}
	if t.Dialect.MariaDB() { // it may have received more between the look and the stop
		if err := t.look(ctx); err != nil {
			return err
		}
		for _, now := range t.Channels {
			if now.Name == c.Name && !now.Drained(t.replayed) {
				return fmt.Errorf("%w: the receiver stays stopped, for its start would throw away what came in last",
					ErrNotYet)
			}
		}
	}
	return t.tell(ctx, server.StartReceiver, c.Name)
}

func (t *site) await(ctx context.Context, set gtid.Set) error {
	if t.Executed.Contains(set) {
		return nil
	}
	r, err := t.One(ctx, t.Dialect.Say(server.AwaitGTID), set.String())
	if err != nil {
		return err
	}
	if r.Get("missing") == "0" {
		return nil
	}
	if err := t.look(ctx); err != nil {
		return err
	}
	if left := set.Subtract(t.Executed); !left.Empty() {
		if err := t.tryWrites(ctx); err != nil { // a lock that writes wait for stops the applier, too
			return err
		}
		return fmt.Errorf("%w: %d transactions left (%v)", ErrNotYet, left.Count(), left)
	}
	return nil
}

// promote ends replication for good.
func (t *site) promote(ctx context.Context, step plan.Step) error {
	if err := t.tryWrites(ctx); err != nil {
		return err
	}
	if err := t.stopReceivers(ctx, topology.Key{}); err != nil {
		return err
	}
	if len(t.Channels) > 0 {
		if err := t.endReplication(ctx, step); err != nil {
			return err
		}
	}
	return t.open(ctx, step)
}

// open has the server take writes.
func (t *site) open(ctx context.Context, step plan.Step) error {
	switch step.SemiSync { // before writes come; a promotion does not fail for it
	case plan.On:
		t.first(ctx, semiSyncSource)
	case plan.Off:
		t.first(ctx, semiSyncSourceOff)
	}
	if t.ReadOnly {
		if err := t.all(ctx, t.Dialect.SayAll(server.TakeWrites)); err != nil {
			return err
		}
	}
	if step.Events && !t.Scheduler {
		// A promotion does not fail for it: the finding EventsNotRun says so.
		t.first(ctx, []server.Statement{eventsOn})
	}
	return nil
}

// endReplication looks again at what was received now that nothing comes any more: there may be more than the plan knew
// of.
func (t *site) endReplication(ctx context.Context, step plan.Step) error {
	if err := t.look(ctx); err != nil {
		return err
	}
	for _, c := range t.Channels {
		// Where the plan says what must be executed, the operator may have allowed to lose the rest.
		if step.Expect.Executed.Empty() && !c.Drained(t.Executed) {
			return fmt.Errorf("%w: received %v, executed %v; its receiver is stopped, and it was not promoted",
				ErrNotYet, c.Received, t.Executed)
		}
	}
	if err := t.expect(step.Expect); err != nil {
		return err
	}
	for _, c := range t.Channels {
		if err := t.stopWhole(ctx, c, step); err != nil {
			return err
		}
		if err := t.tell(ctx, server.Reset, c.Name); err != nil {
			return err
		}
	}
	return nil
}

// all runs statements up to the first that fails.
func (t *site) all(ctx context.Context, statements []server.Statement) error {
	for _, q := range statements {
		if _, err := t.Query(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// first runs statements up to the first that succeeds, if any does.
func (t *site) first(ctx context.Context, statements []server.Statement) {
	for _, q := range statements {
		if _, err := t.Query(ctx, q); err == nil {
			return
		}
	}
}

// repoint keeps user, password and TLS settings: a server keeps what a CHANGE does not name.
func (t *site) repoint(ctx context.Context, step plan.Step) error {
	to := step.Source
	if to.IsZero() || to.Detached() {
		return errors.New("the step names no source to follow")
	}
	if len(t.Channels) == 0 {
		return errors.New("it has no source yet, and so no replication user and password that could be kept: " +
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
		return t.tell(ctx, server.Start, c.Name)
	}
	// MySQL changes the host while the applier goes on with what it has; all else stops it.
	stop, what := server.StopReceiver, []server.Word(nil)
	if t.Dialect.MariaDB() || !c.AutoPosition {
		stop, what = server.Stop, []server.Word{server.AutoPosition}
	}
	if err := t.tell(ctx, stop, c.Name); err != nil {
		return err
	}
	if err := t.look(ctx); err != nil {
		return err
	}
	if err := t.expect(step.Expect); err != nil { // more may have come in before it stopped
		return err
	}
	if err := t.countOwnWrites(ctx); err != nil {
		return err
	}
	if err := t.change(ctx, c.Name, to, what...); err != nil {
		return err
	}
	return t.tell(ctx, server.Start, c.Name)
}

// countOwnWrites is for MariaDB: what a former primary wrote itself is not in gtid_slave_pos, and its new source would
// send it again.
func (t *site) countOwnWrites(ctx context.Context) error {
	if !t.Dialect.MariaDB() || t.replayed.Contains(t.BinlogWritten) {
		return nil
	}
	_, err := t.Query(ctx, t.Dialect.Say(server.SetReplayed), t.Executed.String())
	return err
}

// detach stops a replica that can't be kept, and spoils the name of its source so that nothing starts it again by
// chance. Taking the two slashes away again is all it takes to undo it. While relay logs are not applied only the
// receiver is stopped: a change of source would drop them.
func (t *site) detach(ctx context.Context, source topology.Key) error {
	for _, c := range t.from(source) {
		if err := t.stopReceiver(ctx, c); err != nil {
			return err
		}
		if c.Source.Detached() {
			continue
		}
		if err := t.look(ctx); err != nil {
			return err
		}
		for _, now := range t.Channels {
			if now.Name != c.Name || !now.Drained(t.Executed) {
				continue
			}
			if err := t.tell(ctx, server.Stop, c.Name); err != nil {
				return err
			}
			if err := t.change(ctx, c.Name, c.Source.Detach()); err != nil {
				return err
			}
		}
	}
	return nil
}
