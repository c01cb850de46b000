package mysql

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// How long STOP REPLICA may take on a server whose receiver is stopped and whose applier has applied all that is whole.
// In most cases it takes milliseconds.
const (
	openAfter    = 50 * time.Millisecond  // then the server is opened beside it
	stopPatience = 300 * time.Millisecond // then its applier is ended
	stopBound    = 200 * time.Millisecond // then it goes on by itself, where the applier could not be ended
)

// stopWhole stops both threads of a channel whose received transactions are all applied. Where the source died in the
// middle of one, MySQL's applier waits a minute for the rest of it, which never comes. Writers need not wait for that:
// the server is opened, and then the applier's coordinator is ended: what it applied of that transaction is rolled
// back, and nobody hears of it as committed. Where that is not allowed the applier ends by itself, and the channel is
// removed by another step.
func (t *site) stopWhole(ctx context.Context, c topology.Channel, step plan.Step) error {
	if t.Dialect.MariaDB() {
		return t.tell(ctx, server.Stop, c.Name)
	}
	done := make(chan error, 1)
	go func() { done <- t.tell(ctx, server.Stop, c.Name) }()
	if err, ended := within(done, openAfter); ended {
		return err
	}
	opened := t.openBeside(ctx, step)
	if opened != nil {
		t.s.logger.Warn("the applier waits, and the server could not be opened beside it", "at", t.key, "err", opened)
	}
	if err, ended := within(done, stopPatience-openAfter); ended {
		return err
	}
	if err := t.endAppliers(ctx); err != nil {
		t.s.logger.Warn("the applier waits for the rest of a transaction, and could not be ended: GRANT SYSTEM_USER "+
			"would allow it", "at", t.key, "err", err)
		late := time.AfterFunc(stopBound, t.Break)
		defer late.Stop()
	}
	err := <-done
	if err != nil && opened == nil && !survives(err) {
		return fmt.Errorf("%w: it takes writes, and its applier waits for the rest of a transaction, a minute at "+
			"most: %w", ErrNotYet, err)
	}
	return err
}

func within(done <-chan error, bound time.Duration) (err error, ended bool) {
	wait := time.NewTimer(bound)
	defer wait.Stop()
	select {
	case err := <-done:
		return err, true
	case <-wait.C:
		return nil, false
	}
}

// openBeside opens the server from another connection: that of the step waits.
func (t *site) openBeside(ctx context.Context, step plan.Step) error {
	ctx, cancel := context.WithTimeout(ctx, lastWord)
	defer cancel()
	return t.beside(ctx, t.key, func(c *server.Conn) error {
		other := *t
		other.Conn = c
		return other.open(ctx, step)
	})
}

// endAppliers ends the threads of the applier that wait for more, from another connection: that of the step waits.
func (t *site) endAppliers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lastWord)
	defer cancel()
	return t.beside(ctx, t.key, func(c *server.Conn) error {
		rows, err := c.Query(ctx, t.questions.coordinators)
		if err != nil {
			return err
		}
		for _, r := range rows {
			id, err := strconv.ParseInt(r.Get("id"), 10, 64)
			if err != nil {
				return fmt.Errorf("read the id of a thread: %w", err)
			}
			t.s.logger.Warn("the source died in the middle of a transaction: the applier that waits for the rest is "+
				"ended", "at", t.key, "thread", id)
			_, err = c.Query(ctx, t.Dialect.Say(server.Kill), id)
			if err != nil && !server.Means(err, server.NoThread) {
				return err
			}
		}
		return nil
	})
}

// lastWord is how long it may take to do something from beside.
const lastWord = time.Second

// endLost ends our session that timed out: on the server it goes on, with our lock, for as long as its statement takes.
func (s *Servers) endLost(k topology.Key, lost *server.Conn, id string, beside aside) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return
	}
	lost.Break()
	ctx, cancel := context.WithTimeout(context.Background(), lastWord)
	defer cancel()
	kill := lost.Dialect.Say(server.Kill)
	if kill.Text == "" { // it was not recognised yet, so it has changed nothing
		return
	}
	err = beside(ctx, k, func(c *server.Conn) error {
		_, err := c.Query(ctx, kill, n)
		return err
	})
	if err != nil && !server.Means(err, server.NoThread) {
		s.logger.Warn("a session of ours that timed out could not be ended on the server", "at", k, "connection", id,
			"err", err)
	}
}

// aside runs something at a server on another connection than that of the step.
type aside func(ctx context.Context, k topology.Key, use func(*server.Conn) error) error

// beside uses the connection that is kept for probes, which is there although the server may take no more.
func (s *Servers) beside(ctx context.Context, k topology.Key, use func(*server.Conn) error) error {
	v, err := s.server(k)
	if err != nil {
		return err
	}
	if err := v.take(ctx); err != nil {
		return err
	}
	defer v.give()
	if v.conn != nil {
		return v.use(use)
	}
	return s.anew(ctx, k, use)
}

// anew makes a connection: a step on the one that is kept for probes has its turn, and would wait for itself.
func (s *Servers) anew(ctx context.Context, k topology.Key, use func(*server.Conn) error) error {
	c, err := s.connect(ctx, k)
	if err != nil {
		return err
	}
	defer c.Close()
	return use(c)
}
