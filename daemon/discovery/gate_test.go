package discovery

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"orchestrator/daemon/topology"
)

func TestTheGate(t *testing.T) {
	for _, c := range []struct {
		name, only, named, key, address string
		admitted                        bool
	}{
		{"what is found", "", "", "db1", "10.0.0.1", true},
		{"a name that leads to a link-local address", "", "", "db1", "169.254.169.254", false},
		{"a person named it", "", "db1", "db1", "169.254.169.254", true},
		{"the address itself", "", "", "169.254.169.254:3306", "", false},
		{"this machine", "", "", "127.0.0.1:3306", "", false},
		{"a name of this machine by another name", "", "", "db1", "127.0.0.1", false},
		{"its own name", "", "", "me.example.com", "127.0.1.1", true},
		{"this machine, where a seed is on it too", "", "127.0.0.1:3307", "127.0.0.1:3306", "", true},
		{"before it is looked up", "", "", "db1", "", true},
		{"in the network", "10.0.0.0/8", "", "db1", "10.0.0.1", true},
		{"not looked up yet", "10.0.0.0/8", "", "db1", "", true},
		{"out of the network", "10.0.0.0/8", "", "db1", "11.0.0.1", false},
		{"out of the network, although a person named it", "10.0.0.0/8", "db1", "db1", "11.0.0.1", false},
		{"by name", "db*", "", "db1", "169.254.169.254", true},
		{"not by name", "db*", "", "evil", "", false},
	} {
		g := NewGate("me")
		if c.only != "" {
			p, err := topology.ParsePattern(c.only)
			if err != nil {
				t.Fatal(err)
			}
			g.Only([]topology.Pattern{p})
		}
		if c.named != "" {
			g.Name(key(c.named))
		}
		var a netip.Addr
		if c.address != "" {
			a = netip.MustParseAddr(c.address)
		}
		if err := g.Admit(key(c.key), a); (err == nil) != c.admitted || err != nil && !errors.Is(err, ErrBarred) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// What is not admitted is shown, and takes part in nothing; the same server counts again once it is admitted.
func TestAServerThatIsNotAdmitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := registered(topology.MySQL)
		run(t, p, Options{Seeds: keys("db1")}, func(f *Fleet) {
			pass(3 * time.Second)
			p.do(func() { p.servers[key("db9")].fails = topology.Barred })
			pass(3 * time.Second)
			if got := strange(f, "db9"); got != topology.NotAdmitted {
				t.Errorf("db9 is %q", got)
			}
			n := p.asks("db9")
			pass(10 * time.Minute)
			if more := p.asks("db9") - n; more > 15 {
				t.Errorf("asked %d times in ten minutes", more)
			}
			p.do(func() { p.servers[key("db9")].fails = topology.OK })
			f.Reconsider()
			pass(3 * time.Second)
			if got := strange(f, "db9"); got != "" {
				t.Errorf("db9 is %q", got)
			}
		})
	})
}
