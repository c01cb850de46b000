package api

import (
	"cmp"
	"net/http"
	"slices"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/httpd"
)

func (a *API) findingRoutes() []route {
	return []route{
		read[[]analysis.Finding]("/api/v1/findings", "listFindings", "What is wrong, in the fleet or in one cluster",
			a.findings, 404).
			with(inCluster),
	}
}

// Deployment is the daemons and their backend.
type Deployment interface {
	Findings() []analysis.Finding // what is wrong with it
}

func (a *API) findings(r *http.Request) (reply, error) {
	if text := r.URL.Query().Get("cluster"); text != "" {
		v, err := a.findCluster(text)
		return at(v.Edition, func() []analysis.Finding { return sorted(v.Situation.Findings) }), err
	}
	edited, parts, err := shelve(a.trouble, a.Fleet.Views(), func(v View) any { return sorted(v.Situation.Findings) })
	if err != nil {
		return reply{}, err
	}
	ours, err := encode(sorted(a.Deployment.Findings()))
	if text := string(items(ours)); text != "" {
		if len(parts) > 0 {
			text += ","
		}
		parts = append([]httpd.Part{httpd.Literal(text)}, parts...)
	}
	return reply{edition: edition(edited, string(ours)), parts: inList("", parts, "")}, err
}

// sorted puts findings of one cluster in order.
func sorted(findings []analysis.Finding) []analysis.Finding {
	out := slices.Clone(findings)
	slices.SortStableFunc(out, func(x, y analysis.Finding) int {
		return cmp.Or(x.At.Compare(y.At), cmp.Compare(x.Code, y.Code))
	})
	return some(out)
}
