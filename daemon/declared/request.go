package declared

import (
	"cmp"
	"context"
	"slices"
	"time"

	"orchestrator/daemon/plan"
)

// RequestKind is the kind of the records of requests. Their versions are times, so that old ones can be purged.
const RequestKind = "request"

// RequestTime is how long a request stands that nothing comes of.
const RequestTime = time.Hour

// Request is what an operator asked for in a cluster, and until when it stands. Whichever daemon leads plans it.
type Request struct {
	plan.Request
	Cluster string    `json:"cluster"`
	Until   time.Time `json:"until"`
}

// AddRequest stores a request. It stands for RequestTime.
func (ds *Declarations) AddRequest(ctx context.Context, cluster string, r plan.Request) (Request, error) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	r.At = now
	out := Request{Request: r, Cluster: cluster, Until: now.Add(RequestTime)}
	err := cmp.Or(
		checkName("request", r.ID),
		checkServer(r.Server),
		checkText("cluster", cluster, 300, true),
		checkText("name of the person who asks", r.By, 255, true),
		checkText("reason", r.Reason, 4096, true),
	)
	if err == nil {
		err = ds.put(ctx, RequestKind, r.ID, out)
	}
	return out, about("request the recovery of %v", r.Server, err)
}

// WithdrawRequest ends a request. It is no error if there is none.
func (ds *Declarations) WithdrawRequest(ctx context.Context, id string) error {
	err := checkName("request", id)
	if err == nil {
		err = ds.put(ctx, RequestKind, id, nil)
	}
	return about("withdraw request %s", id, err)
}

// farAhead is more than the clocks of daemons may differ by (backend.clock_ahead).
const farAhead = 25 * time.Hour

// stands says that a request has not ended. One that ends later than any daemon would have it was made before this
// clock was set back, or by one that was wrong: it must not be carried out years after somebody has asked.
func (r Request) stands(now time.Time) bool {
	return r.Until.After(now) && r.Until.Sub(now) < RequestTime+farAhead
}

// Requests returns the requests that stand in a cluster, or with "" in all, oldest first.
func (ds *Declarations) Requests(cluster string) []Request {
	now := time.Now()
	ds.mu.RLock()
	defer ds.mu.RUnlock()
	var out []Request
	for _, r := range ds.content.requests {
		if (cluster == "" || r.Cluster == cluster) && r.stands(now) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b Request) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID)) })
	return out
}

// Planned are the requests that stand in a cluster, as plan.Situate needs them.
func (ds *Declarations) Planned(cluster string) []plan.Request {
	var out []plan.Request
	for _, r := range ds.Requests(cluster) {
		out = append(out, r.Request)
	}
	return out
}
