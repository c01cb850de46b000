package mysql

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// stopPatience is how long STOP REPLICA may take on a server whose receiver is stopped and whose applier has applied
// all that is whole: in most cases it takes milliseconds.
const stopPatience = 300 * time.Millisecond

// stopBound is how long it may take where the applier could not be ended: longer than a step that is not tried again
// where another server will do.
const stopBound = 2 * time.Second

// stopWhole stops both threads of a channel whose received transactions are all applied. Where the source died in the
// middle of one, MySQL's applier waits a minute for the rest of it, which never comes. Its coordinator is ended then:
// what it applied of that transaction is rolled back, and nobody hears of it as committed.
func (t *site) stopWhole(ctx context.Context, c topology.Channel) error {
	if t.Dialect.MariaDB() {
		return t.tell(ctx, server.Stop, c.Name)
	}
	done := make(chan error, 1)
	go func() { done <- t.tell(ctx, server.Stop, c.Name) }()
	wait := time.NewTimer(stopPatience)
	defer wait.Stop()
	select {
	case err := <-done:
		return err
	case <-wait.C:
	}
	if err := t.endAppliers(ctx); err != nil {
		// The account may lack SYSTEM_USER. Another server is taken then, if there is one.
		t.s.logger.Warn("the applier waits for the rest of a transaction, and could not be ended: GRANT SYSTEM_USER "+
			"would allow it", "at", t.key, "err", err)
		late := time.AfterFunc(stopBound, t.Break)
		defer late.Stop()
	}
	return <-done
}

// endAppliers ends the threads of the applier that wait for more, from another connection: that of the step waits.
func (t *site) endAppliers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lastWord)
	defer cancel()
	return t.s.beside(ctx, t.key, func(c *server.Conn) error {
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

// lastWord is how long it may take to end something from beside.
const lastWord = time.Second

// endLost ends our session that timed out: on the server it goes on, with our lock, for as long as its statement takes.
func (s *Servers) endLost(k topology.Key, lost *server.Conn, id string) {
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
	err = s.beside(ctx, k, func(c *server.Conn) error {
		_, err := c.Query(ctx, kill, n)
		return err
	})
	if err != nil && !server.Means(err, server.NoThread) {
		s.logger.Warn("a session of ours that timed out could not be ended on the server", "at", k, "connection", id,
			"err", err)
	}
}

// beside runs something on another connection to a server than that of the step: the one that is kept for probes, which
// is there although the server may take no more.
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
	c, err := s.connect(ctx, k)
	if err != nil {
		return err
	}
	defer c.Close()
	return use(c)
}
