package daemon

import (
	"slices"

	"orchestrator/daemon/api"
	"orchestrator/daemon/recovery"
	"orchestrator/daemon/topology"
)

// views are the clusters as the API sees them: what was judged for everybody.
type views struct{ *Daemon }

func (v views) Views() []api.View {
	out := make([]api.View, 0, len(v.fleet.Clusters()))
	for j := range v.recovery.All() {
		out = append(out, v.view(j))
	}
	return out
}

func (v views) view(j recovery.Judged) api.View {
	decide, ready := j.Later()
	return api.View{
		Edition: j.Edition, Alias: v.declarations.Alias(j.Cluster), Situation: j.Situation,
		Decide: decide, Readiness: ready,
	}
}

func (v views) View(cluster string) (api.View, bool) {
	j := v.recovery.Judged(cluster)
	return v.view(j), len(j.Snapshot.Servers) > 0
}

func (v views) Around(k topology.Key) (api.View, bool) {
	_, cluster, found := v.fleet.Find(k)
	if !found {
		return api.View{}, false
	}
	return v.View(cluster)
}

// Aliased leaves out what was declared of clusters that are no more.
func (v views) Aliased(alias string) []string {
	return slices.DeleteFunc(v.declarations.Clusters(alias),
		func(cluster string) bool { return len(v.fleet.Cluster(cluster).Servers) == 0 })
}
