package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// ErrNotYet is returned by AwaitApplied, and by steps that need the relay logs applied first: nothing was changed, look
// and ask again.
var ErrNotYet error = notYet("not everything received is applied yet")

// notYet says nothing against the server: it comes with time.
type notYet string

func (e notYet) Error() string { return string(e) }

// Elsewhere is for plan.
func (notYet) Elsewhere() bool { return true }

// ErrExpect is what a step found in place of what it had been promised. Nothing was changed.
type ErrExpect struct{ What, Expected, Seen string }

func (e *ErrExpect) Error() string {
	return fmt.Sprintf("%s: expected %s, found %s; nothing was changed", e.What, e.Expected, e.Seen)
}

// site is a server during a step: the connection that acts, and what it has seen there.
type site struct {
	*server.Conn
	beside    aside
	s         *Servers
	key       topology.Key
	questions *questions
	topology.Instance
	replayed gtid.Set // MariaDB's gtid_slave_pos
}

// Do does one step, within Options.StepTimeout. Each may be done again at any time: what already holds is left alone.
// What the step expects is checked on the connection that acts, while that holds the server's advisory lock.
func (s *Servers) Do(ctx context.Context, step plan.Step) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.StepTimeout)
	defer cancel()
	if err := s.do(ctx, step); err != nil {
		return fmt.Errorf("%s at %v: %w", step.Kind, step.At, explain(err))
	}
	if step.Kind == plan.Promote || step.Kind == plan.SemiSyncOn || step.Kind == plan.SemiSyncOff {
		if v, err := s.server(step.At); err == nil { // the next probe reads what rarely changes: it has
			v.changed.Store(true)
		}
	}
	return nil
}

func (s *Servers) do(ctx context.Context, step plan.Step) error {
	if _, err := s.server(step.At); err != nil {
		return err
	}
	if h := s.heldAt(step.At); h != nil {
		return s.on(ctx, h, func(c *server.Conn) error { return s.step(ctx, c, s.beside, step) })
	}
	c, err := s.connect(ctx, step.At)
	if server.Means(err, server.TooMany) {
		return s.doOnKept(ctx, step, err)
	}
	if err != nil {
		return err
	}
	defer c.Close() // which frees the lock as well
	return s.doOn(ctx, c, s.beside, step)
}

// doOnKept does the step on the connection that is kept for probes: a server that takes no more connections has that
// one. Nobody can be probed meanwhile, so nothing is waited for there.
func (s *Servers) doOnKept(ctx context.Context, step plan.Step, full error) error {
	v, err := s.server(step.At)
	if err != nil {
		return err
	}
	if v.take(ctx) != nil {
		return full
	}
	defer v.give()
	if v.conn == nil {
		return full
	}
	if step.Kind == plan.AwaitApplied {
		return ErrNotYet // the next probe tells
	}
	return v.use(func(c *server.Conn) error { return s.doOn(ctx, c, s.anew, step) })
}

// doOn does the step on a connection, under the server's lock.
func (s *Servers) doOn(ctx context.Context, c *server.Conn, beside aside, step plan.Step) error {
	term := s.o.Term()
	id, err := s.lock(ctx, c, step.At, term)
	var strange *ErrStranger
	if errors.As(err, &strange) {
		s.logger.Warn("a step is done without the server's lock, on the word of the other daemons", "at", step.At,
			"step", step.Kind, "why", strange)
	} else if err != nil {
		return err
	}
	if err := s.step(ctx, c, beside, step); err != nil {
		if !survives(err) {
			s.lose(step.At, id)
			s.endLost(step.At, c, id, beside)
		} else {
			_, _ = c.Query(ctx, releasing(term))
		}
		return err
	}
	// The lock goes with the connection, but only once the server has noticed that this is closed; the next step is at
	// once.
	_, _ = c.Query(ctx, releasing(term))
	return nil
}

// step is what is done at a server, on a connection that holds its lock.
func (s *Servers) step(ctx context.Context, c *server.Conn, beside aside, step plan.Step) error {
	t := &site{Conn: c, beside: beside, s: s, key: step.At}
	if _, err := t.Query(ctx, shortWaits); err != nil {
		return err
	}
	if err := t.recognise(ctx); err != nil {
		return err
	}
	if err := t.look(ctx); err != nil {
		return err
	}
	if err := t.expect(step.Expect); err != nil {
		return err
	}
	return t.act(ctx, step)
}

// Query is that of the connection, with the points at which tests kill the daemon.
func (t *site) Query(ctx context.Context, q server.Statement, args ...any) ([]server.Row, error) {
	t.s.crash.point(q)
	defer t.s.crash.point(q)
	return t.Conn.Query(ctx, q, args...)
}

// recognise finds out who is there, and what it is to be asked.
func (t *site) recognise(ctx context.Context) error {
	if err := t.Recognise(ctx); err != nil {
		return err
	}
	vars, err := t.Named(ctx, askVariables)
	if err != nil {
		return err
	}
	t.questions = questionsFor(t.Dialect, vars.On("performance_schema"))
	t.UUID = server.UUID(vars)
	return nil
}

// look reads positions and channels again.
func (t *site) look(ctx context.Context) error {
	rows, err := t.Query(ctx, t.questions.poll)
	if err != nil {
		return err
	}
	p, err := readPolled(rows, t.questions.poll, nil)
	if err != nil {
		return err
	}
	t.ReadOnly, t.SuperReadOnly, t.Scheduler = p.readOnly, p.superReadOnly, p.scheduler
	t.Executed, t.BinlogWritten, t.replayed = p.Executed, p.Written, p.Replayed
	channels, err := t.Conn.Query(ctx, t.Dialect.Say(server.ReplicaStatus))
	if err != nil {
		return err
	}
	t.Channels, err = server.ReadChannels(channels, t.Dialect, p.Positions, nil)
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
			return &ErrExpect{"it has received more than its new source has", "at most " + e.Within.String(),
				more.String() + " besides"}
		}
	}
	if !t.Executed.Contains(e.Kept) && (t.Dialect.MariaDB() || t.applierStopped()) {
		return &ErrExpect{"it would lose relay logs that its new source can't send again", e.Kept.String() + " applied",
			t.Executed.String()}
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

func (t *site) applierStopped() bool {
	return slices.ContainsFunc(t.Channels, func(c topology.Channel) bool { return c.SQL == topology.Stopped })
}

func (t *site) received() gtid.Set {
	all := t.Executed
	for _, c := range t.Channels {
		all = all.Union(c.Received)
	}
	return all
}
