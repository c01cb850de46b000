package analysis

import (
	"fmt"
	"testing"

	"orchestrator/daemon/topology"
)

func TestServersOfTwoClustersAreSortedOut(t *testing.T) {
	var s topology.Snapshot
	for n, cluster := range []string{"a", "b", "b", "a", "b", "a"} {
		s.Servers = append(s.Servers, topology.Server{Key: topology.Key{Host: fmt.Sprint("db", n), Port: 3306},
			Cluster: cluster})
	}
	f := newFleet(s, Defaults)
	for cluster, want := range map[string]string{"a": "db0 db3 db5 ", "b": "db1 db2 db4 "} {
		got := ""
		for _, v := range f.members[cluster] {
			got += v.Key.Host + " "
		}
		if got != want {
			t.Errorf("%s: %s, want %s", cluster, got, want)
		}
	}
}
