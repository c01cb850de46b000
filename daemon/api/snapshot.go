package api

import (
	"net/http"
	"time"

	"orchestrator/daemon/drawing"
	"orchestrator/daemon/topology"
)

func (a *API) snapshotRoutes() []route {
	snapshot := read[topology.Snapshot]("/api/v1/snapshot", "getSnapshot",
		"The fleet, or one cluster, at this moment: what every decision rests on, to be saved and studied", a.snapshot, 404).
		with(inCluster, parameter{name: "format", says: "json (the default) or drawing, which is text", oneOf: []string{"json", "drawing"}})
	snapshot.text = true
	return []route{snapshot}
}

// snapshot answers with a topology.Snapshot, or the drawing of one.
func (a *API) snapshot(r *http.Request) (reply, error) {
	drawn := r.URL.Query().Get("format") == "drawing"
	if text := r.URL.Query().Get("cluster"); text != "" {
		v, err := a.findCluster(text)
		return at(v.Edition, func() any { return shown(v.Situation.Snapshot, drawn) }), err
	}
	views := a.Fleet.Views()
	if drawn {
		return reply{make: func() (any, error) { return shown(whole(views), true), nil }}, nil
	}
	edited, parts, err := a.shelve(views)
	if err != nil {
		return reply{}, err
	}
	moment, promoted := latest(views)
	before, err := encode(moment)
	if err != nil {
		return reply{}, err
	}
	after, err := encode(promoted)
	if err != nil {
		return reply{}, err
	}
	end := "}"
	if len(promoted) > 0 {
		end = `,"promoted":` + string(items(after)) + end
	}
	return reply{edition: edition(edited, moment, end),
		parts: inList(`{"at":`+string(items(before))+`,"servers":`, parts, end)}, nil
}

// shown is a snapshot as JSON has it, or its drawing.
func shown(of topology.Snapshot, drawn bool) any {
	if drawn {
		return Text(drawing.Draw(of))
	}
	of.Servers = some(of.Servers)
	return of
}

// whole joins the clusters.
func whole(views []View) topology.Snapshot {
	var out topology.Snapshot
	for _, v := range views {
		out.Servers = append(out.Servers, v.Situation.Snapshot.Servers...)
	}
	out.At, out.Promoted = latest(views)
	out.Sort()
	return out
}

// latest is what a snapshot of the fleet says besides its servers.
func latest(views []View) (moment time.Time, promoted map[string]topology.Key) {
	for _, v := range views {
		if at := v.Situation.Snapshot.At; at.After(moment) {
			moment = at
		}
		for cluster, k := range v.Situation.Snapshot.Promoted {
			if promoted == nil {
				promoted = map[string]topology.Key{}
			}
			promoted[cluster] = k
		}
	}
	return moment, promoted
}
