package drawing

import (
	"fmt"
	"slices"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

func (p *picture) readOff(st statement) error {
	if p.off != "" {
		return fmt.Errorf("it was already said")
	}
	if len(st.fields) > 0 || st.args[0] == "" {
		return fmt.Errorf("want one reason: off %q", "work on the network")
	}
	p.off = st.args[0]
	return nil
}

var thresholdFields = []field[analysis.Thresholds]{
	{"lag", "10s", interval(func(t *analysis.Thresholds) *time.Duration { return &t.Lag })},
	{"silence", "2.5s", interval(func(t *analysis.Thresholds) *time.Duration { return &t.Silence })},
}

func (p *picture) readThresholds(st statement) error {
	if p.thresholds != nil {
		return fmt.Errorf("they were already said")
	}
	t := analysis.Defaults
	p.thresholds = &t
	return readFields(p, thresholdFields, st.fields, p.thresholds)
}

func (p *picture) writeThresholds(actual analysis.Thresholds) []string {
	t := analysis.Defaults
	return writeFields(p, thresholdFields, &actual, &t)
}

// policyFields: a policy allows what its line says, and nothing else.
var policyFields = []field[plan.Policy]{
	{"named", yesOrNo, truth(func(o *plan.Policy) *bool { return &o.Named })},
	{"recover_primary", yesOrNo, truth(func(o *plan.Policy) *bool { return &o.RecoverPrimary })},
	{"recover_intermediate", yesOrNo, truth(func(o *plan.Policy) *bool { return &o.RecoverIntermediate })},
	{"drain_timeout", "10s", interval(func(o *plan.Policy) *time.Duration { return &o.DrainTimeout })},
	{"max_lag", "30s", interval(func(o *plan.Policy) *time.Duration { return &o.MaxLag })},
	{"allow_received_loss", yesOrNo, truth(func(o *plan.Policy) *bool { return &o.AllowReceivedLoss })},
	{"allow_unfenced", yesOrNo, truth(func(o *plan.Policy) *bool { return &o.AllowUnfenced })},
	{"allow_errant", yesOrNo, truth(func(o *plan.Policy) *bool { return &o.AllowErrant })},
	{"allow_filters", yesOrNo, truth(func(o *plan.Policy) *bool { return &o.AllowFilters })},
	{"fence_others", yesOrNo, truth(func(o *plan.Policy) *bool { return &o.FenceOthers })},
	{"heartbeat", "DATABASE.TABLE", text(func(o *plan.Policy) *string { return &o.Heartbeat })},
	{"anti_flap", "10m", interval(func(o *plan.Policy) *time.Duration { return &o.AntiFlap })},
	{"members", "HOST+HOST", keys(func(o *plan.Policy) *[]topology.Key { return &o.Members })},
	{"same_tag", "NAME", words(func(o *plan.Policy) *string { return &o.SameTag })},
}

func (p *picture) readPolicy(st statement) error {
	c, err := p.clusterOf(&st)
	if err != nil {
		return err
	}
	if c.Policy != nil {
		return fmt.Errorf("that of cluster %s was already said", c.Cluster)
	}
	c.Policy = &plan.Policy{Named: true}
	return readFields(p, policyFields, st.fields, c.Policy)
}

func (p *picture) writePolicy(c Cluster) []string {
	return writeFields(p, policyFields, c.Policy, &plan.Policy{Named: true})
}

// request is a plan.Request as a line holds it.
type request struct {
	plan.Request
	// ended says that only an episode still knows it.
	ended bool
}

var requestFields = []field[request]{
	{"id", "ID", words(func(r *request) *string { return &r.ID })},
	{"by", "NAME", words(func(r *request) *string { return &r.By })},
	{"reason", "TEXT", words(func(r *request) *string { return &r.Reason })},
	{"at", "3s", moment(func(r *request) *time.Time { return &r.At })},
	{"ended", yesOrNo, truth(func(r *request) *bool { return &r.ended })},
	{"candidate", "HOST", key(func(r *request) *topology.Key { return &r.Candidate })},
}

func (p *picture) readRequest(st statement) error {
	c, err := p.clusterOf(&st)
	if err != nil {
		return err
	}
	server, err := topology.ParseKey(st.args[1])
	if err != nil {
		return err
	}
	if kinds := plan.RequestKinds(); !slices.Contains(kinds, plan.RequestKind(st.args[0])) {
		return fmt.Errorf("%q is no kind of request; want one of %v", clip(st.args[0]), kinds)
	}
	r := p.expectRequest(plan.RequestKind(st.args[0]), server)
	if err := readFields(p, requestFields, st.fields, &r); err != nil {
		return err
	}
	if r.ID == "" {
		return fmt.Errorf("id= is empty")
	}
	if p.requests[c.Cluster][r.ID] != nil {
		return fmt.Errorf("%q was already said; give it another id=", clip(r.ID))
	}
	if p.requests[c.Cluster] == nil {
		p.requests[c.Cluster] = map[string]*plan.Request{}
	}
	p.requests[c.Cluster][r.ID] = &r.Request
	if !r.ended {
		c.Requests = append(c.Requests, r.Request)
	}
	return nil
}

func (p *picture) expectRequest(kind plan.RequestKind, server topology.Key) request {
	return request{Request: plan.Request{
		ID: fmt.Sprintf("%s/%v", kind, server), Kind: kind, Server: server, By: "somebody", At: p.at}}
}

func (p *picture) writeRequest(r request) []string {
	expected := p.expectRequest(r.Kind, r.Server)
	return append([]string{argument(string(r.Kind)), brief(r.Server)}, writeFields(p, requestFields, &r, &expected)...)
}

// requestsOf are those of a cluster: first those that have not ended, then those that only episodes know.
func requestsOf(c Cluster) []request {
	var out []request
	for _, r := range c.Requests {
		out = append(out, request{Request: r})
	}
	for _, e := range c.Episodes {
		if e.Request != nil && !slices.ContainsFunc(out, func(r request) bool { return r.ID == e.Request.ID }) {
			out = append(out, request{*e.Request, true})
		}
	}
	return out
}
