package storetest

import (
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"orchestrator/backend"
)

// LeaseOpener opens the lease that is kept in dir: opened twice, it is the same lease.
type LeaseOpener func(t testing.TB, dir string) backend.Lease

// RunLease holds a lease to the contract of backend.Lease.
func RunLease(t *testing.T, open LeaseOpener) {
	t.Run("nobody has held it", func(t *testing.T) {
		l := open(t, t.TempDir())
		wantHold(t, l, backend.Hold{})
	})
	t.Run("only what was seen is taken", func(t *testing.T) { taking(t, open) })
	t.Run("a beat merges", func(t *testing.T) { beating(t, open) })
	t.Run("what all see after any beats is the highest", func(t *testing.T) { highest(t, open) })
	t.Run("of many who take at once one gets it", func(t *testing.T) { oneTakes(t, open) })
}

func wantHold(t testing.TB, l backend.Lease, want backend.Hold) {
	t.Helper()
	if got, err := l.Read(t.Context()); err != nil || got != want {
		t.Fatalf("Read = %v, %v; want %v", got, err, want)
	}
}

func hold(holder string, term, beat int64) backend.Hold {
	return backend.Hold{Holder: holder, Term: term, Beat: beat}
}

func taking(t *testing.T, open LeaseOpener) {
	dir := t.TempDir()
	l, other := open(t, dir), open(t, dir)
	none, a1, b2 := backend.Hold{}, hold("a", 1, 1), hold("b", 2, 1)
	for _, step := range []struct {
		name             string
		seen, next, want backend.Hold
	}{
		{"what never was cannot be taken over", hold("x", 1, 1), hold("a", 2, 1), none},
		{"the empty lease is taken", none, a1, a1},
		{"by one only", none, hold("b", 9, 1), a1},
		{"not when it has beaten since", hold("a", 1, 0), b2, a1},
		{"not when it was of another term", hold("a", 0, 1), b2, a1},
		{"not when another held it", hold("c", 1, 1), b2, a1},
		{"when it is as it was seen", a1, b2, b2},
	} {
		if got, err := l.Take(t.Context(), step.seen, step.next); err != nil || got != step.want {
			t.Fatalf("%s: Take = %v, %v; want %v", step.name, got, err, step.want)
		}
		wantHold(t, other, step.want)
	}
	if got, err := l.Take(t.Context(), b2, hold("a", 1, 7)); err == nil {
		t.Fatalf("a taking that lowers the term was not refused: %v", got)
	}
	wantHold(t, l, b2)
}

func beating(t *testing.T, open LeaseOpener) {
	l := open(t, t.TempDir())
	for _, step := range []struct {
		name        string
		beat, stays backend.Hold
	}{
		{"a lost row comes back", hold("a", 3, 7), hold("a", 3, 7)},
		{"again changes nothing", hold("a", 3, 7), hold("a", 3, 7)},
		{"a late one loses", hold("a", 3, 6), hold("a", 3, 7)},
		{"the next one stays", hold("a", 3, 8), hold("a", 3, 8)},
		{"a lower term loses", hold("b", 2, 99), hold("a", 3, 8)},
		{"a higher term wins with any beat", hold("b", 4, 1), hold("b", 4, 1)},
		{"among equals the holder decides", hold("c", 4, 1), hold("c", 4, 1)},
		{"both ways", hold("b", 4, 1), hold("c", 4, 1)},
		{"released: nobody holds it", hold("", 4, 2), hold("", 4, 2)},
		{"numbers, and not their text", hold("c", 10, 1), hold("c", 10, 1)},
	} {
		if got, err := l.Beat(t.Context(), step.beat); err != nil || got != step.stays {
			t.Fatalf("%s: Beat = %v, %v; want %v", step.name, got, err, step.stays)
		}
		wantHold(t, l, step.stays)
	}
}

func highest(t *testing.T, open LeaseOpener) {
	holds := rapid.Custom(func(rt *rapid.T) backend.Hold {
		return hold(rapid.SampledFrom([]string{"", "a", "B", "ß"}).Draw(rt, "holder"),
			rapid.Int64Range(1, 3).Draw(rt, "term"), rapid.Int64Range(1, 3).Draw(rt, "beat"))
	})
	l := open(t, t.TempDir())
	var best backend.Hold
	base := int64(0)
	rapid.Check(t, func(rt *rapid.T) {
		base += 10 // above all that the rounds before have left
		for _, h := range rapid.SliceOfN(holds, 1, 8).Draw(rt, "beats") {
			h.Term += base
			if h.Wins(best) {
				best = h
			}
			if got, err := l.Beat(t.Context(), h); err != nil || got != best {
				rt.Fatalf("Beat(%v) = %v, %v; want %v", h, got, err, best)
			}
		}
	})
}

func oneTakes(t *testing.T, open LeaseOpener) {
	dir := t.TempDir()
	const takers = 6
	var leases []backend.Lease
	for range takers {
		leases = append(leases, open(t, dir))
	}
	seen := backend.Hold{}
	for term := int64(1); term <= 10; term++ {
		var wg sync.WaitGroup
		after := make([]backend.Hold, takers)
		for i, l := range leases {
			wg.Go(func() {
				var err error
				if after[i], err = l.Take(t.Context(), seen, hold(fmt.Sprint("d", i), term, 1)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for i := range after {
			if after[i] != after[0] || after[i].Term != term {
				t.Fatalf("term %d: the takers saw %v", term, after)
			}
		}
		seen = after[0]
	}
}
