package declared

import (
	"fmt"
	"strings"

	"orchestrator/backend"
	"orchestrator/daemon/topology"
)

// The kinds of records kept here.
const (
	kindDowntime   = "downtime"   // by server
	kindRule       = "rule"       // by server
	kindTag        = "tag"        // by server and name
	kindDiscovered = "discovered" // by server
	kindForgotten  = "forgotten"  // by server
	kindAlias      = "alias"      // by cluster
	kindSetting    = "setting"    // by name
)

const settingRecoveries = "recoveries"

// content is what the records say. It is replaced, or changed under the lock.
type content struct {
	downtimes  map[topology.Key]topology.Downtime
	rules      map[topology.Key]topology.Rule
	tags       map[topology.Key]map[string]string
	discovered map[topology.Key]bool
	forgotten  map[topology.Key]bool // goes before discovered: a record of that may be from before
	aliases    map[string]string
	requests   map[string]Request // by ID
	recoveries recoveries
}

func newContent() content {
	return content{
		downtimes:  map[topology.Key]topology.Downtime{},
		rules:      map[topology.Key]topology.Rule{},
		tags:       map[topology.Key]map[string]string{},
		discovered: map[topology.Key]bool{},
		forgotten:  map[topology.Key]bool{},
		aliases:    map[string]string{},
		requests:   map[string]Request{},
	}
}

// The documents.
type (
	rule struct {
		Rule topology.Rule `json:"rule"`
	}
	tag struct {
		Value string `json:"value"`
	}
	alias struct {
		Alias string `json:"alias"`
	}
	recoveries struct {
		Off    bool   `json:"off"`
		By     string `json:"by,omitempty"`
		Reason string `json:"reason,omitempty"`
	}
)

// apply takes over one record.
func (c *content) apply(r backend.Record) (err error) {
	if r.Kind == kindAlias {
		return enter(c.aliases, r.Key, r, func(d alias) string { return d.Alias })
	}
	if r.Kind == RequestKind {
		return enter(c.requests, r.Key, r, func(d Request) Request { return d })
	}
	if r.Kind == kindSetting {
		if r.Key == settingRecoveries {
			c.recoveries, err = decode[recoveries](r)
		}
		return err // other settings belong to others
	}
	server, name, _ := strings.Cut(r.Key, "/")
	k, err := topology.ParseKey(server)
	if err != nil {
		return fmt.Errorf("%s %q: %w", r.Kind, r.Key, err)
	}
	switch r.Kind {
	case kindDowntime:
		return enter(c.downtimes, k, r, func(d topology.Downtime) topology.Downtime { return d })
	case kindRule:
		return enter(c.rules, k, r, func(d rule) topology.Rule { return d.Rule })
	case kindDiscovered:
		return enter(c.discovered, k, r, func(struct{}) bool { return true })
	case kindForgotten:
		return enter(c.forgotten, k, r, func(struct{}) bool { return true })
	case kindTag:
		if c.tags[k] == nil {
			c.tags[k] = map[string]string{}
		}
		return enter(c.tags[k], name, r, func(d tag) string { return d.Value })
	}
	return nil
}

func enter[K comparable, V, D any](m map[K]V, k K, r backend.Record, value func(D) V) error {
	if r.Deleted {
		delete(m, k)
		return nil
	}
	d, err := decode[D](r)
	if err == nil {
		m[k] = value(d)
	}
	return err
}

func decode[D any](r backend.Record) (d D, err error) {
	if r.Deleted {
		return d, nil
	}
	return backend.Decode[D](r)
}
