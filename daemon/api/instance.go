package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"orchestrator/daemon/httpd"
	"orchestrator/daemon/printable"
	"orchestrator/daemon/topology"
)

func (a *API) instanceRoutes() []route {
	const one = "/api/v1/instances/{key}"
	return []route{
		read[[]topology.Server]("/api/v1/instances", "listInstances", "All servers, sorted by address",
			a.instances, 404).with(inCluster),
		read[topology.Server](one, "getInstance", "All that is known of one server", a.instance, 404),
		change(http.MethodPost, one, "discoverInstance",
			"Ask a server now, and watch it and what it replicates with from now on", a.discover, 502, 503).operators(),
		change(http.MethodDelete, one, "forgetInstance", "Stop watching a server, until it is discovered by hand again",
			a.forget, 404, 503),
		change(http.MethodPut, one+"/downtime", "beginDowntime", "Watch a server, and do not repair it, until a time",
			a.beginDowntime, 404, 503).operators(),
		change(http.MethodDelete, one+"/downtime", "endDowntime", "Repair a server again",
			a.endDowntime, 404, 503).operators(),
		change(http.MethodPut, one+"/tags/{name}", "setTag", "Give a server a tag", a.setTag, 404, 503).operators(),
		change(http.MethodDelete, one+"/tags/{name}", "removeTag", "Take a tag away",
			a.removeTag, 404, 503).operators(),
		change(http.MethodPut, one+"/promotion-rule", "setPromotionRule",
			"Say how much a server is wanted as a primary", a.setRule, 404, 503).operators(),
	}
}

// Discovery finds servers and watches them.
type Discovery interface {
	// Discover asks the server now, and watches it, and what it replicates with, from now on.
	Discover(ctx context.Context, k topology.Key) (topology.Server, error)
	Forget(ctx context.Context, k topology.Key) error
}

// discoverTimeout bounds a discovery on request, which waits for a server that may not answer.
const discoverTimeout = 30 * time.Second

var inCluster = parameter{name: "cluster", says: "only of this cluster: its name, its alias or the address of a member"}

// DowntimeRequest asks for a downtime, until a time or for a duration.
type DowntimeRequest struct {
	Owner    string    `json:"owner" doc:"who asks for it"`
	Reason   string    `json:"reason" doc:"why"`
	Until    time.Time `json:"until,omitzero" doc:"when it ends; give this or duration"`
	Duration string    `json:"duration,omitempty" doc:"for how long, as 30m or 2h; give this or until"`
}

func (d *DowntimeRequest) signature() *string { return &d.Owner }

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

func (a *API) instances(r *http.Request) (reply, error) {
	if text := r.URL.Query().Get("cluster"); text != "" {
		v, err := a.findCluster(text)
		return at(v.Edition, func() []topology.Server { return some(v.Situation.Snapshot.Servers) }), err
	}
	edited, parts, err := a.shelveServers(a.Fleet.Views())
	return reply{edition: edition(edited), parts: inList("", parts, "")}, err
}

// shelveServers has all servers encoded.
func (a *API) shelveServers(views []View) (uint64, []httpd.Part, error) {
	age := uint64(a.options.Now().UnixNano() / int64(probesAge))
	return a.servers.fill(func(put func(string, uint64, contents[topology.Key, serverStamp])) {
		for _, v := range views {
			servers := v.Situation.Snapshot.Servers
			put(v.name(), v.Edition<<8+age&0xff, func(add func(topology.Key, serverStamp, func() any)) {
				for i := range servers {
					add(servers[i].Key, stampOf(&servers[i]), func() any { return &servers[i] })
				}
			})
		}
	})
}

// probesAge is about how old the times of probes may be in a list of the fleet. Each server is probed every few
// seconds: if all the times were the latest, the whole fleet would be encoded for each answer.
const probesAge = 10 * time.Second

// serverStamp is what must stay as it is for a server not to be encoded again.
type serverStamp struct {
	cluster  string
	instance *topology.Instance // never changed, only replaced
	probe    topology.Probe     // its times are rounded
	rule     topology.Rule
	downtime topology.Downtime
	others   string // names and tags
}

func stampOf(s *topology.Server) serverStamp {
	stamp := serverStamp{cluster: s.Cluster, instance: s.Instance, probe: s.Probe, rule: s.Rule}
	stamp.probe.Asked, stamp.probe.Answered = s.Probe.Asked.Truncate(probesAge), s.Probe.Answered.Truncate(probesAge)
	if s.Downtime != nil {
		stamp.downtime = *s.Downtime
	}
	if len(s.Names)+len(s.Tags) > 0 {
		stamp.others = fmt.Sprint(s.Names, s.Tags)
	}
	return stamp
}

func (a *API) instance(r *http.Request) (reply, error) {
	v, s, err := a.findServer(r.PathValue("key"))
	return at(v.Edition, func() topology.Server { return *s }), err
}

// findServer finds the server at an address, or whose other name it is, and its cluster.
func (a *API) findServer(text string) (View, *topology.Server, error) {
	k, err := parseKey(text)
	if err != nil {
		return View{}, nil, err
	}
	if v, ok := a.Fleet.Around(k); ok {
		if s := v.server(k); s != nil {
			return v, s, nil
		}
	}
	return View{}, nil, missing("server", k.String(), addresses(a.Fleet.Views()...))
}

// parseKey reads an address, or refuses it.
func parseKey(text string) (topology.Key, error) {
	k, err := topology.ParseKey(text)
	if err != nil {
		return k, refuse(http.StatusBadRequest, "%v", err)
	}
	return k, nil
}

// key is the key of the server that the path names.
func (a *API) key(r *http.Request) (topology.Key, error) {
	_, s, err := a.findServer(r.PathValue("key"))
	if err != nil {
		return topology.Key{}, err
	}
	return s.Key, nil
}

func (a *API) discover(r *http.Request, _ Nothing) (topology.Server, error) {
	k, err := parseKey(r.PathValue("key"))
	if err != nil {
		return topology.Server{}, err
	}
	ctx, done := context.WithTimeout(r.Context(), discoverTimeout)
	defer done()
	v, err := a.Discovery.Discover(ctx, k)
	if err != nil {
		return v, refuse(http.StatusBadGateway, "%v", err)
	}
	return v, nil
}

func (a *API) forget(r *http.Request, _ Nothing) (Nothing, error) {
	k, err := a.key(r)
	if err != nil {
		return Nothing{}, err
	}
	return Nothing{}, a.Discovery.Forget(r.Context(), k)
}

func (a *API) beginDowntime(r *http.Request, in DowntimeRequest) (topology.Downtime, error) {
	k, err := a.key(r)
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
			return d, refuse(http.StatusBadRequest, `field "duration": %q is no duration; write 30m or 2h`,
				httpd.Clip(in.Duration))
		}
		d.Until = now.Add(long).UTC().Truncate(time.Second)
	}
	if !d.Until.After(now) {
		return d, refuse(http.StatusBadRequest, "the downtime would be over at %s, before it begins",
			d.Until.Format(time.RFC3339))
	}
	if d.Until.Sub(now) > maxDowntime {
		return d, refuse(http.StatusBadRequest,
			"the downtime would last until %s; more than a year is surely a mistake "+
				"(to stop watching a server for good, forget it)", d.Until.Format(time.RFC3339))
	}
	return d, a.Declarations.SetDowntime(r.Context(), k, d)
}

func (a *API) endDowntime(r *http.Request, _ Nothing) (Nothing, error) {
	k, err := a.key(r)
	if err != nil {
		return Nothing{}, err
	}
	return Nothing{}, a.Declarations.EndDowntime(r.Context(), k)
}

func (a *API) setTag(r *http.Request, in Tag) (Tag, error) {
	k, err := a.key(r)
	if err != nil {
		return in, err
	}
	name := r.PathValue("name")
	if err := plainName("tag", name); err != nil {
		return in, err
	}
	if err := legible(`field "value"`, in.Value); err != nil {
		return in, err
	}
	return in, a.Declarations.SetTag(r.Context(), k, name, in.Value)
}

func (a *API) removeTag(r *http.Request, _ Nothing) (Nothing, error) {
	k, err := a.key(r)
	if err != nil {
		return Nothing{}, err
	}
	name := r.PathValue("name")
	if err := plainName("tag", name); err != nil {
		return Nothing{}, err
	}
	return Nothing{}, a.Declarations.RemoveTag(r.Context(), k, name)
}

var rules = []string{string(topology.Prefer), string(topology.Neutral), string(topology.PreferNot),
	string(topology.MustNot)}

func (a *API) setRule(r *http.Request, in PromotionRule) (PromotionRule, error) {
	k, err := a.key(r)
	if err != nil {
		return in, err
	}
	if !slices.Contains(rules, string(in.Rule)) {
		return in, unknown("promotion rule", string(in.Rule), rules)
	}
	return in, a.Declarations.SetRule(r.Context(), k, in.Rule)
}

// said refuses fields that must not be empty, or that are longer than anybody reads. It takes names and values in turn.
func said(pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		name, value := pairs[i], pairs[i+1]
		if value == "" {
			return refuse(http.StatusBadRequest, "field %q is missing; others will want to know", name)
		}
		if err := legible(fmt.Sprintf("field %q", name), value); err != nil {
			return err
		}
	}
	return nil
}

// legible refuses a text that is too long to keep, or that would act on the terminal of whoever reads it.
func legible(what, value string) error {
	switch {
	case len(value) > 1024:
		return refuse(http.StatusBadRequest, "%s: %d bytes; at most 1024 are kept", what, len(value))
	case !printable.Is(value):
		return refuse(http.StatusBadRequest, "%s: control characters, marks of text direction, and what is not "+
			"UTF-8 are not kept", what)
	}
	return nil
}
