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

// enrol brings the tenures into line with the configuration; what has no tenure yet has it from now on. It says whether they are known: until then nobody
// is told anything.
func (t *teller) enrol(ctx context.Context, hooks []hook.Hook, now time.Time) bool {
	short, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	if t.tenures == nil {
		if err := t.readTenures(short); err != nil {
			if len(hooks) > 0 {
				t.Logger.Error("hooks wait: since when they are configured can't be read", "err", err)
			}
			return false
		}
		now = t.began // what this leadership finds, however soon, was not before
	}
	changed := t.amended(hooks, now)
	if len(changed) == 0 {
		return true
	}
	var records []backend.Record
	for _, key := range slices.Sorted(maps.Keys(changed)) {
		t.tenures[key] = changed[key]
		records = append(records, t.encode(tenureKind, key, changed[key]))
	}
	if err := t.Store.Put(short, records...); err != nil {
		t.metrics.bookkeeping.Inc()
		t.Logger.Error("since when hooks are configured could not be stored", "hooks", slices.Sorted(maps.Keys(changed)), "err", err)
	}
	return true
}

func (t *teller) readTenures(ctx context.Context) error {
	records, err := t.Store.List(ctx, tenureKind)
	if err != nil {
		return err
	}
	t.tenures = map[string]hook.Tenure{}
	for _, rec := range records {
		t.Clock.Observe(rec.Version)
		if tenure, err := backend.Decode[hook.Tenure](rec); err == nil {
			t.tenures[rec.Key] = tenure
		}
	}
	return nil
}

// amended are the tenures that the configuration changes. Those of what was removed stay on record with the time at which that was seen: a daemon that has
// not heard of it yet may lead next.
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

// former is the tenure that an earlier version has written for all moments of a hook, under its name. It counts until they have tenures of their own: the
// daemons may be upgraded in the middle of an episode.
func (t *teller) former(name string) hook.Tenure {
	for key := range t.tenures {
		if strings.HasPrefix(key, name+"/") {
			return hook.Tenure{}
		}
	}
	return t.tenures[name]
}
