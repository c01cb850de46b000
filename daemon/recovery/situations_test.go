package recovery

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

const twoClusters = `
db1
  db2
other1
  other2`

func TestAClusterIsJudgedOncePerChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := draw(twoClusters)
		r := runner(t, p, open(t))
		edition, policies := uint64(1), 0
		r.Edition = func() uint64 { return edition }
		policy := r.Policy
		r.Policy = func(cluster string) plan.Policy { policies++; return policy(cluster) }
		judged := func(what string, want int) {
			t.Helper()
			before := policies
			a := r.Judged("db1:3306")
			time.Sleep(time.Minute)
			if b := r.Judged("db1:3306"); a.verdict != b.verdict || a.Edition != b.Edition {
				t.Errorf("%s: two readers have two verdicts", what)
			}
			if policies-before != want {
				t.Errorf("%s: it was judged %d times, want %d", what, policies-before, want)
			}
		}
		judged("the first time", 1)
		judged("nothing has changed", 0)
		p.change(func(*topology.Snapshot) {})
		judged("the cluster has changed", 1)
		edition++
		judged("the configuration has changed", 1)
		r.Off = func() string { return "it was switched off" }
		judged("recoveries were switched off", 1)
		r.mu.Lock()
		r.remember(plan.Episode{ID: "e", Cluster: "db1:3306", Closed: time.Now()})
		r.remember(plan.Episode{ID: "e", Cluster: "other1:3306", Closed: time.Now()})
		r.mu.Unlock()
		judged("it has had an episode", 1)
		r.mu.Lock()
		r.remember(plan.Episode{ID: "e", Cluster: "db1:3306", Closed: time.Now()})
		r.mu.Unlock()
		all := slices.Collect(r.All())
		if len(all) != 2 || all[0].Cluster != "db1:3306" || all[0].Edition == all[1].Edition {
			t.Errorf("%+v", all)
		}
		if j := r.Judged("nobody"); len(j.Snapshot.Servers) > 0 || j.Primary() != nil || j.Ready() ||
			len(r.verdicts) != 2 {
			t.Errorf("%+v", j)
		}
	})
}

func TestWhereTimeMattersAVerdictIsSharedForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := runner(t, draw(dead), open(t))
		a, b := r.Judged("db1:3306"), r.Judged("db1:3306")
		time.Sleep(2 * momentary)
		c := r.Judged("db1:3306")
		if a.Edition != b.Edition || b.Edition == c.Edition {
			t.Errorf("editions %d and %d at one moment, %d later", a.Edition, b.Edition, c.Edition)
		}
	})
}

func TestAClusterIsReadyAgainWhenThePolicyAllowsAnotherFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := draw(twoClusters)
		p.snapshot.At = time.Now()
		r := runner(t, p, open(t))
		policy := r.Policy
		r.Policy = func(cluster string) plan.Policy {
			p := policy(cluster)
			p.AntiFlap = time.Hour
			return p
		}
		r.mu.Lock()
		r.remember(plan.Episode{ID: "e", Kind: plan.PrimaryFailover, Cluster: "db1:3306",
			Failed:    topology.Key{Host: "db9", Port: 3306},
			Candidate: topology.Key{Host: "db1", Port: 3306}, Stage: plan.Ended,
			Promoted: time.Now(), Closed: time.Now()})
		r.mu.Unlock()
		ready := func(want bool) {
			t.Helper()
			p.snapshot.At = time.Now() // nothing else changes
			if preview, _ := r.Judged("db1:3306").Readiness(); preview.Ready() != want {
				t.Errorf("ready is %v, want %v", preview.Ready(), want)
			}
		}
		ready(false)
		time.Sleep(time.Hour - time.Second)
		ready(false)
		time.Sleep(time.Second)
		ready(true)
	})
}

func TestOnlyTheClusterThatChangedIsLookedInto(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := draw(twoClusters)
		r := runner(t, p, open(t))
		lead(t, r, func() {
			synctest.Wait()
			reads := func() string {
				p.mu.Lock()
				defer p.mu.Unlock()
				defer clear(p.asked)
				return fmt.Sprint(p.asked["db1:3306"] > 0, p.asked["other1:3306"] > 0, len(r.workers))
			}
			time.Sleep(61 * time.Second) // each was asked whether it is ready
			reads()
			time.Sleep(readyEvery / 2)
			if got := reads(); got != "false false 0" {
				t.Errorf("nothing has changed, and read were %s", got)
			}
			p.change(func(s *topology.Snapshot) {
				v := &s.Servers[0]
				i := *v.Instance
				v.Instance = &i
			})
			synctest.Wait()
			if got := reads(); got != "true false 0" {
				t.Errorf("db1 has changed, and read were %s", got)
			}
			p.change(func(s *topology.Snapshot) { s.Servers[1].Probe.Failure = topology.Timeout })
			time.Sleep(time.Second)
			if got := reads(); got != "true false 1" {
				t.Errorf("db2 has failed, and read were %s", got)
			}
			p.change(func(s *topology.Snapshot) { s.Servers[1].Probe.Failure = topology.OK })
			time.Sleep(time.Second)
			reads()
			time.Sleep(time.Second)
			if got := reads(); got != "false false 0" {
				t.Errorf("all is well again, and read were %s", got)
			}
		})
	})
}

// What the others say of the servers that were changed is looked at before an episode is closed, so that the findings
// are right then.
func TestEverybodyIsLookedAtBeforeAnEpisodeIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := draw(dead)
		store := open(t)
		r := runner(t, p, store)
		last := ""
		p.after = func(step plan.Step) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.looked, last = nil, string(step.Kind)
		}
		e := run(t, r)
		p.mu.Lock()
		looked := fmt.Sprint(p.looked)
		p.mu.Unlock()
		if e.Closed.IsZero() || last != "repoint" || !strings.Contains(looked, "[db2:3306 db3:3306]") {
			t.Errorf("the last step was %s, and then looked at were %s", last, looked)
		}
		if found := r.Judged("db1:3306").Findings; len(found) != 1 || found[0].At.Host != "db1" {
			t.Errorf("afterwards there is found %+v", found)
		}
	})
}

func BenchmarkJudged(b *testing.B) {
	p := draw(`
db1
  db2
  db3
    db4
    db5`)
	r := runner(b, p, nil)
	b.Run("nothing has changed", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.judge("db1:3306")
		}
	})
	b.Run("something has changed", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p.snapshot.Revision++
			r.judge("db1:3306")
		}
	})
	b.Run("something has changed, and it is asked whether it is ready", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p.snapshot.Revision++
			r.Judged("db1:3306").Ready()
		}
	})
}
