package api

import (
	"net/http"
	"slices"
	"strings"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/drawing"
	"orchestrator/daemon/httpd"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

func (a *API) clusterRoutes() []route {
	const one = "/api/v1/clusters/{cluster}"
	return []route{
		read[[]ClusterSummary]("/api/v1/clusters", "listClusters", "The clusters, in brief, sorted by name",
			a.clusters),
		read[Cluster](one, "getCluster",
			"One cluster: its servers, its findings, its policy, and whether it is ready for a failover",
			a.cluster, 404),
		read[Text](one+"/drawing", "drawCluster", "One cluster, drawn as text", a.clusterDrawing, 404),
		read[[]analysis.Finding](one+"/findings", "listClusterFindings", "What is wrong in one cluster",
			a.clusterFindings, 404),
		get(one+"/plan", "planCluster",
			"What would be done now, and what if a server died now: candidate by candidate, with the reasons",
			a.clusterPlan, 404, 503).
			with(parameter{name: "dead", says: "the server that is supposed to die; the primary when it is not given"}),
		change(http.MethodPut, one+"/alias", "setClusterAlias",
			"Give a cluster a second name, or with an empty one take it away",
			a.setAlias, 404, 409, 503).operators(),
	}
}

// Fleet is the clusters as this daemon sees and judges them. No call searches the fleet, except Views, which returns
// all of it.
//
// A handler takes one view (or all, once) and answers from that alone: a second one may be of a later moment and
// contradict the first.
type Fleet interface {
	Views() []View                           // of all clusters, sorted by name
	View(cluster string) (View, bool)        // by name
	Around(server topology.Key) (View, bool) // of the cluster of a server, which may be given by another of its names
	Aliased(alias string) []string           // the names of the clusters that have the alias, sorted
}

// View is one cluster at one moment, and what follows from it. Nothing in it is ever changed.
type View struct {
	// Edition is one number for this view: another view with the same edition has the same content. Views of different
	// clusters have different editions.
	Edition   uint64
	Alias     string // "" when it has none
	Situation plan.Situation
	// Decide says what would be done now.
	Decide func() plan.Decision
	// Readiness says what would be done if the primary died now; false when there is no primary.
	Readiness func() (plan.Previewed, bool)
}

func (v View) name() string { return v.Situation.Cluster }

// server returns the server at an address, or whose other name it is; nil when it is not in the cluster.
func (v View) server(k topology.Key) *topology.Server {
	if s := v.Situation.Snapshot.Server(k); s != nil {
		return s
	}
	servers := v.Situation.Snapshot.Servers
	if i := slices.IndexFunc(servers, func(s topology.Server) bool { return slices.Contains(s.Names, k) }); i >= 0 {
		return &servers[i]
	}
	return nil
}

// ClusterSummary is a cluster in brief.
type ClusterSummary struct {
	Name  string `json:"name"`
	Alias string `json:"alias,omitempty"`
	// Primary is the one that wrote what the replicas have, where most replicas follow a server that only passed it on.
	Primary topology.Key `json:"primary,omitzero"`
	Servers int          `json:"servers" doc:"how many belong to it, without those that are registered and not confirmed or not admitted"`
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
	AllowFilters        bool    `json:"allow_filters"`
	FenceOthers         bool    `json:"fence_others"`
	Heartbeat           string  `json:"heartbeat,omitempty" doc:"the table to which a row is written after a promotion"`
	AntiFlap            float64 `json:"anti_flap_seconds"`

	Members []topology.Key `json:"members,omitempty" doc:"all servers of the cluster, where the policy names them"`
	SameTag string         `json:"same_tag,omitempty" doc:"a tag: candidates with its value at the failed server go first"`
}

func policyOf(p plan.Policy) Policy {
	return Policy{Named: p.Named, RecoverPrimary: p.RecoverPrimary, RecoverIntermediate: p.RecoverIntermediate,
		DrainTimeout: p.DrainTimeout.Seconds(), MaxLag: p.MaxLag.Seconds(), AllowReceivedLoss: p.AllowReceivedLoss,
		AllowUnfenced: p.AllowUnfenced, AllowErrant: p.AllowErrant, AllowFilters: p.AllowFilters,
		FenceOthers: p.FenceOthers, Heartbeat: p.Heartbeat, Members: p.Members, SameTag: p.SameTag,
		AntiFlap: p.AntiFlap.Seconds()}
}

// ClusterPlan is what would be done about a cluster, and why, and why not.
type ClusterPlan struct {
	Cluster       string             `json:"cluster"`
	Policy        Policy             `json:"policy"`
	RecoveriesOff string             `json:"recoveries_off,omitempty" doc:"why recoveries are switched off everywhere"`
	Findings      []analysis.Finding `json:"findings"`
	Now           plan.Decision      `json:"now" doc:"what would be done about what is wrong now"`
	Ready         bool               `json:"ready" doc:"if the server died, nothing would be refused, and nothing makes the result doubtful"`
	IfDead        *plan.Previewed    `json:"if_dead,omitempty" doc:"what would be done if the primary, or the server asked for, died now"`
}

// Alias is the second name of a cluster.
type Alias struct {
	Alias string `json:"alias" doc:"letters, digits, dots, dashes and underscores; empty takes the alias away"`
}

func (a *API) clusters(*http.Request) (reply, error) {
	edited, parts, err := shelve(a.summaries, a.Fleet.Views(), func(v View) any { return v.summary() })
	return reply{edition: edition(edited), parts: inList("", parts, "")}, err
}

func (v View) summary() ClusterSummary {
	of := v.Situation.Snapshot.Admitted()
	s := ClusterSummary{Name: v.name(), Alias: v.Alias, Servers: len(of.Servers), Codes: []string{}}
	if p := of.Rightful(); p != nil {
		s.Primary = p.Key
	}
	for i := range of.Servers {
		if of.Servers[i].Up() {
			s.Up++
		}
	}
	for _, f := range v.Situation.Findings {
		s.Codes = append(s.Codes, string(f.Code))
	}
	slices.Sort(s.Codes)
	s.Codes = slices.Compact(s.Codes)
	if i := slices.IndexFunc(v.Situation.Episodes, func(e plan.Episode) bool { return e.Closed.IsZero() }); i >= 0 {
		s.Episode = v.Situation.Episodes[i].ID
	}
	return s
}

func (a *API) cluster(r *http.Request) (reply, error) {
	v, err := a.findCluster(r.PathValue("cluster"))
	if err != nil {
		return reply{}, err
	}
	return at(v.Edition, func() Cluster {
		s := v.Situation
		return Cluster{ClusterSummary: v.summary(), Members: s.Snapshot.Servers, Findings: some(s.Findings),
			Policy: policyOf(s.Policy), Readiness: v.readiness(), Drawing: drawing.Sketch(s.Snapshot)}
	}), nil
}

func (v View) readiness() Readiness {
	p, has := v.Readiness()
	if !has {
		return Readiness{Because: []string{"the cluster has no primary"}}
	}
	w := p.Main()
	r := Readiness{Ready: p.Ready(), Candidate: w.Promoted(), Because: slices.Concat(w.Refused, p.Doubts),
		Bound: w.Bound}
	if !r.Ready && len(r.Because) == 0 && w.Wait != "" {
		r.Because = []string{w.Wait}
	}
	return r
}

func (a *API) clusterDrawing(r *http.Request) (reply, error) {
	v, err := a.findCluster(r.PathValue("cluster"))
	return at(v.Edition, func() Text { return Text(drawing.Sketch(v.Situation.Snapshot)) }), err
}

func (a *API) clusterFindings(r *http.Request) (reply, error) {
	v, err := a.findCluster(r.PathValue("cluster"))
	return at(v.Edition, func() []analysis.Finding { return some(v.Situation.Findings) }), err
}

// clusterPlan has no edition: what the other daemons permit is part of the decision, and not of the view.
func (a *API) clusterPlan(r *http.Request) (ClusterPlan, error) {
	v, err := a.findCluster(r.PathValue("cluster"))
	if err != nil {
		return ClusterPlan{}, err
	}
	s := v.Situation
	out := ClusterPlan{Cluster: v.name(), Policy: policyOf(s.Policy), RecoveriesOff: s.Off, Findings: some(s.Findings),
		Now: v.Decide()}
	var p plan.Previewed
	var has bool
	if text := r.URL.Query().Get("dead"); text == "" {
		p, has = v.Readiness()
	} else if k, err := parseKey(text); err != nil {
		return ClusterPlan{}, err
	} else if dead := v.server(k); dead == nil {
		return ClusterPlan{}, missing("server", k.String(), addresses(v))
	} else {
		has = true
		p, err = a.preview(r.Context(), func(w plan.While) plan.Previewed { return w.IfDies(s, dead.Key) })
		if err != nil { // of this branch only: it hides the one outside
			return ClusterPlan{}, err
		}
	}
	if has {
		out.IfDead, out.Ready = &p, p.Ready()
	}
	return out, nil
}

func (a *API) setAlias(r *http.Request, in Alias) (Alias, error) {
	v, err := a.findCluster(r.PathValue("cluster"))
	if err != nil {
		return Alias{}, err
	}
	if in.Alias != "" {
		if err := plainName("alias", in.Alias); err != nil {
			return Alias{}, err
		}
		if other, err := a.findCluster(in.Alias); err == nil && other.name() != v.name() {
			return Alias{}, refuse(http.StatusConflict, "%q already means cluster %s; choose another alias",
				in.Alias, other.name())
		}
	}
	return in, a.Declarations.SetAlias(r.Context(), v.name(), in.Alias)
}

// findCluster finds the cluster that text names: by its name, its alias, or the address of any member. Names come
// first, so an alias can never hide a cluster.
func (a *API) findCluster(text string) (View, error) {
	if v, ok := a.Fleet.View(text); ok {
		return v, nil
	}
	switch found := a.Fleet.Aliased(text); len(found) {
	case 0:
	case 1:
		if v, ok := a.Fleet.View(found[0]); ok {
			return v, nil
		}
	default:
		p := httpd.NewProblem(http.StatusNotFound, "the alias %q is ambiguous: write the name of one of %s",
			httpd.Clip(text), strings.Join(found, ", "))
		p.Near = found
		return View{}, &p
	}
	if k, err := topology.ParseKey(text); err == nil {
		if v, ok := a.Fleet.Around(k); ok {
			return v, nil
		}
	}
	if strings.ContainsAny(text, "/\\ \t?#\"'<>") {
		return View{}, refuse(http.StatusBadRequest, "%q is no name of a cluster, no alias and no address (host:port)",
			httpd.Clip(text))
	}
	return View{}, missing("cluster", text, a.names())
}

// names are all by which a cluster can be found. It searches the fleet: for those who did not find theirs.
func (a *API) names() []string {
	var names, aliases []string
	views := a.Fleet.Views()
	for _, v := range views {
		names = append(names, v.name())
		if v.Alias != "" {
			aliases = append(aliases, v.Alias)
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(names, aliases, addresses(views...)))))
}

// addresses are those of all servers.
func addresses(views ...View) []string {
	var out []string
	for _, v := range views {
		for _, s := range v.Situation.Snapshot.Servers {
			out = append(out, s.Key.String())
		}
	}
	return out
}

// plainName keeps declared names to what goes into a path, a label and a shell without quoting.
func plainName(what, name string) error {
	ok := len(name) > 0 && len(name) <= 64 && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			r == '.' || r == '-' || r == '_')
	})
	if !ok {
		return refuse(http.StatusBadRequest, "%s %q: use 1 to 64 letters, digits, dots, dashes and underscores",
			what, httpd.Clip(name))
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
