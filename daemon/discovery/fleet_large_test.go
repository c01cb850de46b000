package discovery

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/daemon/topology"
)

// large is 3000 servers in clusters of four.
func large() (*fakeFleet, []topology.Key) {
	p := newFake()
	var seeds []topology.Key
	for c := range 750 {
		primary := fmt.Sprintf("c%03d-0", c)
		p.server(primary, "")
		for r := 1; r < 4; r++ {
			p.server(fmt.Sprintf("c%03d-%d", c, r), primary)
		}
		seeds = append(seeds, key(primary))
	}
	p.register()
	return p, seeds
}

func TestThreeThousandServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, seeds := large()
		p.latency = 20 * time.Millisecond
		before := runtime.NumGoroutine()
		run(t, p, Options{Seeds: seeds, Concurrency: 100}, func(f *Fleet) {
			pass(5 * time.Second)
			if s := f.Snapshot(); len(s.Servers) != 3000 || len(s.Clusters()) != 750 {
				t.Fatalf("found %d servers in %d clusters", len(s.Servers), len(s.Clusters()))
			}
			if most, _ := p.crowd(); most > 200 {
				t.Errorf("%d probes at a time", most)
			}
			// Half of the fleet hangs: each probe takes a deadline.
			p.do(func() {
				for c := range 375 {
					for r := range 4 {
						s := p.servers[key(fmt.Sprintf("c%03d-%d", c, r))]
						s.hang, s.fails = time.Second, topology.Timeout
					}
				}
			})
			for range 20 {
				pass(time.Second)
				if n := runtime.NumGoroutine() - before; n > 2*100+750+10 { // probes, urgent ones, watches
					t.Fatalf("%d goroutines", n)
				}
			}
			if most, _ := p.crowd(); most > 200 {
				t.Errorf("%d probes at a time", most)
			}
			died := time.Now()
			p.kill("c700-0")
			pass(time.Second)
			if got := p.probes("c700-0", died); len(got) == 0 || got[0] > 0 {
				t.Errorf("the dead hold up a suspicion: the failed server is asked at %v", got)
			}
			if got := p.probes("c700-1", died); len(got) == 0 || got[0] > 25*time.Millisecond {
				t.Errorf("the dead hold up a suspicion: a replica is asked at %v", got)
			}
			if _, twice := p.crowd(); twice {
				t.Error("a server was asked twice at a time")
			}
		})
	})
}

func BenchmarkSnapshot(b *testing.B) {
	p, seeds := large()
	f := New(p, Options{Seeds: seeds})
	f.mu.Lock()
	for k, v := range p.servers {
		s := f.add(k, "test")
		s.flight = 1
		f.finish(s, 1, time.Now(), answer{instance: v.instance})
	}
	f.unlock()
	b.Run("same", func(b *testing.B) {
		for b.Loop() {
			f.Snapshot()
		}
	})
	b.Run("after a probe of each", func(b *testing.B) {
		for b.Loop() {
			f.mu.Lock()
			for _, c := range f.clusters {
				c.fresh = false
			}
			f.unlock()
			f.Snapshot()
		}
	})
	b.Run("one cluster after a probe", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f.mu.Lock()
			f.clusters["c123-0:3306"].fresh = false
			f.unlock()
			f.Cluster("c123-0:3306")
		}
	})
	b.Run("names of all", func(b *testing.B) {
		for b.Loop() {
			f.mu.Lock()
			for _, s := range f.servers {
				f.stale(s)
			}
			f.unlock()
			f.Clusters()
		}
	})
	b.Run("a probe that changes nothing", func(b *testing.B) {
		b.ReportAllocs()
		f.mu.Lock()
		defer f.unlock()
		s := f.servers[key("c123-1")]
		for b.Loop() {
			f.queue.drop(s)
			s.flight = 1
			f.finish(s, 1, time.Now(), answer{instance: p.servers[s.key].instance})
		}
	})
}

// buffer is a log that may be read while it is written.
type buffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *buffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(line)
}

func (b *buffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

func (b *buffer) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all.Reset()
}

func TestWhatIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log buffer
		p := tree()
		p.addresses[key("vip")] = key("db3")
		o := Options{Seeds: keys("db1", "vip"), Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == "time" {
					return slog.Attr{}
				}
				return a
			}}))}
		lines := func(want string) {
			t.Helper()
			synctest.Wait()
			got := strings.TrimSpace(log.text())
			log.reset()
			if want = strings.TrimSpace(want); got != want {
				t.Errorf("logged\n%s\nwant\n%s", got, want)
			}
		}
		run(t, p, o, func(f *Fleet) {
			pass(2 * time.Second)
			got := log.text()
			for _, want := range []string{
				`msg="server found" server=db1:3306 from=seed`,
				`msg="server found" server=db4:3306 from=db2:3306`,
				`msg="server up" server=db4:3306`,
				`msg="one server under two names" server=vip:3306 also=db3:3306`,
			} {
				if strings.Count(got, want) != 1 {
					t.Errorf("%d times %s in\n%s", strings.Count(got, want), want, got)
				}
			}
			log.reset()
			pass(time.Minute)
			lines("") // a poll that found nothing new is no event
			p.kill("db4")
			pass(5 * time.Second)
			lines(`level=WARN msg="server down" server=db4:3306 failure=refused err="it fails"`)
			p.do(func() { p.servers[key("db4")].fails = topology.OK })
			pass(5 * time.Second)
			if got := log.text(); strings.Count(got, "\n") != 1 ||
				!strings.Contains(got, `level=INFO msg="server up again" server=db4:3306 after=refused down_for=`) {
				t.Errorf("logged %s", got)
			}
			log.reset()
			f.Forget(key("db4"))
			if got := log.text(); !strings.Contains(got, `level=INFO msg="server forgotten" server=db4:3306`) {
				t.Errorf("logged %s", got)
			}
		})
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		p := tree()
		run(t, p, Options{Seeds: keys("db1"), Registerer: reg}, func(f *Fleet) {
			pass(2 * time.Second)
			p.kill("db1")
			pass(time.Second)
			f.mu.Lock()
			f.add(key("new"), "test")
			f.unlock()
			got := map[string]float64{}
			families, err := reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, family := range families {
				if family.GetHelp() == "" {
					t.Errorf("%s has no HELP", family.GetName())
				}
				for _, m := range family.Metric {
					name := strings.TrimPrefix(family.GetName(), "orchestrator_discovery_")
					for _, l := range m.Label {
						name += " " + l.GetValue()
					}
					got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() +
						float64(m.GetHistogram().GetSampleCount())
				}
			}
			for name, want := range map[string]float64{"servers up": 3, "servers failing": 1, "servers unknown": 1,
				"watches_closed_total": 1, "probes_total timeout": 0,
				"poll_interval_seconds": 1, "overdue_seconds": 0} {
				if v, ok := got[name]; !ok || v != want {
					t.Errorf("%s is %v (there: %v), want %v", name, v, ok, want)
				}
			}
			if got["probes_total ok"] < 10 || got["probes_total refused"] < 3 ||
				got["probe_duration_seconds"] != got["probes_total ok"]+got["probes_total refused"] ||
				got["probe_lateness_seconds"] < 5 {
				t.Errorf("%v", got)
			}
		})
	})
}

// One place for probes, and a server that keeps it for three seconds.
func TestPollsThatWaitAreOverdue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		run(t, p, Options{Seeds: keys("db1"), Concurrency: 1, Registerer: prometheus.NewRegistry()}, func(f *Fleet) {
			pass(2 * time.Second)
			p.do(func() {
				for _, s := range p.servers {
					s.hang = 3 * time.Second
				}
			})
			pass(2500 * time.Millisecond)
			if late := f.overdue(); late < 0.5 || late > 2.5 {
				t.Errorf("%v seconds overdue", late)
			}
		})
	})
}

func TestWhatIsWorthStoring(t *testing.T) {
	lag := int64(7)
	for _, c := range []struct {
		name, want string
		change     func(p *fakeFleet)
	}{
		{"nothing", "", func(*fakeFleet) {}},
		{"positions and lag", "", func(p *fakeFleet) {
			i := &p.servers[key("db2")].instance
			i.BinlogPos, i.Channels[0].ReadPos, i.Channels[0].Lag = 9, 9, &lag
			i.Stalled = &topology.Stall{Cause: "commit"} // matters, and is not stored
		}},
		{"a starting time that wanders", "", func(p *fakeFleet) {
			i := &p.servers[key("db2")].instance
			i.StartedAt = i.StartedAt.Add(time.Second)
			i.Stalled = &topology.Stall{Cause: "commit"}
		}},
		{"a server made writable", "db2", func(p *fakeFleet) { p.servers[key("db2")].instance.ReadOnly = false }},
		{"another version", "db2", func(p *fakeFleet) { p.servers[key("db2")].instance.Version.Patch++ }},
		{"one that fails", "db3", func(p *fakeFleet) { p.servers[key("db3")].fails = topology.Refused }},
		{"a new cluster", "db2 db4", func(p *fakeFleet) { p.servers[key("db2")].instance.Channels = nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := tree()
				run(t, p, Options{Seeds: keys("db1")}, func(f *Fleet) {
					pass(2 * time.Second)
					for _, v := range f.Dirty() {
						if v.Cluster == "" || v.Instance == nil || v.Instance.BinlogPos != 0 {
							t.Errorf("%+v", v)
						}
					}
					p.do(func() { c.change(p) })
					pass(2 * time.Second)
					var got []string
					for _, v := range f.Dirty() {
						got = append(got, v.Key.Host)
					}
					if strings.Join(got, " ") != c.want {
						t.Errorf("got %v, want %q", got, c.want)
					}
				})
			})
		})
	}
}

func TestARecordFromBeforeAMergeIsNotRestored(t *testing.T) {
	f := New(newFake(), Options{})
	f.Restore([]topology.Server{{Key: key("a")}, {Key: key("b"), Names: keys("a")}})
	if got := drawn(f.Snapshot()); got != "b ?" {
		t.Error(got)
	}
}

func TestAnotherNameThatMovedIsNoticedByAReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		p.addresses[key("vip")] = key("db1")
		c := &p.servers[key("db4")].instance.Channels[0]
		c.Source, c.SourceID = key("vip"), 1
		run(t, p, Options{Seeds: keys("db1", "db4")}, func(f *Fleet) {
			pass(3 * time.Second)
			expect(t, f, "db1 up, db2<db1 up, db3<db1 up, db4<db1 up")
			p.do(func() { p.addresses[key("vip")], c.SourceID = key("db3"), 3 })
			pass(3 * time.Second)
			expect(t, f, "db1 up, db2<db1 up, db3<db1 up, db4<db3 up")
		})
	})
}

func TestAnAddressThatNobodyUsesIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		c := &p.servers[key("db3")].instance.Channels[0]
		c.Source = key("typo")
		run(t, p, Options{Seeds: keys("db1", "db3", "gone")}, func(f *Fleet) {
			pass(3 * time.Hour)
			expect(t, f, "db1 up, db2<db1 up, db3<typo up, db4<db2 up, gone no_such_host, typo no_such_host")
			if p.count(p.forgot, "typo") > 0 {
				t.Error("it was dropped although db3 points there")
			}
			p.do(func() { c.Source = key("db1") })
			pass(time.Minute)
			expect(t, f, "db1 up, db2<db1 up, db3<db1 up, db4<db2 up, gone no_such_host")
		})
	})
}
