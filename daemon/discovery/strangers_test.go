package discovery

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// registered is db1, with db2 and db9 on its list, all with positions.
func registered(flavor topology.Flavor) *fakeFleet {
	p := newFake()
	p.server("db1", "")
	p.server("db2", "db1")
	p.server("db9", "db1")
	p.register()
	for _, s := range p.servers {
		i := &s.instance
		i.Flavor, i.Executed = flavor, position(flavor, 100)
		for n := range i.Channels {
			i.Channels[n].AutoPosition, i.Channels[n].Received = true, i.Executed
			if flavor == topology.MySQL {
				i.Channels[n].SourceUUID = "uuid-db1"
			}
		}
		for n := range i.Registrations {
			if flavor == topology.MariaDB {
				i.Registrations[n].UUID = ""
			}
		}
	}
	return p
}

func position(flavor topology.Flavor, n int) gtid.Set {
	if flavor == topology.MariaDB {
		return gtid.MustParse(fmt.Sprintf("0-1-%d", n))
	}
	return gtid.MustParse(fmt.Sprintf("11111111-1111-1111-1111-111111111111:1-%d", n))
}

func (p *fakeFleet) moves(name string, n int) {
	i := &p.servers[key(name)].instance
	i.Executed = position(i.Flavor, n)
	for c := range i.Channels {
		i.Channels[c].Received = i.Executed
	}
}

func strange(f *Fleet, name string) topology.StrangerKind {
	v := f.Snapshot().Server(key(name))
	switch {
	case v == nil:
		return "none"
	case v.Stranger == nil:
		return ""
	}
	return v.Stranger.Kind
}

// A replica that is found by its registration and is one is confirmed within moments; one that only says so never is.
func TestWhoRegisteredMustBeConfirmed(t *testing.T) {
	for _, c := range []struct {
		name   string
		want   topology.StrangerKind
		change func(p *fakeFleet, db1, db9 *topology.Instance)
	}{
		{"a replica", "", func(*fakeFleet, *topology.Instance, *topology.Instance) {}},
		{"one that has got everything, and applied less", "", func(p *fakeFleet, _, db9 *topology.Instance) {
			db9.Executed = position(db9.Flavor, 50)
		}},
		{"it has more than its source", topology.Unconfirmed, func(p *fakeFleet, _, db9 *topology.Instance) {
			p.moves("db9", 900)
		}},
		{"it has less, and stands still", topology.Unconfirmed, func(p *fakeFleet, _, db9 *topology.Instance) {
			p.moves("db9", 50)
		}},
		{"it registered with another server id", topology.Unconfirmed, func(_ *fakeFleet, db1, _ *topology.Instance) {
			for n := range db1.Registrations {
				if db1.Registrations[n].Key == key("db9") {
					db1.Registrations[n].ServerID = 77
				}
			}
		}},
		{"it does not receive", topology.Unconfirmed, func(_ *fakeFleet, _, db9 *topology.Instance) {
			db9.Channels[0].IO = topology.Stopped
		}},
		{"its source is another server", topology.Unconfirmed, func(_ *fakeFleet, _, db9 *topology.Instance) {
			db9.Channels[0].SourceID, db9.Channels[0].SourceUUID = 8, ""
		}},
		{"it follows nobody", topology.Unconfirmed, func(_ *fakeFleet, _, db9 *topology.Instance) {
			db9.Channels = nil
		}},
	} {
		for _, flavor := range []topology.Flavor{topology.MySQL, topology.MariaDB} {
			t.Run(c.name+" "+string(flavor), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := registered(flavor)
					c.change(p, &p.servers[key("db1")].instance, &p.servers[key("db9")].instance)
					run(t, p, Options{Seeds: keys("db1")}, func(f *Fleet) {
						pass(200 * time.Millisecond)
						if got := strange(f, "db2"); got != "" {
							t.Errorf("db2 is %q", got)
						}
						if got := strange(f, "db9"); got != c.want {
							t.Errorf("db9 is %q, want %q", got, c.want)
						}
						pass(time.Minute)
						v := f.Snapshot().Server(key("db9"))
						if got := strange(f, "db9"); got != c.want || c.want != "" && v.Stranger.Why == "" {
							t.Errorf("db9 is %q, want %q: %v", got, c.want, v.Stranger)
						}
						if v.Cluster != "db1:3306" {
							t.Errorf("db9 is in cluster %s", v.Cluster)
						}
						if c.want != "" {
							f.Discover(key("db9"))
							if got := strange(f, "db9"); got != "" {
								t.Errorf("a person named db9, and it is %q", got)
							}
						}
					})
				})
			})
		}
	}
}

func TestOneThatFallsBehindIsConfirmedOnceItMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := registered(topology.MySQL)
		p.moves("db9", 50)
		run(t, p, Options{Seeds: keys("db1")}, func(f *Fleet) {
			pass(5 * time.Second)
			if got := strange(f, "db9"); got != topology.Unconfirmed {
				t.Errorf("db9 is %q", got)
			}
			p.do(func() { p.moves("db9", 60) })
			pass(5 * time.Second)
			if got := strange(f, "db9"); got != "" {
				t.Errorf("db9 is %q", got)
			}
		})
	})
}

// A replica that nobody has named and that has more than its living source for a while is not believed, until the
// source has that too. Where most replicas have it, the source has lost it.
func TestAReplicaThatIsAheadOfItsSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := registered(topology.MySQL)
		run(t, p, Options{Seeds: keys("db1")}, func(f *Fleet) {
			pass(2 * time.Second)
			p.do(func() { p.moves("db9", 900) })
			pass(2 * time.Second)
			if got := strange(f, "db9"); got != "" {
				t.Errorf("after a moment db9 is %q", got)
			}
			pass(8 * time.Second)
			if got := strange(f, "db9"); got != topology.Ahead {
				t.Errorf("db9 is %q", got)
			}
			p.do(func() { p.moves("db1", 950) })
			pass(3 * time.Second)
			if got := strange(f, "db9"); got != "" {
				t.Errorf("at last db9 is %q", got)
			}
			p.do(func() { p.moves("db2", 990); p.moves("db9", 990) })
			pass(10 * time.Second)
			if got := strange(f, "db9"); got != "" {
				t.Errorf("the source has lost something, and db9 is %q", got)
			}
		})
	})
}

// What a stranger says of others is not followed: neither its sources nor those that registered with it, and it is no
// other name of anybody because it says so of a third.
func TestWhatAStrangerSaysIsNotFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := registered(topology.MySQL)
		i := &p.servers[key("db9")].instance
		i.Channels[0].Source, i.Channels[0].SourceID, i.Channels[0].SourceUUID = key("victim"), 8, "uuid-victim"
		i.Registered = keys("other1", "other2")
		run(t, p, Options{Seeds: keys("db1")}, func(f *Fleet) {
			pass(time.Minute)
			expect(t, f, "db1 up, db2<db1 up, db9<victim up")
			if got := fmt.Sprint(f.Clusters()); got != "[db1:3306]" {
				t.Errorf("clusters %v", got)
			}
		})
	})
}

// Names that nobody answers at are looked at up to a limit, ever less, and never again become a cluster.
func TestTooManyRegisteredNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := registered(topology.MySQL)
		i := &p.servers[key("db1")].instance
		for n := range 5000 {
			i.Registered = append(i.Registered, key(fmt.Sprintf("x%d", n)))
		}
		o := Options{Seeds: keys("db1"), MaxRegistered: 20, MaxStrangers: 30, Poll: 10 * time.Second}
		run(t, p, o, func(f *Fleet) {
			pass(50 * time.Second)
			s := f.Snapshot()
			if len(s.Servers) != 23 || s.Server(key("db1")).LeftOut != 4980 || strange(f, "db9") != "" {
				t.Errorf("%d servers, %d left out", len(s.Servers), s.Server(key("db1")).LeftOut)
			}
			if got := fmt.Sprint(f.Clusters()); got != "[db1:3306]" {
				t.Errorf("clusters %v", got)
			}
			pass(40 * time.Minute)
			before := p.asks("x0")
			pass(2 * time.Hour)
			if n := p.asks("x0") - before; n > 12 {
				t.Errorf("asked %d times in two hours", n)
			}
		})
	})
}

// A fleet that is found by its registrations has far more servers than there is room for strangers. The room of one
// that is confirmed is given to the next at once, not when the server that names the next is asked again.
func TestTheRoomOfConfirmedStrangersIsUsedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, seeds := newFake(), []topology.Key(nil)
		for c := range 20 {
			primary := fmt.Sprintf("c%d", c)
			p.server(primary, "")
			seeds = append(seeds, key(primary))
			for r := range 3 {
				p.server(fmt.Sprintf("c%d-r%d", c, r), primary)
			}
		}
		p.register()
		o := Options{Seeds: seeds, MaxStrangers: 4, Poll: 5 * time.Second}
		run(t, p, o, func(f *Fleet) {
			pass(time.Second)
			s := f.Snapshot()
			if len(s.Servers) != 80 {
				t.Errorf("%d servers are known, of 80", len(s.Servers))
			}
			for _, v := range s.Servers {
				if v.Stranger != nil || v.LeftOut != 0 {
					t.Errorf("%v: %v, %d left out", v.Key, v.Stranger, v.LeftOut)
				}
			}
			if n := p.asks("c0"); n > 10 {
				t.Errorf("a source was asked %d times in the first second", n)
			}
		})
	})
}

// The replicas of one source answer within moments of each other: one look at it confirms them all. One that does not
// answer keeps the others waiting until its time is over.
func TestOneLookConfirmsAllStrangersOfASource(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := newFake()
			p.server("db1", "")
			for n := range 20 {
				p.server(fmt.Sprintf("r%d", n), "db1").hang = time.Duration(n+1) * 10 * time.Millisecond
			}
			p.register()
			if s := p.servers[key("r7")]; hangs {
				s.fails, s.hang = topology.Timeout, time.Second
			}
			run(t, p, Options{Seeds: keys("db1"), Poll: 10 * time.Second}, func(f *Fleet) {
				pass(1500 * time.Millisecond)
				for n := range 20 {
					if got := strange(f, fmt.Sprintf("r%d", n)); got != "" && !(hangs && n == 7) {
						t.Errorf("r%d is %q; one hangs: %v", n, got, hangs)
					}
				}
				if n := p.asks("db1"); n > 4 {
					t.Errorf("the source was asked %d times; one hangs: %v", n, hangs)
				}
			})
		})
	}
}

// asks is how often a server was asked.
func (p *fakeFleet) asks(name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.asked[key(name)])
}

func TestAStrangerStaysOneAfterARestart(t *testing.T) {
	f := New(newFake(), Options{Seeds: keys("db1")})
	f.Restore([]topology.Server{{Key: key("db1")}, {Key: key("db9"),
		Stranger: &topology.Stranger{Kind: topology.Unconfirmed}}, {Key: key("db2")}})
	for name, want := range map[string]topology.StrangerKind{"db1": "", "db2": "", "db9": topology.Unconfirmed} {
		if got := strange(f, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// A confirmation outlives the daemon that made it, for the server that was confirmed. Its source may be dead by then.
func TestAConfirmationOutlivesTheDaemon(t *testing.T) {
	another := func(p *fakeFleet) { p.servers[key("db9")].instance.ServerID = 77 }
	for _, c := range []struct {
		name     string
		was      topology.StrangerKind // as another daemon has stored it
		recalled bool
		change   func(p *fakeFleet)
		want     topology.StrangerKind
	}{
		{"confirmed and stored", "", true, nil, ""},
		{"confirmed, and stored as a stranger after that", topology.Unconfirmed, true, nil, ""},
		{"never confirmed", topology.Unconfirmed, false, nil, topology.Unconfirmed},
		{"another server answers there", "", true, another, topology.Unconfirmed},
		{"another server answers there, and is stored as a stranger", topology.Unconfirmed, true, another,
			topology.Unconfirmed},
		{"another server that follows nobody", "", true, func(p *fakeFleet) {
			another(p)
			p.servers[key("db9")].instance.Channels = nil
		}, ""},
		{"not admitted by then", topology.NotAdmitted, true, nil, ""},
		{"not admitted, and never confirmed", topology.NotAdmitted, false, nil, topology.Unconfirmed},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := registered(topology.MySQL)
				var stored []topology.Server
				var confirmed []topology.Confirmation
				run(t, p, Options{Seeds: keys("db1")}, func(f *Fleet) {
					pass(5 * time.Second)
					stored, confirmed = f.Dirty(), f.Confirmed()
					if more := f.Confirmed(); len(confirmed) != 2 || len(more) != 0 {
						t.Fatalf("confirmed are %v, then %v", confirmed, more)
					}
				})
				for n := range stored {
					if stored[n].Key == key("db9") && c.was != "" {
						stored[n].Stranger = &topology.Stranger{Kind: c.was}
					}
				}
				p.do(func() {
					p.servers[key("db1")].fails = topology.Refused
					if c.change != nil {
						c.change(p)
					}
				})
				f := New(p, Options{Seeds: keys("db1")})
				f.Restore(stored)
				if c.was == topology.NotAdmitted {
					f.bar(f.at(key("db9")), "it is not in discovery.only")
				}
				if c.recalled {
					f.Recall(confirmed)
				}
				goOn(t, p, f, func(*Fleet) {
					pass(5 * time.Second)
					if got := strange(f, "db9"); got != c.want {
						t.Errorf("db9 is %q, want %q", got, c.want)
					}
				})
			})
		})
	}
}

// A daemon that begins to lead hears what the one before has confirmed, when the source is dead already.
func TestAConfirmationReachesARunningDaemon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := registered(topology.MySQL)
		p.moves("db9", 50) // nothing has been seen to arrive there
		run(t, p, Options{Seeds: keys("db1")}, func(f *Fleet) {
			pass(2 * time.Second)
			i := f.Snapshot().Server(key("db9")).Instance
			p.do(func() { p.servers[key("db1")].fails = topology.Refused })
			pass(2 * time.Second)
			if got := strange(f, "db9"); got != topology.Unconfirmed || !f.Doubts() {
				t.Fatalf("db9 is %q", got)
			}
			f.Recall([]topology.Confirmation{{Key: key("db9"), ServerID: i.ServerID, UUID: "another"},
				{Key: key("unknown"), ServerID: 1}})
			if got := strange(f, "db9"); got != topology.Unconfirmed {
				t.Errorf("another server was confirmed, and db9 is %q", got)
			}
			f.Recall([]topology.Confirmation{{Key: key("db9"), ServerID: i.ServerID, UUID: i.UUID}})
			if got := strange(f, "db9"); got != "" || f.Doubts() {
				t.Errorf("db9 is %q", got)
			}
		})
	})
}

// A replica that is set up anew at its address is on record as who it is now, once its source has confirmed that.
func TestAReplicaThatIsAnotherServerIsConfirmedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := registered(topology.MySQL)
		run(t, p, Options{Seeds: keys("db1")}, func(f *Fleet) {
			pass(2 * time.Second)
			f.Confirmed()
			p.do(func() { p.servers[key("db9")].instance.UUID = "new" })
			pass(5 * time.Second)
			if got := f.Confirmed(); len(got) > 0 {
				t.Errorf("its source lists another one, and confirmed are %v", got)
			}
			p.do(func() {
				for n := range p.servers[key("db1")].instance.Registrations {
					if r := &p.servers[key("db1")].instance.Registrations[n]; r.Key == key("db9") {
						r.UUID = "new"
					}
				}
			})
			pass(5 * time.Second)
			if got := f.Confirmed(); len(got) != 1 || got[0].Key != key("db9") || got[0].UUID != "new" {
				t.Errorf("confirmed are %v", got)
			}
		})
	})
}
