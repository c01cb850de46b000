package discovery

import (
	"slices"
	"testing"
	"time"

	"orchestrator/daemon/topology"
)

func TestReplicasAreGreetedBeforeTheNextPrimary(t *testing.T) {
	g := greetings{}
	named := func(host string, asked time.Time) *server {
		return &server{key: topology.Key{Host: host}, probe: topology.Probe{Asked: asked}}
	}
	for _, s := range []*server{named("db1", time.Time{}), named("db2", time.Time{}), named("dead", time.Now()),
		named("dead2", time.Now()), named("replica", time.Time{})} {
		if g.admit(s) {
			t.Errorf("there was no room for %v", s.key)
		}
	}
	var order []string
	for len(g.waiting) > 0 {
		order = append(order, g.take().key.Host)
	}
	if want := []string{"replica", "db2", "db1", "dead", "dead2"}; !slices.Equal(order, want) {
		t.Errorf("greeted in the order %v, want %v", order, want)
	}
}
