package recovery

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	"orchestrator/backend"
	"orchestrator/daemon/hook"
	"orchestrator/daemon/plan"
)

// Load reads the episodes and steps on record; what is known already and newer stays.
func (r *Runner) Load(ctx context.Context) error {
	return r.load(ctx, func() bool { return true })
}

// load asks, when it has read everything, whether that is still wanted; mu is held then.
func (r *Runner) load(ctx context.Context, wanted func() bool) error {
	es, hs, err := r.onRecord(ctx)
	if err != nil {
		return err
	}
	ss, err := r.Outbox.List(ctx, StepKind)
	if err != nil {
		return fmt.Errorf("read the journal of steps: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !wanted() {
		return nil
	}
	r.read = edition(es, hs)
	for _, rec := range es {
		_ = r.Clock.See(rec)
		if e, err := backend.Decode[plan.Episode](rec); err == nil {
			if rec.Writer != r.Writer {
				// measured by another clock; too long a wait loses nothing, too short a one may
				e.DrainSince, e.FenceSince = time.Time{}, time.Time{}
			}
			r.remember(e)
		} else {
			r.Logger.Error("skip an unreadable episode", "episode", rec.Key, "err", err)
		}
	}
	known := r.known()
	for _, rec := range hs {
		_ = r.Clock.See(rec)
		run, err := backend.Decode[hook.Run](rec)
		if err != nil {
			r.Logger.Error("skip an unreadable record of a hook", "key", rec.Key, "err", err)
		} else if known[run.Episode] && run.Newer(r.runs[run.Episode][rec.Key]) {
			r.keep(rec.Key, run)
		}
	}
	r.steps = map[string][]plan.Done{}
	for _, rec := range ss {
		_ = r.Clock.See(rec)
		d, err := backend.Decode[plan.Done](rec)
		if err != nil {
			r.Logger.Error("skip an unreadable step on record", "key", rec.Key, "err", err)
		} else if known[d.Episode] {
			r.steps[d.Episode] = append(r.steps[d.Episode], d)
		}
	}
	return nil
}

// onRecord are the episodes, and then what hooks were told about them: a daemon that knew an episode, and not what
// was told about it, would tell it again.
func (r *Runner) onRecord(ctx context.Context) (episodes, runs []backend.Record, err error) {
	if episodes, err = r.Outbox.List(ctx, EpisodeKind); err != nil {
		return nil, nil, fmt.Errorf("read the episodes on record: %w", err)
	}
	if r.Hooks != nil {
		if runs, err = r.Outbox.List(ctx, HookKind); err != nil {
			return nil, nil, fmt.Errorf("read what hooks were told: %w", err)
		}
	}
	return episodes, runs, nil
}

// edition tells records from what they were. What they say would not: not all that is on record is kept, nor all of
// it as it is there.
func edition(lists ...[]backend.Record) uint64 {
	sum := fnv.New64a()
	for _, records := range lists {
		for _, rec := range records {
			fmt.Fprintf(sum, "%q %q %d %q\n", rec.Kind, rec.Key, rec.Version, rec.Writer)
		}
	}
	return sum.Sum64()
}

// Follow reads what another daemon has recorded, for those who ask this one; while Run runs it does nothing. The
// steps are read only when an episode has changed, or what hooks were told.
func (r *Runner) Follow(ctx context.Context) error {
	r.mu.Lock()
	leads, read := r.leads, r.read
	r.mu.Unlock()
	if leads {
		return nil
	}
	if r.Hooks != nil {
		r.metrics.know(r.Hooks())
	}
	episodes, runs, err := r.onRecord(ctx)
	if err != nil || edition(episodes, runs) == read {
		return err
	}
	return r.load(ctx, func() bool { return !r.leads })
}
