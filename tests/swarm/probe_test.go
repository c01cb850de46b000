package swarm_test

import (
	"testing"

	"orchestrator/daemon/mysql"
	"orchestrator/daemon/topology"
	"orchestrator/tests/swarm"
)

// BenchmarkProbe is one steady poll of a replica, with what the simulated server does for it.
func BenchmarkProbe(b *testing.B) {
	for _, flavor := range []topology.Flavor{topology.MariaDB, topology.MySQL} {
		b.Run(string(flavor), func(b *testing.B) {
			s, err := swarm.New(swarm.Spec{Clusters: 1, Size: 2, Flavors: []topology.Flavor{flavor}}, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			servers := mysql.New(mysql.Options{User: swarm.User, Password: swarm.Password})
			defer func() { _ = servers.Close() }()
			replica := s.Clusters()[0].Servers[1].Key
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := servers.Probe(b.Context(), replica); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
