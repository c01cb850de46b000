package api

import (
	"context"
	"net/http"
	"time"

	"orchestrator/backend/report"
	"orchestrator/daemon/httpd"
	"orchestrator/daemon/topology"
)

func (a *API) backendRoutes() []route {
	work := []int{409, 503}
	return []route{
		get("/api/v1/backend", "getBackend",
			"Where this daemon keeps its records, how the servers behind it are, as it saw them last, "+
				"and how they compared", a.backend),
		get("/api/v1/backend/comparisons", "listBackendComparisons",
			"The comparisons of the members of the last month that found something, the newest first: "+
				"what differed, and what was merged", a.backendProofs, 503),
		get("/api/v1/backend/work", "getBackendWork", "What the backend is being made to do, or was last",
			a.backendWork, 404),
		change(http.MethodPost, "/api/v1/backend/promote", "promoteBackend",
			"Make a member of the backend the one that serves", a.backendPromote, work...),
		change(http.MethodPost, "/api/v1/backend/rejoin", "rejoinBackend",
			"Make a member that comes back follow the active one", a.backendRejoin, work...),
		change(http.MethodPost, "/api/v1/backend/verify", "verifyBackend",
			"Compare what the members hold, and merge it if that is wanted", a.backendVerify, work...),
		change(http.MethodPost, "/api/v1/backend/doctor", "examineBackend",
			"Find what could make the pair fail, and fix what is safe if requested", a.backendDoctor, work...),
	}
}

// Backends is where this daemon keeps its records, and the pair of servers behind it.
type Backends interface {
	Backend(ctx context.Context) Backend
	BackendProofs(ctx context.Context) ([]BackendComparison, error)
	BackendWork() *BackendWork // nil: none yet
	// These wait for a while. When the work takes longer, they return it as it is then, still under way. ErrConflict:
	// other work is under way, or the pair forbids it.
	BackendPromote(ctx context.Context, r BackendPromoteRequest, within time.Duration) (BackendWork, error)
	BackendRejoin(ctx context.Context, r BackendRejoinRequest, within time.Duration) (BackendWork, error)
	BackendVerify(ctx context.Context, repair bool, by string) (BackendWork, error)
	BackendDoctor(ctx context.Context, fix bool, by string) (BackendWork, error)
}

// Backend is where records are kept.
type Backend struct {
	Kind        string               `json:"kind" doc:"sqlite or mysql"`
	Identity    string               `json:"identity,omitempty" doc:"the server in use, by its identity; absent when there is none at the moment"`
	Unavailable string               `json:"unavailable,omitempty" doc:"why it can't be used now"`
	Serves      topology.Key         `json:"serves,omitzero" doc:"who should serve; absent when none is fit"`
	Why         string               `json:"why,omitempty" doc:"why that one, or why none"`
	Seen        time.Time            `json:"seen,omitzero" doc:"when the members were looked at"`
	Members     []BackendMember      `json:"members" doc:"of the pair, as the configuration names them"`
	Proxy       []report.ProxyServer `json:"haproxy,omitempty" doc:"the members as the HAProxy of this machine sees them, asked now"`
	ProxyError  string               `json:"haproxy_error,omitempty" doc:"why HAProxy could not be asked"`
	Compared    *BackendComparison   `json:"compared,omitempty" doc:"the last comparison of the members that the daemons have made"`
}

// BackendMember is a server of the pair.
type BackendMember struct {
	Key       topology.Key `json:"key"`
	Up        bool         `json:"up"`
	Error     string       `json:"error,omitempty" doc:"why it can't be asked"`
	Identity  string       `json:"identity,omitempty"`
	Unfit     string       `json:"unfit,omitempty" doc:"why it must not serve; absent when it might"`
	ReadOnly  bool         `json:"read_only"`
	Format    string       `json:"binlog_format,omitempty"`
	Newest    time.Time    `json:"newest,omitzero" doc:"the version of its newest record, which is a time"`
	Term      int64        `json:"term" doc:"of the lease that it holds"`
	Replicate []string     `json:"replicates,omitempty" doc:"from whom, and what is wrong with that"`
}

// BackendComparison is a comparison of the members that the daemons have made.
type BackendComparison struct {
	At         time.Time         `json:"at"`
	By         string            `json:"by" doc:"id of the daemon that compared"`
	Why        string            `json:"why" doc:"what gave rise to it: a switch, a split, the time"`
	Comparison report.Comparison `json:"comparison"`
	More       int               `json:"more,omitempty" doc:"how many differences are left out here"`
}

// BackendWork is something that the backend is made to do.
type BackendWork struct {
	What       string              `json:"what"`
	By         string              `json:"by"`
	Began      time.Time           `json:"began"`
	Ended      time.Time           `json:"ended,omitzero" doc:"absent while it is under way"`
	Says       string              `json:"says,omitempty" doc:"how far it is"`
	Error      string              `json:"error,omitempty"`
	Report     *report.Report      `json:"report,omitempty" doc:"of promote and rejoin"`
	Comparison *report.Comparison  `json:"comparison,omitempty" doc:"of verify"`
	Doctor     *report.Examination `json:"doctor,omitempty" doc:"of doctor"`
}

// BackendPromoteRequest moves the service.
type BackendPromoteRequest struct {
	To           topology.Key `json:"to" doc:"the member that must serve"`
	By           string       `json:"by" doc:"who asks for it"`
	DryRun       bool         `json:"dry_run,omitempty" doc:"say what would be done, and do nothing"`
	DrainTimeout string       `json:"drain_timeout,omitempty" doc:"how long what was received may take to be applied; 1m"`
	Force        bool         `json:"force,omitempty" doc:"the other member is dead, although something says that it may live; or the data of both are lost"`
	AllowLoss    bool         `json:"allow_loss,omitempty" doc:"give up what was received and can't be applied"`
}

func (r *BackendPromoteRequest) signature() *string { return &r.By }

// BackendRejoinRequest brings a member back. It replicates with the account that it has.
type BackendRejoinRequest struct {
	Member       topology.Key `json:"member"`
	By           string       `json:"by" doc:"who asks for it"`
	DryRun       bool         `json:"dry_run,omitempty" doc:"say what would be done, and do nothing"`
	DrainTimeout string       `json:"drain_timeout,omitempty" doc:"how long it may take to catch up; 10m"`
	Mutual       bool         `json:"mutual,omitempty" doc:"the active replicates from it, too"`
	Seed         bool         `json:"seed,omitempty" doc:"copy the records instead of replaying binary logs"`
}

func (r *BackendRejoinRequest) signature() *string { return &r.By }

// BackendVerifyRequest compares the members.
type BackendVerifyRequest struct {
	By     string `json:"by" doc:"who asks for it"`
	Repair bool   `json:"repair,omitempty" doc:"merge what differs"`
}

func (r *BackendVerifyRequest) signature() *string { return &r.By }

// BackendDoctorRequest examines them.
type BackendDoctorRequest struct {
	By  string `json:"by" doc:"who asks for it"`
	Fix bool   `json:"fix,omitempty" doc:"run the statements that are safe whatever goes on"`
}

func (r *BackendDoctorRequest) signature() *string { return &r.By }

func (a *API) backend(r *http.Request) (Backend, error) { return a.Backend.Backend(r.Context()), nil }

func (a *API) backendProofs(r *http.Request) ([]BackendComparison, error) {
	return a.Backend.BackendProofs(r.Context())
}

func (a *API) backendWork(*http.Request) (BackendWork, error) {
	w := a.Backend.BackendWork()
	if w == nil {
		return BackendWork{}, refuse(http.StatusNotFound,
			"nobody has asked this daemon to work on its backend since it was started")
	}
	return *w, nil
}

func (a *API) backendPromote(r *http.Request, in BackendPromoteRequest) (BackendWork, error) {
	within, err := drain(in.DrainTimeout, time.Minute)
	if err == nil {
		err = asked("to", in.To, in.By)
	}
	if err != nil {
		return BackendWork{}, err
	}
	return a.Backend.BackendPromote(r.Context(), in, within)
}

func (a *API) backendRejoin(r *http.Request, in BackendRejoinRequest) (BackendWork, error) {
	within, err := drain(in.DrainTimeout, 10*time.Minute)
	if err == nil {
		err = asked("member", in.Member, in.By)
	}
	if err != nil {
		return BackendWork{}, err
	}
	return a.Backend.BackendRejoin(r.Context(), in, within)
}

// asked checks that a request names a member, and who asks.
func asked(field string, member topology.Key, by string) error {
	if member.IsZero() {
		return refuse(http.StatusBadRequest, `field %q is missing; send a member of backend.members, as "host:port"`, field)
	}
	return said("by", by)
}

func drain(text string, otherwise time.Duration) (time.Duration, error) {
	if text == "" {
		return otherwise, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > time.Hour {
		return 0, refuse(http.StatusBadRequest, `field "drain_timeout": %q is no duration up to an hour; write 30s or 10m`, httpd.Clip(text))
	}
	return d, nil
}

func (a *API) backendVerify(r *http.Request, in BackendVerifyRequest) (BackendWork, error) {
	if err := said("by", in.By); err != nil {
		return BackendWork{}, err
	}
	return a.Backend.BackendVerify(r.Context(), in.Repair, in.By)
}

func (a *API) backendDoctor(r *http.Request, in BackendDoctorRequest) (BackendWork, error) {
	if err := said("by", in.By); err != nil {
		return BackendWork{}, err
	}
	return a.Backend.BackendDoctor(r.Context(), in.Fix, in.By)
}
