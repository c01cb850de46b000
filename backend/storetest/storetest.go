// Package storetest holds every store to what package backend promises: a store's own test is a short caller of Run,
// RunLease and RunCrash, and adds only what is special about that store.
//
// The one idea: a property is stated once, and shown on real stores with random records, never on a model of them.
package storetest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"orchestrator/backend"
)

// Opener opens the store that is kept in dir: opened twice, it is the same store.
type Opener func(t testing.TB, dir string) backend.Store

// Run holds a store to the contract of backend.Store.
func Run(t *testing.T, open Opener) {
	t.Run("a write is there, also after reopening", func(t *testing.T) { reopening(t, open) })
	t.Run("the newer wins", func(t *testing.T) { newer(t, open) })
	t.Run("what is deleted is gone and remembered", func(t *testing.T) { tombstones(t, open) })
	t.Run("lists are of one kind, in order of their bytes", func(t *testing.T) { lists(t, open) })
	t.Run("purge removes old tombstones, or all", func(t *testing.T) { purge(t, open) })
	t.Run("any JSON and any text comes back", func(t *testing.T) { roundTrip(t, open) })
	t.Run("what is no record is refused, with all that came with it", func(t *testing.T) { refused(t, open) })
	t.Run("a big document, and very many records at once", func(t *testing.T) { big(t, open) })
	t.Run("writers at the same time", func(t *testing.T) { concurrent(t, open) })
	t.Run("an ended context writes nothing", func(t *testing.T) { ended(t, open) })
	t.Run("what is put together is there whole or not at all", func(t *testing.T) { whole(t, open) })
	t.Run("an identity is stable", func(t *testing.T) { identity(t, open) })
	t.Run("merging is commutative, associative and idempotent", func(t *testing.T) { merging(t, open) })
}

func fresh(t testing.TB, open Opener) backend.Store {
	s := open(t, t.TempDir())
	t.Cleanup(func() { s.Close() })
	return s
}

// rec is a record whose content follows from its identity, as it does in life: one (version, writer) writes a key once.
func rec(kind, key string, version int64, writer string) backend.Record {
	return backend.Record{Kind: kind, Key: key, Version: version, Writer: writer,
		Document: json.RawMessage(fmt.Sprintf(`{"v":%d,"by":%q}`, version, writer))}
}

func deleted(r backend.Record) backend.Record {
	r.Deleted, r.Document = true, nil
	return r
}

func put(t testing.TB, s backend.Store, records ...backend.Record) {
	t.Helper()
	if err := s.Put(t.Context(), records...); err != nil {
		t.Fatal(err)
	}
}

func everything(t testing.TB, s backend.Store) []backend.Record {
	t.Helper()
	all, err := s.Everything(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func wantEverything(t testing.TB, s backend.Store, want ...backend.Record) {
	t.Helper()
	if got := show(everything(t, s)); got != show(want) {
		t.Fatalf("the store holds\n%swant\n%s", got, show(want))
	}
}

func show(records []backend.Record) string {
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintf(&b, "  %s %q %d %s deleted=%v %s\n", r.Kind, r.Key, r.Version, r.Writer, r.Deleted, r.Document)
	}
	return b.String()
}

func byKey(a, b backend.Record) int {
	return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Key, b.Key))
}

func reopening(t *testing.T, open Opener) {
	dir := t.TempDir()
	s := open(t, dir)
	want := []backend.Record{rec("a", "k1", 1, "w"), deleted(rec("a", "k2", 2, "w")), rec("b", "k1", 3, "w")}
	put(t, s, want...)
	wantEverything(t, s, want...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer s.Close()
	wantEverything(t, s, want...)
	put(t, s) // nothing at all is no error
	wantEverything(t, s, want...)
}

func newer(t *testing.T, open Opener) {
	old, tie, later := rec("a", "k", 5, "w1"), rec("a", "k", 5, "w2"), rec("a", "k", 6, "w1")
	for name, tc := range map[string]struct{ first, second, want backend.Record }{
		"higher version":                 {old, later, later},
		"lower version":                  {later, old, later},
		"same version, higher writer":    {old, tie, tie},
		"same version, lower writer":     {tie, old, tie},
		"higher version of lower writer": {tie, later, later},
		"a deletion over a life":         {old, deleted(later), deleted(later)},
		"a life over a deletion":         {deleted(old), later, later},
		"an old life after a deletion":   {deleted(later), old, deleted(later)},
		"numbers, and not their text":    {rec("a", "k", 9, "w"), rec("a", "k", 10, "w"), rec("a", "k", 10, "w")},
	} {
		t.Run(name, func(t *testing.T) {
			apart, together := fresh(t, open), fresh(t, open)
			put(t, apart, tc.first)
			put(t, apart, tc.second)
			wantEverything(t, apart, tc.want)
			put(t, together, tc.first, tc.second)
			wantEverything(t, together, tc.want)
		})
	}
}

func tombstones(t *testing.T, open Opener) {
	s := fresh(t, open)
	if _, err := s.Get(t.Context(), "a", "k"); !errors.Is(err, backend.ErrNotFound) {
		t.Fatalf("Get of what never was: %v, want ErrNotFound", err)
	}
	live, gone := rec("a", "k", 1, "w"), deleted(rec("a", "k", 2, "w"))
	put(t, s, live)
	if got, err := s.Get(t.Context(), "a", "k"); err != nil ||
		show([]backend.Record{got}) != show([]backend.Record{live}) {
		t.Fatalf("Get = %v, %v", got, err)
	}
	put(t, s, gone)
	if _, err := s.Get(t.Context(), "a", "k"); !errors.Is(err, backend.ErrNotFound) {
		t.Fatalf("Get of what is deleted: %v, want ErrNotFound", err)
	}
	if got, err := s.List(t.Context(), "a"); err != nil || len(got) > 0 {
		t.Fatalf("List shows what is deleted: %v, %v", got, err)
	}
	wantEverything(t, s, gone)
}

func lists(t *testing.T, open Opener) {
	s := fresh(t, open)
	keys := []string{"", "A", "Z", "a", "a b", "aa", "z", "ß", "é", "日本", "😀"}[1:]
	for i, k := range slices.Backward(keys) {
		put(t, s, rec("a", k, int64(i+1), "w"))
	}
	put(t, s, rec("A", "x", 1, "w"), rec("b", "y", 1, "w"))
	got, err := s.List(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	if listed := keysOf(got); !slices.Equal(listed, keys) {
		t.Fatalf("List = %q, want %q: no two keys are one, and bytes order them", listed, keys)
	}
	if all := everything(t, s); !slices.IsSortedFunc(all, byKey) || len(all) != len(keys)+2 {
		t.Fatalf("Everything is not in order, or not everything:\n%s", show(all))
	}
	if got, err := s.List(t.Context(), "none"); err != nil || len(got) != 0 {
		t.Fatalf("List of an unknown kind = %v, %v", got, err)
	}
}

func keysOf(records []backend.Record) (out []string) {
	for _, r := range records {
		out = append(out, r.Key)
	}
	return out
}

func purge(t *testing.T, open Opener) {
	s := fresh(t, open)
	oldGone, oldLive, newGone, other := deleted(rec("a", "1", 10, "w")), rec("a", "2", 10, "w"),
		deleted(rec("a", "3", 20, "w")), deleted(rec("b", "1", 10, "w"))
	put(t, s, oldGone, oldLive, newGone, other)
	for _, step := range []struct {
		before int64
		all    bool
		want   []backend.Record
	}{
		{10, false, []backend.Record{oldGone, oldLive, newGone, other}},
		{11, false, []backend.Record{oldLive, newGone, other}},
		{11, true, []backend.Record{newGone, other}},
	} {
		if err := s.Purge(t.Context(), "a", step.before, step.all); err != nil {
			t.Fatal(err)
		}
		wantEverything(t, s, step.want...)
	}
}

func roundTrip(t *testing.T, open Opener) {
	s := fresh(t, open)
	for i, text := range []string{`null`, `true`, `0`, `""`, `"\u0000"`, `{}`, `[]`, ` {"b" : 1, "a":2} `,
		`"größe 日本 😀"`, `1e400`, `12345678901234567890`, `"'; DROP TABLE record; --"`, `"\\ % _ ?"`} {
		r := rec("doc", fmt.Sprintf("k'\"\\%%_%d", i), 1, "w")
		r.Document = json.RawMessage(text)
		put(t, s, r)
		got, err := s.Get(t.Context(), r.Kind, r.Key)
		if err != nil || string(got.Document) != text {
			t.Errorf("document %s came back as %s, %v", text, got.Document, err)
		}
	}
}

func refused(t *testing.T, open Opener) {
	s := fresh(t, open)
	good := rec("a", "k", 1, "w")
	bad := good
	bad.Version = 0
	if err := s.Put(t.Context(), good, bad); err == nil {
		t.Fatal("a record without a version was taken")
	}
	wantEverything(t, s)
}

func big(t *testing.T, open Opener) {
	s := fresh(t, open)
	large := rec("a", "large", 1, "w")
	large.Document = json.RawMessage(`"` + strings.Repeat("'", backend.MaxDocument-2) + `"`)
	put(t, s, large)
	if got, err := s.Get(t.Context(), "a", "large"); err != nil || string(got.Document) != string(large.Document) {
		t.Fatalf("a document of %d bytes came back with %d, %v", len(large.Document), len(got.Document), err)
	}
	var many []backend.Record
	for i := range 2345 {
		many = append(many, rec("many", fmt.Sprintf("%05d", i), int64(i+1), "w"))
	}
	slices.Reverse(many)
	put(t, s, many...)
	slices.Reverse(many)
	got, err := s.List(t.Context(), "many")
	if err != nil || show(got) != show(many) {
		t.Fatalf("%d records came back as %d, %v", len(many), len(got), err)
	}
}

func concurrent(t *testing.T, open Opener) {
	dir := t.TempDir()
	const writers, rounds = 4, 15
	clock := make([]int64, writers)
	var wg sync.WaitGroup
	for w := range writers {
		s := open(t, dir) // each a connection of its own, as other daemons would be
		defer s.Close()
		wg.Go(func() {
			for i := range rounds {
				clock[w] = int64(i*writers + w + 1)
				mine, shared := rec("mine", fmt.Sprint(w, "-", i), 1, "w"),
					rec("shared", "k", clock[w], fmt.Sprint("w", w))
				if err := s.Put(t.Context(), shared, mine); err != nil {
					t.Errorf("writer %d: %v", w, err)
				}
				if _, err := s.List(t.Context(), "mine"); err != nil {
					t.Errorf("reader %d: %v", w, err)
				}
			}
		})
	}
	wg.Wait()
	s := open(t, dir)
	defer s.Close()
	if mine, err := s.List(t.Context(), "mine"); err != nil || len(mine) != writers*rounds {
		t.Errorf("%d records, %v; want %d", len(mine), err, writers*rounds)
	}
	if r, err := s.Get(t.Context(), "shared", "k"); err != nil || r.Version != slices.Max(clock) {
		t.Errorf("the shared record is of version %d, %v; want %d", r.Version, err, slices.Max(clock))
	}
}

func ended(t *testing.T, open Opener) {
	s := fresh(t, open)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Put(ctx, rec("a", "k", 1, "w")); err == nil {
		t.Fatal("Put with an ended context says that it has written")
	}
	if _, err := s.Everything(ctx); err == nil {
		t.Fatal("Everything with an ended context answers")
	}
	wantEverything(t, s)
}

// whole breaks off writes of many records at ever later moments.
func whole(t *testing.T, open Opener) {
	s := fresh(t, open)
	broken := 0
	for i := range 12 {
		kind := fmt.Sprint("round", i)
		var many []backend.Record
		for n := range 1300 { // several statements
			many = append(many, rec(kind, fmt.Sprint(n), 1, "w"))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*3*time.Millisecond)
		err := s.Put(ctx, many...)
		cancel()
		if err != nil {
			broken++
		}
		there, listErr := s.List(t.Context(), kind)
		if n := len(there); listErr != nil || n != 0 && n != len(many) || n == 0 && err == nil {
			t.Fatalf("Put said %v, and %d of %d records are there (%v)", err, n, len(many), listErr)
		}
	}
	if broken < 2 {
		t.Logf("only %d writes were broken off: this has shown little", broken)
	}
}

func identity(t *testing.T, open Opener) {
	dir := t.TempDir()
	var identities []string
	for range 2 {
		s := open(t, dir)
		f, err := s.Identity(t.Context())
		if err != nil || f == "" {
			t.Fatalf("Identity = %q, %v", f, err)
		}
		identities = append(identities, f)
		s.Close()
	}
	if identities[0] != identities[1] {
		t.Fatalf("identities of one store: %q", identities)
	}
}

// merging writes the same random records into two stores: in different orders, cut into different calls, some of them
// twice. Both end with the same, which is the best record of each key.
func merging(t *testing.T, open Opener) {
	one, two := fresh(t, open), fresh(t, open)
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		kind := fmt.Sprintf("round%06d", round) // a kind of its own stands for a store of its own
		drawn := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) backend.Record {
			key := rapid.SampledFrom([]string{"a", "b", "ß", "A", "a "}).Draw(rt, "key")
			r := rec(kind, key, rapid.Int64Range(1, 4).Draw(rt, "version"),
				rapid.SampledFrom([]string{"w1", "w2", "W1"}).Draw(rt, "writer"))
			if (r.Version+int64(len(r.Writer)+int(r.Writer[0])))%3 == 0 {
				r = deleted(r)
			}
			return r
		}), 1, 12).Draw(rt, "records")

		best := map[string]backend.Record{}
		for _, r := range drawn {
			if old, ok := best[r.Key]; !ok || r.Wins(old) {
				best[r.Key] = r
			}
		}
		var want []backend.Record
		for _, r := range best {
			want = append(want, r)
		}
		slices.SortFunc(want, byKey)

		again := rapid.SliceOfN(rapid.SampledFrom(drawn), 0, 4).Draw(rt, "again")
		for name, s := range map[string]backend.Store{"one": one, "two": two} {
			order := rapid.Permutation(slices.Concat(drawn, again)).Draw(rt, name)
			for len(order) > 0 {
				n := rapid.IntRange(1, len(order)).Draw(rt, "together")
				if err := s.Put(context.Background(), order[:n]...); err != nil {
					rt.Fatal(err)
				}
				order = order[n:]
			}
			all, err := s.Everything(context.Background())
			if err != nil {
				rt.Fatal(err)
			}
			all = slices.DeleteFunc(all, func(r backend.Record) bool { return r.Kind != kind })
			if show(all) != show(want) {
				rt.Fatalf("store %s ends with\n%swant\n%s", name, show(all), show(want))
			}
		}
	})
}
