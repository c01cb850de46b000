package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/api"
	"orchestrator/daemon/audit"
	"orchestrator/daemon/drawing"
	"orchestrator/daemon/httpd"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// ErrNoLeader is returned by Leader when daemons answer, and none of them leads.
var ErrNoLeader = errors.New("no daemon that answers is the leader")

// Leader asks all endpoints at once, and returns the endpoint of the leader and what it says.
func (c *Client) Leader(ctx context.Context) (string, api.Health, error) {
	type word struct {
		endpoint string
		health   api.Health
		err      error
	}
	ctx, done := context.WithCancel(ctx)
	defer done()
	words := make(chan word, len(c.endpoints))
	for _, e := range c.endpoints {
		go func() { // ends with its request, which ends with ctx; nobody waits for the slow ones
			w := word{endpoint: e}
			w.err = c.one(ctx, e, http.MethodGet, "/health/leader", nil, &w.health)
			words <- w
		}()
	}
	var tried []error
	answered := false
	for range c.endpoints {
		w := <-words
		if w.err == nil {
			return w.endpoint, w.health, nil
		}
		r := new(Refused)
		if errors.As(w.err, &r) {
			answered = true
		}
		tried = append(tried, w.err)
	}
	if answered {
		return "", api.Health{}, fmt.Errorf("%w: %w", ErrNoLeader, errors.Join(tried...))
	}
	return "", api.Health{}, &Unreachable{Tried: tried}
}

// Declared is all that people have declared, and that holds.
func (c *Client) Declared(ctx context.Context) (out api.Declared, err error) {
	err = c.read(ctx, path("declared"), &out)
	return out, err
}

// declareAtOnce is how many things are declared in one request: each is stored before the answer.
const declareAtOnce = 100

// Declare declares all of d; what it does not name stays.
func (c *Client) Declare(ctx context.Context, d api.Declared) (sum api.DeclareResult, err error) {
	for first := true; first || d.Size() > 0; first = false {
		var part api.Declared
		room := declareAtOnce
		part.Downtimes, d.Downtimes = take(d.Downtimes, &room)
		part.Rules, d.Rules = take(d.Rules, &room)
		part.Tags, d.Tags = take(d.Tags, &room)
		part.Aliases, d.Aliases = take(d.Aliases, &room)
		part.Forgotten, d.Forgotten = take(d.Forgotten, &room)
		part.Recoveries, d.Recoveries = d.Recoveries, nil
		var got api.DeclareResult
		if err := c.change(ctx, http.MethodPut, path("declared"), part, &got); err != nil {
			return sum, err
		}
		sum.Changed, sum.Same, sum.Over = sum.Changed+got.Changed, sum.Same+got.Same, sum.Over+got.Over
	}
	return sum, nil
}

// take returns as much of a list as there is room for, and the rest.
func take[T any](list []T, room *int) (now, later []T) {
	n := min(len(list), *room)
	*room -= n
	return list[:n], list[n:]
}

// Clusters lists the clusters in brief.
func (c *Client) Clusters(ctx context.Context) (out []api.ClusterSummary, err error) {
	err = c.read(ctx, path("clusters"), &out)
	return out, err
}

// Cluster returns one cluster, by name, alias or the address of a member.
func (c *Client) Cluster(ctx context.Context, cluster string) (out api.Cluster, err error) {
	err = c.read(ctx, path("clusters", cluster), &out)
	return out, err
}

// Drawing returns one cluster, drawn.
func (c *Client) Drawing(ctx context.Context, cluster string) (out string, err error) {
	err = c.read(ctx, path("clusters", cluster, "drawing"), &out)
	return out, err
}

// Plan says what would be done now, and what if dead, or with "" the primary, died.
func (c *Client) Plan(ctx context.Context, cluster, dead string) (out api.ClusterPlan, err error) {
	err = c.read(ctx, path("clusters", cluster, "plan")+query("dead", dead), &out)
	return out, err
}

// SetAlias gives a cluster a second name; "" takes it away.
func (c *Client) SetAlias(ctx context.Context, cluster, alias string) error {
	return c.change(ctx, http.MethodPut, path("clusters", cluster, "alias"), api.Alias{Alias: alias}, nil)
}

// Findings lists what is wrong in a cluster, or with "" in the fleet.
func (c *Client) Findings(ctx context.Context, cluster string) (out []analysis.Finding, err error) {
	err = c.read(ctx, path("findings")+query("cluster", cluster), &out)
	return out, err
}

// Instances lists the servers of a cluster, or with "" of the fleet.
func (c *Client) Instances(ctx context.Context, cluster string) (out []topology.Server, err error) {
	err = c.read(ctx, path("instances")+query("cluster", cluster), &out)
	return out, err
}

// Instance returns one server.
func (c *Client) Instance(ctx context.Context, key string) (out topology.Server, err error) {
	err = c.read(ctx, path("instances", key), &out)
	return out, err
}

// Recover requests a failover in a cluster. It is refused where it would not be done.
func (c *Client) Recover(ctx context.Context, cluster string, r api.RecoverRequest) (out api.Requested, err error) {
	err = c.change(ctx, http.MethodPost, path("clusters", cluster, "recover"), r, &out)
	return out, err
}

// Requests lists the requests of the last hour in a cluster, or with "" in all.
func (c *Client) Requests(ctx context.Context, cluster string) (out []api.Request, err error) {
	err = c.read(ctx, path("requests")+query("cluster", cluster), &out)
	return out, err
}

// Withdraw ends a request.
func (c *Client) Withdraw(ctx context.Context, id string) error {
	return c.change(ctx, http.MethodDelete, path("requests", id), nil, nil)
}

// AwaitRequest polls the daemon that took the last change until the request has an outcome, and returns the request as
// it is then. It returns NotFound when the request was withdrawn, or has expired without an outcome.
func (c *Client) AwaitRequest(ctx context.Context, id string) (api.Request, error) {
	var all []api.Request
	var seen held
	for {
		changed, err := c.again(ctx, path("requests"), &seen, &all)
		if err != nil {
			return api.Request{}, err
		}
		i := slices.IndexFunc(all, func(r api.Request) bool { return r.ID == id })
		switch {
		case changed && i < 0:
			return api.Request{}, &Refused{seen.endpoint, httpd.NewProblem(http.StatusNotFound,
				"request %s is over, and nothing came of it", id)}
		case changed && all[i].Outcome != "":
			return all[i], nil
		}
		select {
		case <-time.After(awaitEvery):
		case <-ctx.Done():
			return api.Request{}, ctx.Err()
		}
	}
}

// awaitEvery is how often something is asked that is waited for.
const awaitEvery = 200 * time.Millisecond

// Hooks are those of the configuration of the daemon that answers.
func (c *Client) Hooks(ctx context.Context) (out []api.Hook, err error) {
	err = c.read(ctx, path("hooks"), &out)
	return out, err
}

// TryHook has the daemon that leads run a hook, and tell it that this is a trial.
func (c *Client) TryHook(ctx context.Context, name string, r api.HookTrialRequest) (out api.HookTrial, err error) {
	err = c.once(ctx, path("hooks", name, "trial"), r, &out)
	return out, err
}

// Discover has a server asked now, and watched from now on.
func (c *Client) Discover(ctx context.Context, key string) (out topology.Server, err error) {
	err = c.change(ctx, http.MethodPost, path("instances", key), nil, &out)
	return out, err
}

// Forget ends the watching of a server.
func (c *Client) Forget(ctx context.Context, key string) error {
	return c.change(ctx, http.MethodDelete, path("instances", key), nil, nil)
}

// BeginDowntime mutes a server.
func (c *Client) BeginDowntime(
	ctx context.Context, key string, d api.DowntimeRequest,
) (out topology.Downtime, err error) {
	err = c.change(ctx, http.MethodPut, path("instances", key, "downtime"), d, &out)
	return out, err
}

// EndDowntime ends that.
func (c *Client) EndDowntime(ctx context.Context, key string) error {
	return c.change(ctx, http.MethodDelete, path("instances", key, "downtime"), nil, nil)
}

// SetTag gives a server a tag.
func (c *Client) SetTag(ctx context.Context, key, name, value string) error {
	return c.change(ctx, http.MethodPut, path("instances", key, "tags", name), api.Tag{Value: value}, nil)
}

// RemoveTag takes it away.
func (c *Client) RemoveTag(ctx context.Context, key, name string) error {
	return c.change(ctx, http.MethodDelete, path("instances", key, "tags", name), nil, nil)
}

// SetRule sets the promotion rule of a server.
func (c *Client) SetRule(ctx context.Context, key string, rule topology.Rule) error {
	return c.change(ctx, http.MethodPut, path("instances", key, "promotion-rule"), api.PromotionRule{Rule: rule}, nil)
}

// Episodes lists the incidents of a cluster, or with "" of all, newest first. open is "", "true" or "false".
func (c *Client) Episodes(ctx context.Context, cluster, open string) (out []plan.Episode, err error) {
	err = c.read(ctx, path("episodes")+query("cluster", cluster, "open", open), &out)
	return out, err
}

// Episode returns one incident with its steps.
func (c *Client) Episode(ctx context.Context, id string) (out api.Episode, err error) {
	err = c.read(ctx, path("episodes", id), &out)
	return out, err
}

// Acknowledge takes note of an incident.
func (c *Client) Acknowledge(ctx context.Context, id, by, comment string) (out plan.Episode, err error) {
	err = c.change(ctx, http.MethodPost, path("episodes", id, "acknowledgement"),
		api.AcknowledgementRequest{By: by, Comment: comment}, &out)
	return out, err
}

// Recoveries says whether recoveries are on.
func (c *Client) Recoveries(ctx context.Context) (out api.Recoveries, err error) {
	err = c.read(ctx, path("recoveries"), &out)
	return out, err
}

// SwitchRecoveries turns all recoveries off, or on again.
func (c *Client) SwitchRecoveries(ctx context.Context, on bool, by, reason string) (out api.Recoveries, err error) {
	err = c.change(ctx, http.MethodPut, path("recoveries"),
		api.RecoveriesRequest{On: &on, By: by, Reason: reason}, &out)
	return out, err
}

// Snapshot returns what the daemon knows of a cluster, or with "" of the fleet, at this moment.
func (c *Client) Snapshot(ctx context.Context, cluster string) (out drawing.Saved, err error) {
	err = c.read(ctx, path("snapshot")+query("cluster", cluster), &out)
	return out, err
}

// SnapshotDrawing is Snapshot, drawn.
func (c *Client) SnapshotDrawing(ctx context.Context, cluster string) (out string, err error) {
	err = c.read(ctx, path("snapshot")+query("cluster", cluster, "format", "drawing"), &out)
	return out, err
}

// Status returns what the first daemon that answers says of itself.
func (c *Client) Status(ctx context.Context) (out api.Status, err error) {
	err = c.read(ctx, path("status"), &out)
	return out, err
}

// Backend returns where the first daemon that answers keeps its records.
func (c *Client) Backend(ctx context.Context) (out api.Backend, err error) {
	err = c.read(ctx, path("backend"), &out)
	return out, err
}

// Comparisons lists the comparisons of the backend's members that found something.
func (c *Client) Comparisons(ctx context.Context) (out []api.BackendComparison, err error) {
	err = c.read(ctx, path("backend", "comparisons"), &out)
	return out, err
}

// Audit is what was changed through the API since a time, or what of it concerns a cluster or somebody. It calls each
// with one record after the other, oldest first.
func (c *Client) Audit(ctx context.Context, cluster, who string, since time.Time, each func(audit.Record) error) error {
	from, after := "", ""
	if !since.IsZero() {
		from = since.UTC().Format(time.RFC3339Nano)
	}
	for {
		var page api.AuditPage
		where := path("audit") + query("cluster", cluster, "who", who, "since", from, "after", after)
		if err := c.read(ctx, where, &page); err != nil {
			return err
		}
		for _, r := range page.Records {
			if err := each(r); err != nil {
				return err
			}
		}
		if after = page.Next; after == "" {
			return nil
		}
	}
}

// AuditExport is all audit records that are kept, as audit.Import reads them.
func (c *Client) AuditExport(ctx context.Context) (out api.Lines, err error) {
	err = c.read(ctx, path("audit")+query("format", "lines"), &out)
	return out, err
}

// StepDown has the leader leave the lead to another daemon.
func (c *Client) StepDown(ctx context.Context, by, reason string) error {
	return c.once(ctx, path("step-down"), api.StepDownRequest{By: by, Reason: reason}, nil)
}

// Promote makes a member of the backend the one that serves. Like the three that follow, it may return before the work
// has ended: see Work.
func (c *Client) Promote(ctx context.Context, r api.BackendPromoteRequest) (out api.BackendWork, err error) {
	err = c.once(ctx, path("backend", "promote"), r, &out)
	return out, err
}

// Rejoin makes a member that comes back follow the active one.
func (c *Client) Rejoin(ctx context.Context, r api.BackendRejoinRequest) (out api.BackendWork, err error) {
	err = c.once(ctx, path("backend", "rejoin"), r, &out)
	return out, err
}

// Verify compares what the members hold.
func (c *Client) Verify(ctx context.Context, r api.BackendVerifyRequest) (out api.BackendWork, err error) {
	err = c.once(ctx, path("backend", "verify"), r, &out)
	return out, err
}

// Doctor finds what makes the pair fail.
func (c *Client) Doctor(ctx context.Context, r api.BackendDoctorRequest) (out api.BackendWork, err error) {
	err = c.once(ctx, path("backend", "doctor"), r, &out)
	return out, err
}

// Work returns what the daemon that took the last change is making the backend do, or did last.
func (c *Client) Work(ctx context.Context) (out api.BackendWork, err error) {
	err = c.one(ctx, c.order()[0], http.MethodGet, path("backend", "work"), nil, &out)
	return out, err
}
