package mysql

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"orchestrator/daemon/topology"
)

// Nothing is sent to an address that is not admitted, not even a connection is made: the check comes with the address
// that a name has turned out to have.
func TestAnAddressThatIsNotAdmitted(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	connected := make(chan struct{}, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			connected <- struct{}{}
			c.Close()
		}
	}()
	var asked []netip.Addr
	s := New(Options{ProbeTimeout: time.Second, Admit: func(_ topology.Key, a netip.Addr) error {
		if asked = append(asked, a); a.IsValid() {
			return errors.New("not this one")
		}
		return nil
	}})
	defer s.Close()
	k := topology.Key{Host: "localhost", Port: l.Addr().(*net.TCPAddr).Port}
	if _, failure, err := s.Probe(t.Context(), k); failure != topology.Barred {
		t.Errorf("%q: %v", failure, err)
	}
	if len(asked) < 2 || asked[0].IsValid() || !asked[1].IsLoopback() {
		t.Errorf("asked about %v", asked)
	}
	select {
	case <-connected:
		t.Error("a connection was made")
	case <-time.After(50 * time.Millisecond):
	}
}
