// Package daemon is the whole program as a value: New wires the parts, Run lets them work until its context ends. It is
// the only wiring there is, and the only place that knows the configuration.
//
// Nothing is decided here. The one idea: what leads runs within the context that the lease hands out, what looks and
// answers runs always, and the two meet in memory only.
//
// Where to look: wire and listen (the parts, and the port); mode and mode_… (what depends on the kind of backend);
// opened (what is closed, in which order); kept and confirmed (servers on record); nouns and views (what the API asks);
// pair_… (the members of the backend, on request and by the clock); pulse and sound (is this daemon well).
package daemon

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/backend"
	"orchestrator/daemon/config"
	"orchestrator/daemon/declared"
	"orchestrator/daemon/discovery"
	"orchestrator/daemon/httpd"
	"orchestrator/daemon/lead"
	"orchestrator/daemon/mysql"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/recovery"
	"orchestrator/daemon/trail"
)

// ErrListen is in the error of New when the address of the API is taken or can't be had.
var ErrListen = errors.New("listen")

// Options are what main gives besides the configuration.
type Options struct {
	Version string
	Logger  *slog.Logger
}

// Daemon is one running orchestrator.
type Daemon struct {
	options      Options
	config       atomic.Pointer[config.Config]
	reloads      atomic.Uint64            // how often config was replaced
	ending       atomic.Bool              // Run was told to end
	waits        atomic.Pointer[[]string] // the keys that the last reload could not take over
	id           string                   // of this process
	started      time.Time
	opened       opened
	mode         mode
	store        store // of the mode
	sound        soundness
	outbox       *backend.Outbox // to store, for what nobody waits for
	clock        *backend.Clock
	gate         *discovery.Gate
	servers      *mysql.Servers
	fleet        *discovery.Fleet
	declarations *declared.Declarations
	lead         *lead.Lease
	recovery     *recovery.Runner
	trail        *trail.Trail
	unstored     *prometheus.CounterVec
	expiry       *prometheus.GaugeVec // of certificates, by use
	listener     net.Listener
	// certificate is what clients of the API are shown; nil: HTTP is served.
	certificate atomic.Pointer[tls.Certificate]
	root        *httpd.Root // answers on listener
	pulse       pulse
}

const (
	// keepEvery is how often what changed of the fleet is written. Soon, because a daemon that starts anew beside a
	// dead primary learns of the replicas from nowhere else; nothing is written when nothing changed.
	keepEvery = 200 * time.Millisecond
	// refreshEvery is how often what people declared elsewhere is read.
	refreshEvery = 5 * time.Second
	// purgeEvery is how often steps, and what hooks were told, older than stepsKept are removed; the episodes that they
	// belong to stay.
	purgeEvery = time.Hour
	stepsKept  = 30 * 24 * time.Hour
	// instanceKind is the kind of the records that remember servers.
	instanceKind = "instance"
	// storeTime bounds one access of the store in the background.
	storeTime = 3 * time.Second
)

// New opens the store and the port, and wires everything. Nothing is probed before Run.
func New(c config.Config, o Options) (*Daemon, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := &Daemon{options: o, id: identity(), started: time.Now(),
		clock: backend.NewClock(time.Now).Bound(c.Backend.ClockAhead), opened: opened{log: o.Logger}}
	d.config.Store(&c)
	if err := d.wire(c); err != nil {
		return nil, errors.Join(err, d.opened.close())
	}
	c.LogFailingHooks(o.Logger)
	return d, nil
}

// identity names this process: a daemon that was started anew is another one.
func identity() string {
	salt := make([]byte, 4)
	rand.Read(salt) // never fails
	return fmt.Sprintf("%s:%d:%s", hostname(), os.Getpid(), hex.EncodeToString(salt))
}

func hostname() string {
	host, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return host
}

// Address is where the API answers.
func (d *Daemon) Address() net.Addr { return d.listener.Addr() }

// Run works until ctx ends, then ends in order: the leadership and what hangs on it first, then the API, last what
// looks at servers.
func (d *Daemon) Run(ctx context.Context) error {
	d.options.Logger.Info("orchestrator runs", "version", d.options.Version, "id", d.id, "api",
		d.listener.Addr().String())
	for _, loop := range []string{"discovery", "the lease"} { // one that never turns at all is stuck, too
		d.pulse.turned(loop)
	}
	looking, blind := context.WithCancel(context.WithoutCancel(ctx))
	defer blind()
	var others sync.WaitGroup
	var failed error
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	context.AfterFunc(ctx, func() { d.ending.Store(true) })
	others.Go(func() { _ = d.fleet.Run(looking) })
	others.Go(func() { d.keep(looking) })
	others.Go(func() { d.watchFile(looking) })
	others.Go(func() { d.pruneTrail(looking) })
	serving, unserve := context.WithCancel(looking)
	defer unserve()
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := httpd.Serve(serving, d.listener, d.root, d.options.Logger); err != nil {
			stop(err)
		}
	}()
	always, whileLeading := d.mode.loops()
	for _, run := range always {
		others.Go(func() {
			if err := run(looking); err != nil && looking.Err() == nil {
				stop(err)
			}
		})
	}
	err := d.lead.Run(ctx, func(leading context.Context) { d.act(leading, whileLeading) })
	stop(err)
	if err := d.mode.leave(looking); err != nil { // the others check who says so: while the API is served
		d.options.Logger.Warn("this daemon could not leave gracefully: the others need the locks of a majority to act",
			"err", err)
	}
	unserve()
	<-served
	blind()
	others.Wait()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		failed = cause
	}
	failed = errors.Join(failed, d.opened.close())
	d.options.Logger.Info("orchestrator has ended")
	return failed
}

// act is what runs while this daemon leads.
func (d *Daemon) act(leading context.Context, loops []loop) {
	d.pulse.turned("recovery")
	defer d.pulse.ended("recovery")
	var others sync.WaitGroup
	for _, run := range loops {
		others.Go(func() { _ = run(leading) })
	}
	others.Go(func() { d.recallDoubtful(leading) })
	if err := d.recovery.Run(leading); err != nil {
		d.options.Logger.Error("recovery ended", "err", err)
	}
	others.Wait()
}

// Reload takes over what a running daemon can; it returns the keys that wait for a restart.
func (d *Daemon) Reload(next config.Config) []string {
	before := *d.config.Load()
	reloaded, restart := before.Changes(next)
	c := before.Reloaded(next)
	d.config.Store(&c)
	d.reloads.Add(1)
	d.waits.Store(&restart)
	d.servers.SetCredentials(c.Servers.User, string(c.Servers.Password), c.Servers.Keys())
	d.root.SetCredentials(credentials(c))
	if c.HTTP.Certificate != before.HTTP.Certificate || c.HTTP.Key != before.HTTP.Key {
		if err := d.present(c); err != nil { // it was read and tried a moment ago
			d.options.Logger.Error("the certificate stays the one that it was", "err", err)
		}
	}
	d.mode.reload(c)
	d.date(peersUse, string(c.Peers.Certificate))
	d.date(peersCAUse, c.Peers.Authorities)
	d.date(clientsUse, c.HTTP.Authorities)
	d.gate.Only(c.Discovery.Only)
	for _, k := range c.Discovery.Seeds {
		d.gate.Name(k)
		d.fleet.Discover(k)
	}
	d.fleet.Reconsider()
	c.LogFailingHooks(d.options.Logger)
	d.options.Logger.Info("configuration reloaded", "changed", reloaded, "needs_restart", restart)
	return restart
}

// Policy is what the configuration allows in a cluster.
func (d *Daemon) Policy(cluster string) plan.Policy {
	return d.config.Load().Policy(cluster, d.declarations.Alias(cluster))
}
