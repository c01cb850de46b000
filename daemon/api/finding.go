package api

import (
	"net/http"

	"orchestrator/daemon/analysis"
)

func (a *API) findingRoutes() []route {
	return []route{
		get("/api/v1/findings", "listFindings", "What is wrong, in the fleet or in one cluster", a.findings, 404).with(inCluster),
	}
}

func (a *API) findings(r *http.Request) ([]analysis.Finding, error) {
	name := ""
	if text := r.URL.Query().Get("cluster"); text != "" {
		var err error
		if name, _, err = a.findCluster(text); err != nil {
			return nil, err
		}
	}
	return sorted(a.daemon.Findings(name)), nil
}
