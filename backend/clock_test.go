package backend

import (
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A clock is never behind the wall, never behind what it observed, and always rises, however the wall clock jumps.
func TestClockRises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wall := rapid.Int64Range(1, 1e6)
		var now, floor int64
		c := NewClock(func() time.Time { return time.UnixMicro(now) })
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			now = wall.Draw(t, "wall")
			if rapid.Bool().Draw(t, "observe") {
				seen := wall.Draw(t, "seen")
				if err := c.Observe(seen); err != nil {
					t.Fatal(err)
				}
				floor = max(floor, seen)
				continue
			}
			v := c.Next()
			if v <= floor || v < now {
				t.Fatalf("Next = %d at wall %d, after %d", v, now, floor)
			}
			floor = v
		}
	})
}

// What is kept for a while is not removed earlier because a wall clock is wrong or set.
func TestWhatAClockFindsOld(t *testing.T) {
	const years, kept, runs = 10 * 365 * 24 * time.Hour, 90 * 24 * time.Hour, 24 * time.Hour
	right := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) // when the daemon starts
	for _, c := range []struct {
		name   string
		latest time.Duration // the latest version, how long before the start; -1: there is none
		start  time.Duration // how far ahead the wall clock is then
		later  time.Duration // and when what is old is removed
		want   time.Duration // what is older than that, when that happens, is removed
	}{
		{"a clock that is right", time.Minute, 0, 0, kept + time.Minute},
		{"the first start", -1, 0, 0, kept},
		{"the daemon was stopped for a month", 30 * 24 * time.Hour, 0, 0, kept + 30*24*time.Hour},
		{"set ahead", 0, 0, years, kept},
		{"set ahead after the first start", -1, 0, years, kept},
		{"set back", 0, 0, -years, kept + years},
		{"ahead at the start", 0, years, years, kept},
		{"back at the start", 0, -years, -years, kept + years},
		{"ahead at the start, and set right", 0, years, 0, kept},
	} {
		t.Run(c.name, func(t *testing.T) {
			ahead, passed := c.start, time.Duration(0)
			clock := NewClock(func() time.Time { return right.Add(passed + ahead) })
			clock.passed = func() time.Duration { return passed }
			if c.latest >= 0 {
				clock.Resume(right.Add(-c.latest).UnixMicro())
			}
			ahead, passed = c.later, runs
			if got := right.Add(runs).Sub(time.UnixMicro(clock.Before(kept))); got != c.want {
				t.Errorf("what is older than %v is removed, want %v", got, c.want)
			}
		})
	}
}

// A wall clock that is years ahead at several starts in a row, and is set right then, makes nothing older than it is:
// the versions of a life with such a clock say nothing of the time.
func TestStartsWithAClockThatIsAhead(t *testing.T) {
	const years, life, kept = 10 * 365 * 24 * time.Hour, time.Hour, 30 * 24 * time.Hour
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	written := now.UnixMicro()
	version, age := written, written
	for n, ahead := range []time.Duration{0, years, years, 2 * years, 0, years, 0} {
		began := now
		clock := NewClock(func() time.Time { return now.Add(ahead) })
		clock.passed = func() time.Duration { return now.Sub(began) }
		clock.Resume(version)
		clock.ResumeAge(age)
		now = now.Add(life)
		if before := clock.Before(kept); before > written {
			t.Errorf("life %d: what was written %v ago is removed as older than %v", n+1,
				now.Sub(time.UnixMicro(written)), kept)
		}
		version, age = clock.Next(), clock.Age()
		if got := now.Sub(time.UnixMicro(age)); got != 0 {
			t.Errorf("life %d: age is counted from %v ago", n+1, got)
		}
	}
}

func TestClockNeverWraps(t *testing.T) {
	c := NewClock(time.Now)
	c.Resume(math.MaxInt64)
	if v := c.Next(); v != math.MaxInt64 {
		t.Fatalf("Next = %d after the last number there is", v)
	}
}

func TestClockIsUniqueAmongGoroutines(t *testing.T) {
	c := NewClock(func() time.Time { return time.UnixMicro(1) })
	const each = 1000
	given := make([][]int64, 4)
	var wg sync.WaitGroup
	for i := range given {
		wg.Go(func() {
			for range each {
				given[i] = append(given[i], c.Next())
			}
		})
	}
	wg.Wait()
	all := slices.Concat(given...)
	slices.Sort(all)
	if n := len(slices.Compact(all)); n != len(given)*each {
		t.Fatalf("%d different versions, want %d", n, len(given)*each)
	}
}

func TestRecordCheck(t *testing.T) {
	good := Record{Kind: "tag", Key: "db1:3306/größe", Version: 1, Writer: "d1", Document: []byte(`{"value":"x"}`)}
	long := string(make([]byte, 0, MaxKey+1))
	for range MaxKey + 1 {
		long += "k"
	}
	for name, tc := range map[string]struct {
		change func(*Record)
		good   bool
	}{
		"a record":                    {func(*Record) {}, true},
		"a tombstone has no document": {func(r *Record) { r.Deleted, r.Document = true, nil }, true},
		"no kind":                     {func(r *Record) { r.Kind = "" }, false},
		"no key":                      {func(r *Record) { r.Key = "" }, false},
		"no writer":                   {func(r *Record) { r.Writer = "" }, false},
		"no version":                  {func(r *Record) { r.Version = 0 }, false},
		"a key too long":              {func(r *Record) { r.Key = long }, false},
		"a key that is no text":       {func(r *Record) { r.Key = "a\xff" }, false},
		"a zero byte":                 {func(r *Record) { r.Key = "a\x00b" }, false},
		"a document that is no JSON":  {func(r *Record) { r.Document = []byte(`{"value":`) }, false},
		"a document too long": {func(r *Record) {
			r.Document = append(append([]byte{'"'}, make([]byte, MaxDocument)...), '"')
		}, false},
		"a document that is not UTF-8": {func(r *Record) { r.Document = []byte("\"\xff\"") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := good
			tc.change(&r)
			if err := r.Check(); (err == nil) != tc.good {
				t.Fatalf("Check = %v", err)
			}
		})
	}
}

func TestDecodeReadsWhatEncodeWrote(t *testing.T) {
	type doc struct {
		Value string `json:"value"`
	}
	r, err := Encode("tag", "k", doc{"x"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Decode[doc](r); err != nil || got.Value != "x" {
		t.Fatalf("Decode = %v, %v", got, err)
	}
	if _, err := Decode[int](r); err == nil {
		t.Fatal("a document of another shape was decoded")
	}
	if _, err := Encode("tag", "k", func() {}); err == nil {
		t.Fatal("a function was encoded")
	}
}

// Versions that are too far ahead are refused, and said to be so; those of a daemon whose clock is a little ahead, and
// those that this daemon gave itself before its clock was set back, are not.
func TestClockIsBounded(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(ahead time.Duration) int64 { return now.Add(ahead).UnixMicro() }
	c := NewClock(func() time.Time { return now })
	for _, far := range []int64{math.MaxInt64, at(time.Hour + time.Second), at(87600 * time.Hour)} {
		err := c.See(Record{Kind: "tag", Key: "db1/x", Version: far, Writer: "w"})
		if err == nil || !strings.Contains(err.Error(), "backend.clock_ahead") {
			t.Errorf("version %d: %v", far, err)
		}
		if v := c.Next(); v > at(time.Second) {
			t.Errorf("the clock follows it to %d", v)
		}
		if says := c.Runaway(); len(says) != 1 || !strings.Contains(says[0], "db1/x") {
			t.Errorf("it is not named: %v", says)
		}
	}
	if err := c.See(Record{Kind: "tag", Key: "db1/x", Version: at(time.Hour), Writer: "w"}); err != nil || c.Next() <=
		at(time.Hour) || len(c.Runaway()) != 0 {
		t.Errorf("an hour ahead: %v, still refused %v", err, c.Runaway())
	}

	before := c.Latest()
	now = now.Add(-87600 * time.Hour) // and then the daemon starts again
	c = NewClock(func() time.Time { return now })
	c.Resume(before)
	if err := c.Observe(before + 1); err != nil || c.Next() <= before+1 {
		t.Errorf("what was before the clock was set back: %v", err)
	}
}
