package chaos

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// edge is what is cut: everything between two roles, or only what the first sends to the second.
type edge struct {
	a, b string
	mute bool
}

func (e edge) String() string {
	if e.mute {
		return e.a + " to " + e.b
	}
	return e.a + " – " + e.b
}

// edges are all that carry anything. A daemon and its HAProxy are one host.
var edges = func() (out []edge) {
	daemons := []string{"leader", "follower 1", "follower 2"}
	for _, d := range daemons {
		for _, server := range []string{"active", "passive", "primary", "replica 1", "replica 2"} {
			out = append(out, edge{a: d, b: server})
		}
	}
	return append(out,
		edge{a: "leader", b: "follower 1"}, edge{a: "leader", b: "follower 2"}, edge{a: "follower 1", b: "follower 2"},
		edge{a: "leader", b: "followers"},
		edge{a: "active", b: "passive"}, edge{a: "primary", b: "replica 1"}, edge{a: "primary", b: "replica 2"},
		edge{a: "leader", b: "active", mute: true}, edge{a: "active", b: "leader", mute: true},
		edge{a: "follower 1", b: "active", mute: true}, edge{a: "active", b: "follower 1", mute: true},
		edge{a: "active", b: "passive", mute: true}, edge{a: "passive", b: "active", mute: true},
		edge{a: "leader", b: "followers", mute: true}, edge{a: "followers", b: "leader", mute: true},
		edge{a: "leader", b: "primary", mute: true}, edge{a: "primary", b: "leader", mute: true},
		edge{a: "leader", b: "everybody"}, edge{a: "follower 1", b: "everybody"})
}()

// deadly are the cuts during which the primary is killed, too. In the last one the leader does not see the replica that
// has everything, and the one that it sees has long received nothing.
var deadly = [][]edge{
	{{a: "leader", b: "active"}}, {{a: "leader", b: "passive"}}, {{a: "leader", b: "primary"}},
	{{a: "leader", b: "replica 1"}}, {{a: "leader", b: "replica 2"}},
	{{a: "leader", b: "follower 1"}}, {{a: "leader", b: "followers"}}, {{a: "active", b: "passive"}},
	{{a: "leader", b: "everybody"}}, {{a: "follower 1", b: "everybody"}},
	{{a: "active", b: "leader", mute: true}}, {{a: "leader", b: "active", mute: true}},
	{{a: "followers", b: "leader", mute: true}}, {{a: "primary", b: "leader", mute: true}},
	blind,
}

var blind = []edge{{a: "leader", b: "replica 1"}, {a: "primary", b: "replica 2"}}

// cutFor is how long an edge stays cut: longer than the lease lasts.
const cutFor = 9 * time.Second

// roles are who plays which part now.
func (d *deployment) roles() map[string]lab.Side {
	d.Helper()
	leader := slices.Index(d.daemons, d.leaders()[0])
	host := func(i int) lab.Side {
		i = (leader + i) % len(d.daemons)
		return lab.Side{Daemons: d.daemons[i : i+1], Proxies: d.proxies[i : i+1]}
	}
	servers := func(s ...*lab.Server) lab.Side { return lab.Side{Servers: s} }
	active, passive := d.active(d.proxies[leader])
	followers := lab.Side{Daemons: append(slices.Clone(host(1).Daemons), host(2).Daemons...),
		Proxies: append(slices.Clone(host(1).Proxies), host(2).Proxies...)}
	return map[string]lab.Side{
		"leader": host(0), "follower 1": host(1), "follower 2": host(2), "followers": followers,
		"active": servers(active), "passive": servers(passive),
		"primary": servers(d.primary), "replica 1": servers(d.replicas[0]), "replica 2": servers(d.replicas[1]),
	}
}

// everybody but one daemon.
func (d *deployment) everybody(but lab.Side) (out lab.Side) {
	for i, o := range d.daemons {
		if o != but.Daemons[0] {
			out.Daemons, out.Proxies = append(out.Daemons, o), append(out.Proxies, d.proxies[i])
		}
	}
	out.Servers = append(append(append(out.Servers, d.members...), d.replicas...), d.primary)
	return out
}

func (d *deployment) cut(edges ...edge) {
	d.Helper()
	roles := d.roles()
	for _, e := range edges {
		a, b := roles[e.a], roles[e.b]
		if e.b == "everybody" {
			b = d.everybody(a)
		}
		if e.mute {
			d.must(d.lab.Mute(a, b))
		} else {
			d.must(d.lab.Sides(a, b))
		}
	}
}

// play cuts edges, has the primary killed meanwhile after a while (0: not at all), and heals them.
func (d *deployment) play(killAfter time.Duration, edges ...edge) {
	d.Helper()
	name, promotions := names(edges), 0
	if killAfter > 0 {
		name += ", primary killed"
		promotions = 1
	}
	d.settled()
	w := d.watch(name)
	w.begin()
	d.cut(edges...)
	heal := time.After(cutFor)
	if killAfter > 0 {
		time.Sleep(killAfter)
		d.must(d.primary.Kill())
	}
	<-heal
	d.must(d.lab.Heal())
	if killAfter > 0 {
		d.must(w.rows.AwaitAnother(d.ctx, d.primary))
		d.must(w.rows.AwaitRows(d.ctx, 20))
	} else {
		d.must(lab.AwaitReplication(d.ctx, d.primary, d.replicas...))
	}
	w.end(promotions)
}

func names(edges []edge) string {
	var out []string
	for _, e := range edges {
		out = append(out, e.String())
	}
	return strings.Join(out, ", ")
}

// edgeRuns is how often each edge is cut; 0 without ORCHESTRATOR_EDGES.
func edgeRuns() int {
	n, _ := strconv.Atoi(os.Getenv("ORCHESTRATOR_EDGES"))
	return n
}

// Each edge of the network is cut in turn, for longer than the lease lasts, and healed.
func TestEdges(t *testing.T) {
	long(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		if edgeRuns() == 0 {
			t.Skip("make chaos plays it")
		}
		var d *deployment
		for range edgeRuns() {
			for _, e := range edges {
				ok := t.Run(e.String(), func(s *testing.T) {
					if d == nil {
						d = deploy(s, l, flavor, 3)
					} else {
						d = d.with(s)
					}
					d.play(0, e)
				})
				if !ok { // what it left is no place to begin
					d = nil
					if err := l.Reset(); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	})
}

// The primary dies while an edge is cut, at another moment in each run.
func TestPrimaryDiesWhileAnEdgeIsCut(t *testing.T) {
	moments := []time.Duration{3 * time.Second, time.Second, 7 * time.Second}
	flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		play := deadly
		if edgeRuns() == 0 {
			play = [][]edge{{{a: "leader", b: "active"}}, blind}
		}
		for run := range max(1, edgeRuns()) {
			for _, edges := range play {
				t.Run(names(edges), func(t *testing.T) {
					deploy(t, l, flavor, 3).play(moments[run%len(moments)], edges...)
				})
				if err := l.Reset(); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
