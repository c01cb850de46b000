package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"orchestrator/backend"
)

// Pair is two stores that replicate each other, statement by statement and later. Both may be written at any time.
type Pair struct {
	A, B           backend.Store
	LeaseA, LeaseB backend.Lease
	Cut, Heal      func() error // neither hears of the other; both do again
	Drain          func() error // waits until each has all of the other; not while cut
}

// RunPair holds two stores to what makes them a pair: whatever statement is late, repeated, out of order on one of
// them, or met another there, both end the same, and that is the best of each key.
func RunPair(t *testing.T, p Pair) {
	t.Run("what one gets, the other has", func(t *testing.T) { p.follow(t) })
	t.Run("both written while cut: the newer wins on both", func(t *testing.T) { p.crossing(t) })
	t.Run("any records, anywhere, in any order, cut or not", func(t *testing.T) { p.anything(t) })
	t.Run("beats settle what takings left different", func(t *testing.T) { p.leases(t) })
}

func (p Pair) both() map[string]backend.Store {
	return map[string]backend.Store{"A": p.A, "B": p.B}
}

func (p Pair) want(t testing.TB, kind string, want []backend.Record) {
	t.Helper()
	if err := p.Drain(); err != nil {
		t.Fatal(err)
	}
	for name, s := range p.both() {
		if got := ofKind(t, s, kind); show(got) != show(want) {
			t.Fatalf("%s ends with\n%swant\n%s", name, show(got), show(want))
		}
	}
}

func ofKind(t testing.TB, s backend.Store, kind string) []backend.Record {
	t.Helper()
	all, err := s.Everything(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(r backend.Record) bool { return r.Kind != kind })
}

func (p Pair) follow(t *testing.T) {
	a, b := rec("follow", "a", 1, "w"), deleted(rec("follow", "b", 2, "w"))
	put(t, p.A, a, b)
	p.want(t, "follow", []backend.Record{a, b})
	a = rec("follow", "a", 2, "w")
	put(t, p.B, a)
	p.want(t, "follow", []backend.Record{a, b})
	if err := p.A.Purge(t.Context(), "follow", 3, false); err != nil {
		t.Fatal(err)
	}
	p.want(t, "follow", []backend.Record{a})
}

func (p Pair) crossing(t *testing.T) {
	check(t, p.Cut())
	for i, r := range []backend.Record{rec("cross", "k", 5, "w1"), rec("cross", "k", 5, "w2"),
		rec("cross", "k", 4, "w9"), rec("cross", "l", 10, "w"), deleted(rec("cross", "l", 9, "w"))} {
		put(t, []backend.Store{p.A, p.B}[i%2], r)
	}
	check(t, p.Heal())
	p.want(t, "cross", []backend.Record{rec("cross", "k", 5, "w2"), rec("cross", "l", 10, "w")})
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rounds are few: each waits for replication twice, and holds many writes.
const rounds = 12

func (p Pair) anything(t *testing.T) {
	for round := range rounds {
		kind := fmt.Sprintf("any%03d", round)
		records := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) backend.Record {
			r := rec(kind, rapid.SampledFrom([]string{"a", "b", "ß", "A", "a "}).Draw(rt, "key"),
				rapid.Int64Range(1, 6).Draw(rt, "version"),
				rapid.SampledFrom([]string{"w1", "w2", "W1", "w1 "}).Draw(rt, "writer"))
			if (r.Version+int64(len(r.Writer)))%3 == 0 {
				r = deleted(r)
			}
			return r
		}), 20, 60).Example(round)
		cut := round%3 > 0
		if cut {
			check(t, p.Cut())
		}
		for i, r := range records {
			// To one, now and then to both, and sometimes with others and again.
			put(t, []backend.Store{p.A, p.B}[(i*7+i/3+int(r.Version))%2], records[max(0, i-i%4):i+1]...)
			if i%9 == 0 {
				put(t, p.A, r)
				put(t, p.B, r)
			}
		}
		if cut {
			check(t, p.Heal())
		}
		p.want(t, kind, best(records))
	}
}

// best returns the winner of each key, sorted.
func best(records []backend.Record) (out []backend.Record) {
	winners := map[string]backend.Record{}
	for _, r := range records {
		if old, ok := winners[r.Key]; !ok || r.Wins(old) {
			winners[r.Key] = r
		}
	}
	for _, r := range winners {
		out = append(out, r)
	}
	slices.SortFunc(out, byKey)
	return out
}

func (p Pair) leases(t *testing.T) {
	var a, b backend.Hold
	for round := range rounds {
		check(t, p.Cut())
		term := a.Term + 1
		takeA, errA := p.LeaseA.Take(t.Context(), a, hold("a", term, 1))
		takeB, errB := p.LeaseB.Take(t.Context(), b, hold("b", term+int64(round%2), 1))
		if errA != nil || errB != nil || takeA.Holder != "a" || takeB.Holder != "b" {
			t.Fatalf("takings of both sides: %v, %v; %v, %v", takeA, errA, takeB, errB)
		}
		check(t, p.Heal())
		check(t, p.Drain())
		for beat := int64(2); beat < 4; beat++ { // each goes on for a while where it is
			_, errA = p.LeaseA.Beat(t.Context(), hold("a", takeA.Term, beat))
			_, errB = p.LeaseB.Beat(t.Context(), hold("b", takeB.Term, beat))
			if errA != nil || errB != nil {
				t.Fatal(errA, errB)
			}
		}
		check(t, p.Drain())
		a, errA = p.LeaseA.Read(t.Context())
		b, errB = p.LeaseB.Read(t.Context())
		if want := hold("b", takeB.Term, 3); errA != nil || errB != nil || a != b || a != want {
			t.Fatalf("round %d ends with %v and %v, want %v (%v, %v)", round, a, b, want, errA, errB)
		}
	}
}
