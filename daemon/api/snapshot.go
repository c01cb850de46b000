package api

import (
	"net/http"

	"orchestrator/daemon/drawing"
	"orchestrator/daemon/topology"
)

func (a *API) snapshotRoutes() []route {
	snapshot := get("/api/v1/snapshot", "getSnapshot", "The fleet, or one cluster, at this moment: what every decision rests on, to be saved and studied", a.snapshot, 404).
		with(inCluster, parameter{name: "format", says: "json (the default) or drawing, which is text", oneOf: []string{"json", "drawing"}})
	snapshot.text = true
	asked := snapshot.call
	snapshot.call = func(r *http.Request, body any) (any, error) {
		if r.URL.Query().Get("format") == "drawing" {
			of, err := a.snapshotOf(r)
			return Text(drawing.Draw(of)), err
		}
		return asked(r, body)
	}
	return []route{snapshot}
}

// snapshot answers with a topology.Snapshot, or the drawing of one.
func (a *API) snapshot(r *http.Request) (topology.Snapshot, error) {
	of, err := a.snapshotOf(r)
	of.Servers = some(of.Servers)
	return of, err
}
