package analysis_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/drawing"
	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"

	"pgregory.net/rapid"
)

// The hundred fleets that rapid tries by itself are few for this; -rapid.checks still has the last word.
func init() { _ = flag.Set("rapid.checks", "2000") }

// Each property was seen to fail with the breaks that stand beside it:
//
//	TestOrderDoesNotMatter      newFleet without Sort; Sort without Clone (the caller's snapshot changes)
// TestNeverDeadWhileReceived decide without receives; judge letting the last channel speak; testimony ignoring when it
// was asked
// TestNeverDeadUnwitnessed testimony without Answered.Before(since); a receiver stopped without an error taken for a
// witness; a replica
//	                            that is gone taken for one; since() zero instead of Asked
//	TestNeverDeadTooSoon        Reset taken for proof; decide without silence; decide without Failure.Alive

// onNobodysWord are the codes that say dead of a server although nobody could testify, and that nothing acts upon.
var onNobodysWord = []analysis.Code{analysis.DeadPrimaryAndReplicas, analysis.DeadPrimaryWithoutReplicas,
	analysis.DeadIntermediateAndReplicas, analysis.DeadIntermediateWithSingleReplica}

func isDead(c analysis.Code) bool { return strings.HasPrefix(string(c), "Dead") }

// anyFleet draws a fleet in which everything may be so or otherwise: circles, several sources, servers that follow
// themselves.
func anyFleet(t *rapid.T) topology.Snapshot {
	at := drawing.At
	s := topology.Snapshot{At: at}
	n := rapid.IntRange(0, 7).Draw(t, "servers")
	key := func(i int) topology.Key { return topology.Key{Host: fmt.Sprintf("db%d", i), Port: 3306} }
	ago := func(what string) time.Time {
		d := rapid.SampledFrom([]time.Duration{-time.Second, 0, 20 * time.Millisecond, time.Second,
			2500 * time.Millisecond, 3 * time.Second, time.Hour}).Draw(t, what)
		return at.Add(-d)
	}
	sometimes := func(of int, what string) bool { return rapid.IntRange(1, of).Draw(t, what) == 1 }
	down := []topology.Failure{topology.Refused, topology.Refused, topology.Timeout, topology.Timeout, topology.Reset,
		topology.Shutdown,
		topology.TooMany, topology.Denied, topology.TLSError, topology.Alien, topology.NoHost, topology.Other, "new"}
	for i := range n {
		v := topology.Server{Key: key(i), Cluster: rapid.SampledFrom([]string{"a", "a", "a", "a", "b", ""}).Draw(t,
			"cluster")}
		v.Probe.Answered = ago("answered")
		v.Probe.Asked = v.Probe.Answered
		if i == 0 && !sometimes(3, "first lives") || sometimes(4, "down") {
			v.Probe.Failure = rapid.SampledFrom(down).Draw(t, "failure")
			v.Probe.FailingSince, v.Probe.Failures = ago("since"), rapid.IntRange(0, 3).Draw(t, "failures")
			if sometimes(8, "no since") {
				v.Probe.FailingSince = time.Time{}
			}
		}
		if sometimes(12, "unasked") {
			v.Probe = topology.Probe{}
		}
		if sometimes(4, "downtime") {
			v.Downtime = &topology.Downtime{Until: ago("until")}
		}
		if !sometimes(10, "never") {
			v.Instance = anyInstance(t, i, n, key, ago, sometimes)
		}
		s.Servers = append(s.Servers, v)
	}
	return s
}

func anyInstance(t *rapid.T, i, n int, key func(int) topology.Key, ago func(string) time.Time,
	sometimes func(int, string) bool) *topology.Instance {
	flavor := rapid.SampledFrom([]topology.Flavor{topology.MySQL, topology.MySQL, topology.MariaDB}).Draw(t, "flavour")
	set := func(what string) gtid.Set {
		var parts []string
		for w := range 3 {
			last := rapid.IntRange(0, 5).Draw(t, what)
			if last == 0 {
				continue
			}
			if flavor == topology.MariaDB {
				parts = append(parts, fmt.Sprintf("%d-%d-%d", w, rapid.IntRange(0, n).Draw(t, what), last))
			} else {
				parts = append(parts, fmt.Sprintf("%s:1-%d", drawing.UUID(key(rapid.IntRange(0, n).Draw(t, what))),
					last))
			}
		}
		return gtid.MustParse(strings.Join(parts, ","))
	}
	in := &topology.Instance{
		UUID: drawing.UUID(key(i)), ServerID: uint32(i), Flavor: flavor, ReadOnly: sometimes(2, "read-only"),
		Executed: set("executed"), BinlogWritten: set("written"),
	}
	channels := rapid.SampledFrom([]int{0, 1, 1, 1, 1, 1, 2, 3}).Draw(t, "channels")
	if i == 0 && !sometimes(6, "first follows") {
		channels = 0
	}
	for range channels {
		c := topology.Channel{
			Source: key(rapid.SampledFrom([]int{0, 0, 0, 0, 1, 1, 2, 3, i, n}).Draw(t, "source")),
			IO: rapid.SampledFrom([]topology.ThreadState{topology.Running, topology.Connecting,
				topology.Connecting, topology.Stopped, ""}).Draw(t, "io"),
			SQL:      rapid.SampledFrom([]topology.ThreadState{topology.Running, topology.Stopped, ""}).Draw(t, "sql"),
			IOErrno:  rapid.SampledFrom([]int{0, 0, 2003, 2003, 2026, 1045, 1053, 1236}).Draw(t, "errno"),
			SQLErrno: rapid.SampledFrom([]int{0, 1062}).Draw(t, "sql errno"),
			Received: set("received"), Delay: int64(rapid.IntRange(-1, 1).Draw(t, "delay")),
		}
		if sometimes(3, "known since") {
			c.IOSince = ago("io since")
		}
		if sometimes(2, "lag known") {
			lag := int64(rapid.IntRange(-1, 40).Draw(t, "lag"))
			c.Lag = &lag
		}
		in.Channels = append(in.Channels, c)
	}
	for range rapid.IntRange(0, 2).Draw(t, "registered") {
		in.Registered = append(in.Registered, key(rapid.IntRange(0, n).Draw(t, "registered key")))
	}
	if sometimes(6, "stalled") {
		in.Stalled = &topology.Stall{Cause: rapid.SampledFrom([]string{"disk_full", "semi_sync", "commit"}).Draw(t,
			"cause")}
	}
	return in
}

func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyFleet(t)
		want := analysis.Analyze(s, analysis.Defaults)
		seed := rapid.Uint64().Draw(t, "seed")
		other := topology.Snapshot{At: s.At, Servers: slices.Clone(s.Servers)}
		rand.New(rand.NewPCG(seed, seed)).Shuffle(len(other.Servers), func(i, j int) {
			other.Servers[i], other.Servers[j] = other.Servers[j], other.Servers[i]
		})
		before := slices.Clone(other.Servers)
		if got := analysis.Analyze(other, analysis.Defaults); !reflect.DeepEqual(got, want) {
			t.Fatalf("in another order:\n%+v\nfirst:\n%+v", got, want)
		}
		if !reflect.DeepEqual(before, other.Servers) {
			t.Fatal("the snapshot was changed")
		}
		for _, f := range want {
			if f.Says == "" || !strings.HasSuffix(f.Says, ".") || !strings.HasPrefix(f.Says, f.At.String()) ||
				slices.Contains(f.Evidence, "") || len(f.Evidence) == 0 {
				t.Fatalf("%+v does not say what it should", f)
			}
		}
	})
}

// ways calls f for each channel by which a reachable server follows k.
func ways(s topology.Snapshot, k topology.Key, f func(r topology.Server, c topology.Channel)) {
	for _, r := range s.Servers {
		if !r.Up() || r.Key == k {
			continue
		}
		for _, c := range r.Instance.Channels {
			leftover := r.Unused(c) && isFollowed(s, r.Key) // of a server that was promoted
			if c.Source == k && !leftover {
				f(r, c)
			}
		}
	}
}

func isFollowed(s topology.Snapshot, k topology.Key) bool {
	return slices.ContainsFunc(s.Servers, func(r topology.Server) bool {
		return r.Key != k && r.Instance != nil &&
			slices.ContainsFunc(r.Instance.Channels, func(c topology.Channel) bool { return c.Source == k })
	})
}

func TestNeverDeadWhileReceived(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyFleet(t)
		for _, f := range analysis.Analyze(s, analysis.Defaults) {
			if !isDead(f.Code) {
				continue
			}
			ways(s, f.At, func(r topology.Server, c topology.Channel) {
				if c.IO == topology.Running {
					t.Fatalf("%v receives from %v, which is called %s", r.Key, f.At, f.Code)
				}
			})
		}
	})
}

func TestNeverDeadUnwitnessed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyFleet(t)
		for _, f := range analysis.Analyze(s, analysis.Defaults) {
			if !isDead(f.Code) || slices.Contains(onNobodysWord, f.Code) {
				continue
			}
			since := s.Server(f.At).Probe.FailingSince
			if since.IsZero() {
				since = s.Server(f.At).Probe.Asked
			}
			tried := 0
			ways(s, f.At, func(r topology.Server, c topology.Channel) {
				if r.Probe.Answered.Before(since) {
					t.Fatalf("%v was not asked since %v fell silent, which is called %s", r.Key, f.At, f.Code)
				}
				if c.IO == topology.Connecting || c.IOErrno >= 2000 {
					tried++
				}
			})
			if tried == 0 {
				t.Fatalf("nobody has tried to reach %v, which is called %s", f.At, f.Code)
			}
		}
	})
}

func TestNeverDeadTooSoon(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anyFleet(t)
		for _, f := range analysis.Analyze(s, analysis.Defaults) {
			v := s.Server(f.At)
			switch {
			case !isDead(f.Code):
			case v.Probe.Failure.Alive():
				t.Fatalf("%v lives (%q), and is called %s", f.At, v.Probe.Failure, f.Code)
			case v.Probe.Failure != topology.Refused && v.Probe.Failure != topology.Shutdown &&
				s.At.Sub(v.Probe.FailingSince) < analysis.Defaults.Verdict():
				t.Fatalf("%v has been silent since %v only, and is called %s", f.At, v.Probe.FailingSince, f.Code)
			}
		}
	})
}
