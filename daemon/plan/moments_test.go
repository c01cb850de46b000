package plan_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/gtid"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// load is a cluster whose primary takes a write each millisecond. Replicas receive at most 30 ms late and apply at most
// 30 ms late. The servers are probed once a second, each at a different moment, so no two positions are of the same
// moment.
type load struct {
	*rand.Rand
	at   time.Time
	base plan.Facts
}

// written is how many transactions the primary has at a moment.
func (l *load) written(at time.Time) uint64 { return 1_000_000 + uint64(at.Sub(l.at).Milliseconds()) }

// asked is the situation at a moment, with each server as it was when it was asked last.
func (l *load) asked(now time.Time) plan.Situation {
	f := l.base
	f.Snapshot.At = now
	f.Snapshot.Servers = nil
	for _, s := range l.base.Snapshot.Servers {
		i := *s.Instance
		s.Probe = topology.Probe{Answered: now.Add(-time.Duration(l.IntN(1000)) * time.Millisecond)}
		s.Probe.Asked = s.Probe.Answered
		have := l.written(s.Probe.Answered)
		i.Executed, i.BinlogWritten = l.set(have), gtid.Set{}
		if len(i.Channels) > 0 {
			received := have - uint64(l.IntN(30)) // they are under way
			c := i.Channels[0]
			c.Received = l.set(received)
			i.Channels, i.Executed = []topology.Channel{c}, l.set(received-uint64(l.IntN(31)))
		}
		if i.Flavor == topology.MariaDB {
			i.BinlogWritten = i.Executed
		}
		s.Instance = &i
		f.Snapshot.Servers = append(f.Snapshot.Servers, s)
	}
	return plan.Situate(f)
}

func (l *load) set(n uint64) gtid.Set {
	primary := l.base.Snapshot.Server(key("db1")).Instance
	if primary.Flavor == topology.MariaDB {
		return gtid.MustParse(fmt.Sprintf("0-%d-%d", primary.ServerID, n))
	}
	return gtid.MustParse(fmt.Sprintf("%s:1-%d", primary.UUID, n))
}

var loaded = map[string]string{
	"plain": `
db1 %[1]s
  db2 %[1]s
  db3 %[1]s`,
	"one without a binary log of what it replicates": `
db1 %[1]s
  db2 %[1]s
  db3 %[1]s nologupdates`,
	"one that must not be promoted, one that is preferred": `
db1 %[1]s
  db2 %[1]s must_not
  db3 %[1]s prefer
  db4 %[1]s`,
	"below an intermediate source": `
db1 %[1]s
  db2 %[1]s
    db3 %[1]s
    db4 %[1]s nologupdates
  db5 %[1]s nologupdates`,
}

func TestReadinessUnderLoadDoesNotDependOnTheMomentsOfAsking(t *testing.T) {
	for name, drawn := range loaded {
		for _, flavour := range []string{"mysql=8.4.0", "mariadb=10.11.6"} {
			l := &load{Rand: rand.New(rand.NewPCG(1, 1)), base: situation(fmt.Sprintf(drawn, flavour)).Facts}
			l.at = l.base.Snapshot.At
			ready, intermediate := 0, 0
			why := ""
			for n := range 60 {
				s := l.asked(l.at.Add(time.Duration(n) * time.Second))
				for _, f := range s.Findings {
					if f.Code != analysis.UnfitReplicas { // it does not depend on moments
						t.Errorf("%s, %s: found %v", name, flavour, f)
					}
				}
				if p := plan.IfDies(s, key("db1")); p.Ready() {
					ready++
				} else {
					why = works(plan.Decision{Works: p.Works})
				}
				if len(s.Snapshot.Replicas(key("db2"))) == 0 || plan.IfDies(s, key("db2")).Ready() {
					intermediate++
				}
			}
			if ready < 60 || intermediate < 60 {
				t.Errorf("%s, %s: ready in %d of 60 asks, and for an intermediate source in %d: %s",
					name, flavour, ready, intermediate, why)
			}
		}
	}
}

// What is lacking indeed is found, as soon as the server that lacks it is asked later than the one that has it.
func TestWhatIsLackingIsFoundWhenAskedLater(t *testing.T) {
	s := situation(`
db1
  db2
  db3 recv=1-120 exec=1-120 purged=1-110 must_not`)
	ask := func(host string, later time.Duration) {
		v := s.Snapshot.Server(key(host))
		v.Probe.Answered = s.Snapshot.At.Add(later - 10*time.Second)
	}
	behind := func() uint64 {
		for _, c := range plan.Rank(plan.Situate(s.Facts), key("db1")) {
			if c.Key == key("db2") {
				return c.Behind
			}
		}
		return 99
	}
	ask("db2", time.Second)
	ask("db3", 0)
	if n := behind(); n != 20 {
		t.Errorf("asked later, db2 lacks %d, want 20", n)
	}
	if p := plan.IfDies(plan.Situate(s.Facts), key("db1")); p.Ready() {
		t.Error("it would lose 20 transactions, and says that it is ready")
	}
	ask("db3", 2*time.Second)
	if n := behind(); n != 0 {
		t.Errorf("asked before, db2 lacks %d although it may have received them since", n)
	}
	s.Snapshot.Server(key("db2")).Instance.Channels[0].IO = topology.Stopped
	if n := behind(); n != 20 {
		t.Errorf("asked before, with its receiver stopped, db2 lacks %d, want 20", n)
	}
}
