package api

import "orchestrator/daemon/httpd"

// Route is what tests see of a route.
type Route struct {
	Method, Path string
	Fields       []string // of its body
	Changes      bool
	Access       httpd.Access
}

// Pattern is how http.ServeMux names the route.
func (r Route) Pattern() string { return r.Method + " " + r.Path }

// Routes are all.
func (a *API) Routes() []Route {
	var out []Route
	for _, rt := range a.routes {
		r := Route{Method: rt.Method, Path: rt.Path, Changes: rt.changes(), Access: rt.access()}
		if r.Changes {
			r.Fields = fieldNames(rt.in)
		}
		out = append(out, r)
	}
	return out
}
