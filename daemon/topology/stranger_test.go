package topology_test

import (
	"testing"

	"orchestrator/daemon/topology"
)

func TestStrangersAreSetApart(t *testing.T) {
	member := topology.Server{Key: topology.Key{Host: "db1", Port: 3306}}
	stranger := topology.Server{Key: topology.Key{Host: "db9", Port: 3306},
		Stranger: &topology.Stranger{Kind: topology.Unconfirmed}}
	s := topology.Snapshot{Servers: []topology.Server{member, stranger}}
	if got := s.Admitted().Servers; len(got) != 1 || got[0].Key != member.Key || len(s.Servers) != 2 {
		t.Errorf("admitted are %v of %v", got, s.Servers)
	}
	if got := s.Strangers(); len(got) != 1 || got[0].Key != stranger.Key {
		t.Errorf("strangers are %v", got)
	}
	if got := s.Admitted().Admitted().Servers; len(got) != 1 {
		t.Errorf("of those, %v are admitted", got)
	}
	for _, k := range topology.StrangerKinds() {
		if k.Says() == "" {
			t.Errorf("%s has no words", k)
		}
	}
	if got := topology.StrangerKind("odd").Says(); got != "" {
		t.Errorf("an unknown kind says %q", got)
	}
}
