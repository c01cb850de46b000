// Package daemon is the whole program as a value: New wires the parts, Run lets them work until its context ends. It is the only wiring
// there is, and the only place that knows the configuration.
//
// Nothing is decided here. The one idea: what leads runs within the context that the lease hands out, what looks and answers runs
// always, and the two meet in memory only.
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
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"orchestrator/backend"
	"orchestrator/daemon/analysis"
	"orchestrator/daemon/api"
	"orchestrator/daemon/config"
	"orchestrator/daemon/declared"
	"orchestrator/daemon/discovery"
	"orchestrator/daemon/hook"
	"orchestrator/daemon/lead"
	"orchestrator/daemon/mysql"
	"orchestrator/daemon/peer"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/recovery"
	"orchestrator/daemon/topology"
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
	options  Options
	config   atomic.Pointer[config.Config]
	waits    atomic.Pointer[[]string] // the keys that the last reload could not take over
	id       string                   // of this process
	started  time.Time
	store    store
	shared   *shared // nil: nobody else uses the backend
	clock    *backend.Clock
	servers  *mysql.Servers
	fleet    *discovery.Fleet
	book     *declared.Book
	lead     *lead.Lease
	recovery *recovery.Runner
	unstored *prometheus.CounterVec
	expiry   *prometheus.GaugeVec // of certificates, by use
	listener net.Listener
	// certificate is what clients of the API are shown; nil: HTTP is served.
	certificate atomic.Pointer[tls.Certificate]
	api         *api.API
	handler     http.Handler
	pulse       pulse
}

const (
	// keepEvery is how often what changed of the fleet is written. Soon, because a daemon that starts anew beside a dead primary learns of the
	// replicas from nowhere else; nothing is written when nothing changed.
	keepEvery = 200 * time.Millisecond
	// refreshEvery is how often what people declared elsewhere is read.
	refreshEvery = 5 * time.Second
	// purgeEvery is how often steps, and what hooks were told, older than stepsKept are removed; the episodes that they belong to stay.
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
	d := &Daemon{options: o, id: identity(), started: time.Now(), clock: backend.NewClock(time.Now)}
	d.config.Store(&c)
	if err := d.open(c); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBackend, err)
	}
	if err := d.wire(c); err != nil {
		_ = d.close()
		return nil, err
	}
	c.LogFailingHooks(o.Logger)
	return d, nil
}

// listen opens the port of the API, with TLS where a certificate is configured: whichever is in force when a client comes.
func (d *Daemon) listen(c config.Config) (net.Listener, error) {
	l, err := net.Listen("tcp", c.HTTP.Listen)
	if err != nil || c.HTTP.Certificate == "" {
		return l, err
	}
	if err := d.present(c); err != nil {
		l.Close()
		return nil, err
	}
	serving := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return d.certificate.Load(), nil }
	return tls.NewListener(l, &tls.Config{GetCertificate: serving, MinVersion: tls.VersionTLS12}), nil
}

// present shows clients another certificate from now on.
func (d *Daemon) present(c config.Config) error {
	pair, err := c.HTTP.KeyPair()
	if err != nil {
		return fmt.Errorf("load the certificate %s: %w", c.HTTP.TLSCert, err)
	}
	d.certificate.Store(pair)
	d.expiry.WithLabelValues(httpUse).Set(float64(config.FirstEnd([]byte(c.HTTP.Certificate)).Unix()))
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

func (d *Daemon) wire(c config.Config) error {
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := d.measure(c, registry); err != nil {
		return err
	}
	security, err := c.Servers.TLSConfig()
	if err != nil {
		return err
	}
	if d.book, err = declared.Open(ctx, d.store, d.clock, d.id); err != nil {
		return fmt.Errorf("%w: %w", ErrBackend, err)
	}
	log := d.options.Logger
	to := mysql.Options{User: c.Servers.User, Password: string(c.Servers.Password), TLS: security, Resolve: c.Servers.Resolve,
		ConnectTimeout: c.Servers.ConnectTimeout, ProbeTimeout: c.Servers.ProbeTimeout, Logger: log, Daemon: d.id, Patience: c.Lease.TTL}
	term := lead.Options{ID: d.id, TTL: c.Lease.TTL, Tick: c.Lease.Tick, Turned: func() { d.pulse.turned("the lease") }, Logger: log, Registerer: registry}
	if d.shared != nil {
		to.Term = d.term
		term.Highest = d.shared.journal.Highest()
		term.Remember = func(t int64) error { d.shared.journal.Remember(t); return nil }
	}
	d.servers = mysql.New(to)
	d.fleet = discovery.New(d.servers, discovery.Options{Seeds: c.Discovery.Seeds, Poll: c.Discovery.Poll, MaxBackoff: c.Discovery.MaxBackoff,
		Concurrency: c.Discovery.Concurrency, Ignore: c.Discovery.Ignore, Silence: c.Analysis.Silence, Resolve: c.Servers.Resolve,
		Declared: d.book.Mark, Forgotten: d.book.Forgotten, Turned: func() { d.pulse.turned("discovery") }, Logger: log, Registerer: registry})
	if err := d.restore(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrBackend, err)
	}
	acts := recovery.Options{Fleet: d.fleet, Operator: d.servers, Store: d.store, Clock: d.clock, Writer: d.id,
		Policy: d.Policy, Off: d.book.RecoveriesOff, Alias: d.book.Alias, Thresholds: func() analysis.Thresholds { return d.config.Load().Thresholds() },
		Hooks:  func() []hook.Hook { return d.config.Load().HookList() },
		Turned: func() { d.pulse.turned("recovery") }, Logger: log, Registerer: registry}
	if d.shared != nil {
		if err := d.join(ctx, c); err != nil {
			return err
		}
		d.shared.register(registry)
		term.Gone = d.shared.peers.Gone
		registry.MustRegister(d.shared.journal)
		acts.Permit = recovery.NewGate(d.shared.peers.Standing, d.shared.peers.Ask, func(ctx context.Context, keys []topology.Key, term int64) recovery.Locks {
			return d.servers.Hold(ctx, keys, term)
		}).Permit
	}
	d.lead = lead.New(d.store.Lease("leader"), term)
	if d.shared != nil {
		acts.Yield = recovery.NewHandover(d.shared.peers.Standing, d.shared.peers.Ask, d.lead.Yield, log).Yield
	}
	d.recovery = recovery.New(acts)
	if err := d.recovery.Load(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrBackend, err)
	}
	if d.api, err = api.New(&face{d}, api.Options{Token: string(c.HTTP.Token), Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		Logger: log, Registerer: registry}); err != nil {
		return err
	}
	d.handler = d.api
	if d.shared != nil {
		mux := http.NewServeMux()
		mux.Handle(peer.Path, d.shared.peers.Handler())
		mux.Handle("/", d.api)
		d.handler = mux
		if d.shared.agent != nil {
			if err := d.shared.agent.Open(); err != nil {
				return fmt.Errorf("%w: %w", ErrListen, err)
			}
		}
	}
	if d.listener, err = d.listen(c); err != nil {
		return fmt.Errorf("%w on %s: %w", ErrListen, c.HTTP.Listen, err)
	}
	return nil
}

// restore tells the fleet which servers a former life knew, so that they are asked although no seed names them.
func (d *Daemon) restore(ctx context.Context) error {
	records, err := d.store.List(ctx, instanceKind)
	if err != nil {
		return err
	}
	var servers []topology.Server
	for _, r := range records {
		d.clock.Observe(r.Version)
		v, err := backend.Decode[topology.Server](r)
		if err != nil {
			d.options.Logger.Error("skip an unreadable server on record", "key", r.Key, "err", err)
			continue
		}
		servers = append(servers, v)
	}
	d.fleet.Restore(servers)
	return nil
}

// Address is where the API answers.
func (d *Daemon) Address() net.Addr { return d.listener.Addr() }

// Run works until ctx ends, then ends in order: the leadership and what hangs on it first, then the API, last what looks at servers.
func (d *Daemon) Run(ctx context.Context) error {
	d.options.Logger.Info("orchestrator runs", "version", d.options.Version, "id", d.id, "api", d.listener.Addr().String())
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
	serving, unserve := context.WithCancel(looking)
	defer unserve()
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := api.Serve(serving, d.listener, d.handler, d.options.Logger); err != nil {
			stop(err)
		}
	}()
	if s := d.shared; s != nil {
		others.Go(func() { d.watchFace(looking) })
		others.Go(func() { _ = s.peers.Run(looking) })
		if s.watch != nil {
			others.Go(func() { _ = s.watch.Run(looking) })
		}
		if s.agent != nil {
			others.Go(func() {
				if err := s.agent.Serve(looking); err != nil {
					stop(err)
				}
			})
		}
	}
	err := d.lead.Run(ctx, func(leading context.Context) {
		d.pulse.turned("recovery")
		defer d.pulse.ended("recovery")
		var proving sync.WaitGroup
		if d.shared != nil && d.shared.care != nil {
			proving.Go(func() { d.proveAll(leading) })
		}
		if err := d.recovery.Run(leading); err != nil {
			d.options.Logger.Error("recovery ended", "err", err)
		}
		proving.Wait()
	})
	stop(err)
	if d.shared != nil { // the others look who says it: while the API is served
		if err := d.shared.peers.Leave(looking); err != nil {
			d.options.Logger.Warn("stop without a farewell: the others need the locks of a majority to act", "err", err)
		}
	}
	unserve()
	<-served
	blind()
	others.Wait()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		failed = cause
	}
	failed = errors.Join(failed, d.servers.Close(), d.close())
	d.options.Logger.Info("orchestrator has ended")
	return failed
}

// close closes the store, and what else was opened with it.
func (d *Daemon) close() error {
	err := d.store.Close()
	if d.shared != nil {
		err = errors.Join(err, d.shared.close())
	}
	return err
}

// keep writes what changed of the fleet, and reads what other daemons were told.
func (d *Daemon) keep(ctx context.Context) {
	tick, refresh := time.NewTicker(keepEvery), time.NewTicker(refreshEvery)
	defer tick.Stop()
	defer refresh.Stop()
	purge := time.NewTicker(purgeEvery)
	defer purge.Stop()
	for {
		d.pulse.turned("storing")
		select {
		case <-ctx.Done():
			d.remember(context.WithoutCancel(ctx))
			return
		case <-tick.C:
			d.remember(ctx)
		case <-purge.C:
			d.purge(ctx)
		case <-refresh.C:
			d.refresh(ctx)
		}
	}
}

// purge removes what is old: steps, what hooks were told, proofs. It may fail: it is tried again.
func (d *Daemon) purge(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	for kind, kept := range map[string]time.Duration{recovery.StepKind: stepsKept, recovery.HookKind: stepsKept, proofKind: proofKept} {
		if err := d.store.Purge(ctx, kind, time.Now().Add(-kept).UnixMicro(), true); err != nil && ctx.Err() == nil {
			d.unstored.WithLabelValues(purging).Inc()
			d.options.Logger.Error("old records could not be removed", "kind", kind, "err", err)
		}
	}
}

// refresh reads what was declared, also to other daemons, and what the leader has done.
func (d *Daemon) refresh(ctx context.Context) {
	short, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	if err := d.book.Refresh(short); err != nil && ctx.Err() == nil {
		d.unstored.WithLabelValues(refreshing).Inc()
		d.options.Logger.Error("what was declared could not be read anew", "err", err)
	}
	if err := d.recovery.Follow(short); err != nil && ctx.Err() == nil {
		d.unstored.WithLabelValues(refreshing).Inc()
		d.options.Logger.Error("what the leader has done could not be read", "err", err)
	}
}

// remember stores the facts that somebody would miss. It may fail: they are found again.
func (d *Daemon) remember(ctx context.Context) {
	var records []backend.Record
	for _, v := range d.fleet.Dirty() {
		r, err := backend.Encode(instanceKind, v.Key.String(), v)
		if err != nil {
			d.options.Logger.Error("a server could not be written down", "key", v.Key, "err", err)
			continue
		}
		r.Version, r.Writer = d.clock.Next(), d.id
		records = append(records, r)
	}
	if len(records) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	if err := d.store.Put(ctx, records...); err != nil {
		d.unstored.WithLabelValues(keeping).Inc()
		d.options.Logger.Error("facts could not be stored; they will be found again", "servers", len(records), "err", err)
	}
}

// Reload takes over what a running daemon can; it returns the keys that wait for a restart.
func (d *Daemon) Reload(next config.Config) []string {
	before := *d.config.Load()
	reloaded, restart := before.Changes(next)
	c := before.Reloaded(next)
	d.config.Store(&c)
	d.waits.Store(&restart)
	d.servers.SetCredentials(c.Servers.User, string(c.Servers.Password))
	d.api.SetToken(string(c.HTTP.Token))
	if c.HTTP.Certificate != before.HTTP.Certificate || c.HTTP.Key != before.HTTP.Key {
		if err := d.present(c); err != nil { // it was read and tried a moment ago
			d.options.Logger.Error("the certificate stays the one that it was", "err", err)
		}
	}
	if d.shared != nil {
		d.shared.peers.SetSecret(string(c.Peers.Secret))
	}
	for _, k := range c.Discovery.Seeds {
		d.fleet.Discover(k)
	}
	c.LogFailingHooks(d.options.Logger)
	d.options.Logger.Info("configuration reloaded", "changed", reloaded, "needs_restart", restart)
	return restart
}

// Policy is what the configuration allows in a cluster.
func (d *Daemon) Policy(cluster string) plan.Policy {
	return d.config.Load().Policy(cluster, d.book.Alias(cluster))
}
