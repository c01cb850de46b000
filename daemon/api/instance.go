package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"orchestrator/daemon/topology"
)

func (a *API) instanceRoutes() []route {
	const one = "/api/v1/instances/{key}"
	return []route{
		get("/api/v1/instances", "listInstances", "All servers, sorted by address", a.instances, 404).with(inCluster),
		get(one, "getInstance", "All that is known of one server", a.instance, 404),
		change(http.MethodPost, one, "discoverInstance", "Ask a server now, and watch it and what it replicates with from now on", a.discover, 502, 503),
		change(http.MethodDelete, one, "forgetInstance", "Stop watching a server, until it is discovered by hand again", a.forget, 404, 503),
		change(http.MethodPut, one+"/downtime", "beginDowntime", "Watch a server, and do not repair it, until a time", a.beginDowntime, 404, 503),
		change(http.MethodDelete, one+"/downtime", "endDowntime", "Repair a server again", a.endDowntime, 404, 503),
		change(http.MethodPut, one+"/tags/{name}", "setTag", "Give a server a tag", a.setTag, 404, 503),
		change(http.MethodDelete, one+"/tags/{name}", "removeTag", "Take a tag away", a.removeTag, 404, 503),
		change(http.MethodPut, one+"/promotion-rule", "setPromotionRule", "Say how much a server is wanted as a primary", a.setRule, 404, 503),
	}
}

var inCluster = parameter{name: "cluster", says: "only of this cluster: its name, its alias or the address of a member"}

// DowntimeRequest asks for a downtime, until a time or for a duration.
type DowntimeRequest struct {
	Owner    string    `json:"owner" doc:"who wants it"`
	Reason   string    `json:"reason" doc:"why"`
	Until    time.Time `json:"until,omitzero" doc:"when it ends; give this or duration"`
	Duration string    `json:"duration,omitempty" doc:"for how long, as 30m or 2h; give this or until"`
}

func (d DowntimeRequest) signature() string { return d.Owner }

// maxDowntime keeps a slip of the pen from muting a server for ever.
const maxDowntime = 366 * 24 * time.Hour

// PromotionRule is an operator's wish about promotion.
type PromotionRule struct {
	Rule topology.Rule `json:"rule"`
}

// Tag is one word said of a server.
type Tag struct {
	Value string `json:"value" doc:"at most 1024 bytes"`
}

func (a *API) instances(r *http.Request) ([]topology.Server, error) {
	of, err := a.snapshotOf(r)
	return some(of.Servers), err
}

// snapshotOf returns the snapshot of the cluster that the query asks for, or of the fleet.
func (a *API) snapshotOf(r *http.Request) (topology.Snapshot, error) {
	if text := r.URL.Query().Get("cluster"); text != "" {
		_, of, err := a.findCluster(text)
		return of, err
	}
	return a.daemon.Snapshot(), nil
}

func (a *API) instance(r *http.Request) (topology.Server, error) { return a.server(r) }

// server finds the server that the path names.
func (a *API) server(r *http.Request) (topology.Server, error) {
	return findServer(a.daemon.Snapshot(), r.PathValue("key"))
}

// findServer finds the server at an address, or whose other name it is.
func findServer(in topology.Snapshot, text string) (topology.Server, error) {
	k, err := topology.ParseKey(text)
	if err != nil {
		return topology.Server{}, refuse(http.StatusBadRequest, "%v", err)
	}
	if v := in.Server(k); v != nil {
		return *v, nil
	}
	var known []string
	for _, v := range in.Servers {
		if slices.Contains(v.Names, k) {
			return v, nil
		}
		known = append(known, v.Key.String())
	}
	return topology.Server{}, missing("server", k.String(), known)
}

func (a *API) discover(r *http.Request, _ Nothing) (topology.Server, error) {
	k, err := topology.ParseKey(r.PathValue("key"))
	if err != nil {
		return topology.Server{}, refuse(http.StatusBadRequest, "%v", err)
	}
	ctx, done := context.WithTimeout(r.Context(), discoverTimeout)
	defer done()
	v, err := a.daemon.Discover(ctx, k)
	if err != nil {
		return v, refuse(http.StatusBadGateway, "%v", err)
	}
	return v, nil
}

func (a *API) forget(r *http.Request, _ Nothing) (Nothing, error) {
	v, err := a.server(r)
	if err != nil {
		return Nothing{}, err
	}
	return Nothing{}, a.daemon.Forget(r.Context(), v.Key)
}

func (a *API) beginDowntime(r *http.Request, in DowntimeRequest) (topology.Downtime, error) {
	v, err := a.server(r)
	if err != nil {
		return topology.Downtime{}, err
	}
	now := a.options.Now()
	d := topology.Downtime{Owner: in.Owner, Reason: in.Reason, Until: in.Until}
	if err := said("owner", in.Owner, "reason", in.Reason); err != nil {
		return d, err
	}
	switch {
	case (in.Duration == "") == in.Until.IsZero():
		return d, refuse(http.StatusBadRequest, `give either "until" (as 2006-01-02T15:04:05Z) or "duration" (as 30m or 2h)`)
	case in.Duration != "":
		long, err := time.ParseDuration(in.Duration)
		if err != nil {
			return d, refuse(http.StatusBadRequest, `field "duration": %q is no duration; write 30m or 2h`, clip(in.Duration))
		}
		d.Until = now.Add(long).UTC().Truncate(time.Second)
	}
	if !d.Until.After(now) {
		return d, refuse(http.StatusBadRequest, "the downtime would be over at %s, before it begins", d.Until.Format(time.RFC3339))
	}
	if d.Until.Sub(now) > maxDowntime {
		return d, refuse(http.StatusBadRequest, "the downtime would last until %s; more than a year is surely a mistake (to stop watching a server for good, forget it)", d.Until.Format(time.RFC3339))
	}
	return d, a.daemon.SetDowntime(r.Context(), v.Key, d)
}

func (a *API) endDowntime(r *http.Request, _ Nothing) (Nothing, error) {
	v, err := a.server(r)
	if err != nil {
		return Nothing{}, err
	}
	return Nothing{}, a.daemon.EndDowntime(r.Context(), v.Key)
}

func (a *API) setTag(r *http.Request, in Tag) (Tag, error) {
	v, err := a.server(r)
	if err != nil {
		return in, err
	}
	name := r.PathValue("name")
	if err := plainName("tag", name); err != nil {
		return in, err
	}
	if len(in.Value) > 1024 {
		return in, refuse(http.StatusBadRequest, `field "value": %d bytes; a tag takes at most 1024`, len(in.Value))
	}
	return in, a.daemon.SetTag(r.Context(), v.Key, name, in.Value)
}

func (a *API) removeTag(r *http.Request, _ Nothing) (Nothing, error) {
	v, err := a.server(r)
	if err != nil {
		return Nothing{}, err
	}
	name := r.PathValue("name")
	if err := plainName("tag", name); err != nil {
		return Nothing{}, err
	}
	return Nothing{}, a.daemon.RemoveTag(r.Context(), v.Key, name)
}

var rules = []string{string(topology.Prefer), string(topology.Neutral), string(topology.PreferNot), string(topology.MustNot)}

func (a *API) setRule(r *http.Request, in PromotionRule) (PromotionRule, error) {
	v, err := a.server(r)
	if err != nil {
		return in, err
	}
	if !slices.Contains(rules, string(in.Rule)) {
		return in, unknown("promotion rule", string(in.Rule), rules)
	}
	return in, a.daemon.SetRule(r.Context(), v.Key, in.Rule)
}

// said refuses fields that must not be empty, or that are longer than anybody reads. It takes names and values in turn.
func said(pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		switch name, value := pairs[i], pairs[i+1]; {
		case value == "":
			return refuse(http.StatusBadRequest, "field %q is missing; others will want to know", name)
		case len(value) > 1024:
			return refuse(http.StatusBadRequest, "field %q: %d bytes; at most 1024 are kept", name, len(value))
		}
	}
	return nil
}
