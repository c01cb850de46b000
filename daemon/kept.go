package daemon

import (
	"context"
	"errors"
	"time"

	"orchestrator/backend"
	"orchestrator/daemon/declared"
	"orchestrator/daemon/recovery"
)

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
			d.part(context.WithoutCancel(ctx))
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

// purge removes what is old: steps, what hooks were told, comparisons, and that confirmations were removed. It may
// fail: it is tried again.
func (d *Daemon) purge(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	for kind, kept := range map[string]time.Duration{
		recovery.StepKind: stepsKept, recovery.HookKind: stepsKept, comparisonKind: comparisonKept,
		declared.RequestKind: stepsKept,
	} {
		if err := d.store.Purge(ctx, kind, d.clock.Before(kept), true); err != nil && ctx.Err() == nil {
			d.unstored.WithLabelValues(purging).Inc()
			d.options.Logger.Error("old records could not be removed", "kind", kind, "err", err)
		}
	}
	if err := d.store.Purge(ctx, confirmedKind, d.clock.Before(comparisonKept), false); err != nil && ctx.Err() == nil {
		d.unstored.WithLabelValues(purging).Inc()
		d.options.Logger.Error("old records could not be removed", "kind", confirmedKind, "err", err)
	}
}

// refresh reads what was declared, also to other daemons, and what the leader has done.
func (d *Daemon) refresh(ctx context.Context) {
	short, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	if err := d.declarations.Refresh(short); err != nil && ctx.Err() == nil {
		d.unstored.WithLabelValues(refreshing).Inc()
		d.options.Logger.Error("the declarations could not be read again", "err", err)
	}
	d.discover()
	if err := d.recovery.Follow(short); err != nil && ctx.Err() == nil {
		d.unstored.WithLabelValues(refreshing).Inc()
		d.options.Logger.Error("what the leader has done could not be read", "err", err)
	}
}

// discover has this daemon watch what people asked any daemon to watch.
func (d *Daemon) discover() {
	for _, k := range d.declarations.Discovered() {
		d.gate.Name(k)
		d.fleet.Discover(k)
	}
}

// remember stores the facts that somebody would miss. What can't be stored now is kept, and tried again.
func (d *Daemon) remember(ctx context.Context) {
	var records []backend.Record
	for _, v := range d.fleet.Dirty() {
		r, err := d.clock.Encode(d.id, instanceKind, v.Key.String(), v)
		if err != nil {
			d.options.Logger.Error("a server could not be written down", "key", v.Key, "err", err)
			continue
		}
		records = append(records, r)
	}
	records = append(records, d.confirmations()...)
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	var err error
	if _, down := d.outbox.Down(); down == "" && len(records) > 0 {
		err = d.outbox.Put(ctx, records...)
	} else {
		err = errors.Join(d.outbox.Keep(records...), d.outbox.Flush(ctx))
	}
	if err != nil {
		d.unstored.WithLabelValues(keeping).Inc()
		d.options.Logger.Error("facts could not be stored; it is tried again", "servers", len(records), "waiting",
			d.outbox.Waits(), "err", err)
	}
}

// part stores what still waits, for the last time.
func (d *Daemon) part(ctx context.Context) {
	d.trail.Wait()
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	if err := d.outbox.Empty(ctx); err != nil {
		d.options.Logger.Error("what could not be stored is lost with this process; what concerns servers is found "+
			"again", "records", d.outbox.Waits(), "err", err)
	}
}
