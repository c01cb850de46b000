package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"orchestrator/daemon/topology"
)

func (a *API) declaredRoutes() []route {
	return []route{
		get("/api/v1/declared", "getDeclared", "All that people have declared, and that holds: for a backup",
			a.declared, 503),
		change(http.MethodPut, "/api/v1/declared", "declare",
			"Declare all of this, also of servers that are not known yet; what is not named stays as it is",
			a.declare, 503),
	}
}

// Declarations are what people have declared.
type Declarations interface {
	SetDowntime(ctx context.Context, k topology.Key, d topology.Downtime) error
	EndDowntime(ctx context.Context, k topology.Key) error
	SetRule(ctx context.Context, k topology.Key, r topology.Rule) error
	SetTag(ctx context.Context, k topology.Key, name, value string) error
	RemoveTag(ctx context.Context, k topology.Key, name string) error
	SetAlias(ctx context.Context, cluster, alias string) error // "" removes it
	// Declared is all of them that hold, sorted; also what another daemon has stored a moment ago.
	Declared(ctx context.Context) (Declared, error)
}

// Declared is what people have declared, and what holds still; sorted.
type Declared struct {
	Downtimes  []DeclaredDowntime `json:"downtimes"`
	Rules      []DeclaredRule     `json:"promotion_rules"`
	Tags       []DeclaredTag      `json:"tags"`
	Aliases    []DeclaredAlias    `json:"aliases"`
	Forgotten  []topology.Key     `json:"forgotten"`
	Recoveries *RecoveriesOff     `json:"recoveries_off,omitempty" doc:"absent while recoveries are on; declaring never switches them on"`
}

// DeclaredDowntime is that of one server.
type DeclaredDowntime struct {
	Server topology.Key `json:"server"`
	Owner  string       `json:"owner"`
	Reason string       `json:"reason"`
	Until  time.Time    `json:"until"`
}

// DeclaredRule is how much one server is wanted as a primary.
type DeclaredRule struct {
	Server topology.Key  `json:"server"`
	Rule   topology.Rule `json:"rule"`
}

// DeclaredTag is one tag of one server.
type DeclaredTag struct {
	Server topology.Key `json:"server"`
	Name   string       `json:"name"`
	Value  string       `json:"value"`
}

// DeclaredAlias is the second name of a cluster.
type DeclaredAlias struct {
	Cluster string `json:"cluster"`
	Alias   string `json:"alias"`
}

// RecoveriesOff says who has switched recoveries off, and why.
type RecoveriesOff struct {
	By     string `json:"by"`
	Reason string `json:"reason"`
}

// DeclareResult says what a declaration has changed.
type DeclareResult struct {
	Changed int `json:"changed" doc:"what is new, or differs from what was declared before"`
	Same    int `json:"same" doc:"what was so already"`
	Over    int `json:"over" doc:"downtimes that have ended meanwhile, and were left out"`
}

func (a *API) declared(r *http.Request) (Declared, error) {
	d, err := a.Declarations.Declared(r.Context())
	d.Downtimes, d.Rules, d.Tags = some(d.Downtimes), some(d.Rules), some(d.Tags)
	d.Aliases, d.Forgotten = some(d.Aliases), some(d.Forgotten)
	return d, err
}

// declare stores the declarations one by one, and stops at the first that fails. Those before it stay stored. To send
// all of them again does no harm.
func (a *API) declare(r *http.Request, in Declared) (DeclareResult, error) {
	var out DeclareResult
	if err := in.check(); err != nil {
		return out, err
	}
	stands, err := a.Declarations.Declared(r.Context())
	if err != nil {
		return out, err
	}
	now, has := a.options.Now(), index(stands)
	still := slices.DeleteFunc(slices.Clone(in.Downtimes), func(d DeclaredDowntime) bool { return !d.Until.After(now) })
	out.Over, in.Downtimes = len(in.Downtimes)-len(still), still
	for _, d := range a.declarations(in) {
		if has[d.what] {
			out.Same++
			continue
		}
		out.Changed++
		if err := d.set(r.Context()); err != nil {
			return out, err
		}
	}
	return out, nil
}

// declaration is one thing that is declared, and how it is stored.
type declaration struct {
	what any // as index has it
	set  func(context.Context) error
}

// declarations are the single things that are declared, in the order in which they are stored.
func (a *API) declarations(in Declared) (out []declaration) {
	add := func(what any, set func(context.Context) error) { out = append(out, declaration{what, set}) }
	to := a.Declarations
	for _, d := range in.Downtimes {
		d.Until = d.Until.UTC()
		downtime := topology.Downtime{Owner: d.Owner, Reason: d.Reason, Until: d.Until}
		add(d, func(ctx context.Context) error { return to.SetDowntime(ctx, d.Server, downtime) })
	}
	for _, d := range in.Rules {
		add(d, func(ctx context.Context) error { return to.SetRule(ctx, d.Server, d.Rule) })
	}
	for _, d := range in.Tags {
		add(d, func(ctx context.Context) error { return to.SetTag(ctx, d.Server, d.Name, d.Value) })
	}
	for _, d := range in.Aliases {
		add(d, func(ctx context.Context) error { return to.SetAlias(ctx, d.Cluster, d.Alias) })
	}
	for _, k := range in.Forgotten {
		add(k, func(ctx context.Context) error { return a.Discovery.Forget(ctx, k) })
	}
	if off := in.Recoveries; off != nil {
		add(*off, func(ctx context.Context) error {
			return a.Recoveries.SwitchRecoveries(ctx, false, off.By, off.Reason)
		})
	}
	return out
}

// check refuses the whole before anything of it is stored.
func (d Declared) check() error {
	for _, one := range d.Downtimes {
		if err := said("owner", one.Owner, "reason", one.Reason); err != nil {
			return err
		}
	}
	for _, one := range d.Rules {
		if !slices.Contains(rules, string(one.Rule)) {
			return unknown("promotion rule", string(one.Rule), rules)
		}
	}
	for _, one := range d.Tags {
		if err := plainName("tag", one.Name); err != nil {
			return err
		}
		if err := legible(fmt.Sprintf("the tag %q of %v", one.Name, one.Server), one.Value); err != nil {
			return err
		}
	}
	for _, one := range d.Aliases {
		if err := errors.Join(said("cluster", one.Cluster), plainName("alias", one.Alias)); err != nil {
			return err
		}
	}
	if d.Recoveries != nil {
		return said("by", d.Recoveries.By, "reason", d.Recoveries.Reason)
	}
	return nil
}

// index holds each thing that is declared.
func index(d Declared) map[any]bool {
	out := map[any]bool{}
	for _, one := range d.Downtimes {
		one.Until = one.Until.UTC()
		out[one] = true
	}
	for _, one := range d.Rules {
		out[one] = true
	}
	for _, one := range d.Tags {
		out[one] = true
	}
	for _, one := range d.Aliases {
		out[one] = true
	}
	for _, one := range d.Forgotten {
		out[one] = true
	}
	if d.Recoveries != nil {
		out[*d.Recoveries] = true
	}
	return out
}

// Size is how many things are declared.
func (d Declared) Size() int {
	return len(d.Downtimes) + len(d.Rules) + len(d.Tags) + len(d.Aliases) + len(d.Forgotten)
}
