package declared

import (
	"context"
	"errors"
	"fmt"
	"time"

	"orchestrator/daemon/topology"
)

// ErrInvalid is wrapped by errors about the request, as opposed to errors of the store.
var ErrInvalid = errors.New("invalid")

func invalid(format string, values ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, values...)...)
}

// SetDowntime mutes a server until a time.
func (ds *Declarations) SetDowntime(ctx context.Context, k topology.Key, d topology.Downtime) error {
	err := errors.Join(
		checkServer(k),
		checkText("owner", d.Owner, 255, true),
		checkText("reason", d.Reason, 4096, true),
	)
	if left := time.Until(d.Until); err == nil && left <= 0 {
		err = invalid("the end %v is not in the future", d.Until.Format(time.RFC3339))
	}
	if err == nil {
		d.Until = d.Until.UTC().Round(0)
		err = ds.put(ctx, kindDowntime, k.String(), d)
	}
	return about("set the downtime of %v", k, err)
}

// EndDowntime ends the downtime of a server. It is no error if there is none.
func (ds *Declarations) EndDowntime(ctx context.Context, k topology.Key) error {
	return ds.remove(ctx, "end the downtime of %v", kindDowntime, k)
}

// SetRule says whether a server should be promoted; Neutral takes that back.
func (ds *Declarations) SetRule(ctx context.Context, k topology.Key, r topology.Rule) error {
	err := checkServer(k)
	switch r {
	case topology.Prefer, topology.PreferNot, topology.MustNot, topology.Neutral:
	default:
		err = errors.Join(err, invalid("promotion rule %.40q: it must be %s, %s, %s or %s",
			r, topology.Prefer, topology.Neutral, topology.PreferNot, topology.MustNot))
	}
	if err == nil {
		err = ds.put(ctx, kindRule, k.String(), rule{r})
	}
	return about("set the promotion rule of %v", k, err)
}

// SetTag gives a server a tag.
func (ds *Declarations) SetTag(ctx context.Context, k topology.Key, name, value string) error {
	err := errors.Join(checkServer(k), checkName("tag", name), checkText("value", value, 1024, false))
	if err == nil {
		err = ds.put(ctx, kindTag, k.String()+"/"+name, tag{value})
	}
	return about("tag %v", k, err)
}

// RemoveTag removes a tag. It is no error if there is none.
func (ds *Declarations) RemoveTag(ctx context.Context, k topology.Key, name string) error {
	err := errors.Join(checkServer(k), checkName("tag", name))
	if err == nil {
		err = ds.put(ctx, kindTag, k.String()+"/"+name, nil)
	}
	return about("remove a tag of %v", k, err)
}

// Discover has every daemon watch a server.
func (ds *Declarations) Discover(ctx context.Context, k topology.Key) error {
	err := checkServer(k)
	if err == nil { // although it is known to be there: another daemon may have removed it since
		err = ds.put(ctx, kindDiscovered, k.String(), struct{}{})
	}
	return about("discover %v", k, err)
}

// Forget ignores a server, although others may still name it. Under its other names it is no longer discovered either.
func (ds *Declarations) Forget(ctx context.Context, k topology.Key, names ...topology.Key) error {
	err := checkServer(k)
	if err == nil {
		err = ds.put(ctx, kindForgotten, k.String(), struct{}{})
	}
	for _, name := range append([]topology.Key{k}, names...) {
		if err == nil && ds.discovered(name) {
			err = ds.put(ctx, kindDiscovered, name.String(), nil)
		}
	}
	return about("forget %v", k, err)
}

// Unforget no longer ignores a server.
func (ds *Declarations) Unforget(ctx context.Context, k topology.Key) error {
	return ds.remove(ctx, "no longer forget %v", kindForgotten, k)
}

func (ds *Declarations) remove(ctx context.Context, what, kind string, k topology.Key) error {
	err := checkServer(k)
	if err == nil {
		err = ds.put(ctx, kind, k.String(), nil)
	}
	return about(what, k, err)
}

// SetAlias gives a cluster another name, for people; "" removes it. No two clusters have the same.
func (ds *Declarations) SetAlias(ctx context.Context, cluster, name string) error {
	err := checkText("cluster", cluster, 300, true)
	var document any
	if name != "" {
		err = errors.Join(err, checkName("alias", name))
		document = alias{name}
		for c, a := range ds.Aliases() {
			if a == name && c != cluster {
				err = errors.Join(err, invalid("cluster %s already has the alias %s", c, name))
			}
		}
	}
	if err == nil {
		err = ds.put(ctx, kindAlias, cluster, document)
	}
	return about("set the alias of %.300q", cluster, err)
}

// SwitchRecoveries switches all recoveries on or off, for all daemons.
func (ds *Declarations) SwitchRecoveries(ctx context.Context, on bool, by, reason string) error {
	err := errors.Join(checkText("name of the person", by, 255, true), checkText("reason", reason, 4096, !on))
	if err == nil {
		err = ds.put(ctx, kindSetting, settingRecoveries, recoveries{Off: !on, By: by, Reason: reason})
	}
	return about("switch recoveries %v", map[bool]string{true: "on", false: "off"}[on], err)
}

func about(what string, whom any, err error) error {
	if err != nil {
		return fmt.Errorf(what+": %w", whom, err)
	}
	return nil
}
