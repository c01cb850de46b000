package mysql

import (
	"context"
	"fmt"

	"orchestrator/daemon/topology"
)

// Watch logs in to the server at k, says nothing more, and returns nil as soon as the other side ends the connection or
// says anything: a killed process closes its sockets at once. It is a reason to look, no verdict. When ctx ends, or
// nobody answers, it returns an error.
func (s *Servers) Watch(ctx context.Context, k topology.Key) error {
	if err := s.watch(ctx, k); err != nil {
		return fmt.Errorf("watch %v: %w", k, explain(err))
	}
	return nil
}

func (s *Servers) watch(ctx context.Context, k topology.Key) error {
	if _, err := s.server(k); err != nil {
		return err
	}
	c, err := s.connect(ctx, k)
	if err != nil {
		return err
	}
	defer c.Close()
	first, cancel := context.WithTimeout(ctx, s.o.ConnectTimeout)
	_, err = c.Query(first, longIdle)
	cancel()
	if err != nil {
		return err
	}
	return c.AwaitEnd(ctx)
}
