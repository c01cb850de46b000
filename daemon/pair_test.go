package daemon

import (
	"errors"
	"strings"
	"testing"
	"time"

	"orchestrator/backend/pair"
	"orchestrator/backend/report"
	"orchestrator/daemon/api"
	"orchestrator/daemon/topology"
)

func TestWhenTheMembersAreCompared(t *testing.T) {
	now := time.Now()
	split := occasion{"a split has healed", true}
	for _, c := range []struct {
		name     string
		schedule schedule
		every    time.Duration
		want     string
	}{
		{"never", schedule{}, 0, ""},
		{"never, whatever happened", schedule{next: split}, 0, ""},
		{"first", schedule{}, time.Minute, "each 1m0s"},
		{"not yet", schedule{last: now.Add(-50 * time.Second)}, time.Minute, ""},
		{"again", schedule{last: now.Add(-70 * time.Second)}, time.Minute, "each 1m0s"},
		{"after a split", schedule{last: now, next: split}, time.Minute, "a split has healed"},
		{"what is on its way first", schedule{last: now, next: split, ready: now.Add(time.Second)}, time.Minute, ""},
	} {
		if got := c.schedule.due(now, c.every); got.why != c.want {
			t.Errorf("%s: %q; want %q", c.name, got.why, c.want)
		}
	}
	c := newVerifier()
	c.soon(split)
	c.soon(occasion{why: "the backend was switched"}) // doesn't make it forget the other
	if got := c.due(time.Now(), time.Minute); got != split {
		t.Errorf("%+v", got)
	}
}

func TestWhatDiffersIsKnownAlsoWhenItCanNotBeMerged(t *testing.T) {
	now := time.Now()
	o := occasion{why: "a new leader"}
	c := newVerifier()
	c.next = o
	two := []pair.Difference{{Kind: "tag", Key: "a"}, {Kind: "tag", Key: "b"}}
	for _, step := range []struct {
		what   string
		v      pair.Verification
		err    error
		differ int
		proved bool
	}{
		{"merging fails", pair.Verification{Differences: two}, errors.New("no member takes writes"), 2, false},
		{"then a member is away", pair.Verification{}, errors.New("connection refused"), 2, false},
		{"then they are merged", pair.Verification{Equal: true, Merged: two}, nil, 0, true},
	} {
		c.compared(now, o, step.v, step.err)
		if proved := c.last == now && c.next == (occasion{}); len(c.differ()) != step.differ || proved != step.proved ||
			c.ready != now.Add(verifyAgain) {
			t.Errorf("%s: %q differ, proved %v (%+v)", step.what, c.differ(), proved, c.schedule)
		}
	}
	if c.merged != 2 {
		t.Errorf("%d were merged", c.merged)
	}
}

func TestAStaleBackendIsAllThatIsLeftAfterAWhile(t *testing.T) {
	var s staleness
	at := time.Now()
	step := func(after time.Duration, why string, want bool) {
		t.Helper()
		at = at.Add(after)
		if got := s.passes(why, at); got != want {
			t.Errorf("passes: %v; want %v", got, want)
		}
	}
	step(0, "", true)
	step(time.Second, "it is stale", false)
	step(50*time.Second, "it is stale", false)
	step(time.Second, "", true) // a better one
	step(time.Second, "it is stale", false)
	step(59*time.Second, "it is stale", false)
	step(time.Second, "it is stale", true)
	step(time.Hour, "it is stale", false) // that was another time
}

func TestWalked(t *testing.T) {
	r := &report.Report{Steps: []report.Step{{Does: "stop", Done: true}, {Does: "start"}}}
	for _, c := range []struct {
		report *report.Report
		want   string
	}{{nil, ""}, {&report.Report{}, "nothing was changed"}, {r, "done before that: stop;"}} {
		if got := done(c.report); !strings.Contains(got, c.want) || c.report == nil && got != "" {
			t.Errorf("%q; want %q", got, c.want)
		}
	}
}

func TestWithoutAPairEachCommandSaysSo(t *testing.T) {
	ctx := t.Context()
	b1 := topology.Key{Host: "b1", Port: 3306}
	for name, m := range map[string]api.Backends{"alone": &aloneMode{}, "shared": &sharedMode{},
		"watched": &watchedMode{}} {
		for command, do := range map[string]func() (api.BackendWork, error){
			"promote": func() (api.BackendWork, error) {
				return m.BackendPromote(ctx, api.BackendPromoteRequest{To: b1},
					0)
			},
			"rejoin": func() (api.BackendWork, error) {
				return m.BackendRejoin(ctx,
					api.BackendRejoinRequest{Member: b1}, 0)
			},
			"compare": func() (api.BackendWork, error) { return m.BackendVerify(ctx, true, "ann") },
			"examine": func() (api.BackendWork, error) { return m.BackendDoctor(ctx, true, "ann") },
		} {
			_, err := do()
			if !errors.Is(err, api.ErrConflict) || !strings.HasPrefix(err.Error(), command) ||
				!strings.Contains(err.Error(), "this deployment has no backend pair") {
				t.Errorf("%s, %s: %v", name, command, err)
			}
		}
		if w := m.BackendWork(); w != nil {
			t.Errorf("%s: work %+v", name, w)
		}
	}
}
