package recovery

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"orchestrator/daemon/hook"
	"orchestrator/daemon/plan"
)

// teller tells hooks about episodes while this daemon leads. A recovery never waits for it.
type teller struct {
	*Runner
	began   time.Time              // the leadership
	tenures map[string]hook.Tenure // by hook.TenureKey; nil: not read yet
	storeAt time.Time              // not earlier are tenures stored
	blocked map[string]time.Time   // by episode: since when this daemon has seen it blocked
	calls   sync.WaitGroup

	calling sync.Mutex
	busy    map[string]bool // what is claimed, by episode and hook
}

// owe says that hooks may be owed something.
func (r *Runner) owe() {
	select {
	case r.owing <- struct{}{}:
	default:
	}
}

// keepTelling runs until ctx, which is that of the leadership, ends; it ends the hooks that run then, and waits for
// them: for the time that Hook.Do says, and storePatience.
func (r *Runner) keepTelling(ctx context.Context, began time.Time) {
	if r.Hooks == nil {
		return
	}
	t := &teller{Runner: r, began: began, blocked: map[string]time.Time{}, busy: map[string]bool{}}
	defer t.calls.Wait()
	for {
		pause := t.turn(ctx)
		select {
		case <-ctx.Done():
			return
		case <-r.owing:
		case <-time.After(pause):
		}
	}
}

// turn begins every attempt that is due, and says when to look again at the latest.
func (t *teller) turn(ctx context.Context) time.Duration {
	hooks, now := t.Hooks(), time.Now()
	t.metrics.know(hooks)
	if !t.enrol(ctx, hooks, now) || len(hooks) == 0 {
		return t.Tick
	}
	pause := t.Tick
	episodes := t.Episodes("")
	for _, e := range episodes {
		switch since := t.blocked[e.ID]; {
		case e.Blocked == "" || !e.Closed.IsZero():
			delete(t.blocked, e.ID)
		case since.IsZero():
			t.blocked[e.ID] = now
		}
		c := hook.Case{Episode: e, Others: episodes, Blocked: t.blocked[e.ID], Tenures: t.tenures, Now: now}
		for _, h := range hooks {
			if h.Of == nil || h.Of(e.Cluster, t.Alias(e.Cluster)) {
				c.Hooks = append(c.Hooks, h)
			}
		}
		due, died, wait := t.claim(c)
		pause = min(pause, wait)
		for _, run := range died {
			t.calls.Go(func() { t.giveUp(ctx, e, run) })
		}
		for _, task := range due {
			t.calls.Go(func() { t.call(ctx, e, task) })
		}
	}
	return pause
}

// claim takes the attempts that are due, and those in which daemons died for good, and says when to look again. A
// hook hears of one moment of an episode at a time. What it was told is read while no claim can end: an attempt that
// ended between the two would look as if its daemon had died in it, and be made once more.
func (t *teller) claim(c hook.Case) (due []hook.Task, died []hook.Run, pause time.Duration) {
	t.calling.Lock()
	defer t.calling.Unlock()
	pause, c.Runs = t.Tick, t.told(c.Episode.ID)
	for _, run := range hook.Died(c) {
		if key := claimed(run.Episode, run.Hook); !t.busy[key] {
			t.busy[key] = true
			died = append(died, run)
		}
	}
	for _, task := range hook.Pending(c) {
		key := claimed(c.Episode.ID, task.Hook.Name)
		switch wait := task.At.Sub(c.Now); {
		case t.busy[key]:
		case wait > 0:
			pause = min(pause, wait)
		default:
			t.busy[key] = true
			due = append(due, task)
		}
	}
	return due, died, pause
}

// release ends a claim.
func (t *teller) release(episode, name string) {
	t.calling.Lock()
	delete(t.busy, claimed(episode, name))
	t.calling.Unlock()
	t.owe()
}

func claimed(episode, name string) string { return episode + "/" + name }

// told is what hooks were told about an episode, by hook.Key. It is never changed, only replaced.
func (r *Runner) told(episode string) map[string]hook.Run {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.runs[episode]
}

// keep remembers a run, for as long as its episode is kept; mu is held.
func (r *Runner) keep(key string, run hook.Run) {
	runs := map[string]hook.Run{key: run}
	for other, one := range r.runs[run.Episode] {
		if other != key {
			runs[other] = one
		}
	}
	r.runs[run.Episode] = runs
}

// HookRuns are the last attempts about an episode, in the order in which they were begun.
func (r *Runner) HookRuns(episode string) []hook.Run {
	runs := slices.Collect(maps.Values(r.told(episode)))
	hook.Sort(runs)
	return runs
}

// TryHook makes one attempt of a hook now, with a message that says that it is a trial; it ends it after within at
// the latest. Nothing of it is on record.
func (r *Runner) TryHook(ctx context.Context, h hook.Hook, m hook.Moment, within time.Duration) hook.Result {
	own := h.Timeout
	h.Timeout = min(own, within)
	result := h.Do(ctx, hook.Trial(h.Name, m, r.Writer, time.Now()))
	if result.Outcome == hook.TimedOut && within < own {
		result.Says = fmt.Sprintf("stopped, because a test may take %v at most; in an emergency the hook has %v",
			within, own)
	}
	r.Logger.Info("hook was tried", "hook", h.Name, "moment", m, "outcome", result.Outcome, "why", result.Says, "took",
		result.Took)
	return result
}

// LastRun is what a hook was told last; nil when it was told nothing yet.
func (r *Runner) LastRun(name string) *hook.Run {
	r.mu.Lock()
	defer r.mu.Unlock()
	var last *hook.Run
	for _, runs := range r.runs {
		for _, run := range runs {
			if run.Hook == name && (last == nil || run.Started.After(last.Started)) {
				last = &run
			}
		}
	}
	return last
}

// call makes an attempt. It is on record before it is made, so that a successor knows that it may have been.
func (t *teller) call(ctx context.Context, e plan.Episode, task hook.Task) {
	h := task.Hook
	run := hook.Run{Hook: h.Name, Moment: task.Moment, Episode: e.ID, By: t.Writer, Attempt: task.Attempt,
		Started: time.Now()}
	if t.save(ctx, run); ctx.Err() != nil { // as if its daemon had died in it: the successor makes it
		return
	}
	result := h.Do(ctx, t.message(e, task))
	run.Ended, run.Outcome, run.Says = time.Now(), result.Outcome, result.Says
	t.metrics.hooks.WithLabelValues(h.Name, string(run.Outcome)).Inc()
	t.metrics.hookSeconds.WithLabelValues(h.Name).Observe(result.Took.Seconds())
	log := t.Logger.With("hook", h.Name, "moment", task.Moment, "cluster", e.Cluster, "episode", e.ID, "attempt",
		task.Attempt, "took", result.Took)
	switch {
	case run.Outcome == hook.OK:
		log.Info("hook was told")
	case h.GivenUp(run):
		t.metrics.givenUp.WithLabelValues(h.Name).Inc()
		log.Error("hook failed, and is not tried again", "outcome", run.Outcome, "why", run.Says, "output",
			result.Output)
	default:
		log.Error("hook failed", "outcome", run.Outcome, "why", run.Says, "output", result.Output)
	}
	t.save(ctx, run)
	t.release(e.ID, h.Name)
}

// giveUp notes that the last attempt was one in which a daemon died: that one could count it no more.
func (t *teller) giveUp(ctx context.Context, e plan.Episode, run hook.Run) {
	run.Ended, run.Outcome, run.Says = time.Now(), hook.Interrupted, "its daemon died in it"
	t.metrics.givenUp.WithLabelValues(run.Hook).Inc()
	t.Logger.Error("hook failed, and is not tried again", "hook", run.Hook, "moment", run.Moment, "cluster", e.Cluster,
		"episode", e.ID, "attempt", run.Attempt,
		"outcome", run.Outcome, "why", run.Says, "daemon", run.By)
	t.save(ctx, run)
	t.release(e.ID, run.Hook)
}

func (t *teller) message(e plan.Episode, task hook.Task) hook.Message {
	m := hook.Message{Hook: task.Hook.Name, Moment: task.Moment, Attempt: task.Attempt, Daemon: t.Writer,
		Cluster: e.Cluster, Alias: t.Alias(e.Cluster),
		Episode: e, Replicas: slices.Clone(e.Touched)}
	if v := t.Fleet.Cluster(e.Cluster).Server(e.Candidate); v != nil && v.Instance != nil {
		m.Position = v.Instance.Executed.String()
	}
	return m
}

// save remembers a run. That it can't be stored stops nothing, and is tried again: until it is, a successor would tell
// the hook once more.
func (t *teller) save(ctx context.Context, run hook.Run) {
	key := hook.Key(run.Episode, run.Moment, run.Hook)
	t.mu.Lock()
	if t.known()[run.Episode] {
		t.keep(key, run)
	}
	rec := t.encode(HookKind, key, run)
	t.mu.Unlock()
	short, cancel := parting(ctx)
	defer cancel()
	if err := t.Outbox.Put(short, rec); err != nil {
		t.metrics.bookkeeping.Inc()
		t.Logger.Error("what a hook was told could not be stored; it is tried again", "hook", run.Hook, "episode",
			run.Episode, "err", err)
	}
}

// parting bounds bookkeeping by storeTime, and by storePatience once ctx has ended: another daemon waits for the lead
// then.
func parting(ctx context.Context) (context.Context, context.CancelFunc) {
	short, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	unheard := context.AfterFunc(ctx, func() {
		late := time.NewTimer(storePatience)
		defer late.Stop()
		select {
		case <-late.C:
			cancel()
		case <-short.Done():
		}
	})
	return short, func() { unheard(); cancel() }
}
