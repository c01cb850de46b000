package paper

import (
	"context"
	"slices"
	"time"

	"orchestrator/daemon/api"
	"orchestrator/daemon/declared"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// Declarations are what people have declared.
type Declarations struct {
	*Record
	All api.Declared
}

func (d *Declarations) Declared(context.Context) (api.Declared, error) { return d.All, d.Fails }

func (d *Declarations) SetDowntime(_ context.Context, k topology.Key, t topology.Downtime) error {
	return d.did("downtime %v %s %s %s", k, t.Owner, t.Reason, t.Until.Format(time.RFC3339))
}

func (d *Declarations) EndDowntime(_ context.Context, k topology.Key) error {
	return d.did("end downtime %v", k)
}

func (d *Declarations) SetRule(_ context.Context, k topology.Key, r topology.Rule) error {
	return d.did("rule %v %s", k, r)
}

func (d *Declarations) SetTag(_ context.Context, k topology.Key, name, value string) error {
	return d.did("tag %v %s=%s", k, name, value)
}

func (d *Declarations) RemoveTag(_ context.Context, k topology.Key, name string) error {
	return d.did("untag %v %s", k, name)
}

func (d *Declarations) SetAlias(_ context.Context, cluster, alias string) error {
	return d.did("alias %s %s", cluster, alias)
}

// Switch is that over all recoveries.
type Switch struct {
	*Record
	Off string
}

func (s *Switch) RecoveriesOff() string { return s.Off }

func (s *Switch) SwitchRecoveries(_ context.Context, on bool, by, reason string) error {
	s.Off = ""
	if !on {
		s.Off = reason + " (" + by + ")"
	}
	return s.did("recoveries %v %s %s", on, by, reason)
}

// Requests are what operators asked for. Nothing comes of them.
type Requests struct {
	*Record
	All   []declared.Request
	Asked func() // runs each time that all are asked for; nil: nothing happens
}

func (r *Requests) Requests(cluster string) []declared.Request {
	if cluster == "" && r.Asked != nil {
		r.Asked()
	}
	return slices.DeleteFunc(slices.Clone(r.All), func(one declared.Request) bool {
		return cluster != "" && one.Cluster != cluster
	})
}

func (r *Requests) AddRequest(_ context.Context, cluster string, q plan.Request) (declared.Request, error) {
	one := declared.Request{Request: q, Cluster: cluster, Until: q.At.Add(declared.RequestTime)}
	if err := r.did("request %s %v %s %s", q.Kind, q.Server, q.By, q.Reason); err != nil {
		return one, err
	}
	r.All = append(r.All, one)
	return one, nil
}

func (r *Requests) WithdrawRequest(_ context.Context, id string) error {
	return r.did("withdraw %s", id)
}
