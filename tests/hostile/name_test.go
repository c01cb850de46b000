package hostile_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/topology"
	"orchestrator/tests/hostile"
	"orchestrator/tests/lab"
	"orchestrator/tests/swarm"
	"orchestrator/tests/watched"
)

// names is how many replicas are registered.
const names = 100_000

// name is one where nobody is: a host that has no address, a port that is closed, or a network that leads nowhere.
func name(n uint32) topology.Key {
	switch n % 3 {
	case 0:
		return topology.Key{Host: fmt.Sprintf("db%d.invalid", n), Port: 3306}
	case 1:
		return topology.Key{Host: "127.0.0.1", Port: int(20_000 + n%40_000)}
	default:
		return topology.Key{Host: fmt.Sprintf("192.0.2.%d", 1+n%250), Port: int(1 + n/250%60_000)}
	}
}

// Servers that list a hundred thousand replicas, others at each question, delay no failover.
func TestServersThatListEndlessReplicas(t *testing.T) {
	r := begin(t)
	s, err := swarm.New(swarm.Spec{Clusters: 3, Size: 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	var n atomic.Uint32
	for _, c := range s.Clusters() {
		for _, v := range c.Servers {
			v.Register(func() []topology.Key {
				list := make([]topology.Key, names)
				for i := range list {
					list[i] = name(n.Add(1))
				}
				return list
			})
		}
	}
	r.seeds = append(r.seeds, s.Seeds()...)
	r.failsOver(func(f *watched.Fleet) {
		f.Await("it is reported", func() bool { return f.Found(analysis.TooManyRegistered, "left out") })
	})
	if unknown := s.Unknown(); len(unknown) > 0 {
		t.Errorf("the servers were asked what they don't know: %v", unknown)
	}
}

// Sessions of the replicas' account that register at the servers of the cluster itself, with other server ids, hosts
// and ports all the time, delay no failover. MySQL keeps all that one session has registered, so a hundred thousand
// names are there beforehand; MariaDB keeps one for each session.
func TestSessionsThatRegisterEndlessReplicas(t *testing.T) {
	t.Parallel() // else its parts would begin before TestUndisturbed
	for flavor, c := range map[topology.Flavor]struct{ sessions, before int }{
		lab.MariaDB: {110, 1}, lab.MySQL: {2, names / 2},
	} {
		if flavor != lab.MariaDB && !whole {
			continue
		}
		t.Run(string(flavor), func(t *testing.T) {
			r := begin(t)
			r.flavor = flavor
			ctx, end := context.WithCancel(t.Context())
			var sessions sync.WaitGroup
			defer sessions.Wait()
			defer end()
			r.failsOver(func(f *watched.Fleet) {
				var n atomic.Uint32
				for _, s := range append(f.Replicas, f.Primary) {
					for range c.sessions {
						client, err := hostile.LogIn(f.Ctx, s)
						f.Must(err)
						f.Cleanup(client.Close)
						f.Must(client.Command("\x03SET @slave_uuid = UUID(), @replica_uuid = UUID()"))
						f.Must(client.Commands(registrations(&n, c.before)))
						sessions.Go(func() {
							for ctx.Err() == nil && client.Commands(registrations(&n, 1)) == nil {
								time.Sleep(20 * time.Millisecond)
							}
						})
					}
				}
				f.Await("it is reported", func() bool { return f.Found(analysis.TooManyRegistered, "left out") })
			})
		})
	}
}

// registrations are further ones, each of another replica.
func registrations(n *atomic.Uint32, count int) (all []string) {
	for range count {
		id := n.Add(1)
		k := name(id)
		all = append(all, hostile.Registration(1_000_000+id, k.Host, uint16(k.Port)))
	}
	return all
}
