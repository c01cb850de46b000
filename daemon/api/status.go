package api

import (
	"context"
	"net/http"
	"time"
)

func (a *API) statusRoutes() []route {
	open := func(rt route) route { rt.open = true; return rt }
	out := []route{
		get("/api/v1/status", "getStatus", "What this daemon is doing", a.status),
		open(get("/health/live", "isLive", "200 while the daemon runs", a.live)),
		open(get("/health/ready", "isReady",
			"200 when the daemon has its backend and has looked at the fleet; else 503, with the reason",
			a.ready, 503)),
		open(get("/health/leader", "isLeader", "200 on the daemon that leads, 503 on every other", a.leader, 503)),
	}
	out = append(out, change(http.MethodPost, "/api/v1/step-down", "stepDown",
		"Have this daemon, which leads, transfer the leadership to another one", a.stepDown, 409, 503))
	if a.options.Metrics != nil {
		metrics := get[Text]("/metrics", "getMetrics", "The metrics, as Prometheus reads them", nil)
		metrics.handler = a.options.Metrics
		out = append(out, metrics)
	}
	return out
}

// Daemon is this process.
type Daemon interface {
	Status() Status
	StepDown(ctx context.Context, by, reason string) error // ErrConflict: it does not lead
}

// Status is what a daemon says of itself.
type Status struct {
	Daemon          string    `json:"daemon" doc:"id of this daemon"`
	Version         string    `json:"version"`
	Started         time.Time `json:"started"`
	Leading         bool      `json:"leading" doc:"this daemon is the leader"`
	Leader          string    `json:"leader,omitempty" doc:"id of the daemon that leads, as far as this one knows"`
	Term            int64     `json:"term" doc:"rises with every change of leader"`
	NotReady        string    `json:"not_ready,omitempty" doc:"why this daemon is not ready; absent when it is"`
	RecoveriesOff   string    `json:"recoveries_off,omitempty" doc:"why recoveries are switched off everywhere"`
	BackendIdentity string    `json:"backend_identity,omitempty" doc:"the server that this daemon keeps its records in, by its identity; absent when it has none at the moment, or keeps them in a file"`
	Split           string    `json:"split,omitempty" doc:"how daemons disagree on who leads, or on the backend; absent while they agree"`
	NeedsRestart    []string  `json:"needs_restart,omitempty" doc:"the keys of the configuration that were changed in the file, and wait for a restart since the last reload"`
	SilentPeers     []string  `json:"silent_peers,omitempty" doc:"the other daemons of the configuration that did not answer, and why"`
}

// Health is a good answer.
type Health struct {
	Daemon string `json:"daemon" doc:"id of this daemon"`
	Says   string `json:"says"`
}

func (a *API) status(*http.Request) (Status, error) { return a.Daemon.Status(), nil }

// StepDownRequest is by whom, and why.
type StepDownRequest struct {
	By     string `json:"by" doc:"who"`
	Reason string `json:"reason" doc:"why"`
}

func (r *StepDownRequest) signature() *string { return &r.By }

func (a *API) stepDown(r *http.Request, in StepDownRequest) (Nothing, error) {
	if err := said("by", in.By, "reason", in.Reason); err != nil {
		return Nothing{}, err
	}
	return Nothing{}, a.Daemon.StepDown(r.Context(), in.By, in.Reason)
}

func (a *API) live(*http.Request) (Health, error) {
	return Health{a.Daemon.Status().Daemon, "live"}, nil
}

func (a *API) ready(*http.Request) (Health, error) {
	s := a.Daemon.Status()
	if s.NotReady != "" {
		return Health{}, refuse(http.StatusServiceUnavailable, "daemon %s is not ready: %s", s.Daemon, s.NotReady)
	}
	return Health{s.Daemon, "ready"}, nil
}

func (a *API) leader(*http.Request) (Health, error) {
	s := a.Daemon.Status()
	switch {
	case s.Leading:
		return Health{s.Daemon, "leader"}, nil
	case s.Leader == "":
		return Health{}, refuse(http.StatusServiceUnavailable, "daemon %s does not lead, and knows of none that does",
			s.Daemon)
	}
	return Health{}, refuse(http.StatusServiceUnavailable, "daemon %s does not lead; %s does", s.Daemon, s.Leader)
}
