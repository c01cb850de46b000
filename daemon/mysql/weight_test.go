package mysql

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// The positions of servers are kept as long as they are watched: together they have a bound, and who has its share
// keeps it.
func TestPositionsThatFillTheMachine(t *testing.T) {
	var text strings.Builder
	for n := range 25_000 {
		fmt.Fprintf(&text, "%08x-0000-0000-0000-000000000000:1-5,", n)
	}
	heavy := topology.Instance{Executed: gtid.MustParse(text.String())}
	s := New(Options{})
	var all []topology.Key
	weigh := func(n int, i topology.Instance) error {
		k := topology.Key{Host: "db", Port: n}
		v, err := s.server(k)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, k)
		return s.weigh(k, v, i)
	}
	fit := 0
	for weigh(fit+1, heavy) == nil {
		fit++
	}
	if most := mostWeight / weight(heavy); fit < most || fit > most+2 {
		t.Errorf("%d servers of %d bytes have room", fit, weight(heavy))
	}
	if err := weigh(1, heavy); err != nil {
		t.Errorf("who has room has it no more: %v", err)
	}
	if err := weigh(fit+2, topology.Instance{Executed: gtid.MustParse("0-1-5")}); err != nil {
		t.Errorf("an ordinary server has no room: %v", err)
	}
	if err := weigh(fit+3, heavy); !errors.Is(err, server.ErrTooMuch) {
		t.Errorf("one more: %v", err)
	}
	s.Forget(topology.Key{Host: "db", Port: 1})
	if err := weigh(fit+3, heavy); err != nil {
		t.Errorf("after one was forgotten: %v", err)
	}
	for _, k := range all {
		s.Forget(k)
	}
	if s.heavy != 0 {
		t.Errorf("all are forgotten, and %d bytes are counted", s.heavy)
	}
}
