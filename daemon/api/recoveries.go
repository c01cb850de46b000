package api

import (
	"context"
	"net/http"
)

func (a *API) recoveriesRoutes() []route {
	return []route{
		get("/api/v1/recoveries", "getRecoveries", "Whether recoveries are switched on", a.recoveries),
		change(http.MethodPut, "/api/v1/recoveries", "switchRecoveries", "Switch all recoveries off, or on again",
			a.switchRecoveries, 503),
	}
}

// Switch turns all recoveries off, and on again.
type Switch interface {
	RecoveriesOff() string // why recoveries are switched off everywhere; "" when they are on
	SwitchRecoveries(ctx context.Context, on bool, by, reason string) error
}

// Recoveries is how the switch over all recoveries stands, for every daemon and cluster.
type Recoveries struct {
	On     bool   `json:"on"`
	Reason string `json:"reason,omitempty" doc:"why they are off"`
}

// RecoveriesRequest turns the switch.
type RecoveriesRequest struct {
	On     *bool  `json:"on"`
	By     string `json:"by" doc:"who"`
	Reason string `json:"reason,omitempty" doc:"why; needed to switch them off"`
}

func (r *RecoveriesRequest) signature() *string { return &r.By }

func (a *API) recoveries(*http.Request) (Recoveries, error) {
	off := a.Recoveries.RecoveriesOff()
	return Recoveries{On: off == "", Reason: off}, nil
}

func (a *API) switchRecoveries(r *http.Request, in RecoveriesRequest) (Recoveries, error) {
	if in.On == nil {
		return Recoveries{}, refuse(http.StatusBadRequest, `field "on" is missing; send true or false`)
	}
	if err := said("by", in.By); err != nil {
		return Recoveries{}, err
	}
	if !*in.On {
		if err := said("reason", in.Reason); err != nil {
			return Recoveries{}, err
		}
	}
	if err := a.Recoveries.SwitchRecoveries(r.Context(), *in.On, in.By, in.Reason); err != nil {
		return Recoveries{}, err
	}
	return a.recoveries(r)
}
