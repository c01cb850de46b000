package discovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"orchestrator/daemon/topology"
)

// run has a fleet run for the length of a test, in a bubble of its own time.
func run(t *testing.T, p *fakeFleet, o Options, test func(f *Fleet)) {
	t.Helper()
	goOn(t, p, New(p, o), test)
}

// goOn runs a fleet that knows something already.
func goOn(t *testing.T, p *fakeFleet, f *Fleet, test func(f *Fleet)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	test(f)
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if p.inflight > 0 {
		t.Errorf("Run left %d probes behind", p.inflight)
	}
}

// pass lets time pass, and all that happens at its end happen: a probe that is due at that very moment is not under way
// while the test looks.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// tree is db1 over db2 and db3, and db4 under db2.
func tree() *fakeFleet {
	p := newFake()
	p.server("db1", "")
	p.server("db2", "db1")
	p.server("db3", "db1")
	p.server("db4", "db2")
	p.register()
	return p
}

func keys(names ...string) []topology.Key {
	var out []topology.Key
	for _, n := range names {
		out = append(out, key(n))
	}
	return out
}

// drawn is the fleet in words: "db1 up, db2<db1 up".
func drawn(s topology.Snapshot) string {
	var out []string
	for _, v := range s.Servers {
		text := v.Key.Host
		if v.Instance != nil {
			for _, c := range v.Instance.Channels {
				text += "<" + c.Source.Host
			}
		}
		switch {
		case v.Up():
			text += " up"
		case v.Probe.Failure != topology.OK:
			text += " " + string(v.Probe.Failure)
		default:
			text += " ?"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func expect(t *testing.T, f *Fleet, want string) {
	t.Helper()
	if got := drawn(f.Snapshot()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// taken are the clusters that a subscriber finds on its list.
func taken(s *Subscription) string { return strings.Join(s.Take(), " ") }

func TestFromAnyServerTheWholeTreeIsFound(t *testing.T) {
	for _, seed := range []string{"db1", "db2", "db3", "db4"} {
		t.Run(seed, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				run(t, tree(), Options{Seeds: keys(seed)}, func(f *Fleet) {
					pass(50 * time.Millisecond)
					expect(t, f, "db1 up, db2<db1 up, db3<db1 up, db4<db2 up")
					for _, v := range f.Snapshot().Servers {
						if v.Cluster != "db1:3306" {
							t.Errorf("%v is in cluster %q", v.Key, v.Cluster)
						}
					}
				})
			})
		})
	}
	t.Run("random trees", func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			n := rapid.IntRange(1, 12).Draw(rt, "servers")
			parents := make([]int, n)
			for i := 1; i < n; i++ {
				parents[i] = rapid.IntRange(0, i-1).Draw(rt, "parent")
			}
			seed := rapid.IntRange(0, n-1).Draw(rt, "seed")
			synctest.Test(t, func(t *testing.T) {
				p := newFake()
				p.server("h00", "")
				for i := 1; i < n; i++ {
					p.server(fmt.Sprintf("h%02d", i), fmt.Sprintf("h%02d", parents[i]))
				}
				p.register()
				run(t, p, Options{Seeds: keys(fmt.Sprintf("h%02d", seed))}, func(f *Fleet) {
					pass(time.Duration(2*n+2) * 2 * time.Millisecond)
					s := f.Snapshot()
					if len(s.Servers) != n || len(s.Clusters()) != 1 {
						rt.Errorf("found %d of %d servers in clusters %v: %s", len(s.Servers), n, s.Clusters(),
							drawn(s))
					}
				})
			})
		})
	})
}

func TestNotEverybodyIsLookedAt(t *testing.T) {
	for _, c := range []struct {
		name, want string
		change     func(p *fakeFleet, o *Options)
	}{
		{"an ignored replica", "db1 up, db2<db1 up, db4<db2 up", func(_ *fakeFleet, o *Options) {
			o.Ignore = []*regexp.Regexp{regexp.MustCompile(`^db3:3306$`)}
		}},
		{"a forgotten one, and what is only known through it", "db1 up, db3<db1 up", func(_ *fakeFleet, o *Options) {
			o.Forgotten = func(k topology.Key) bool { return k == key("db2") }
		}},
		{"a detached source", "db1 up, db2<db1 up, db3<//db1 up, db4<db2 up", func(p *fakeFleet, _ *Options) {
			p.servers[key("db3")].instance.Channels[0].Source.Host = "//db1"
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, o := tree(), Options{Seeds: keys("db1")}
				c.change(p, &o)
				run(t, p, o, func(f *Fleet) {
					pass(3 * time.Second)
					expect(t, f, c.want)
				})
			})
		})
	}
}

func TestEveryServerIsAskedEachPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFake()
		var seeds []topology.Key
		for i := range 100 {
			p.server(fmt.Sprintf("h%02d", i), "")
			seeds = append(seeds, key(fmt.Sprintf("h%02d", i)))
		}
		run(t, p, Options{Seeds: seeds, Poll: time.Second}, func(f *Fleet) {
			pass(3 * time.Second)
			p.crowd()
			since := time.Now()
			pass(10*time.Second - time.Nanosecond)
			for _, k := range seeds {
				got := p.probes(k.Host, since)
				if len(got) != 10 {
					t.Errorf("%v was asked %d times in 10 s", k, len(got))
				}
				for i := 1; i < len(got); i++ {
					if gap := got[i] - got[i-1]; gap != time.Second {
						t.Errorf("%v was asked %v after the last time", k, gap)
					}
				}
			}
			if most, _ := p.crowd(); most > 8 {
				t.Errorf("%d of 100 servers were asked at the same time", most)
			}
		})
	})
}

// A burst leaves few goroutines behind; those that it leaves make the next probes.
func TestGoroutinesProbeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFake()
		p.latency = 100 * time.Millisecond
		var seeds []topology.Key
		for i := range 200 {
			p.server(fmt.Sprintf("h%03d", i), "")
			seeds = append(seeds, key(fmt.Sprintf("h%03d", i)))
		}
		run(t, p, Options{Seeds: seeds, Poll: time.Second}, func(f *Fleet) {
			pass(4 * time.Second)
			before := runtime.NumGoroutine()
			f.Look(t.Context(), seeds...)
			f.mu.Lock()
			idle := len(f.idle)
			f.mu.Unlock()
			if most, _ := p.crowd(); most < 2*kept || idle != kept {
				t.Errorf("after %d probes at a time %d goroutines wait, want %d", most, idle, kept)
			}
			pass(10 * time.Second)
			if after := runtime.NumGoroutine(); after > before+kept {
				t.Errorf("%d goroutines, before the burst %d", after, before)
			}
		})
	})
}

func TestTheDeadAreAskedLess(t *testing.T) {
	for _, c := range []struct {
		name     string
		kill     string
		close    []topology.Key
		min, max int // probes between 60 s and 120 s after the death
	}{
		{"a replica without replicas backs off", "db3", nil, 2, 6},
		{"unless it is awaited back", "db3", keys("db3"), 58, 62},
		{"a primary with replicas does not", "db1", nil, 58, 62},
		{"nor an intermediate", "db2", nil, 58, 62},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := tree()
				run(t, p, Options{Seeds: keys("db1"), Poll: time.Second, MaxBackoff: 20 * time.Second}, func(f *Fleet) {
					pass(time.Second)
					f.StayClose("db1:3306", c.close...)
					p.kill(c.kill)
					died := time.Now()
					pass(10 * time.Second)
					if n := len(p.probes(c.kill, died)); n < 9 {
						t.Errorf("in the first 10 s it was asked %d times only", n)
					}
					pass(50 * time.Second)
					n := len(p.probes(c.kill, time.Now()))
					since := time.Now()
					pass(60 * time.Second)
					if n = len(p.probes(c.kill, since)) - n; n < c.min || n > c.max {
						t.Errorf("asked %d times in the second minute, want %d to %d", n, c.min, c.max)
					}
					p.do(func() { p.servers[key(c.kill)].fails = topology.OK })
					pass(21 * time.Second)
					if s := f.Snapshot().Server(key(c.kill)); !s.Up() || s.Probe.Failures != 0 ||
						!s.Probe.FailingSince.IsZero() {
						t.Errorf("it is back: %+v", s.Probe)
					}
				})
			})
		})
	}
}

func TestStayCloseHoldsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		run(t, p, Options{Seeds: keys("db1"), MaxBackoff: time.Hour}, func(f *Fleet) {
			pass(time.Second)
			p.kill("db3")
			pass(2 * time.Hour)
			since := time.Now()
			f.StayClose("db1:3306", key("db3"))
			pass(2500 * time.Millisecond)
			if n := len(p.probes("db3", since)); n != 2 {
				t.Errorf("asked %d times in 2.5 s, want 2", n)
			}
		})
	})
}

func TestACrashIsNoticedInMilliseconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		run(t, p, Options{Seeds: keys("db1"), Poll: 10 * time.Second}, func(f *Fleet) {
			pass(3 * time.Second)
			news := f.Subscribe()
			news.Take()
			died := time.Now()
			p.kill("db1")
			pass(4 * time.Millisecond)
			if s := f.Snapshot().Server(key("db1")); s.Probe.Failure != topology.Refused {
				t.Errorf("after 4 ms: %+v", s.Probe)
			}
			if taken(news) == "" {
				t.Error("nobody is told")
			}
			for _, r := range []string{"db2", "db3"} { // once the probe of db1 has failed, and before anything else
				if got := p.probes(r, died); len(got) == 0 || got[0] != time.Millisecond {
					t.Errorf("%s was asked at %v after the death", r, got)
				}
			}
			pass(200 * time.Millisecond)
			if got := p.probes("db2", died); len(got) < 6 {
				t.Errorf("db2 was asked %d times in 0.2 s: %v", len(got), got)
			}
			if got := p.probes("db1", died); len(got) < 3 {
				t.Errorf("db1 was asked again %d times in 0.2 s: %v", len(got), got)
			}
			pass(20 * time.Second)
			since := time.Now()
			pass(60 * time.Second)
			if n := len(p.probes("db2", since)); n > 7 {
				t.Errorf("db2 is still asked %d times a minute, with a poll of 10 s", n)
			}
			if n := p.count(p.watches, "db1"); n != 1 {
				t.Errorf("%d watches of db1 were begun, although it never came back", n)
			}
			p.do(func() { p.servers[key("db1")].fails = topology.OK })
			pass(10 * time.Second)
			if n := p.count(p.watching, "db1"); n != 1 {
				t.Errorf("db1 is back, and watched %d times", n)
			}
		})
	})
}

func TestWhoHasNoReplicasAnyMoreIsNotWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		run(t, p, Options{Seeds: keys("db1")}, func(f *Fleet) {
			for _, want := range []int{1, 0, 1} {
				pass(3 * time.Second)
				if n := p.count(p.watching, "db2"); n != want {
					t.Errorf("db2 is watched %d times, want %d", n, want)
				}
				p.do(func() {
					c := &p.servers[key("db4")].instance.Channels[0]
					c.Source = map[bool]topology.Key{true: key("db1"), false: key("db2")}[c.Source == key("db2")]
				})
			}
		})
	})
}

func TestSiblingsOfAFailedIntermediateAreAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		run(t, p, Options{Seeds: keys("db1"), Poll: 100 * time.Second}, func(f *Fleet) {
			pass(150 * time.Second)
			died := time.Now()
			p.kill("db2")
			pass(3 * time.Millisecond)
			for _, k := range []string{"db1", "db3", "db4"} {
				if len(p.probes(k, died)) == 0 {
					t.Errorf("%s was not asked", k)
				}
			}
		})
	})
}

func TestAReceiverThatHasJustBeenStartedIsAskedAgainSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		run(t, p, Options{Seeds: keys("db1"), Poll: 100 * time.Second}, func(f *Fleet) {
			pass(150 * time.Second)
			c := &p.servers[key("db3")].instance.Channels[0]
			p.do(func() { c.Source, c.IO = key("db2"), topology.Connecting })
			f.Look(t.Context(), key("db3"))
			pass(45 * time.Millisecond)
			p.do(func() { c.IO = topology.Running })
			pass(15 * time.Millisecond)
			if got := f.Cluster("db1:3306").Server(key("db3")).Instance.Channels[0]; got.IO != topology.Running {
				t.Errorf("15 ms after it has connected it is shown as %s", got.IO)
			}
			since := time.Now()
			pass(90 * time.Second)
			if n := len(p.probes("db3", since)); n > 1 {
				t.Errorf("it is asked %d times more", n)
			}
			p.do(func() { c.IO = topology.Connecting })
			pass(150 * time.Second)
			since = time.Now()
			pass(290 * time.Second)
			if n := len(p.probes("db3", since)); n > 3 {
				t.Errorf("one that does not get through is asked %d times in 290 s, with a poll of 100 s", n)
			}
		})
	})
}

func TestATimeoutIsAskedAgainWithinTheSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		run(t, p, Options{Seeds: keys("db1"), Poll: 5 * time.Second, Silence: 2500 * time.Millisecond}, func(f *Fleet) {
			pass(10 * time.Second)
			p.do(func() {
				p.servers[key("db1")].hang = time.Second
				p.servers[key("db1")].fails = topology.Timeout
			})
			pass(6 * time.Second) // by now a probe has failed
			v := f.Snapshot().Server(key("db1"))
			pass(time.Until(v.Probe.FailingSince.Add(2500 * time.Millisecond)))
			v = f.Snapshot().Server(key("db1"))
			if v.Probe.Failures < 2 || v.Probe.Asked.Sub(v.Probe.FailingSince) < 1250*time.Millisecond {
				t.Errorf("%+v", v.Probe)
			}
		})
	})
}

func TestWhoseSilenceMattersIsAskedMoreOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		run(t, p, Options{Seeds: keys("db1"), Poll: 5 * time.Second, Silence: 2500 * time.Millisecond}, func(f *Fleet) {
			pass(20 * time.Second)
			since := time.Now()
			pass(50 * time.Second)
			if source, leaf := len(p.probes("db1", since)), len(p.probes("db3", since)); source != 25 || leaf != 10 {
				t.Errorf("in 50 s db1 was asked %d times, and db3, which has no replicas, %d times", source, leaf)
			}
		})
	})
}

func TestProbeBookkeeping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFake()
		p.server("db1", "")
		p.latency = 10 * time.Millisecond
		began := time.Now()
		run(t, p, Options{Seeds: keys("db1"), Poll: time.Hour}, func(f *Fleet) {
			look := func() topology.Probe {
				f.Look(t.Context(), key("db1"))
				return f.Snapshot().Servers[0].Probe
			}
			at := func(what string, got, want time.Time) {
				t.Helper()
				if !got.Equal(want) {
					t.Errorf("%s is %v, want %v", what, got.Sub(began), want.Sub(began))
				}
			}
			synctest.Wait() // the first probe is under way
			first := time.Now()
			v := look() // it is not the answer: another one follows
			at("Asked", v.Asked, first.Add(10*time.Millisecond))
			at("Answered", v.Answered, v.Asked)
			answered := v.Answered

			pass(time.Second)
			p.kill("db1")
			broke := time.Now()
			v = look()
			at("Asked", v.Asked, broke)
			at("Answered", v.Answered, answered)
			at("FailingSince", v.FailingSince, broke)
			if v.Failures != 1 || v.Failure != topology.Refused || v.Error == "" {
				t.Errorf("%+v", v)
			}
			p.do(func() { p.servers[key("db1")].fails = topology.Timeout })
			pass(time.Second)
			if v = look(); v.Failures < 2 || v.Failure != topology.Timeout {
				t.Errorf("%+v", v)
			}
			at("FailingSince", v.FailingSince, broke)
			at("Asked", v.Asked, time.Now().Add(-10*time.Millisecond))
		})
	})
}

func TestALateAnswerChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := New(newFake(), Options{Seeds: keys("db1")})
		s := f.servers[key("db1")]
		now := time.Now()
		f.mu.Lock()
		defer f.unlock()
		f.finish(s, 2, now, answer{failure: topology.Refused, err: errors.New("refused")})
		f.finish(s, 1, now.Add(-time.Second), answer{instance: topology.Instance{UUID: "old"}})
		if s.probe.Failure != topology.Refused || s.instance != nil || !s.probe.Asked.Equal(now) {
			t.Errorf("%+v %+v", s.probe, s.instance)
		}
	})
}

func TestLookWaitsForAProbeThatBeganAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		run(t, p, Options{Seeds: keys("db1"), Poll: time.Hour}, func(f *Fleet) {
			pass(time.Second)
			p.do(func() { p.servers[key("db2")].hang = 100 * time.Millisecond })
			go f.Look(t.Context(), key("db2"))
			pass(60 * time.Millisecond)
			p.do(func() { p.servers[key("db2")].instance.ReadOnly = false })
			began := time.Now()
			f.Look(t.Context(), key("db1"), key("db2"), key("db2"), key("nobody"))
			if took := time.Since(began); took != 140*time.Millisecond {
				t.Errorf("took %v, want the rest of the first and a second one", took)
			}
			short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			began = time.Now()
			f.Look(short, key("db2"))
			if took := time.Since(began); took != 10*time.Millisecond {
				t.Errorf("took %v though its context ended", took)
			}
			if _, twice := p.crowd(); twice {
				t.Error("a server was asked twice at a time")
			}
		})
	})
}

func TestOneServerUnderTwoNames(t *testing.T) {
	for _, c := range []struct {
		name, want, names string
		seeds             []topology.Key
		change            func(p *fakeFleet, o *Options)
	}{
		{"the one seen first stays", "db1 up, db2<db1 up, db3<db1 up, db4<db2 up", "vip:3306", keys("db1"), nil},
		{"a seed goes before what was found", "db2<vip up, db3<vip up, db4<db2 up, vip up", "db1:3306",
			keys("db4", "vip"), nil},
		{"by @@hostname", "db1 up, db2<db1 up, db3<db1 up, db4<db2 up", "vip:3306", keys("vip"),
			func(_ *fakeFleet, o *Options) { o.Resolve = "hostname" }},
		{"by @@hostname, both known", "db1 up, db2<db1 up, db3<db1 up, db4<db2 up", "vip:3306", keys("vip", "db1"),
			func(_ *fakeFleet, o *Options) { o.Resolve = "hostname" }},
		{"by report_host", "db1 up, db2<db1 up, db3<db1 up, db4<db2 up", "vip:3306", keys("vip"),
			func(p *fakeFleet, o *Options) {
				o.Resolve = "report_host"
				p.servers[key("db1")].instance.ReportHost = "DB1"
			}},
		{"a clone with its own server_id is another server", "db1 up, db2<db1 up, db3<db1 up, db4<db2 up, vip up", "",
			keys("db1", "vip"), clone(func(i *topology.Instance) { i.ServerID = 77 })},
		{"one with another host name too", "db1 up, db2<db1 up, db3<db1 up, db4<db2 up, vip up", "",
			keys("db1", "vip"), clone(func(i *topology.Instance) { i.Hostname = "db9" })},
		{"one that started at another time too", "db1 up, db2<db1 up, db3<db1 up, db4<db2 up, vip up", "",
			keys("db1", "vip"), clone(func(i *topology.Instance) { i.StartedAt = i.StartedAt.Add(time.Minute) })},
		{"starting times are exact to a second", "db1 up, db2<db1 up, db3<db1 up, db4<db2 up", "vip:3306",
			keys("db1", "vip"), clone(func(i *topology.Instance) { i.StartedAt = i.StartedAt.Add(time.Second) })},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := tree()
				p.addresses[key("vip")] = key("db1")
				p.servers[key("db3")].instance.Channels[0].Source = key("vip")
				o := Options{Seeds: c.seeds}
				if c.change != nil {
					c.change(p, &o)
				}
				if p.servers[key("vip")] != nil {
					p.servers[key("db3")].instance.Channels[0].Source = key("db1")
				}
				run(t, p, o, func(f *Fleet) {
					pass(3 * time.Second)
					expect(t, f, c.want)
					root := f.Snapshot().Primary()
					if got := fmt.Sprint(root.Names); c.names != "" && got != "["+c.names+"]" {
						t.Errorf("other names of %v: %v", root.Key, got)
					}
					if c.names != "" {
						since := time.Now()
						pass(5 * time.Second)
						if n := len(p.probes(c.names, since)); n > 0 {
							t.Errorf("%s was asked %d times although it is only another name", c.names, n)
						}
						if clusters := f.Snapshot().Clusters(); len(clusters) != 1 || clusters[0] != root.Key.String() {
							t.Errorf("clusters %v", clusters)
						}
						f.Look(t.Context(), key("vip"), key("db1"))
					}
				})
			})
		})
	}
}

// clone puts a server at vip that has db1's UUID and whatever change makes different.
func clone(change func(*topology.Instance)) func(*fakeFleet, *Options) {
	return func(p *fakeFleet, _ *Options) {
		delete(p.addresses, key("vip"))
		s := p.server("vip", "")
		s.instance = copyInstance(p.servers[key("db1")].instance)
		change(&s.instance)
	}
}

func TestASourceIsKnownByItsUUID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		c := &p.servers[key("db2")].instance.Channels[0]
		c.Source, c.SourceUUID = key("10.0.0.1"), "uuid-db1" // an address that only servers among themselves can reach
		run(t, p, Options{Seeds: keys("db2", "db1")}, func(f *Fleet) {
			pass(3 * time.Second)
			expect(t, f, "db1 up, db2<db1 up, db3<db1 up, db4<db2 up")
			// Pointed elsewhere, where it can't connect, a replica may still remember the UUID of whom it was
			// connected to.
			p.do(func() { c.Source, c.IO = key("db3"), topology.Connecting })
			pass(2 * time.Second)
			expect(t, f, "db1 up, db2<db3 up, db3<db1 up, db4<db2 up")
		})
	})
}

func TestAnotherServerAtAnAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		p.addresses[key("vip")] = key("db1")
		run(t, p, Options{Seeds: keys("vip", "db1")}, func(f *Fleet) {
			pass(3 * time.Second)
			expect(t, f, "db2<vip up, db3<vip up, db4<db2 up, vip up")
			p.do(func() { p.addresses[key("vip")] = key("db3") })
			pass(3 * time.Second)
			expect(t, f, "db1 up, db2<db1 up, db4<db2 up, vip<db1 up")
		})
	})
}

func TestForgottenServersStayForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		p.addresses[key("vip")] = key("db3")
		gone := map[topology.Key]bool{}
		run(t, p, Options{Seeds: keys("db1", "vip"), Forgotten: func(k topology.Key) bool { return gone[k] }},
			func(f *Fleet) {
				pass(3 * time.Second)
				expect(t, f, "db1 up, db2<db1 up, db4<db2 up, vip<db1 up")
				f.mu.Lock()
				gone[key("vip")] = true
				f.unlock()
				f.Forget(key("db3")) // by its other name
				pass(3 * time.Second)
				expect(t, f, "db1 up, db2<db1 up, db4<db2 up")
				if p.count(p.forgot, "vip") != 1 {
					t.Error("the prober keeps its connection")
				}
				if _, err := f.DiscoverNow(t.Context(), key("vip")); !errors.Is(err, ErrRefused) {
					t.Errorf("DiscoverNow of a forgotten server: %v", err)
				}
				f.mu.Lock()
				delete(gone, key("vip"))
				gone[key("db4")] = true // by another daemon
				f.unlock()
				pass(3 * time.Second)
				expect(t, f, "db1 up, db2<db1 up, db3<db1 up")
			})
	})
}

func TestDiscoverNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run(t, tree(), Options{Declared: func(s *topology.Server) { s.Rule = topology.Prefer }}, func(f *Fleet) {
			v, err := f.DiscoverNow(t.Context(), key("db2"))
			if err != nil || !v.Up() || v.Key != key("db2") || v.Rule != topology.Prefer {
				t.Errorf("%+v, %v", v, err)
			}
			_, err = f.DiscoverNow(t.Context(), key("typo"))
			if err == nil || !strings.Contains(err.Error(), "typo:3306: no_such_host: no such host") {
				t.Errorf("a server that is not there: %v", err)
			}
			pass(time.Second)
			expect(t, f, "db1 up, db2<db1 up, db3<db1 up, db4<db2 up")
		})
	})
}

func TestRestoredServersAreNotUpBeforeTheyAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		p.addresses[key("vip")] = key("db1")
		var remembered []topology.Server
		run(t, p, Options{Seeds: keys("db1", "vip")}, func(f *Fleet) {
			pass(3 * time.Second)
			remembered = f.Dirty()
			if len(remembered) != 4 || len(f.Dirty()) != 0 {
				t.Errorf("dirty: %v", remembered)
			}
		})
		remembered[0].Cluster = "shop"
		f := New(p, Options{})
		f.Restore(remembered)
		expect(t, f, "db1 ?, db2<db1 ?, db3<db1 ?, db4<db2 ?")
		for _, v := range f.Snapshot().Servers {
			if v.Up() || v.Probe != (topology.Probe{}) || v.Cluster != "shop" {
				t.Errorf("%+v", v)
			}
		}
		p.kill("db1")
		ctx, cancel := context.WithCancel(t.Context())
		go f.Run(ctx)
		pass(1100 * time.Millisecond)
		expect(t, f, "db1 refused, db2<db1 up, db3<db1 up, db4<db2 up")
		cancel()
		synctest.Wait()
	})
}

func TestClusterNamesStick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		run(t, p, Options{Seeds: keys("db1")}, func(f *Fleet) {
			pass(time.Second)
			f.Snapshot()
			p.kill("db1")
			p.do(func() { // db2 is promoted
				p.servers[key("db2")].instance.Channels = nil
				p.servers[key("db2")].instance.ReadOnly = false
				p.servers[key("db3")].instance.Channels[0].Source = key("db2")
			})
			pass(3 * time.Second)
			expect(t, f, "db1 refused, db2 up, db3<db2 up, db4<db2 up")
			for _, v := range f.Snapshot().Servers {
				if v.Cluster != "db1:3306" {
					t.Errorf("%v is in %q", v.Key, v.Cluster)
				}
			}
			if got := slices.Sorted(maps.Keys(p.watched())); !slices.Equal(got, []string{"db2"}) {
				t.Errorf("watched: %v", got)
			}
		})
	})
}

func (p *fakeFleet) watched() map[string]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]bool{}
	for k, n := range p.watching {
		if n > 0 {
			out[k.Host] = true
		}
	}
	return out
}

func TestReceiversAreTimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		run(t, p, Options{Seeds: keys("db2"), Poll: time.Hour}, func(f *Fleet) {
			since := func() time.Duration {
				f.Look(t.Context(), key("db2"))
				return time.Since(f.Snapshot().Server(key("db2")).Instance.Channels[0].IOSince)
			}
			pass(time.Second)
			if got := since(); got < time.Second {
				t.Errorf("running for %v", got)
			}
			p.do(func() { p.servers[key("db2")].instance.Channels[0].IO = topology.Connecting })
			if got := since(); got != time.Millisecond {
				t.Errorf("connecting for %v", got)
			}
			pass(time.Second)
			if got := since(); got != time.Second+2*time.Millisecond {
				t.Errorf("connecting for %v", got)
			}
		})
	})
}
