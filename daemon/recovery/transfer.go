package recovery

import (
	"context"
	"log/slog"
	"sync"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// Transfer answers Options.Transfer where several daemons share a backend: when a replica is silent to this one, it
// asks the others whether they see more, and gives the leadership away if one does, once in an episode. What it decides
// by is plan.Transfer. Make it with NewTransfer.
type Transfer struct {
	standing func() plan.PeerStatus
	ask      func(ctx context.Context, about topology.Key) []plan.Peer
	yield    func(ctx context.Context) error
	logger   *slog.Logger

	mu sync.Mutex
	// episodes for which the leadership was given away: one that gets it back acts, for the others have had their turn
	given map[string]bool
}

// NewTransfer takes where this daemon stands, a way to ask the others (peer.Peers.Ask), and a way to give the
// leadership away that does not wait for the end of who asks (lead.Lease.Yield).
func NewTransfer(standing func() plan.PeerStatus, ask func(context.Context, topology.Key) []plan.Peer,
	yield func(context.Context) error, logger *slog.Logger) *Transfer {
	return &Transfer{standing: standing, ask: ask, yield: yield, logger: logger, given: map[string]bool{}}
}

// Ask is for Options.Transfer.
func (h *Transfer) Ask(ctx context.Context, s plan.Situation, e plan.Episode) string {
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
	why := plan.Transfer(h.standing(), seen, silent, answers)
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
