package api

import (
	"net/http"
	"time"

	"orchestrator/daemon/topology"
)

func (a *API) backendRoutes() []route {
	return []route{
		get("/api/v1/backend", "getBackend", "Where this daemon keeps its records, and how the servers behind it are, as it saw them last", a.backend),
	}
}

// Backend is where records are kept.
type Backend struct {
	Kind        string          `json:"kind" doc:"sqlite or mysql"`
	Face        string          `json:"face,omitempty" doc:"the server in use, by its identity; absent when there is none at the moment"`
	Unavailable string          `json:"unavailable,omitempty" doc:"why it can't be used now"`
	Serves      topology.Key    `json:"serves,omitzero" doc:"the member that is to serve; absent when none is fit"`
	Why         string          `json:"why,omitempty" doc:"why that one, or why none"`
	Seen        time.Time       `json:"seen,omitzero" doc:"when the members were looked at"`
	Members     []BackendMember `json:"members" doc:"of the pair, as the configuration names them"`
}

// BackendMember is a server of the pair.
type BackendMember struct {
	Key       topology.Key `json:"key"`
	Up        bool         `json:"up"`
	Error     string       `json:"error,omitempty" doc:"why it can't be asked"`
	Face      string       `json:"face,omitempty"`
	Unfit     string       `json:"unfit,omitempty" doc:"why it must not serve; absent when it might"`
	ReadOnly  bool         `json:"read_only"`
	Format    string       `json:"binlog_format,omitempty"`
	Newest    time.Time    `json:"newest,omitzero" doc:"the version of its newest record, which is a time"`
	Term      int64        `json:"term" doc:"of the lease that it holds"`
	Replicate []string     `json:"replicates,omitempty" doc:"from whom, and what is wrong with that"`
}

func (a *API) backend(*http.Request) (Backend, error) { return a.daemon.Backend(), nil }
