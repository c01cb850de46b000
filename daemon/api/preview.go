package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"orchestrator/daemon/plan"
)

// playFor bounds how long a request waits for the previews of others. One takes seconds where thousands of servers are
// in a cluster, and only one is played out for requests at a time: the processor is needed to act.
const playFor = 10 * time.Second

// preview plays out what a request asks for, as long as its client is there and the daemon does not end.
func (a *API) preview(ctx context.Context, play func(plan.While) plan.Previewed) (plan.Previewed, error) {
	wait := time.NewTimer(playFor)
	defer wait.Stop()
	select {
	case a.playing <- struct{}{}:
	case <-wait.C:
		return plan.Previewed{}, refuse(http.StatusServiceUnavailable, "the previews of other requests did not end "+
			"within %v: ask again later", playFor)
	case <-ctx.Done():
		return plan.Previewed{}, fmt.Errorf("wait for the preview of another request: %w", ctx.Err())
	}
	defer func() { <-a.playing }()
	p := play(func() bool { return ctx.Err() == nil && !a.options.Ending() })
	if err := ctx.Err(); err != nil {
		return plan.Previewed{}, fmt.Errorf("preview a failover: %w", err)
	}
	if a.options.Ending() {
		return plan.Previewed{}, refuse(http.StatusServiceUnavailable, "this daemon is ending: ask another one, or "+
			"again later")
	}
	return p, nil
}
