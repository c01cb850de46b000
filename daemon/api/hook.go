package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"orchestrator/daemon/hook"
	"orchestrator/daemon/httpd"
)

func (a *API) hookRoutes() []route {
	return []route{
		get("/api/v1/hooks", "listHooks", "The hooks of this daemon's configuration, and the last notification of each",
			a.hooks),
		change(http.MethodPost, "/api/v1/hooks/{name}/trial", "tryHook",
			"Have this daemon run a hook now, and tell it that this is a trial; it says how that went. "+
				"It is ended after 25 s, or its own timeout, and when you go away", a.tryHook, 404),
	}
}

// Hooks are the commands and web addresses that are notified of episodes.
type Hooks interface {
	Hooks() []Hook                      // as the configuration has them now
	HookRuns(episode string) []hook.Run // the last attempts about an episode, in the order in which they were begun
	// TryHook makes one attempt of a hook, which takes no longer than the time given, or its own. ErrNotFound.
	TryHook(ctx context.Context, name string, m hook.Moment, within time.Duration) (HookTrial, error)
}

// Hook is one of the configuration. Its URL may be a secret, and so may the arguments of its command.
type Hook struct {
	Name     string        `json:"name"`
	Clusters []string      `json:"clusters" doc:"the patterns that name them"`
	On       []hook.Moment `json:"on" doc:"the moments of an episode at which it is notified"`
	Program  string        `json:"program,omitempty" doc:"what is run; its arguments are not shown"`
	Host     string        `json:"host,omitempty" doc:"where it posts to; the rest of the URL is not shown"`
	Timeout  float64       `json:"timeout_seconds" doc:"of an attempt"`
	Attempts int           `json:"attempts" doc:"how often it is tried"`
	Last     *hook.Run     `json:"last,omitempty" doc:"its last notification"`
}

// HookTrialRequest is for which moment.
type HookTrialRequest struct {
	Moment hook.Moment `json:"moment" doc:"of the episode that there never was"`
	By     string      `json:"by" doc:"who"`
}

func (r *HookTrialRequest) signature() *string { return &r.By }

// HookTrial is how one attempt went.
type HookTrial struct {
	Daemon  string       `json:"daemon" doc:"id of the daemon that ran it"`
	Hook    string       `json:"hook"`
	Moment  hook.Moment  `json:"moment"`
	Outcome hook.Outcome `json:"outcome"`
	Says    string       `json:"says,omitempty" doc:"how it failed"`
	Output  string       `json:"output,omitempty" doc:"the end of what the command wrote, or the URL answered"`
	Took    float64      `json:"took_seconds"`
}

// trialTime bounds a trial, whose caller waits. The summary of the route states it, and so do docs/ and the client's
// help.
const trialTime = 25 * time.Second

func (a *API) hooks(*http.Request) ([]Hook, error) { return some(a.Hooks.Hooks()), nil }

func (a *API) tryHook(r *http.Request, in HookTrialRequest) (HookTrial, error) {
	if err := said("by", in.By, "moment", string(in.Moment)); err != nil {
		return HookTrial{}, err
	}
	if !slices.Contains(hook.Moments(), in.Moment) {
		return HookTrial{}, refuse(http.StatusBadRequest, "field \"moment\": %q is none; there are %v",
			httpd.Clip(string(in.Moment)), hook.Moments())
	}
	name := r.PathValue("name")
	var names []string
	for _, h := range a.Hooks.Hooks() {
		names = append(names, h.Name)
	}
	if !slices.Contains(names, name) {
		return HookTrial{}, missing("hook", name, names)
	}
	return a.Hooks.TryHook(r.Context(), name, in.Moment, trialTime)
}
