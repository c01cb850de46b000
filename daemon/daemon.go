// Package daemon is the whole program as a value: New wires the parts, Run lets them work until its context ends. It is
// the only wiring there is, and the only place that knows the configuration.
//
// Nothing is decided here. The one idea: what leads runs within the context that the lease hands out, what looks and
// answers runs always, and the two meet in memory only.
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
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"orchestrator/backend"
	"orchestrator/backend/sqlstore"
	"orchestrator/daemon/analysis"
	"orchestrator/daemon/api"
	"orchestrator/daemon/config"
	"orchestrator/daemon/crowd"
	"orchestrator/daemon/declared"
	"orchestrator/daemon/discovery"
	"orchestrator/daemon/hook"
	"orchestrator/daemon/httpd"
	"orchestrator/daemon/lead"
	"orchestrator/daemon/mysql"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/recovery"
	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
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

// listen opens the port of the API, with TLS where a certificate is configured: whichever is in force when a client
// comes.
func (d *Daemon) listen(c config.Config) error {
	l, err := net.Listen("tcp", c.HTTP.Listen)
	if err != nil {
		return err
	}
	d.listener = crowd.New(l, room())
	d.opened.add("the port of the API", func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) { // who serves it closes it as well
			return err
		}
		return nil
	})
	if c.HTTP.Certificate == "" {
		return nil
	}
	if err := d.present(c); err != nil {
		return err
	}
	serving := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return d.certificate.Load(), nil }
	greet := func(hello *tls.ClientHelloInfo) (*tls.Config, error) { return d.mode.greet(hello), nil }
	conf := &tls.Config{GetCertificate: serving, MinVersion: tls.VersionTLS12, GetConfigForClient: greet}
	if c.HTTP.Authorities != "" {
		conf.ClientAuth = tls.RequestClientCert // who has signed it is checked with each request: see httpd
	}
	d.listener = tls.NewListener(d.listener, conf)
	return nil
}

// room is how many connections of clients there may be: a quarter of the files that this process may have open. The
// others are for servers, the store, and what it takes to act.
func room() int {
	const most = 1000
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return most / 4
	}
	return int(min(files.Cur/4, most))
}

// present shows clients another certificate from now on.
func (d *Daemon) present(c config.Config) error {
	pair, err := c.HTTP.KeyPair()
	if err != nil {
		return fmt.Errorf("load the certificate %s: %w", c.HTTP.TLSCert, err)
	}
	d.certificate.Store(pair)
	d.date(httpUse, string(c.HTTP.Certificate))
	return nil
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

// wire opens and connects the parts, in order. What it opens is in d.opened, also when it fails.
func (d *Daemon) wire(c config.Config) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := d.measure(c, registry); err != nil {
		return err
	}
	security, err := c.Servers.Security()
	if err != nil {
		return err
	}
	if err := d.openMode(c, registry); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	if d.declarations, err = declared.Open(ctx, d.store, d.clock, d.id); err != nil {
		return fmt.Errorf("%w: %w", ErrBackend, err)
	}
	if err := d.openTrail(c); err != nil {
		return fmt.Errorf("%w: %w", ErrBackend, err)
	}
	d.gate = discovery.NewGate(hostname())
	d.gate.Only(c.Discovery.Only)
	d.gate.Name(c.Discovery.Seeds...)
	d.servers = d.newServers(c, security)
	d.opened.add("connections to servers", d.servers.Close)
	d.fleet = d.newFleet(c, registry)
	if err := d.restore(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrBackend, err)
	}
	d.lead = d.newLease(c, registry)
	d.recovery = d.newRecovery(registry)
	if err := d.recovery.Load(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrBackend, err)
	}
	if d.root, err = d.mount(c, registry); err != nil {
		return err
	}
	if err := d.listen(c); err != nil {
		return fmt.Errorf("%w on %s: %w", ErrListen, c.HTTP.Listen, err)
	}
	return nil
}

// newServers is what speaks to the managed servers.
func (d *Daemon) newServers(c config.Config, security server.Security) *mysql.Servers {
	return mysql.New(mysql.Options{
		User: c.Servers.User, Password: string(c.Servers.Password), Security: security,
		ConnectTimeout: c.Servers.ConnectTimeout, ProbeTimeout: c.Servers.ProbeTimeout,
		Admit: d.gate.Admit,
		Term:  d.mode.guard().term, Patience: c.Lease.TTL, Logger: d.options.Logger,
	})
}

// newFleet is what looks at them.
func (d *Daemon) newFleet(c config.Config, registry prometheus.Registerer) *discovery.Fleet {
	return discovery.New(d.servers, discovery.Options{
		Seeds: c.Discovery.Seeds, Poll: c.Discovery.Poll, MaxBackoff: c.Discovery.MaxBackoff,
		MaxRegistered: c.Discovery.MaxRegistered, MaxStrangers: c.Discovery.MaxStrangers,
		ProbeTimeout: c.Servers.ProbeTimeout,
		Concurrency:  c.Discovery.Concurrency, Ignore: c.Discovery.Ignore, Silence: c.Analysis.Silence,
		Resolve:  c.Servers.Resolve,
		Declared: d.declarations.Mark, Edition: d.declarations.Edition, Forgotten: d.declarations.Forgotten,
		Turned: func() { d.pulse.turned("discovery") }, Logger: d.options.Logger, Registerer: registry,
	})
}

// newLease is what says whether this daemon leads.
func (d *Daemon) newLease(c config.Config, registry prometheus.Registerer) *lead.Lease {
	guard := d.mode.guard()
	return lead.New(d.store.Lease("leader"), lead.Options{
		ID: d.id, TTL: c.Lease.TTL, Tick: c.Lease.Tick, Highest: guard.highest, Remember: guard.remember,
		Gone:   guard.gone,
		Turned: func() { d.pulse.turned("the lease") }, Logger: d.options.Logger, Registerer: registry,
	})
}

// newRecovery is what repairs the clusters.
func (d *Daemon) newRecovery(registry prometheus.Registerer) *recovery.Runner {
	guard := d.mode.guard()
	return recovery.New(recovery.Options{
		Fleet: d.fleet, Subscribe: func() recovery.Subscription { return d.fleet.Subscribe() }, Operator: d.servers,
		Store: d.store, Outbox: d.outbox, Clock: d.clock, Writer: d.id,
		Policy: d.Policy, Requests: d.declarations.Planned, Off: d.declarations.RecoveriesOff,
		OffUnknown: func() bool { return d.declarations.Unknown() != "" },
		Alias:      d.declarations.Alias,
		Thresholds: func() analysis.Thresholds { return d.config.Load().Thresholds() },
		Edition:    func() uint64 { return d.declarations.Edition() + d.reloads.Load() },
		Hooks:      func() []hook.Hook { return d.config.Load().HookList() },
		Claim:      guard.claim, Transfer: guard.transfer,
		Turned: func() { d.pulse.turned("recovery") }, Logger: d.options.Logger, Registerer: registry,
	})
}

// openMode opens the backend as the configuration has it.
func (d *Daemon) openMode(c config.Config, registry prometheus.Registerer) error {
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	m, err := openMode(ctx, host{
		id: d.id, config: c, clock: d.clock, log: d.options.Logger, registry: registry, opened: &d.opened,
		files:      func(file *sqlstore.Store) { d.sound.file = file },
		leadership: func() lead.Status { return d.lead.Status() },
		transfer:   func(ctx context.Context) error { return d.lead.Transfer(ctx) },
		reach:      d.reach,
		hold: func(ctx context.Context, keys []topology.Key, term int64) recovery.Locks {
			return d.servers.Hold(ctx, keys, term)
		},
		refresh: d.refresh,
		turned:  d.pulse.turned,
	})
	switch {
	case errors.Is(err, ErrListen):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", ErrBackend, err)
	}
	d.mode, d.store = m, m.store()
	d.outbox = backend.NewOutbox(d.store, time.Now)
	return nil
}

// reach asks a server now, and says whether it answered, or failed in a way that proves life.
func (d *Daemon) reach(ctx context.Context, k topology.Key) bool {
	_, failure, _ := d.servers.Probe(ctx, k)
	return failure.Alive()
}

// mount makes the one handler of all that is served.
func (d *Daemon) mount(c config.Config, registry *prometheus.Registry) (*httpd.Root, error) {
	o := httpd.Options{Credentials: credentials(c), TokenForReads: c.HTTP.TokenForReads, Hosts: c.HTTP.Names(),
		Local: httpd.OwnOrRoot, Logger: d.options.Logger, Registerer: registry}
	v1, err := api.New(d.nouns(), api.Options{
		NeedsToken: o.NeedsToken, Logger: d.options.Logger, Metrics: promhttp.HandlerFor(registry,
			promhttp.HandlerOpts{}),
	})
	if err != nil {
		return nil, err
	}
	return httpd.New(o, append(v1.Mounts(), d.mode.mounts()...)...)
}

// restore tells the fleet which servers a former life knew, so that they are asked although no seed names them.
func (d *Daemon) restore(ctx context.Context) error {
	records, err := d.store.List(ctx, instanceKind)
	if err != nil {
		return err
	}
	var servers []topology.Server
	for _, r := range records {
		_ = d.clock.See(r)
		v, err := backend.Decode[topology.Server](r)
		if err != nil {
			d.options.Logger.Error("skip an unreadable server on record", "key", r.Key, "err", err)
			continue
		}
		servers = append(servers, v)
	}
	d.fleet.Restore(servers)
	d.discover()
	return d.recall(ctx)
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
