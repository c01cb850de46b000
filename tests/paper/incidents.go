package paper

import (
	"context"
	"fmt"
	"slices"
	"time"

	"orchestrator/daemon/api"
	"orchestrator/daemon/drawing"
	"orchestrator/daemon/hook"
	"orchestrator/daemon/plan"
)

// Episodes are incidents. All have the same steps.
type Episodes struct {
	*Record
	All   []plan.Episode
	Tried []plan.Done
}

func (e *Episodes) Episodes(cluster string) []plan.Episode {
	return slices.DeleteFunc(slices.Clone(e.All), func(one plan.Episode) bool {
		return cluster != "" && one.Cluster != cluster
	})
}

func (e *Episodes) at(id string) int {
	return slices.IndexFunc(e.All, func(one plan.Episode) bool { return one.ID == id })
}

func (e *Episodes) Episode(_ context.Context, id string) (plan.Episode, []plan.Done, error) {
	i := e.at(id)
	if i < 0 {
		return plan.Episode{}, nil, fmt.Errorf("read episode %s: %w", id, api.ErrNotFound)
	}
	return e.All[i], e.Tried, nil
}

func (e *Episodes) Acknowledge(_ context.Context, id, by, comment string) error {
	i := e.at(id)
	if i < 0 {
		return api.ErrNotFound
	}
	e.All[i].Acknowledged = &plan.Acknowledgement{By: by, Comment: comment, At: drawing.At}
	return e.did("acknowledge %s %s %s", id, by, comment)
}

// Hooks are a pager that works and a chat that hangs.
type Hooks struct{ *Record }

func (h *Hooks) Hooks() []api.Hook {
	last := h.HookRuns("db1-3306-2")[0]
	return []api.Hook{
		{Name: "pager", Clusters: []string{"*"}, On: []hook.Moment{hook.Opened, hook.Fenced},
			Program: "/usr/local/bin/page", Timeout: 30, Attempts: 3, Last: &last},
		{Name: "chat", Clusters: []string{"shop-*"}, On: []hook.Moment{hook.Promoted}, Host: "chat.example"},
	}
}

func (h *Hooks) HookRuns(episode string) []hook.Run {
	return []hook.Run{{Hook: "pager", Moment: hook.Opened, Episode: episode, By: "d1", Attempt: 2, Started: drawing.At,
		Ended: drawing.At, Outcome: hook.Failed, Says: "exit status 1"}}
}

// TryHook stores nothing, so that it can't fail to.
func (h *Hooks) TryHook(_ context.Context, name string, m hook.Moment, within time.Duration) (api.HookTrial, error) {
	h.Changes = append(h.Changes, fmt.Sprintf("try %s %s within %v", name, m, within))
	t := api.HookTrial{Daemon: "d1", Hook: name, Moment: m, Outcome: hook.OK, Output: "paged ann", Took: 0.5}
	if name == "chat" {
		t.Outcome, t.Says = hook.TimedOut, "ended"
	}
	return t, nil
}
