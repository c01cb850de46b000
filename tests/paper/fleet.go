package paper

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/api"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// Fleet is the clusters of a drawing.
type Fleet struct {
	*Record
	Snapshot  topology.Snapshot
	Policies  map[string]plan.Policy // by cluster; others have their primaries recovered
	Aliases   map[string]string      // by cluster
	Looks     int                    // how often views were handed out
	Meanwhile func()                 // runs after each view that was handed out; nil: nothing happens
	daemon    *Daemon
}

// Situation is that of one cluster.
func (f *Fleet) Situation(cluster string) plan.Situation {
	of := f.Snapshot.Of(cluster)
	return plan.Situate(plan.Facts{
		Cluster: cluster, Snapshot: of, Policy: f.policy(cluster), Thresholds: analysis.Defaults,
		Off: f.daemon.Recoveries.Off, Episodes: f.daemon.Episodes.Episodes(cluster),
		Requests: f.daemon.planned(cluster),
	})
}

func (f *Fleet) policy(cluster string) plan.Policy {
	if p, ok := f.Policies[cluster]; ok {
		return p
	}
	return plan.Policy{Named: true, RecoverPrimary: true, DrainTimeout: 10 * time.Second}
}

func (f *Fleet) view(cluster string) api.View {
	s := f.Situation(cluster)
	sum := fnv.New64a()
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(sum, string(text), f.Aliases[cluster])
	return api.View{Edition: sum.Sum64(), Alias: f.Aliases[cluster], Situation: s,
		Decide: func() plan.Decision { return plan.Next(without(s)) },
		Readiness: func() (plan.Previewed, bool) {
			p := s.Snapshot.Primary()
			if p == nil {
				return plan.Previewed{}, false
			}
			return plan.IfDies(without(s), p.Key), true
		}}
}

// without leaves out the incidents, which are drawn by hand: decisions are about what is found.
func without(s plan.Situation) plan.Situation {
	f := s.Facts
	f.Episodes = nil
	return plan.Situate(f)
}

func (f *Fleet) handedOut() {
	f.Looks++
	if f.Meanwhile != nil {
		f.Meanwhile()
	}
}

func (f *Fleet) Views() []api.View {
	defer f.handedOut()
	var out []api.View
	for _, name := range f.Snapshot.Clusters() {
		out = append(out, f.view(name))
	}
	return out
}

func (f *Fleet) View(cluster string) (api.View, bool) {
	if !slices.Contains(f.Snapshot.Clusters(), cluster) {
		return api.View{}, false
	}
	defer f.handedOut()
	return f.view(cluster), true
}

func (f *Fleet) Around(k topology.Key) (api.View, bool) {
	for _, v := range f.Snapshot.Servers {
		if v.Key == k || slices.Contains(v.Names, k) {
			return f.View(v.Cluster)
		}
	}
	return api.View{}, false
}

func (f *Fleet) Aliased(alias string) []string {
	var out []string
	for _, cluster := range f.Snapshot.Clusters() {
		if f.Aliases[cluster] == alias && alias != "" {
			out = append(out, cluster)
		}
	}
	return out
}

func (f *Fleet) Discover(_ context.Context, k topology.Key) (topology.Server, error) {
	if v := f.Snapshot.Server(k); v != nil {
		return *v, f.did("discover %v", k)
	}
	return topology.Server{}, fmt.Errorf("probe %v: connection refused; does a server listen there?", k)
}

func (f *Fleet) Forget(_ context.Context, k topology.Key) error { return f.did("forget %v", k) }

// Deployment is the daemons and their backend.
type Deployment struct{ Wrong []analysis.Finding }

func (d *Deployment) Findings() []analysis.Finding { return d.Wrong }

func (d *Daemon) planned(cluster string) []plan.Request {
	var out []plan.Request
	for _, r := range d.Requests.Requests(cluster) {
		out = append(out, r.Request)
	}
	return out
}
