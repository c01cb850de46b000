package api

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/drawing"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

func (a *API) clusterRoutes() []route {
	const one = "/api/v1/clusters/{cluster}"
	return []route{
		get("/api/v1/clusters", "listClusters", "The clusters, in brief, sorted by name", a.clusters),
		get(one, "getCluster", "One cluster: its servers, its findings, its policy, and whether it is ready for a failover", a.cluster, 404),
		get(one+"/drawing", "drawCluster", "One cluster, drawn as text", a.clusterDrawing, 404),
		get(one+"/findings", "listClusterFindings", "What is wrong in one cluster", a.clusterFindings, 404),
		get(one+"/plan", "planCluster", "What would be done now, and what if a server died now: candidate by candidate, with the reasons", a.clusterPlan, 404).
			with(parameter{name: "dead", says: "the server that is supposed to die; the primary when it is not given"}),
		change(http.MethodPut, one+"/alias", "setClusterAlias", "Give a cluster a second name, or with an empty one take it away", a.setAlias, 404, 409, 503),
	}
}

// ClusterSummary is a cluster in brief.
type ClusterSummary struct {
	Name    string       `json:"name"`
	Alias   string       `json:"alias,omitempty"`
	Primary topology.Key `json:"primary,omitzero"`
	Servers int          `json:"servers" doc:"how many belong to it"`
	Up      int          `json:"up" doc:"how many of them answered the last probe"`
	Codes   []string     `json:"codes" doc:"codes of the findings, each once"`
	Episode string       `json:"episode,omitempty" doc:"id of the open episode"`
}

// Cluster is a cluster in full.
type Cluster struct {
	ClusterSummary
	Members   []topology.Server  `json:"members" doc:"sorted by key"`
	Findings  []analysis.Finding `json:"findings"`
	Policy    Policy             `json:"policy"`
	Readiness Readiness          `json:"readiness"`
	Drawing   string             `json:"drawing"`
}

// Readiness answers whether a failover would succeed if the primary died now.
type Readiness struct {
	Ready     bool         `json:"ready"`
	Candidate topology.Key `json:"candidate,omitzero" doc:"who would be promoted"`
	Because   []string     `json:"because,omitempty" doc:"what stands against it"`
	Bound     string       `json:"bound,omitempty" doc:"what may be lost"`
}

// Policy is plan.Policy with times in seconds.
type Policy struct {
	Named               bool    `json:"named" doc:"a policy of the configuration names the cluster"`
	RecoverPrimary      bool    `json:"recover_primary"`
	RecoverIntermediate bool    `json:"recover_intermediate"`
	DrainTimeout        float64 `json:"drain_timeout_seconds"`
	MaxLag              float64 `json:"max_lag_seconds" doc:"0: lag vetoes nobody"`
	AllowReceivedLoss   bool    `json:"allow_received_loss"`
	AllowUnfenced       bool    `json:"allow_unfenced"`
	AllowErrant         bool    `json:"allow_errant"`
	AntiFlap            float64 `json:"anti_flap_seconds"`
}

func policyOf(p plan.Policy) Policy {
	return Policy{Named: p.Named, RecoverPrimary: p.RecoverPrimary, RecoverIntermediate: p.RecoverIntermediate,
		DrainTimeout: p.DrainTimeout.Seconds(), MaxLag: p.MaxLag.Seconds(), AllowReceivedLoss: p.AllowReceivedLoss,
		AllowUnfenced: p.AllowUnfenced, AllowErrant: p.AllowErrant, AntiFlap: p.AntiFlap.Seconds()}
}

// ClusterPlan is what would be done about a cluster, and why, and why not.
type ClusterPlan struct {
	Cluster       string             `json:"cluster"`
	Policy        Policy             `json:"policy"`
	RecoveriesOff string             `json:"recoveries_off,omitempty" doc:"why recoveries are switched off everywhere"`
	Findings      []analysis.Finding `json:"findings"`
	Now           plan.Decision      `json:"now" doc:"what would be done about what is wrong now"`
	Ready         bool               `json:"ready" doc:"nothing would be refused if the server died"`
	IfDead        *plan.Previewed    `json:"if_dead,omitempty" doc:"what would be done if the primary, or the server asked for, died now"`
}

// Alias is the second name of a cluster.
type Alias struct {
	Alias string `json:"alias" doc:"letters, digits, dots, dashes and underscores; empty takes the alias away"`
}

func (a *API) clusters(*http.Request) ([]ClusterSummary, error) {
	out := []ClusterSummary{}
	all := a.daemon.Snapshot()
	members := map[string][]topology.Server{} // one pass: a fleet of thousands must not be searched once a cluster
	for _, v := range all.Servers {
		members[v.Cluster] = append(members[v.Cluster], v)
	}
	open := a.openEpisodes()
	findings := map[string][]analysis.Finding{}
	for _, f := range a.daemon.Findings("") {
		findings[f.Cluster] = append(findings[f.Cluster], f)
	}
	for _, name := range sortedKeys(members) {
		out = append(out, a.summary(name, topology.Snapshot{At: all.At, Servers: members[name]}, findings[name], open[name]))
	}
	return out, nil
}

func (a *API) openEpisodes() map[string]string {
	out := map[string]string{}
	for _, e := range a.daemon.Episodes("") {
		if e.Closed.IsZero() {
			out[e.Cluster] = e.ID
		}
	}
	return out
}

func (a *API) summary(name string, of topology.Snapshot, findings []analysis.Finding, episode string) ClusterSummary {
	s := ClusterSummary{Name: name, Alias: a.daemon.Alias(name), Servers: len(of.Servers), Codes: []string{}, Episode: episode}
	if p := of.Primary(); p != nil {
		s.Primary = p.Key
	}
	for _, v := range of.Servers {
		if v.Up() {
			s.Up++
		}
	}
	for _, f := range findings {
		s.Codes = append(s.Codes, string(f.Code))
	}
	slices.Sort(s.Codes)
	s.Codes = slices.Compact(s.Codes)
	return s
}

func (a *API) cluster(r *http.Request) (Cluster, error) {
	name, of, err := a.findCluster(r.PathValue("cluster"))
	if err != nil {
		return Cluster{}, err
	}
	findings := a.daemon.Findings(name)
	c := Cluster{ClusterSummary: a.summary(name, of, findings, a.openEpisodes()[name]), Members: of.Servers,
		Findings: some(findings), Policy: policyOf(a.daemon.Policy(name)), Drawing: drawing.Sketch(of)}
	c.Readiness = a.readiness(name, c.Primary)
	return c, nil
}

func (a *API) readiness(cluster string, primary topology.Key) Readiness {
	if primary.IsZero() {
		return Readiness{Because: []string{"the cluster has no primary"}}
	}
	p := a.daemon.WhatIf(cluster, primary)
	w := p.Main()
	r := Readiness{Ready: p.Ready(), Candidate: w.Promoted(), Because: w.Refused, Bound: w.Bound}
	if !r.Ready && len(r.Because) == 0 && w.Wait != "" {
		r.Because = []string{w.Wait}
	}
	return r
}

func (a *API) clusterDrawing(r *http.Request) (Text, error) {
	_, of, err := a.findCluster(r.PathValue("cluster"))
	return Text(drawing.Sketch(of)), err
}

func (a *API) clusterFindings(r *http.Request) ([]analysis.Finding, error) {
	name, _, err := a.findCluster(r.PathValue("cluster"))
	if err != nil {
		return nil, err
	}
	return some(a.daemon.Findings(name)), nil
}

func (a *API) clusterPlan(r *http.Request) (ClusterPlan, error) {
	name, of, err := a.findCluster(r.PathValue("cluster"))
	if err != nil {
		return ClusterPlan{}, err
	}
	out := ClusterPlan{Cluster: name, Policy: policyOf(a.daemon.Policy(name)), RecoveriesOff: a.daemon.RecoveriesOff(),
		Findings: some(a.daemon.Findings(name)), Now: a.daemon.Decide(name)}
	dead := topology.Key{}
	if p := of.Primary(); p != nil {
		dead = p.Key
	}
	if text := r.URL.Query().Get("dead"); text != "" {
		v, err := findServer(of, text)
		if err != nil {
			return ClusterPlan{}, err
		}
		dead = v.Key
	}
	if !dead.IsZero() {
		p := a.daemon.WhatIf(name, dead)
		out.IfDead, out.Ready = &p, p.Ready()
	}
	return out, nil
}

func (a *API) setAlias(r *http.Request, in Alias) (Alias, error) {
	name, _, err := a.findCluster(r.PathValue("cluster"))
	if err != nil {
		return Alias{}, err
	}
	if in.Alias != "" {
		if err := plainName("alias", in.Alias); err != nil {
			return Alias{}, err
		}
		if other, _, err := a.findCluster(in.Alias); err == nil && other != name {
			return Alias{}, refuse(http.StatusConflict, "%q already means cluster %s; choose another alias", in.Alias, other)
		}
	}
	return in, a.daemon.SetAlias(r.Context(), name, in.Alias)
}

// findCluster finds the cluster that text names: by its name, its alias, or the address of any member. Names come first, so
// that an alias can never hide a cluster.
func (a *API) findCluster(text string) (string, topology.Snapshot, error) {
	all := a.daemon.Snapshot()
	names := all.Clusters()
	if slices.Contains(names, text) {
		return text, all.Of(text), nil
	}
	known := slices.Clone(names)
	var found []string
	for _, name := range names {
		alias := a.daemon.Alias(name)
		if alias == "" {
			continue
		}
		known = append(known, alias)
		if alias == text {
			found = append(found, name)
		}
	}
	if len(found) > 1 {
		p := problem(http.StatusNotFound, "the alias %q is ambiguous: write the name of one of %s", clip(text), strings.Join(found, ", "))
		p.Near = found
		return "", topology.Snapshot{}, &p
	}
	if len(found) == 1 {
		return found[0], all.Of(found[0]), nil
	}
	if v, err := findServer(all, text); err == nil {
		return v.Cluster, all.Of(v.Cluster), nil
	}
	if strings.ContainsAny(text, "/\\ \t?#\"'<>") {
		return "", topology.Snapshot{}, refuse(http.StatusBadRequest, "%q is no name of a cluster, no alias and no address (host:port)", clip(text))
	}
	for _, v := range all.Servers {
		known = append(known, v.Key.String())
	}
	return "", topology.Snapshot{}, missing("cluster", text, known)
}

// plainName keeps declared names to what goes into a path, a label and a shell without quoting.
func plainName(what, name string) error {
	ok := len(name) > 0 && len(name) <= 64 && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_')
	})
	if !ok {
		return refuse(http.StatusBadRequest, "%s %q: use 1 to 64 letters, digits, dots, dashes and underscores", what, clip(name))
	}
	return nil
}

// some makes an empty list of none, so that clients are never sent null for one.
func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func sorted(findings []analysis.Finding) []analysis.Finding {
	out := slices.Clone(findings)
	slices.SortStableFunc(out, func(x, y analysis.Finding) int {
		return cmp.Or(cmp.Compare(x.Cluster, y.Cluster), x.At.Compare(y.At), cmp.Compare(x.Code, y.Code))
	})
	return some(out)
}
