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
	"orchestrator/daemon/hook"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/recovery"
	"orchestrator/daemon/topology"
)

// face is the daemon as the API sees it.
type face struct{ *Daemon }

// nouns are what the API asks, each of which is answered by this daemon.
func (d *Daemon) nouns() api.Nouns {
	f := &face{d}
	return api.Nouns{
		Fleet: views{d}, Discovery: f, Deployment: d.mode, Declarations: f, Requests: d.book, Recoveries: f,
		Episodes: f, Hooks: f, Daemon: f,
		Backend: d.mode,
	}
}

func (f *face) Episodes(cluster string) []plan.Episode { return f.recovery.Episodes(cluster) }

func (f *face) Episode(ctx context.Context, id string) (plan.Episode, []plan.Done, error) {
	e, steps, err := f.recovery.Episode(id)
	if errors.Is(err, recovery.ErrNoEpisode) {
		err = fmt.Errorf("%w: %w", api.ErrNotFound, err)
	}
	return e, steps, err
}

func (f *face) Acknowledge(ctx context.Context, id, by, comment string) error {
	err := f.recovery.Acknowledge(ctx, id, by, comment, time.Now())
	if errors.Is(err, recovery.ErrNoEpisode) {
		err = fmt.Errorf("%w: %w", api.ErrNotFound, err)
	}
	return err
}

func (f *face) Hooks() []api.Hook {
	var out []api.Hook
	for _, h := range f.config.Load().Hooks {
		one := api.Hook{Name: h.Name, Clusters: h.Clusters, On: h.On, Timeout: h.Timeout.Seconds(),
			Attempts: h.Attempts, Last: f.recovery.LastRun(h.Name)}
		if len(h.Command) > 0 {
			one.Program = h.Command[0]
		} else if u, err := url.Parse(string(h.Target)); err == nil {
			one.Host = u.Host
		}
		out = append(out, one)
	}
	return out
}

func (f *face) HookRuns(episode string) []hook.Run { return f.recovery.HookRuns(episode) }

func (f *face) TryHook(ctx context.Context, name string, m hook.Moment, within time.Duration) (api.HookTrial, error) {
	hooks := f.config.Load().HookList()
	i := slices.IndexFunc(hooks, func(h hook.Hook) bool { return h.Name == name })
	if i < 0 {
		return api.HookTrial{}, fmt.Errorf("%w: hook %s", api.ErrNotFound, name)
	}
	r := f.recovery.TryHook(ctx, hooks[i], m, within)
	return api.HookTrial{Daemon: f.id, Hook: name, Moment: m, Outcome: r.Outcome, Says: r.Says, Output: r.Output,
		Took: r.Took.Seconds()}, nil
}

func (f *face) Discover(ctx context.Context, k topology.Key) (topology.Server, error) {
	if f.book.Forgotten(k) {
		if err := f.book.Unforget(ctx, k); err != nil {
			return topology.Server{}, err
		}
	}
	v, err := f.fleet.DiscoverNow(ctx, k)
	if err != nil {
		return v, err
	}
	return v, f.book.Discover(ctx, v.Key) // the other daemons hear of it when they refresh
}

func (f *face) Forget(ctx context.Context, k topology.Key) error {
	var names []topology.Key
	if canonical, cluster, ok := f.fleet.Find(k); ok {
		if v := f.fleet.Cluster(cluster).Server(canonical); v != nil {
			names = v.Names
		}
	}
	if err := f.book.Forget(ctx, k, names...); err != nil {
		return err
	}
	f.fleet.Forget(k)
	return nil
}

func (f *face) SetDowntime(ctx context.Context, k topology.Key, t topology.Downtime) error {
	return f.book.SetDowntime(ctx, k, t)
}
func (f *face) EndDowntime(ctx context.Context, k topology.Key) error {
	return f.book.EndDowntime(ctx, k)
}
func (f *face) SetRule(ctx context.Context, k topology.Key, r topology.Rule) error {
	return f.book.SetRule(ctx, k, r)
}
func (f *face) SetTag(ctx context.Context, k topology.Key, name, value string) error {
	return f.book.SetTag(ctx, k, name, value)
}
func (f *face) RemoveTag(ctx context.Context, k topology.Key, name string) error {
	return f.book.RemoveTag(ctx, k, name)
}
func (f *face) SetAlias(ctx context.Context, cluster, alias string) error {
	return f.book.SetAlias(ctx, cluster, alias)
}
func (f *face) Declared(ctx context.Context) (api.Declared, error) {
	var d api.Declared
	if err := f.book.Refresh(ctx); err != nil {
		return d, err
	}
	downtimes, rules, tags, aliases := f.book.Downtimes(), f.book.Rules(), f.book.Tags(), f.book.Aliases()
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
	d.Forgotten = f.book.AllForgotten()
	if by, reason, off := f.book.SwitchedOff(); off {
		d.Recoveries = &api.RecoveriesOff{By: by, Reason: reason}
	}
	return d, nil
}
func (f *face) RecoveriesOff() string { return f.book.RecoveriesOff() }
func (f *face) SwitchRecoveries(ctx context.Context, on bool, by, reason string) error {
	return f.book.SwitchRecoveries(ctx, on, by, reason)
}

func (f *face) Status() api.Status {
	l := f.lead.Status()
	s := api.Status{Daemon: f.id, Version: f.options.Version, Started: f.started, Leading: l.Leading, Leader: l.Holder,
		Term:          l.Term,
		RecoveriesOff: f.book.RecoveriesOff()}
	if waits := f.waits.Load(); waits != nil {
		s.NeedsRestart = *waits
	}
	if l.Holder == "" {
		s.NotReady = "no daemon leads yet, as far as this one knows"
	}
	f.mode.status(&s)
	return s
}

func (f *face) StepDown(ctx context.Context, by, reason string) error {
	if l := f.lead.Status(); !l.Leading {
		return fmt.Errorf("step down: %w: this daemon does not lead; %s does", api.ErrConflict,
			cmp.Or(l.Holder, "nobody, as far as it knows,"))
	}
	f.options.Logger.Info("asked to step down", "by", by, "reason", reason)
	return f.lead.StepDown(ctx)
}
