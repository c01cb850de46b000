package recovery

import (
	"context"
	"log/slog"
	"sync"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// Handover answers Options.Yield where several daemons share a backend: when a replica is silent to this one, it asks
// the others whether they see more, and gives the leadership away if one does, once in an episode. What it decides by
// is plan.Yield. Make it with NewHandover.
type Handover struct {
	standing func() plan.Standing
	ask      func(ctx context.Context, about topology.Key) []plan.Peer
	yield    func(ctx context.Context) error
	logger   *slog.Logger

	mu sync.Mutex
	// episodes for which the leadership was given away: one that gets it back acts, for the others have had their turn
	given map[string]bool
}

// NewHandover takes where this daemon stands, a way to ask the others (peer.Peers.Ask), and a way to give the
// leadership away that does not wait for the end of who asks (lead.Lease.Yield).
func NewHandover(standing func() plan.Standing, ask func(context.Context, topology.Key) []plan.Peer,
	yield func(context.Context) error, logger *slog.Logger) *Handover {
	return &Handover{standing: standing, ask: ask, yield: yield, logger: logger, given: map[string]bool{}}
}

// Yield is for Options.Yield.
func (h *Handover) Yield(ctx context.Context, s plan.Situation, e plan.Episode) string {
	seen, silent := plan.Sight(s, e)
	h.mu.Lock()
	given := h.given[e.ID]
	h.mu.Unlock()
	if len(silent) == 0 || given {
		return ""
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	answers := map[topology.Key][]plan.Peer{}
	for _, keys := range [][]topology.Key{seen, silent} {
		for _, k := range keys {
			all.Go(func() {
				said := h.ask(ctx, k)
				mu.Lock()
				defer mu.Unlock()
				answers[k] = said
			})
		}
	}
	all.Wait()
	why := plan.Yield(h.standing(), seen, silent, answers)
	if why == "" {
		return ""
	}
	if err := h.yield(ctx); err != nil {
		h.logger.Error("the leadership could not be given away; the recovery goes on", "cluster", s.Cluster, "episode",
			e.ID, "why", why, "err", err)
		return ""
	}
	h.logger.Warn("the leadership is given away", "cluster", s.Cluster, "episode", e.ID, "why", why)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.given[e.ID] = true
	return why
}
