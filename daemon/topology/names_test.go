package topology_test

import (
	"testing"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// A channel that calls its source by another name of that server is one from that server, and keeps what it wrote.
func TestASourceUnderAnotherName(t *testing.T) {
	k := func(host string) topology.Key { return topology.Key{Host: host, Port: 3306} }
	follows := func(source topology.Key) *topology.Instance {
		return &topology.Instance{Channels: []topology.Channel{{Source: source, IO: topology.Running}}}
	}
	s := topology.Snapshot{Servers: []topology.Server{
		{Key: k("db1"), Names: []topology.Key{k("virtual"), k("db1.example")}, Doubtful: []topology.Key{k("virtual")},
			Instance: &topology.Instance{}},
		{Key: k("db2"), Instance: follows(k("db1.example"))},
		{Key: k("db3"), Instance: follows(k("db1"))},
		{Key: k("db4"), Instance: follows(k("db1.example").Detach())},
	}}.Canonical()
	for host, written := range map[string]topology.Key{"db2": k("db1.example"), "db3": k("db1")} {
		c := s.Server(k(host)).ChannelFrom(k("db1"))
		if c == nil || c.Written() != written {
			t.Errorf("%s: %+v", host, s.Server(k(host)).Instance.Channels)
		}
		if !s.Server(k(host)).Receiving() {
			t.Errorf("%s does not receive", host)
		}
	}
	if c := s.Server(k("db4")).Instance.Channels[0]; c.Source != k("db1").Detach() {
		t.Errorf("detached: %v", c.Source)
	}
	v := s.Named(k("db1.example"))
	if v == nil || v.Key != k("db1") || s.Named(k("db1")) != v || s.Named(k("x")) != nil {
		t.Error("a server is not found by its names")
	}
	if one := (topology.Snapshot{Servers: s.Servers[2:3]}).Canonical(); len(one.Servers) != 1 {
		t.Errorf("%+v", one)
	}
}

func TestAddress(t *testing.T) {
	a, b := topology.Key{Host: "a", Port: 1}, topology.Key{Host: "b", Port: 1}
	s := topology.Server{Key: a, Names: []topology.Key{b}}
	for _, c := range []struct {
		doubtful []topology.Key
		want     topology.Key
	}{{nil, a}, {[]topology.Key{a}, b}, {[]topology.Key{a, b}, topology.Key{}}} {
		if s.Doubtful = c.doubtful; s.Address() != c.want {
			t.Errorf("%v: %v, want %v", c.doubtful, s.Address(), c.want)
		}
	}
}

func TestRejectedAndShownToLack(t *testing.T) {
	for errno, want := range map[int]bool{1045: true, 1040: true, 2003: false, 1053: false, 0: false} {
		if got := (topology.Channel{IO: topology.Connecting, IOErrno: errno}).Rejected(); got != want {
			t.Errorf("%d: %v", errno, got)
		}
	}
	set, err := gtid.Parse("0-1-5")
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []topology.Instance{{}, {LogBin: true, LogReplicaUpdates: true, Executed: set,
		Channels: []topology.Channel{{Received: set}}}} {
		if lacks := i.ShownToLack(set); !lacks.Empty() {
			t.Errorf("it lacks %v", lacks)
		}
	}
}
