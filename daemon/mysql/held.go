package mysql

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// Held are locks that are kept, on connections that stay open until Release, or until the context of Hold ends. A step
// at one of these servers is done on that very connection.
type Held struct {
	s       *Servers
	holds   []*hold
	refused []error
	stop    func() bool
}

// hold is one lock. Only the goroutine whose element is in turn may use the connection.
type hold struct {
	key  topology.Key
	conn *server.Conn
	id   string
	term int64
	turn chan struct{}
	gone error         // why the lock is lost
	over chan struct{} // closed when it is released
}

// holdTime is how long taking one lock may take: a silent server is not waited for longer, for the others are held
// meanwhile.
const holdTime = 1500 * time.Millisecond

// Hold takes the locks of servers and keeps them, so that they can be counted. A lock that can't be had is no error:
// see Refused.
func (s *Servers) Hold(ctx context.Context, keys []topology.Key, term int64) *Held {
	h := &Held{s: s}
	holds, errs := make([]*hold, len(keys)), make([]error, len(keys))
	var all sync.WaitGroup
	for i, k := range keys {
		all.Go(func() {
			short, cancel := context.WithTimeout(ctx, holdTime)
			defer cancel()
			if holds[i], errs[i] = s.hold(short, k, term); errs[i] != nil {
				errs[i] = fmt.Errorf("hold the lock of %v: %w", k, explain(errs[i]))
			}
		})
	}
	all.Wait()
	for i := range keys {
		if errs[i] != nil {
			h.refused = append(h.refused, errs[i])
			s.logger.Debug("a lock is not held", "at", keys[i], "err", errs[i])
		} else {
			h.holds = append(h.holds, holds[i])
		}
	}
	h.stop = context.AfterFunc(ctx, h.drop)
	return h
}

func (s *Servers) hold(ctx context.Context, k topology.Key, term int64) (*hold, error) {
	if _, err := s.server(k); err != nil {
		return nil, err
	}
	if before := s.heldAt(k); before != nil {
		select {
		case <-before.over: // it was about to be released
		case <-ctx.Done():
			return nil, errors.New("this daemon holds it already, for something else")
		}
	}
	c, err := s.connect(ctx, k)
	if err != nil {
		return nil, err
	}
	id, err := s.lock(ctx, c, k, term)
	if err != nil {
		c.Close()
		return nil, err
	}
	h := &hold{key: k, conn: c, id: id, term: term, turn: make(chan struct{}, 1), over: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.held[k] != nil {
		c.Close()
		return nil, errors.New("this daemon stops, or holds it already, for something else")
	}
	s.held[k] = h
	return h, nil
}

func (s *Servers) heldAt(k topology.Key) *hold {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[k]
}

// Keys returns, after asking each, the servers whose locks are held now.
func (h *Held) Keys(ctx context.Context) []topology.Key {
	ctx, cancel := context.WithTimeout(ctx, holdTime)
	defer cancel()
	still := make([]bool, len(h.holds))
	var all sync.WaitGroup
	for i, o := range h.holds {
		all.Go(func() {
			_ = h.s.on(ctx, o, func(c *server.Conn) error {
				r, err := c.One(ctx, askStillHeld)
				still[i] = err == nil && r.Get("held") == "1"
				return err
			})
		})
	}
	all.Wait()
	var out []topology.Key
	for i, o := range h.holds {
		if still[i] {
			out = append(out, o.key)
		}
	}
	return out
}

// Refused says why locks that were asked for are not held.
func (h *Held) Refused() []error { return h.refused }

// on uses the connection of a lock, unless that is lost. One that breaks is lost for good: what was permitted because
// of it no longer is.
func (s *Servers) on(ctx context.Context, o *hold, use func(*server.Conn) error) error {
	select {
	case o.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("the step before, on the same connection, has not ended yet: %w", ctx.Err())
	}
	defer func() { <-o.turn }()
	if o.gone != nil {
		return fmt.Errorf("the lock that was held there is lost: %w; nothing was changed", o.gone)
	}
	err := use(o.conn)
	if err != nil && !survives(err) {
		o.gone = err
		o.conn.Close()
		s.lose(o.key, o.id)
	}
	return err
}

// survives says that the connection is as good as before the error: the server reported it, or it is ours.
func survives(err error) bool {
	var r *server.Refusal
	if !errors.As(err, &r) {
		return true
	}
	return server.Number(err) != 0 && !server.Means(err, server.ConnectionEnded, server.ShuttingDown)
}

// Release frees the locks at once, so that the next holder need not wait until the servers notice.
func (h *Held) Release() {
	if !h.stop() {
		return // the context has ended, and drop does it, or did
	}
	var all sync.WaitGroup
	for _, o := range h.holds {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			_ = h.s.on(ctx, o, func(c *server.Conn) error {
				_, err := c.Query(ctx, releasing(o.term))
				return err
			})
		})
	}
	all.Wait()
	h.drop()
}

// drop closes the connections; a step that is under way on one ends with it.
func (h *Held) drop() {
	for _, o := range h.holds {
		o.conn.Break()
		h.s.mu.Lock()
		if h.s.held[o.key] == o {
			delete(h.s.held, o.key)
		}
		h.s.mu.Unlock()
		o.turn <- struct{}{}
		if o.gone == nil {
			o.gone = errors.New("it was released")
		}
		o.conn.Close()
		<-o.turn
		close(o.over)
	}
}
