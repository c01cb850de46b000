package paper

import (
	"context"
	"time"

	"orchestrator/daemon/api"
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
