package hook

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }

// others are episodes in which a server failed and, where the second name is not "nobody", was replaced; each with the
// second in which it was opened.
func others(text string) (out []plan.Episode) {
	for _, word := range strings.Fields(text) {
		names, when, _ := strings.Cut(word, "@")
		from, to, _ := strings.Cut(names, ">")
		var s int
		fmt.Sscan(when, &s)
		e := plan.Episode{ID: word, Kind: plan.PrimaryFailover, Failed: topology.Key{Host: from, Port: 3306},
			Opened: at(s)}
		if to != "nobody" {
			e.Candidate, e.Promoted = topology.Key{Host: to, Port: 3306}, at(s)
		}
		out = append(out, e)
	}
	return out
}

// events make an episode: opened at noon, and then what the words say, each with its second.
func events(text string) (e plan.Episode, blocked time.Time) {
	e = plan.Episode{ID: "e1", Kind: plan.PrimaryFailover, Cluster: "shop", Opened: noon}
	for _, word := range strings.Fields(text) {
		name, when, _ := strings.Cut(word, "@")
		var s int
		fmt.Sscan(when, &s)
		switch name {
		case "promoted":
			e.Promoted, e.Candidate = at(s), topology.Key{Host: "db2", Port: 3306}
		case "closed":
			e.Closed = at(s)
		case "fenced":
			e.Fenced = at(s)
		case "blocked":
			blocked = at(s)
		case "intermediate":
			e.Kind = plan.IntermediateFailover
		}
	}
	return e, blocked
}

// tenures are those of hooks that were configured then.
func tenures(since time.Time, hooks ...Hook) map[string]Tenure {
	out := map[string]Tenure{}
	for _, h := range hooks {
		for _, m := range h.On {
			out[TenureKey(h.Name, m)] = Tenure{Since: since}
		}
	}
	return out
}

func TestPending(t *testing.T) {
	all := Hook{Name: "all", On: Moments(), Attempts: 3}
	vip := Hook{Name: "vip", On: []Moment{Promoted}, Attempts: 3}
	ran := func(h Hook, m Moment, attempt int, o Outcome, ended int) Run {
		r := Run{Hook: h.Name, Moment: m, Attempt: attempt, Outcome: o, Started: at(0)}
		if o != "" {
			r.Ended = at(ended)
		}
		return r
	}
	for _, c := range []struct {
		says   string
		events string
		now    int
		since  int
		runs   []Run
		want   string
	}{
		{"each hook hears its first moment first", "promoted@2 closed@3", 3, -1, nil,
			"all opened 1 @0, vip promoted 1 @2"},
		{"the next when that went well", "promoted@2", 3, -1, []Run{ran(all, Opened, 1, OK, 1)},
			"all promoted 1 @2, vip promoted 1 @2"},
		{"a failure is tried again, and holds up what comes later", "promoted@2", 3, -1,
			[]Run{ran(all, Opened, 1, Failed, 1)}, "all opened 2 @2, vip promoted 1 @2"},
		{"pauses double", "", 3, -1, []Run{ran(all, Opened, 2, TimedOut, 1)}, "all opened 3 @3"},
		{"a failure for good holds up nothing", "promoted@2", 3, -1, []Run{ran(all, Opened, 3, Failed, 1)},
			"all promoted 1 @2, vip promoted 1 @2"},
		{"one whose daemon died is run again", "", 3, -1, []Run{ran(all, Opened, 1, "", 0)}, "all opened 2 @0"},
		{"one that was interrupted, although it was the last attempt", "", 9, -1,
			[]Run{ran(all, Opened, 3, Interrupted, 1)}, "all opened 4 @5"},
		{"but not for ever", "", 9, -1, []Run{ran(all, Opened, 6, Interrupted, 1)}, ""},
		{"nor one whose daemons die in it", "", 9, -1, []Run{ran(all, Opened, 6, "", 0)}, ""},
		{"what began before the hook was there is none of its business", "promoted@2", 3, 1, nil, ""},
		{"what is a day old is told to nobody", "promoted@2", 24*3600 + 1, -1, nil,
			"all promoted 1 @2, vip promoted 1 @2"},
		{"a refusal that passes is not told", "blocked@2", 6, -1, []Run{ran(all, Opened, 1, OK, 1)}, ""},
		{"one that stays is", "blocked@2", 7, -1, []Run{ran(all, Opened, 1, OK, 1)}, "all blocked 1 @2"},
		{"nobody promoted: withdrawn", "closed@2", 7, -1, []Run{ran(all, Opened, 1, OK, 1)}, "all withdrawn 1 @2"},
		{"an intermediate needs no promotion", "intermediate closed@2", 7, -1, []Run{ran(all, Opened, 1, OK, 1)},
			"all recovered 1 @2"},
		{"fenced last", "promoted@2 closed@3 fenced@5", 7, -1,
			[]Run{ran(all, Opened, 1, OK, 1), ran(all, Promoted, 1, OK, 2), ran(all, Recovered, 1, OK, 3),
				ran(vip, Promoted, 1, OK, 3)},
			"all fenced 1 @5"},
	} {
		t.Run(c.says, func(t *testing.T) {
			e, blocked := events(c.events)
			x := Case{Episode: e, Blocked: blocked, Hooks: []Hook{all, vip}, Now: at(c.now), Runs: map[string]Run{},
				Tenures: tenures(at(c.since), all, vip)}
			for _, r := range c.runs {
				x.Runs[Key(e.ID, r.Moment, r.Hook)] = r
			}
			var got []string
			for _, o := range Pending(x) {
				got = append(got, fmt.Sprintf("%s %s %d @%d", o.Hook.Name, o.Moment, o.Attempt,
					int(o.At.Sub(noon).Seconds())))
			}
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("pending %q, want %q", s, c.want)
			}
		})
	}
}

func TestNobodyIsToldOfAPrimaryThatHasBeenReplaced(t *testing.T) {
	e, _ := events("promoted@2 closed@3 fenced@9")
	for _, c := range []struct {
		says   string
		others string
		want   string
	}{
		{"the new primary has failed, and was replaced", "db2>db3@5", "fenced"},
		{"it has failed, and nobody has taken its place yet", "db2>nobody@5", "promoted"},
		{"it had failed before, and is back", "db2>db1@-60", "promoted"},
		{"another one was replaced", "db7>db8@5", "promoted"},
		{"it has failed twice, first before", "db2>db1@-60 db2>db3@5", "fenced"},
	} {
		h := Hook{Name: "vip", On: []Moment{Promoted, Recovered, Fenced}, Attempts: 3}
		x := Case{Episode: e, Others: append(others(c.others), e), Hooks: []Hook{h}, Now: at(20),
			Tenures: tenures(at(-99), h),
			Runs:    map[string]Run{Key(e.ID, Promoted, "vip"): {Attempt: 1, Outcome: Failed, Ended: at(4)}}}
		if got := Pending(x); len(got) != 1 || string(got[0].Moment) != c.want {
			t.Errorf("%s: pending %v, want %s", c.says, got, c.want)
		}
		x.Runs[Key(e.ID, Promoted, "vip")] = Run{Attempt: 1, Outcome: OK, Ended: at(4)}
		if got := Pending(x); c.want == "fenced" && (len(got) != 1 || got[0].Moment != Fenced) {
			t.Errorf("%s: told of the promotion in time, it is pending %v", c.says, got)
		}
	}
}

// What a clock has noted that was ahead is due.
func TestNoHookWaitsForAClockThatWasAhead(t *testing.T) {
	e, _ := events("promoted@2")
	h := Hook{Name: "h", On: []Moment{Promoted}, Attempts: 3}
	x := Case{Episode: e, Hooks: []Hook{h}, Now: at(-99999), Tenures: tenures(at(-999999), h)}
	for name, run := range map[string]Run{
		"notified the first time": {},
		"notified again":          {Attempt: 1, Outcome: Failed, Ended: at(4)},
		"its daemon died":         {Attempt: 1, Started: at(4)},
	} {
		x.Runs = map[string]Run{Key(e.ID, Promoted, "h"): run}
		if got := Pending(x); len(got) != 1 || got[0].At.After(x.Now) {
			t.Errorf("%s: pending %v", name, got)
		}
	}
	second := e
	second.ID, second.Failed, second.Candidate = "second", e.Candidate, e.Failed
	second.Opened, second.Promoted = at(-99999), e.Promoted.Add(time.Millisecond)
	if x.Others = []plan.Episode{second}; len(Pending(x)) != 0 {
		t.Errorf("the new primary was replaced, by a clock that was set back: pending %v", Pending(x))
	}
}

func TestAMomentThatAHookWasGivenLaterIsNoneOfWhatBeganBefore(t *testing.T) {
	e, _ := events("promoted@2")
	h := Hook{Name: "h", On: []Moment{Opened, Promoted}, Attempts: 1}
	x := Case{Episode: e, Hooks: []Hook{h}, Now: at(9), Tenures: tenures(at(-1), h)}
	x.Tenures[TenureKey("h", Opened)] = Tenure{Since: at(5)}
	if got := Pending(x); len(got) != 1 || got[0].Moment != Promoted {
		t.Errorf("pending %v", got)
	}
}

func TestAHookThatIsNotKnownYetIsOwedNothing(t *testing.T) {
	e, _ := events("")
	if got := Pending(Case{Episode: e, Hooks: []Hook{{Name: "new", On: Moments(), Attempts: 1}},
		Now: at(1)}); got != nil {
		t.Errorf("pending %v", got)
	}
}

func TestATrialTellsOfWhatItIsAbout(t *testing.T) {
	for _, m := range Moments() {
		trial := Trial("h", m, "d1", noon)
		blocked := time.Time{}
		if trial.Episode.Blocked != "" {
			blocked = noon.Add(-BlockedFor)
		}
		var had []Moment
		for _, r := range reached(Case{Episode: trial.Episode, Blocked: blocked, Now: noon}) {
			had = append(had, r.moment)
		}
		if !trial.Test || !slices.Contains(had, m) {
			t.Errorf("the trial of %s has had %v", m, had)
		}
		if id := trial.Episode.ID; id != "trial-1772366400000" {
			t.Errorf("its episode is %q", id)
		}
		if again := Trial("h", m, "d1", noon.Add(time.Millisecond)); again.Episode.ID == trial.Episode.ID {
			t.Errorf("the next trial of %s is of the same episode, %s", m, again.Episode.ID)
		}
	}
}

func TestGivenUp(t *testing.T) {
	h := Hook{Name: "h", On: Moments(), Attempts: 3}
	for _, c := range []struct {
		says string
		run  Run
		want bool
	}{
		{"an attempt that is made again", Run{Attempt: 2, Outcome: Failed, Ended: noon}, false},
		{"the last one", Run{Attempt: 3, Outcome: TimedOut, Ended: noon}, true},
		{"the last one, and it went well", Run{Attempt: 3, Outcome: OK, Ended: noon}, false},
		{"the last one, interrupted: the successor makes it again", Run{Attempt: 3, Outcome: Interrupted, Ended: noon},
			false},
		{"interrupted too often", Run{Attempt: 6, Outcome: Interrupted, Ended: noon}, true},
	} {
		if got := h.GivenUp(c.run); got != c.want {
			t.Errorf("%s: given up: %v", c.says, got)
		}
	}
}

func TestDied(t *testing.T) {
	h := Hook{Name: "h", On: []Moment{Blocked, Promoted}, Attempts: 3}
	for _, c := range []struct {
		says string
		run  Run
		now  int
		want int
	}{
		{"its daemon died, and it is made again", Run{Moment: Promoted, Attempt: 5, Started: at(0)}, 9, 0},
		{"its daemon died, as those before", Run{Moment: Promoted, Attempt: 6, Started: at(0)}, 9, 1},
		{"and the moment has passed", Run{Moment: Blocked, Attempt: 6, Started: at(0)}, 9, 1},
		{"it is noted", Run{Moment: Promoted, Attempt: 6, Started: at(0), Ended: at(5), Outcome: Interrupted}, 9, 0},
		{"it is a day old", Run{Moment: Promoted, Attempt: 6, Started: at(0)}, 24*3600 + 1, 0},
		{"it is about a moment that the hook is to hear of no more", Run{Moment: Opened, Attempt: 6, Started: at(0)}, 9,
			0},
	} {
		e, _ := events("promoted@2")
		c.run.Hook = "h"
		x := Case{Episode: e, Hooks: []Hook{h}, Now: at(c.now),
			Runs: map[string]Run{Key(e.ID, c.run.Moment, "h"): c.run}}
		if got := Died(x); len(got) != c.want {
			t.Errorf("%s: %v", c.says, got)
		}
	}
}
