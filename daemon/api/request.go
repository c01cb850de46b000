package api

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"orchestrator/daemon/declared"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

func (a *API) requestRoutes() []route {
	return []route{
		change(http.MethodPost, "/api/v1/clusters/{cluster}/recover", "requestRecovery",
			"Request the failover of a failed server that the policy does not recover by itself; "+
				"the daemon that leads does it",
			a.recover, 404, 409, 503).operators(),
		get("/api/v1/requests", "listRequests", "The requests of the last hour, oldest first, and what came of them",
			a.requests, 404).with(inCluster),
		change(http.MethodDelete, "/api/v1/requests/{id}", "withdrawRequest",
			"Withdraw a request: what has not begun does not begin", a.withdraw, 404, 503).operators(),
	}
}

// Requests are what operators ask for.
type Requests interface {
	Requests(cluster string) []declared.Request // with "" of all clusters; oldest first
	AddRequest(ctx context.Context, cluster string, r plan.Request) (declared.Request, error)
	WithdrawRequest(ctx context.Context, id string) error
}

// Request is one that stands, or that something came of.
type Request struct {
	declared.Request
	Episode string `json:"episode,omitempty" doc:"id of the episode that it began"`
	Outcome string `json:"outcome,omitempty" doc:"how that has ended; absent while it has not"`
}

// RecoverRequest asks for a failover.
type RecoverRequest struct {
	Server topology.Key `json:"server,omitzero" doc:"the server that has failed; the primary when it is not given"`
	// Candidate must pass every veto, as any other would.
	Candidate topology.Key `json:"candidate,omitzero" doc:"the only server that may be promoted; the best one when it is not given"`
	By        string       `json:"by" doc:"who"`
	Reason    string       `json:"reason" doc:"why"`
	DryRun    bool         `json:"dry_run,omitempty" doc:"say what would be done, and request nothing"`
}

func (r *RecoverRequest) signature() *string { return &r.By }

// Requested is what was requested, and what comes of it.
type Requested struct {
	Request declared.Request `json:"request"`
	DryRun  bool             `json:"dry_run,omitempty" doc:"nothing was requested"`
	Plan    plan.Previewed   `json:"plan" doc:"what would be done if every step succeeds"`
}

// recover refuses what would be refused later, with the same reasons, and then stores nothing. The same request, sent
// again, returns the one that is already pending.
func (a *API) recover(r *http.Request, in RecoverRequest) (Requested, error) {
	if err := said("by", in.By, "reason", in.Reason); err != nil {
		return Requested{}, err
	}
	v, err := a.findCluster(r.PathValue("cluster"))
	if err != nil {
		return Requested{}, err
	}
	server, err := v.toRecover(in.Server)
	if err != nil {
		return Requested{}, err
	}
	candidate := in.Candidate
	if s := v.server(candidate); !candidate.IsZero() && s == nil {
		return Requested{}, missing("server of cluster "+v.name(), candidate.String(), addresses(v))
	} else if s != nil {
		candidate = s.Key
	}
	facts := v.Situation.Facts
	if why := pending(facts, server, candidate); why != "" {
		return Requested{}, refuse(http.StatusConflict, "%s", why)
	}
	q := plan.Request{ID: "recover-" + strings.ToLower(rand.Text()[:10]), Kind: plan.Recover, Server: server,
		Candidate: candidate, By: in.By, Reason: in.Reason, At: a.options.Now().UTC()}
	out := Requested{Request: declared.Request{Request: q, Cluster: v.name()}, DryRun: in.DryRun}
	stands := slices.IndexFunc(facts.Requests, func(o plan.Request) bool {
		return o.Kind == q.Kind && o.Server == server && o.Candidate == candidate
	})
	if stands >= 0 {
		out.Request.Request = facts.Requests[stands]
	} else {
		facts.Requests = append(slices.Clone(facts.Requests), q)
	}
	situation := plan.Situate(facts)
	out.Plan, err = a.preview(r.Context(), func(w plan.While) plan.Previewed { return w.Preview(situation) })
	if err != nil {
		return Requested{}, err
	}
	if why := cmp.Or(refusal(out.Plan, server), plan.Misnamed(situation, server)); why != "" {
		return Requested{}, refuse(http.StatusConflict, "the failover of %v is refused: %s", server, why)
	}
	if in.DryRun || stands >= 0 {
		return out, nil
	}
	out.Request, err = a.Requests.AddRequest(r.Context(), v.name(), q)
	return out, err
}

// pending says why a failover of the server can't be requested with that candidate now: it is under way, or was
// requested in another way. One that is blocked before a server was promoted waits for such a request.
func pending(f plan.Facts, server, candidate topology.Key) string {
	for _, q := range f.Requests {
		if q.Server == server && q.Candidate != candidate {
			return fmt.Sprintf("%s has requested the failover of %v %s: withdraw that first (orchestrator-client "+
				"withdraw %s)", q.By, server, with(q.Candidate), q.ID)
		}
	}
	for _, e := range f.Episodes {
		if e.Failed == server && e.Closed.IsZero() && e.Stage != plan.Suspected &&
			(e.Blocked == "" || e.Stage == plan.Promoted) {
			return fmt.Sprintf("the failover of %v is under way: see episode %s", server, e.ID)
		}
	}
	return ""
}

func with(candidate topology.Key) string {
	if candidate.IsZero() {
		return "without a candidate"
	}
	return "with the candidate " + candidate.String()
}

// toRecover is the server of the cluster that a request names; the primary when it names none.
func (v View) toRecover(k topology.Key) (topology.Key, error) {
	if k.IsZero() {
		p := v.Situation.Snapshot.Primary()
		if p == nil {
			return k, refuse(http.StatusConflict, "cluster %s has no primary; name the server", v.name())
		}
		return p.Key, nil
	}
	s := v.server(k)
	if s == nil {
		return k, missing("server of cluster "+v.name(), k.String(), addresses(v))
	}
	return s.Key, nil
}

// refusal says why nothing would be done about a server; "" when something would.
func refusal(p plan.Previewed, server topology.Key) string {
	var why []string
	for _, w := range p.Works {
		if w.Failed == server && w.Kind != plan.Aftercare {
			why = append(why, w.Refused...)
		}
	}
	return strings.Join(why, "; ")
}

func (a *API) requests(r *http.Request) ([]Request, error) {
	cluster := ""
	if text := r.URL.Query().Get("cluster"); text != "" {
		v, err := a.findCluster(text)
		if err != nil {
			return nil, err
		}
		cluster = v.name()
	}
	out := []Request{}
	for _, q := range a.Requests.Requests(cluster) {
		one := Request{Request: q}
		for _, e := range a.Episodes.Episodes(q.Cluster) {
			if e.Request != nil && e.Request.ID == q.ID {
				one.Episode, one.Outcome = e.ID, e.Outcome
			}
		}
		out = append(out, one)
	}
	return out, nil
}

func (a *API) withdraw(r *http.Request, _ Nothing) (Nothing, error) {
	id := r.PathValue("id")
	var ids []string
	for _, q := range a.Requests.Requests("") {
		ids = append(ids, q.ID)
	}
	if !slices.Contains(ids, id) {
		return Nothing{}, missing("request", id, ids)
	}
	return Nothing{}, a.Requests.WithdrawRequest(r.Context(), id)
}
