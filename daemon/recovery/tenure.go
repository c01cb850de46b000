package recovery

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"orchestrator/backend"
	"orchestrator/daemon/hook"
)

// storeAgain is after how many ticks tenures that could not be stored are tried again.
const storeAgain = 10

// enrol brings the tenures into line with the configuration; what has no tenure yet has it from now on. It says
// whether they are known: until then nobody is told anything.
func (t *teller) enrol(ctx context.Context, hooks []hook.Hook, now time.Time) bool {
	from := now
	if t.tenures == nil {
		if err := t.readTenures(ctx); err != nil {
			if len(hooks) > 0 {
				t.Logger.Error("hooks wait: since when they are configured can't be read", "err", err)
			}
			return false
		}
		from = t.began // what this leadership finds, however soon, was not before
	}
	changed := t.amended(hooks, from)
	t.mu.Lock()
	for key, tenure := range changed {
		t.tenures[key] = tenure
		t.unstored[key] = t.encode(tenureKind, key, tenure)
		t.storeAt = now
	}
	t.mu.Unlock()
	t.storeTenures(ctx, now)
	return true
}

// storeTenures stores what is not on record yet, beside the turns: no hook waits for a disk. It is tried until it is
// done, by a later leadership of this daemon, too: for a successor who finds nothing, a hook has been there since
// that one's own leadership began, so that it hears nothing more of what is under way.
func (t *teller) storeTenures(ctx context.Context, now time.Time) {
	t.mu.Lock()
	records := slices.Collect(maps.Values(t.unstored))
	t.mu.Unlock()
	if len(records) == 0 || now.Before(t.storeAt) {
		return
	}
	t.storeAt = now.Add(storeAgain * t.Tick)
	t.calls.Go(func() {
		short, cancel := parting(ctx)
		defer cancel()
		if err := backend.PutEach(short, t.Store, records...); err != nil {
			t.metrics.bookkeeping.Inc()
			t.Logger.Error("since when hooks are configured could not be stored; it is tried again", "records",
				len(records), "err", err)
			return
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, rec := range records {
			if t.unstored[rec.Key].Version == rec.Version {
				delete(t.unstored, rec.Key)
			}
		}
	})
}

func (t *teller) readTenures(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	records, err := t.Store.List(short, tenureKind)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	newest := maps.Clone(t.unstored)
	for _, rec := range records {
		_ = t.Clock.See(rec)
		if !newest[rec.Key].Wins(rec) {
			newest[rec.Key] = rec
			delete(t.unstored, rec.Key)
		}
	}
	t.tenures = map[string]hook.Tenure{}
	for key, rec := range newest {
		tenure, err := backend.Decode[hook.Tenure](rec)
		if err != nil {
			t.Logger.Error("skip an unreadable record of when a hook was set up", "key", key, "err", err)
			continue
		}
		t.tenures[key] = tenure
	}
	return nil
}

// amended are the tenures that the configuration changes. Those of what was removed stay on record with the time at
// which that was seen: a daemon that has not heard of it yet may lead next.
func (t *teller) amended(hooks []hook.Hook, now time.Time) map[string]hook.Tenure {
	changed, has := map[string]hook.Tenure{}, map[string]bool{}
	for _, h := range hooks {
		former := t.former(h.Name)
		has[h.Name] = true
		for _, m := range h.On {
			key := hook.TenureKey(h.Name, m)
			has[key] = true
			before, known := t.tenures[key]
			if !known {
				before = former
			}
			if after := before.Has(now); !known || after != before {
				changed[key] = after
			}
		}
	}
	for key, before := range t.tenures {
		if !has[key] && before.Gone.IsZero() {
			changed[key] = before.Lacks(now)
		}
	}
	return changed
}

// former is the tenure that an earlier version has written for all moments of a hook, under its name. It counts until
// they have tenures of their own: the daemons may be upgraded in the middle of an episode.
func (t *teller) former(name string) hook.Tenure {
	for key := range t.tenures {
		if strings.HasPrefix(key, name+"/") {
			return hook.Tenure{}
		}
	}
	return t.tenures[name]
}
