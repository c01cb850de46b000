package daemon

import (
	"context"
	"crypto/tls"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/backend"
	"orchestrator/backend/sqlstore"
	"orchestrator/daemon/api"
	"orchestrator/daemon/config"
	"orchestrator/daemon/httpd"
	"orchestrator/daemon/lead"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/recovery"
	"orchestrator/daemon/topology"
)

// mode is how this daemon keeps its records and shares its work with other daemons. openMode chooses it once;
// everything that depends on it is a method here, so that nobody else asks which mode it is. A mode is a file, and a
// line of openMode.
//
// What a mode opens is in the list of opened things when openMode returns, also when it fails.
type mode interface {
	// store keeps the records, and the lease of the leader.
	store() store
	// guard keeps daemons that share the fleet from acting at the same time.
	guard() guard
	// loops are what runs always, and what runs while this daemon leads. Each runs until its context ends; the error of
	// one that ends before that ends the daemon.
	loops() (always, leading []loop)
	// mounts are what other daemons ask this one.
	mounts() []httpd.Mount
	// greet is how TLS begins with another daemon; nil for everybody else.
	greet(*tls.ClientHelloInfo) *tls.Config
	// leave tells the other daemons that this one stops. It no longer leads, and its API is still served.
	leave(context.Context) error
	// reload takes over what it can of another configuration.
	reload(config.Config)
	api.Deployment
	// status completes what this daemon says of itself.
	status(*api.Status)

	api.Backends
}

// store is where records and the lease are kept.
type store interface {
	backend.Store
	Lease(name string) backend.Lease
}

// guard is what a mode puts between a decision and an irreversible step. The zero guard is that of a daemon that is
// alone.
type guard struct {
	term     func() int64                                                     // mysql.Options.Term
	claim    func(context.Context, plan.Situation, plan.Episode) plan.Claim   // recovery.Options.Claim
	transfer func(context.Context, plan.Situation, plan.Episode) (why string) // recovery.Options.Transfer
	highest  int64                                                            // lead.Options.Highest
	remember func(term int64) error                                           // lead.Options.Remember
	gone     func(id string) bool                                             // lead.Options.Gone
}

type loop func(context.Context) error

// host is what a mode uses of the daemon around it.
type host struct {
	id       string
	config   config.Config // that the daemon began with
	clock    *backend.Clock
	log      *slog.Logger
	registry prometheus.Registerer
	opened   *opened
	files    func(*sqlstore.Store) // is told of the file that the mode has opened

	// The rest is wired after the mode is open: loops, guards and commands may call it, openMode may not.

	leadership func() lead.Status
	transfer   func(context.Context) error // gives the leadership away, without waiting for its end
	reach      func(context.Context, topology.Key) bool
	hold       func(ctx context.Context, keys []topology.Key, term int64) recovery.Locks
	refresh    func(context.Context) // reads again what other daemons have stored
	turned     func(loop string)
}

// openMode opens what the configuration asks for. A backend that is shared may be down: then the daemon looks and
// judges by what it remembers, and does not act.
func openMode(ctx context.Context, h host) (mode, error) {
	b := h.config.Backend
	switch {
	case b.Kind == "sqlite":
		return openAlone(ctx, h)
	case len(b.Members) == 0:
		return openShared(ctx, h)
	case len(b.Members) == 1:
		return openWatched(ctx, h)
	}
	return openPair(ctx, h)
}
