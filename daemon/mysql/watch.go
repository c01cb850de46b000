package mysql

import (
	"context"
	"fmt"
	"time"

	"orchestrator/daemon/topology"
)

// Watch logs in to the server at k, says nothing more, and returns nil as soon as the other side ends the connection or says anything: a
// killed process closes its sockets at once. It is a reason to look, no verdict. When ctx ends, or nobody answers, it returns an error.
func (s *Servers) Watch(ctx context.Context, k topology.Key) error {
	if _, err := s.server(k); err != nil {
		return fmt.Errorf("watch %v: %w", k, err)
	}
	c, err := s.connect(ctx, k)
	if err != nil {
		return fmt.Errorf("watch %v: %w", k, explain(err))
	}
	defer c.close()
	first, cancel := context.WithTimeout(ctx, s.o.ConnectTimeout)
	_, err = c.query(first, longIdle)
	cancel()
	if err != nil {
		return fmt.Errorf("watch %v: %w", k, explain(err))
	}
	if err := c.wire.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("watch %v: %w", k, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.wire.Close() })
	defer stop()
	// Below the driver: it reads only when it has asked for something.
	_, _ = c.wire.Conn.Read(make([]byte, 1))
	if ctx.Err() != nil {
		return fmt.Errorf("watch %v: %w", k, ctx.Err())
	}
	return nil
}
