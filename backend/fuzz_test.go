package backend_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"orchestrator/backend"
	"orchestrator/backend/storetest"
)

// away takes nothing while it is down.
type away struct {
	backend.Store
	down bool
}

func (s *away) Put(ctx context.Context, records ...backend.Record) error {
	if s.down {
		return backend.ErrUnavailable
	}
	return s.Store.Put(ctx, records...)
}

// FuzzOutbox has a record in the store, and others written behind. What a store takes is never lost, the newest is
// listed, and what no store takes keeps no other from it.
func FuzzOutbox(f *testing.F) {
	f.Add("tag", "a", int64(1), "w", "{}", int64(2), "v", false)
	f.Add("tag", "a", int64(2), "w", "null", int64(1), "v", true)
	f.Add("tag", "a\x00", int64(-1), "", "{", int64(1), "v", true)
	f.Add("", "\xff", int64(1<<62), "w", "", int64(0), "", false)
	f.Fuzz(func(t *testing.T, kind, key string, version int64, writer, document string, next int64, other string,
		deleted bool) {
		ctx := t.Context()
		store := &away{Store: &storetest.Memory{}}
		old := backend.Record{Kind: kind, Key: key, Version: version, Writer: writer, Document: []byte(document)}
		stored := store.Put(ctx, old) == nil
		r := backend.Record{Kind: kind, Key: key, Version: next, Writer: other, Document: []byte("{}"),
			Deleted: deleted}
		good := backend.Record{Kind: "tag", Key: "good of the others", Version: 1, Writer: "w", Document: []byte("{}")}
		o := backend.NewOutbox(store, time.Now)
		store.down = true
		if err := o.Put(ctx, r, good); err == nil {
			t.Fatal("acknowledged by a store that is down")
		}
		if _, err := o.List(ctx, kind); err != nil {
			t.Fatal(err)
		}
		store.down = false
		err := o.Empty(ctx)
		if bad := r.Check(); (err != nil) != (bad != nil) {
			t.Fatalf("stored: %v, want %v", err, bad)
		}
		if waits := o.Waits(); (waits > 0) != (r.Check() != nil) {
			t.Fatalf("%d wait, after %v", waits, err)
		}
		if _, err := store.Get(ctx, good.Kind, good.Key); err != nil && (kind != good.Kind || key != good.Key) {
			t.Fatalf("the good one is lost: %v", err)
		}
		if r.Check() != nil {
			return
		}
		want := r
		if stored && !r.Wins(old) {
			want = old
		}
		got, err := store.Get(ctx, kind, key)
		if want.Deleted != errors.Is(err, backend.ErrNotFound) || err == nil && got.Version != want.Version {
			t.Fatalf("there is %+v (%v), want %+v", got, err, want)
		}
	})
}
