package api

import (
	"bytes"
	"net/http"
	"strings"
	"time"

	"orchestrator/daemon/drawing"
	"orchestrator/daemon/plan"
)

func (a *API) snapshotRoutes() []route {
	snapshot := read[drawing.Saved]("/api/v1/snapshot", "getSnapshot",
		"The fleet, or one cluster, at this moment: what every decision rests on, to be saved and studied",
		a.snapshot, 404).
		with(inCluster, parameter{name: "format", says: "json (the default) or drawing, which is text",
			oneOf: []string{"json", "drawing"}})
	snapshot.text = true
	return []route{snapshot}
}

// snapshot answers with a drawing.Saved, or that as text.
func (a *API) snapshot(r *http.Request) (reply, error) {
	drawn := r.URL.Query().Get("format") == "drawing"
	if text := r.URL.Query().Get("cluster"); text != "" {
		v, err := a.findCluster(text)
		return at(v.Edition, func() any { return shown(drawing.Save([]plan.Facts{v.Situation.Facts}), drawn) }), err
	}
	views := a.Fleet.Views()
	if drawn {
		return reply{make: func() (any, error) { return shown(saved(facts(views)), true), nil }}, nil
	}
	return a.wholeFleet(views)
}

// wholeFleet puts together what was encoded for the last answer and has not changed since.
func (a *API) wholeFleet(views []View) (reply, error) {
	serversEdited, servers, err := a.shelveServers(views)
	if err != nil {
		return reply{}, err
	}
	knownEdited, known, err := shelve(a.known, views, func(v View) any {
		return drawing.Save([]plan.Facts{v.Situation.Facts}).ByCluster
	})
	if err != nil {
		return reply{}, err
	}
	head, err := besides(views)
	if err != nil {
		return reply{}, err
	}
	parts := inList(head+`,"servers":`, servers, `,"clusters":`)
	_, rest, _ := strings.Cut(head, ",") // the moment is always another one
	return reply{
		edition: edition(serversEdited, knownEdited, rest), parts: append(parts, inList("", known, "}")...),
	}, nil
}

// besides is the beginning of the whole fleet: its moment, and what is not of single servers and clusters.
func besides(views []View) (string, error) {
	of := facts(views)
	for i := range of {
		of[i].Snapshot.Servers = nil
	}
	whole := saved(of)
	whole.Servers, whole.ByCluster = nil, nil
	text, err := encode(whole)
	return strings.Replace(strings.TrimSuffix(string(bytes.TrimSpace(text)), "}"), `,"servers":null`, "", 1), err
}

// saved is the fleet; one without clusters is as it is now.
func saved(of []plan.Facts) drawing.Saved {
	whole := drawing.Save(of)
	if len(of) == 0 {
		whole.At = time.Now()
	}
	return whole
}

func facts(views []View) []plan.Facts {
	out := make([]plan.Facts, 0, len(views))
	for _, v := range views {
		out = append(out, v.Situation.Facts)
	}
	return out
}

// shown is what was saved as JSON has it, or its drawing.
func shown(s drawing.Saved, drawn bool) any {
	if drawn {
		return Text(drawing.Print(s))
	}
	return s
}
