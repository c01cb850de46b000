package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"orchestrator/daemon/hook"
	"orchestrator/daemon/plan"
)

func (a *API) episodeRoutes() []route {
	return []route{
		get("/api/v1/episodes", "listEpisodes", "The incidents, newest first", a.episodes, 404).with(inCluster,
			parameter{name: "open", says: "only those that are open, or only those that are closed",
				oneOf: []string{"true", "false"}}),
		get("/api/v1/episodes/{id}", "getEpisode",
			"One incident, with every step that was tried, oldest first, and the notifications of hooks",
			a.episode, 404),
		change(http.MethodPost, "/api/v1/episodes/{id}/acknowledgement", "acknowledgeEpisode",
			"Take note of an incident: it does not hold up the next promotion, "+
				"and its old primary is no longer made read-only when it comes back writable",
			a.acknowledge, 404, 409, 503).operators(),
	}
}

// Episodes are the incidents.
type Episodes interface {
	Episodes(cluster string) []plan.Episode // newest first; with "" of all clusters
	// Episode returns one with the steps that were tried, oldest first, or ErrNotFound.
	Episode(ctx context.Context, id string) (plan.Episode, []plan.Done, error)
	Acknowledge(ctx context.Context, id, by, comment string) error // ErrNotFound
}

// Episode is an incident with its steps.
type Episode struct {
	plan.Episode
	Steps []Step     `json:"steps" doc:"oldest first"`
	Hooks []hook.Run `json:"hooks" doc:"the last attempt to tell each hook about each moment, oldest first"`
}

// Step is a step that was tried.
type Step struct {
	plan.Step
	Started time.Time `json:"started"`
	Took    float64   `json:"took_seconds"`
	Error   string    `json:"error,omitempty"`
}

// AcknowledgementRequest takes note of an episode.
type AcknowledgementRequest struct {
	By      string `json:"by" doc:"who"`
	Comment string `json:"comment" doc:"what was found, or done"`
}

func (r *AcknowledgementRequest) signature() *string { return &r.By }

func (a *API) episodes(r *http.Request) ([]plan.Episode, error) {
	cluster := r.URL.Query().Get("cluster")
	if cluster != "" {
		// An incident outlives its cluster: a name that only episodes still know is good enough.
		v, err := a.findCluster(cluster)
		past := func(e plan.Episode) bool { return e.Cluster == cluster }
		switch {
		case err == nil:
			cluster = v.name()
		case !slices.ContainsFunc(a.Episodes.Episodes(""), past):
			return nil, err
		}
	}
	out := slices.Clone(a.Episodes.Episodes(cluster))
	if open := r.URL.Query().Get("open"); open != "" {
		out = slices.DeleteFunc(out, func(e plan.Episode) bool { return e.Closed.IsZero() != (open == "true") })
	}
	return some(out), nil
}

func (a *API) episode(r *http.Request) (Episode, error) {
	id := r.PathValue("id")
	e, done, err := a.Episodes.Episode(r.Context(), id)
	if err != nil {
		return Episode{}, a.noEpisode(id, err)
	}
	out := Episode{Episode: e, Steps: []Step{}, Hooks: some(a.Hooks.HookRuns(id))}
	for _, d := range done {
		out.Steps = append(out.Steps, Step{Step: d.Step, Started: d.Started, Took: d.Took.Seconds(), Error: d.Error})
	}
	return out, nil
}

func (a *API) acknowledge(r *http.Request, in AcknowledgementRequest) (plan.Episode, error) {
	if err := said("by", in.By, "comment", in.Comment); err != nil {
		return plan.Episode{}, err
	}
	id := r.PathValue("id")
	if err := a.Episodes.Acknowledge(r.Context(), id, in.By, in.Comment); err != nil {
		return plan.Episode{}, a.noEpisode(id, err)
	}
	e, _, err := a.Episodes.Episode(r.Context(), id)
	return e, err
}

// noEpisode adds the ids that may have been meant to what the daemon says of an id that does not exist.
func (a *API) noEpisode(id string, err error) error {
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	var ids []string
	for _, e := range a.Episodes.Episodes("") {
		ids = append(ids, e.ID)
	}
	return missing("episode", id, ids)
}
