// Package paper is a daemon on paper: the nouns that the API asks, answered from a drawing of a fleet. The tests of the
// API, of its client and of orchestrator-client share it.
//
// It is no model of a daemon: what is asked to be changed is noted and stays as it was, but for what a test reads back.
// Judging and planning are the real ones. The one idea: there is one fake a noun, so that a new call of a noun is
// imitated once.
package paper

import (
	"fmt"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/api"
	"orchestrator/daemon/drawing"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// Drawn is what most tests look at: a cluster that lost its primary, and a sound one. The cluster of web1 may be called
// "shop".
const Drawn = `
db1 mysql=8.0.36 down
  db2 io=connecting
  db3 io=connecting prefer_not
web1:3307 mariadb=10.11.6
  web2:3307 id=3308 tag=dc:west
`

// Daemon is one that answers from memory.
type Daemon struct {
	*Record
	Fleet        *Fleet
	Deployment   *Deployment
	Declarations *Declarations
	Requests     *Requests
	Recoveries   *Switch
	Episodes     *Episodes
	Hooks        *Hooks
	Self         *Self
	Backend      *Backend
	Audit        *Audit
}

// New is a daemon that leads, and whose fleet is drawn.
func New(drawn string) *Daemon {
	r := &Record{}
	d := &Daemon{
		Record:       r,
		Deployment:   &Deployment{},
		Declarations: &Declarations{Record: r},
		Requests:     &Requests{Record: r},
		Recoveries:   &Switch{Record: r},
		Episodes:     &Episodes{Record: r, All: incidents(), Tried: tried()},
		Hooks:        &Hooks{Record: r},
		Self:         &Self{Record: r, Now: leading()},
		Backend:      &Backend{Record: r},
		Audit:        &Audit{},
	}
	d.Fleet = &Fleet{
		Record: r, Snapshot: drawing.MustParse(drawn), daemon: d,
		Aliases: map[string]string{}, Policies: map[string]plan.Policy{},
	}
	return d
}

func leading() api.Status {
	return api.Status{Daemon: "d1", Version: "0.1", Started: drawing.At, Leading: true, Leader: "d1", Term: 7}
}

// Nouns are for api.New.
func (d *Daemon) Nouns() api.Nouns {
	return api.Nouns{
		Fleet: d.Fleet, Discovery: d.Fleet, Deployment: d.Deployment, Declarations: d.Declarations,
		Requests: d.Requests, Recoveries: d.Recoveries, Episodes: d.Episodes, Hooks: d.Hooks,
		Daemon: d.Self, Backend: d.Backend, Audit: d.Audit,
	}
}

// Record is what the daemon was asked to change, a line of text each.
type Record struct {
	Changes []string
	Fails   error // of every change
}

func (r *Record) did(format string, args ...any) error {
	if r.Fails == nil {
		r.Changes = append(r.Changes, fmt.Sprintf(format, args...))
	}
	return r.Fails
}

func key(host string) topology.Key { return topology.Key{Host: host, Port: 3306} }

// incidents are one that is open, and one that has ended.
func incidents() []plan.Episode {
	return []plan.Episode{
		{ID: "db1-3306-2", Kind: plan.PrimaryFailover, Cluster: "db1:3306", Failed: key("db1"),
			Code: analysis.DeadPrimary, Opened: drawing.At, Stage: plan.Committed},
		{ID: "old-3306-1", Kind: plan.PrimaryFailover, Cluster: "old:3306", Opened: drawing.At, Closed: drawing.At,
			Stage: plan.Ended, Outcome: "whole again"},
	}
}

func tried() []plan.Done {
	return []plan.Done{{Step: plan.Step{Kind: plan.StopReceiver, At: key("db2"), Why: "from now on nobody receives"},
		Episode: "db1-3306-2", Started: drawing.At, Took: 1500 * time.Microsecond, Error: "lost \x1b[2J"}}
}
