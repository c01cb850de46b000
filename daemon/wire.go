package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"orchestrator/backend"
	"orchestrator/backend/sqlstore"
	"orchestrator/daemon/analysis"
	"orchestrator/daemon/api"
	"orchestrator/daemon/config"
	"orchestrator/daemon/declared"
	"orchestrator/daemon/discovery"
	"orchestrator/daemon/hook"
	"orchestrator/daemon/httpd"
	"orchestrator/daemon/lead"
	"orchestrator/daemon/mysql"
	"orchestrator/daemon/recovery"
	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

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
		Ending: d.ending.Load,
		Fleet:  d.fleet, Subscribe: func() recovery.Subscription { return d.fleet.Subscribe() }, Operator: d.servers,
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
		NeedsToken: o.NeedsToken, Logger: d.options.Logger, Ending: d.ending.Load,
		Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
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
