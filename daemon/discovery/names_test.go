package discovery

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// maria makes MariaDB servers of all: their receivers tell no UUID of the source, but its server id.
func (p *fakeFleet) maria(position string) {
	for _, s := range p.servers {
		i := &s.instance
		i.Flavor, i.Executed, i.Registered = topology.MariaDB, gtid.MustParse(position), nil
		for n := range i.Channels {
			c := &i.Channels[n]
			if t := p.find(c.Source); t != nil {
				c.SourceID = t.instance.ServerID
			}
			c.Received = i.Executed
		}
	}
}

// byName has the replicas of a server follow it by a name that only they can resolve.
func (p *fakeFleet) byName(name string, replicas ...string) {
	for _, r := range replicas {
		p.servers[key(r)].instance.Channels[0].Source = key(name)
	}
}

func TestANameThatOnlyReplicasResolve(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(p *fakeFleet)
		want   string
	}{
		{"the same position", func(*fakeFleet) {}, "db1 up, db2<db1 up, db3<db1 up, db4<db2 up"},
		{"it has the replica on its list", func(p *fakeFleet) {
			p.servers[key("db1")].instance.Registered = keys("db2")
			p.servers[key("db2")].instance.Channels[0].Received = gtid.MustParse("0-1-90")
			p.servers[key("db3")].instance.Channels[0].Received = gtid.MustParse("0-1-90")
		}, "db1 up, db2<db1 up, db3<db1 up, db4<db2 up"},
		{"a server of the same id elsewhere, with other data", func(p *fakeFleet) {
			p.servers[key("db1")].instance.Executed = gtid.MustParse("0-1-9000")
		}, "db1 up, db2<only up, db3<only up, db4<db2 up, only no_such_host"},
		{"two servers of that id, with the same data", func(p *fakeFleet) {
			p.server("other1", "")
			p.servers[key("other1")].instance = p.servers[key("db1")].instance
			p.servers[key("other1")].instance.UUID = "another"
		}, "db1 up, db2<only up, db3<only up, db4<db2 up, only no_such_host, other1 up"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := tree()
				p.maria("0-1-100")
				p.byName("only", "db2", "db3")
				c.change(p)
				seeds := keys("db1", "db2", "db3", "db4", "other1")[:len(p.servers)]
				run(t, p, Options{Seeds: seeds}, func(f *Fleet) {
					pass(5 * time.Second)
					expect(t, f, c.want)
					s := f.Snapshot().Server(key("db2"))
					if got := s.Instance.Channels[0].Written(); got != key("only") {
						t.Errorf("it writes its source as %v", got)
					}
				})
			})
		})
	}
}

// A virtual address moves from the primary, which lives on, to a replica.
func TestAVirtualAddressThatMoved(t *testing.T) {
	for _, seeds := range [][]topology.Key{keys("vip"), keys("db1", "db2", "db3"), keys("vip", "db2")} {
		synctest.Test(t, func(t *testing.T) {
			p := tree()
			p.addresses[key("vip")] = key("db1")
			p.byName("vip", "db2", "db3")
			for _, r := range []string{"db2", "db3"} {
				p.servers[key(r)].instance.Channels[0].SourceUUID = "uuid-db1"
			}
			run(t, p, Options{Seeds: seeds}, func(f *Fleet) {
				pass(3 * time.Second)
				before := f.Snapshot()
				p.do(func() {
					p.addresses[key("vip")] = key("db2")
					c := &p.servers[key("db2")].instance.Channels[0]
					c.IO, c.IOErrno = topology.Stopped, 13117
					p.servers[key("db3")].instance.Channels[0].SourceUUID = "uuid-db2"
				})
				pass(20 * time.Second)
				after := f.Snapshot()
				if len(before.Servers) != 4 || len(after.Servers) != 4 {
					t.Fatalf("%s\nthen %s", drawn(before), drawn(after))
				}
				db1, db2 := after.Named(key("db1")), after.Named(key("db2"))
				if !db1.Up() || db1.Cluster != db2.Cluster {
					t.Errorf("db1 is lost: %s", drawn(after))
				}
				if !slices.Equal(db2.Doubtful, keys("vip")) || db2.Address() != key("db2") || len(db1.Doubtful) > 0 {
					t.Errorf("doubtful: %v at db2, whose address is %v; %v at db1", db2.Doubtful, db2.Address(),
						db1.Doubtful)
				}
				if db2.ChannelFrom(db2.Key) == nil || after.Named(key("db3")).ChannelFrom(db2.Key) == nil {
					t.Errorf("who follows whom: %s", drawn(after))
				}
				f2 := New(p, Options{})
				f2.Restore(f.Dirty())
				if got := f2.Snapshot().Named(key("db2")); got == nil || !slices.Equal(got.Doubtful, keys("vip")) {
					t.Errorf("remembered: %+v", got)
				}
			})
		})
	}
}

// A server that is set up anew at its address is no second server of that name.
func TestANewServerAtAnAddressIsNoDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		run(t, p, Options{Seeds: keys("db1")}, func(f *Fleet) {
			pass(time.Second)
			p.do(func() { p.servers[key("db3")].instance.UUID = "set up anew" })
			pass(3 * time.Second)
			expect(t, f, "db1 up, db2<db1 up, db3<db1 up, db4<db2 up")
			if got := f.Snapshot().Server(key("db3")).Doubtful; len(got) > 0 {
				t.Errorf("doubtful: %v", got)
			}
		})
	})
}

func TestWhoNeverAnsweredBelongsToWhereItRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		p.servers[key("db1")].instance.Registered = append(p.servers[key("db1")].instance.Registered, key("reader"))
		run(t, p, Options{Seeds: keys("db1")}, func(f *Fleet) {
			pass(3 * time.Second)
			expect(t, f, "db1 up, db2<db1 up, db3<db1 up, db4<db2 up, reader no_such_host")
			if got := f.Clusters(); !slices.Equal(got, []string{"db1:3306"}) {
				t.Errorf("clusters %v", got)
			}
			p.do(func() { p.servers[key("db1")].instance.Registered = keys("db2", "db3") })
			pass(2 * time.Hour)
			expect(t, f, "db1 up, db2<db1 up, db3<db1 up, db4<db2 up")
		})
	})
}

func TestASpoiltNameIsThatOfTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		p.addresses[key("vip")] = key("db1")
		p.servers[key("db3")].instance.Channels[0].Source = key("vip").Detach()
		p.servers[key("db3")].instance.Channels[0].IO = topology.Stopped
		run(t, p, Options{Seeds: keys("db1", "vip", "db3")}, func(f *Fleet) {
			pass(3 * time.Second)
			c := f.Snapshot().Server(key("db3")).Instance.Channels[0]
			if c.Source != key("db1").Detach() || c.Spelt != key("vip").Detach() {
				t.Errorf("%+v", c)
			}
		})
	})
}
