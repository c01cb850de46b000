package mysql

import (
	"context"
	"fmt"
	"strings"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// CheckGrants returns the GRANT statements that our account lacks at k, in the words of that server; none when it has
// all. An error is a server that could not be asked.
func (s *Servers) CheckGrants(ctx context.Context, k topology.Key) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.StepTimeout)
	defer cancel()
	missing, err := s.checkGrants(ctx, k)
	if err != nil {
		return nil, fmt.Errorf("check grants at %v: %w", k, explain(err))
	}
	return missing, nil
}

func (s *Servers) checkGrants(ctx context.Context, k topology.Key) ([]string, error) {
	c, err := s.connect(ctx, k)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.Recognise(ctx); err != nil {
		return nil, err
	}
	lines, err := c.Grants(ctx)
	if err != nil {
		return nil, err
	}
	if missing := server.MissingPrivileges(required(c.Dialect), lines, ""); len(missing) > 0 {
		return []string{server.Grant(strings.Join(missing, ", "), c.Account)}, nil
	}
	return nil, nil
}
