package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"orchestrator/daemon/api"
	"orchestrator/daemon/declared"
	"orchestrator/daemon/hook"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/recovery"
	"orchestrator/daemon/topology"
)

// nouns are what the API calls. Each is one part of this daemon.
func (d *Daemon) nouns() api.Nouns {
	return api.Nouns{
		Fleet: views{d}, Discovery: discoverer{d}, Deployment: deployment{d},
		Declarations: declarations{d.declarations},
		Requests:     d.declarations, Recoveries: d.declarations, Episodes: episodes{d.recovery},
		Hooks: hooks{d.recovery, d}, Daemon: itself{d}, Backend: d.mode,
		Audit: d.trail,
	}
}

// episodes are the incidents that recovery knows, with the errors of the API.
type episodes struct{ *recovery.Runner }

func (es episodes) Episode(ctx context.Context, id string) (plan.Episode, []plan.Done, error) {
	e, steps, err := es.Runner.Episode(id)
	if errors.Is(err, recovery.ErrNoEpisode) {
		err = fmt.Errorf("%w: %w", api.ErrNotFound, err)
	}
	return e, steps, err
}

func (es episodes) Acknowledge(ctx context.Context, id, by, comment string) error {
	err := es.Runner.Acknowledge(ctx, id, by, comment, time.Now())
	if errors.Is(err, recovery.ErrNoEpisode) {
		err = fmt.Errorf("%w: %w", api.ErrNotFound, err)
	}
	return err
}

// hooks are those of the configuration, which recovery runs.
type hooks struct {
	*recovery.Runner
	daemon *Daemon
}

func (hs hooks) Hooks() []api.Hook {
	var out []api.Hook
	for _, h := range hs.daemon.config.Load().Hooks {
		one := api.Hook{Name: h.Name, Clusters: h.Clusters, On: h.On, Timeout: h.Timeout.Seconds(),
			Attempts: h.Attempts, Last: hs.LastRun(h.Name)}
		if len(h.Command) > 0 {
			one.Program = h.Command[0]
		} else if u, err := url.Parse(string(h.Target)); err == nil {
			one.Host = u.Host
		}
		out = append(out, one)
	}
	return out
}

func (hs hooks) TryHook(
	ctx context.Context, name string, m hook.Moment, within time.Duration,
) (api.HookTrial, error) {
	list := hs.daemon.config.Load().HookList()
	i := slices.IndexFunc(list, func(h hook.Hook) bool { return h.Name == name })
	if i < 0 {
		return api.HookTrial{}, fmt.Errorf("%w: hook %s", api.ErrNotFound, name)
	}
	r := hs.Runner.TryHook(ctx, list[i], m, within)
	return api.HookTrial{Daemon: hs.daemon.id, Hook: name, Moment: m, Outcome: r.Outcome, Says: r.Says,
		Output: r.Output, Took: r.Took.Seconds()}, nil
}

// discoverer adds servers to the fleet and takes them out, and declares it to the other daemons.
type discoverer struct{ *Daemon }

func (d discoverer) Discover(ctx context.Context, k topology.Key) (topology.Server, error) {
	if d.declarations.Forgotten(k) {
		if err := d.declarations.Unforget(ctx, k); err != nil {
			return topology.Server{}, err
		}
	}
	d.gate.Name(k) // who names it knows it
	v, err := d.fleet.DiscoverNow(ctx, k)
	if err != nil {
		return v, err
	}
	return v, d.declarations.Discover(ctx, v.Key) // the other daemons hear of it when they refresh
}

func (d discoverer) Forget(ctx context.Context, k topology.Key) error {
	var names []topology.Key
	canonical, cluster, ok := d.fleet.Find(k)
	if ok {
		if v := d.fleet.Cluster(cluster).Server(canonical); v != nil {
			names = v.Names
		}
	}
	if err := d.declarations.Forget(ctx, k, names...); err != nil {
		return err
	}
	d.fleet.Forget(k)
	gone := append([]topology.Key{k}, names...)
	if ok {
		gone = append(gone, canonical)
	}
	d.unconfirm(ctx, gone...)
	return nil
}

// declarations are what people have declared, with a list of all of them for the API.
type declarations struct{ *declared.Declarations }

func (ds declarations) Declared(ctx context.Context) (api.Declared, error) {
	var d api.Declared
	if err := ds.Refresh(ctx); err != nil {
		return d, err
	}
	downtimes, rules, tags, aliases := ds.Downtimes(), ds.Rules(), ds.Tags(), ds.Aliases()
	for _, k := range slices.SortedFunc(maps.Keys(downtimes), topology.Key.Compare) {
		t := downtimes[k]
		d.Downtimes = append(d.Downtimes, api.DeclaredDowntime{Server: k, Owner: t.Owner, Reason: t.Reason,
			Until: t.Until})
	}
	for _, k := range slices.SortedFunc(maps.Keys(rules), topology.Key.Compare) {
		d.Rules = append(d.Rules, api.DeclaredRule{Server: k, Rule: rules[k]})
	}
	for _, k := range slices.SortedFunc(maps.Keys(tags), topology.Key.Compare) {
		for _, name := range slices.Sorted(maps.Keys(tags[k])) {
			d.Tags = append(d.Tags, api.DeclaredTag{Server: k, Name: name, Value: tags[k][name]})
		}
	}
	for _, cluster := range slices.Sorted(maps.Keys(aliases)) {
		d.Aliases = append(d.Aliases, api.DeclaredAlias{Cluster: cluster, Alias: aliases[cluster]})
	}
	d.Forgotten = ds.AllForgotten()
	if by, reason, off := ds.SwitchedOff(); off {
		d.Recoveries = &api.RecoveriesOff{By: by, Reason: reason}
	}
	return d, nil
}

// itself is this daemon.
type itself struct{ *Daemon }

func (d itself) Status() api.Status {
	l := d.lead.Status()
	s := api.Status{Daemon: d.id, Version: d.options.Version, Started: d.started, Leading: l.Leading, Leader: l.Holder,
		Term: l.Term, RecoveriesOff: d.declarations.RecoveriesOff()}
	if waits := d.waits.Load(); waits != nil {
		s.NeedsRestart = *waits
	}
	if l.Holder == "" {
		s.NotReady = "no daemon leads yet, as far as this one knows"
	}
	d.mode.status(&s)
	if why := d.unready(); why != "" && s.NotReady == "" {
		s.NotReady = why
	}
	if s.NotReady == "" {
		s.NotReady = d.fleet.Blind()
	}
	return s
}

func (d itself) StepDown(ctx context.Context, by, reason string) error {
	if l := d.lead.Status(); !l.Leading {
		return fmt.Errorf("step down: %w: this daemon does not lead; %s does", api.ErrConflict,
			cmp.Or(l.Holder, "nobody, as far as it knows,"))
	}
	d.options.Logger.Info("asked to step down", "by", by, "reason", reason)
	return d.lead.StepDown(ctx)
}
