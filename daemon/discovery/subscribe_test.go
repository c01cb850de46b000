package discovery

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"orchestrator/daemon/topology"
)

func TestWhatSubscribersAreToldAtOnce(t *testing.T) {
	lag := int64(7)
	for _, c := range []struct {
		name    string
		told    bool
		content bool
		change  func(i *topology.Instance)
	}{
		{"lag is not", false, true, func(i *topology.Instance) { i.Channels[0].Lag = &lag }},
		{"a position is not", false, true, func(i *topology.Instance) { i.BinlogPos++; i.Channels[0].ReadPos++ }},
		{"a heartbeat is no content", false, false, func(i *topology.Instance) { i.Channels[0].Heartbeats++ }},
		{"read_only", true, true, func(i *topology.Instance) { i.ReadOnly = false }},
		{"a thread", true, true, func(i *topology.Instance) { i.Channels[0].SQL = topology.Stopped }},
		{"an error", true, true, func(i *topology.Instance) { i.Channels[0].SQLErrno = 1062 }},
		{"a source", true, true, func(i *topology.Instance) { i.Channels[0].Source = key("db3") }},
		{"no source", true, true, func(i *topology.Instance) { i.Channels = nil }},
		{"a stall", true, true, func(i *topology.Instance) { i.Stalled = &topology.Stall{Cause: "disk_full"} }},
		{"semi-sync", true, true, func(i *topology.Instance) { i.SemiSync.SourceActive = true }},
		{"the UUID", true, true, func(i *topology.Instance) { i.UUID = "new" }},
		{"a restart between two polls", true, true, func(i *topology.Instance) { i.StartedAt = time.Now() }},
		{"the starting time wanders by a second", false, false,
			func(i *topology.Instance) { i.StartedAt = i.StartedAt.Add(time.Second) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := tree()
				run(t, p, Options{Seeds: keys("db1")}, func(f *Fleet) {
					pass(3 * time.Second)
					before := f.Cluster("db1:3306").Revision
					news := f.Subscribe()
					news.Take()
					f.mu.Lock()
					f.clusters["db1:3306"].told = time.Now().Add(time.Minute) // nothing but what is told at once
					f.unlock()
					p.do(func() { c.change(&p.servers[key("db2")].instance) })
					pass(2 * time.Second)
					if got := taken(news) != ""; got != c.told {
						t.Errorf("told: %v", got)
					}
					s := f.Cluster("db1:3306")
					if got := s.Revision > before; got != c.content {
						t.Errorf("the revision rose: %v", got)
					}
					for _, v := range s.Servers {
						if since := time.Since(v.Probe.Answered); since > time.Second {
							t.Errorf("%v was asked %v ago, as readers see it", v.Key, since)
						}
					}
				})
			})
		})
	}
}

func TestEveryProbeInATroubledClusterIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		p.server("other", "")
		run(t, p, Options{Seeds: keys("db1", "other")}, func(f *Fleet) {
			pass(3 * time.Second)
			p.kill("db1")
			pass(30 * time.Second)
			news := f.Subscribe()
			news.Take()
			f.Look(t.Context(), key("db4"), key("other"))
			if got := taken(news); got != "db1:3306" {
				t.Errorf("told of %q", got)
			}
		})
	})
}

func TestPositionsAreToldOncePerPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		run(t, p, Options{Seeds: keys("db1"), Poll: time.Second}, func(f *Fleet) {
			pass(5 * time.Second)
			a, b := f.Subscribe(), f.Subscribe()
			b.Take()
			told := 0
			for range 1000 { // 10 s
				p.do(func() {
					for _, s := range p.servers {
						s.instance.BinlogPos++
					}
				})
				pass(10 * time.Millisecond)
				select {
				case <-b.Changed():
					if taken(b) != "" {
						told++
					}
				default:
				}
			}
			if told < 7 || told > 10 {
				t.Errorf("told %d times in 10 s", told)
			}
			if got := taken(a); got != "db1:3306" {
				t.Errorf("one that never took anything finds %q", got)
			}
			pass(5 * time.Second)
			b.Take()
			pass(5 * time.Second)
			if got := taken(b); got != "" {
				t.Errorf("told of %q, and nothing changed", got)
			}
		})
	})
}

// A position compares with another one only if it was read later: what was read before another server moved counts as
// content when it is read again, though it is the same.
func TestWhatIsReadAfterAMoveIsContent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		run(t, p, Options{Seeds: keys("db1"), Poll: time.Hour}, func(f *Fleet) {
			pass(2 * time.Hour)
			revision := func(name string) uint64 {
				f.Look(t.Context(), key(name))
				pass(time.Second)
				return f.Cluster("db1:3306").Revision
			}
			before := revision("db2")
			if revision("db3") != before {
				t.Error("a probe that found nothing new raised the revision")
			}
			p.do(func() { p.servers[key("db1")].instance.BinlogPos++ })
			moved := revision("db1")
			again := revision("db2")
			if before == moved || moved == again {
				t.Errorf("revisions %d, %d when db1 moved, %d when db2 was asked after it", before, moved, again)
			}
			if revision("db2") != again {
				t.Error("a second probe raised the revision, too")
			}
		})
	})
}

func TestReadersShareWhatTheyRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		edition := uint64(1)
		rule := topology.Neutral
		o := Options{Seeds: keys("db1"), Declared: func(v *topology.Server) { v.Rule = rule },
			Edition: func() uint64 { return edition }}
		run(t, p, o, func(f *Fleet) {
			pass(1500 * time.Millisecond)
			a := f.Cluster("db1:3306")
			pass(time.Nanosecond)
			b := f.Cluster("db1:3306")
			if &a.Servers[0] != &b.Servers[0] || !b.At.After(a.At) {
				t.Error("two readers have two copies, or one time")
			}
			pass(2 * time.Second)
			c := f.Cluster("db1:3306")
			if c.Revision != a.Revision || c.Servers[0].Instance != a.Servers[0].Instance ||
				c.Servers[0].Probe == a.Servers[0].Probe {
				t.Errorf("after probes that found nothing new: revision %d and %d", c.Revision, a.Revision)
			}
			news := f.Subscribe()
			news.Take()
			f.mu.Lock()
			edition, rule = 2, topology.Prefer
			f.unlock()
			d := f.Cluster("db1:3306")
			if d.Revision == c.Revision || d.Servers[0].Rule != topology.Prefer {
				t.Errorf("something was declared: revision %d and %d, rule %q", c.Revision, d.Revision,
					d.Servers[0].Rule)
			}
			if got := taken(news); got != "db1:3306" {
				t.Errorf("something was declared, and told of is %q", got)
			}
			f.mu.Lock()
			edition, rule = 3, topology.MustNot
			f.unlock()
			pass(2 * time.Second)
			if got := taken(news); got != "db1:3306" {
				t.Errorf("something was declared, nobody reads, and told of is %q", got)
			}
		})
	})
}

func TestFind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		p.addresses[key("vip")] = key("db3")
		run(t, p, Options{Seeds: keys("vip", "db1")}, func(f *Fleet) {
			pass(3 * time.Second)
			for _, name := range []string{"vip", "db3"} {
				if k, cluster, ok := f.Find(key(name)); !ok || k != key("vip") || cluster != "db1:3306" {
					t.Errorf("%s is %v in %s (%v)", name, k, cluster, ok)
				}
			}
			if _, _, ok := f.Find(key("nobody")); ok {
				t.Error("found nobody")
			}
			if got := fmt.Sprint(f.Clusters()); got != "[db1:3306]" {
				t.Error(got)
			}
			if s := f.Cluster("nobody"); len(s.Servers) > 0 || s.At.IsZero() {
				t.Errorf("%+v", s)
			}
		})
	})
}

func TestAClusterThatEndsIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		p.server("other", "")
		run(t, p, Options{Seeds: keys("db1", "other")}, func(f *Fleet) {
			pass(3 * time.Second)
			news := f.Subscribe()
			if got := taken(news); got != "db1:3306 other:3306" {
				t.Errorf("a new list is %q", got)
			}
			p.do(func() {
				s := p.servers[key("other")]
				s.instance.Channels = []topology.Channel{{Source: key("db1"), IO: topology.Running,
					SQL: topology.Running}}
				s.instance.ReadOnly = true
			})
			pass(2 * time.Second)
			got := taken(news)
			if s := f.Cluster("db1:3306"); got != "db1:3306 other:3306" || len(s.Servers) != 5 ||
				len(f.Clusters()) != 1 {
				t.Errorf("told of %q; %s", got, drawn(s))
			}
			f.Forget(key("other"))
			if got := taken(news); got != "db1:3306" {
				t.Errorf("one is forgotten, and told of is %q", got)
			}
			news.Close()
			f.Forget(key("db4"))
			if got := taken(news); got != "" {
				t.Errorf("after the end of the list it has %q", got)
			}
		})
	})
}

// Names are kept up group by group. Whatever happens, the outcome is one that naming the whole fleet at once would
// leave as it is, every server is in the cluster that it names, and a subscriber that looks only at what it is told
// of knows the fleet.
func TestNamesOfGroupsAreThoseOfTheFleet(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newFake()
			name := func(i int) string { return fmt.Sprintf("h%d", i) }
			n := rapid.IntRange(2, 9).Draw(rt, "servers")
			for i := range n {
				from := ""
				if j := rapid.IntRange(-1, n-1).Draw(rt, "source"); j >= 0 && j != i {
					from = name(j)
				}
				p.server(name(i), from)
			}
			var seeds []topology.Key
			for i := range n {
				seeds = append(seeds, key(name(i)))
			}
			run(t, p, Options{Seeds: seeds}, func(f *Fleet) {
				news, known := f.Subscribe(), map[string]topology.Snapshot{}
				for range rapid.IntRange(1, 8).Draw(rt, "changes") {
					i := rapid.IntRange(0, n-1).Draw(rt, "which")
					p.do(func() {
						s := p.servers[key(name(i))]
						switch rapid.IntRange(0, 3).Draw(rt, "what") {
						case 0:
							s.fails = map[topology.Failure]topology.Failure{topology.OK: topology.Refused,
								topology.Refused: topology.OK}[s.fails]
						case 1:
							s.instance.Channels, s.instance.ReadOnly = nil, false
						case 2:
							if j := rapid.IntRange(0, n-1).Draw(rt, "to"); j != i {
								s.instance.Channels = []topology.Channel{{Source: key(name(j)), IO: topology.Running}}
							}
						case 3:
							s.instance.ReadOnly = !s.instance.ReadOnly
						}
					})
					if rapid.Bool().Draw(rt, "forget") {
						f.Forget(key(name(rapid.IntRange(0, n-1).Draw(rt, "whom"))))
						f.Discover(key(name(rapid.IntRange(0, n-1).Draw(rt, "back"))))
					}
					pass(time.Duration(rapid.IntRange(1, 3000).Draw(rt, "ms")) * time.Millisecond)
					if rapid.Bool().Draw(rt, "take") {
						takeAll(news, f, known)
					}
				}
				pass(3 * time.Second)
				takeAll(news, f, known)
				checkNames(rt, f, known)
			})
		})
	})
}

func takeAll(news *Subscription, f *Fleet, known map[string]topology.Snapshot) {
	for _, cluster := range news.Take() {
		if known[cluster] = f.Cluster(cluster); len(known[cluster].Servers) == 0 {
			delete(known, cluster)
		}
	}
}

func checkNames(t *rapid.T, f *Fleet, known map[string]topology.Snapshot) {
	whole := f.Snapshot()
	names := map[topology.Key]string{}
	for _, v := range whole.Servers {
		names[v.Key] = v.Cluster
	}
	if again := whole.Name(names); !maps.Equal(names, again) {
		t.Errorf("clusters are %v, and named at once would be %v: %s", names, again, drawn(whole))
	}
	if got := slices.Sorted(maps.Keys(known)); !slices.Equal(got, f.Clusters()) {
		t.Errorf("a subscriber knows the clusters %v, and they are %v", got, f.Clusters())
	}
	for cluster, s := range known {
		if now := f.Cluster(cluster); drawn(now) != drawn(s) || now.Revision != s.Revision {
			t.Errorf("a subscriber knows %s as %s, and it is %s (revisions %d, %d)", cluster, drawn(s), drawn(now),
				s.Revision, now.Revision)
		}
	}
	var parts []string
	for _, cluster := range f.Clusters() {
		for _, v := range f.Cluster(cluster).Servers {
			if v.Cluster != cluster {
				t.Errorf("%v is in %s and names %s", v.Key, cluster, v.Cluster)
			}
			parts = append(parts, v.Key.String())
		}
	}
	if len(parts) != len(whole.Servers) || len(whole.Servers) != len(f.servers) {
		t.Errorf("%d servers in clusters, %d in the fleet, %d known: %s", len(parts), len(whole.Servers),
			len(f.servers), strings.Join(parts, " "))
	}
}
