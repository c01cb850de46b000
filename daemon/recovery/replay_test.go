package recovery

import (
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/drawing"
	"orchestrator/daemon/plan"
)

// What a daemon knows at any moment of a failover can be saved, and gives the same decision elsewhere: as JSON, and
// as a drawing.
func TestASavedSituationGivesTheSameDecision(t *testing.T) {
	for name, o := range map[string]*others{
		"alone":       nil,
		"all agree":   {peers: agreeing},
		"by locks":    {peers: mute, lockable: []string{"db2", "db3"}},
		"not granted": {peers: mute, lockable: []string{"db3"}},
	} {
		t.Run(name, bubble(func(t *testing.T) {
			p := draw(dead)
			r := runner(t, p, open(t))
			if o != nil {
				r.Claim = o.gate().Claim
			}
			var mu sync.Mutex
			var moments []plan.Situation
			p.before = func(plan.Step) {
				s := r.situation("db1:3306")
				mu.Lock()
				defer mu.Unlock()
				moments = append(moments, s)
			}
			if name == "not granted" {
				leadUntil(t, r, func() bool { return len(r.Judged("db1:3306").Decision().Refused()) > 0 })
			} else {
				run(t, r)
			}
			moments = append(moments, r.situation("db1:3306"))
			refused := 0
			for _, s := range moments {
				refused += len(plan.Decide(s).Refused())
				replay(t, s)
			}
			if (refused > 0) != (name == "not granted") || len(moments) < 3 {
				t.Errorf("%d refusals at %d moments: not what this is about", refused, len(moments))
			}
		}))
	}
}

func bubble(test func(*testing.T)) func(*testing.T) {
	return func(t *testing.T) { synctest.Test(t, test) }
}

// replay saves a situation in both forms, reads it back, and decides.
func replay(t *testing.T, s plan.Situation) {
	t.Helper()
	saved := drawing.Save([]plan.Facts{s.Facts})
	data, err := json.Marshal(saved)
	if err != nil {
		t.Fatal(err)
	}
	want := decided(t, s.Facts)
	for _, text := range []string{string(data), drawing.Print(saved)} {
		back, err := drawing.Decode([]byte(text))
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		facts := back.Facts(plan.Policy{}, analysis.Thresholds{})
		if i := slices.IndexFunc(facts, func(f plan.Facts) bool { return f.Cluster == s.Cluster }); i < 0 {
			t.Fatalf("cluster %s is lost\n%s", s.Cluster, text)
		} else if got := decided(t, facts[i]); got != want {
			t.Errorf("decides\n%s\nand after it was saved\n%s\n%s", want, got, text)
		}
	}
}

func decided(t *testing.T, f plan.Facts) string {
	t.Helper()
	data, err := json.MarshalIndent(plan.Decide(plan.Situate(f)), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
