package declared

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"orchestrator/daemon/topology"
)

// Mark replaces in v what was declared about it, by any of its names. Its first name goes before the others.
func (ds *Declarations) Mark(v *topology.Server) {
	now := time.Now()
	ds.mu.RLock()
	defer ds.mu.RUnlock()
	v.Rule, v.Downtime, v.Tags = "", nil, nil
	for _, k := range append([]topology.Key{v.Key}, v.Names...) {
		if v.Rule == "" {
			v.Rule = ds.content.rules[k]
		}
		if d, ok := ds.content.downtimes[k]; ok && v.Downtime == nil && d.Until.After(now) {
			v.Downtime = &d
		}
		for name, value := range ds.content.tags[k] {
			if v.Tags == nil {
				v.Tags = map[string]string{}
			}
			if _, ok := v.Tags[name]; !ok {
				v.Tags[name] = value
			}
		}
	}
}

// RecoveriesOff says why recoveries are off; "" when they are on. What is not known counts as off.
func (ds *Declarations) RecoveriesOff() string {
	ds.mu.RLock()
	defer ds.mu.RUnlock()
	switch r := ds.content.recoveries; {
	case ds.reason != "":
		return "it is not known whether recoveries are switched off: " + ds.reason
	case r.Off:
		return fmt.Sprintf("%s (%s)", r.Reason, r.By)
	}
	return ""
}

// Unknown says why what was declared is not known; "" when it is.
func (ds *Declarations) Unknown() string {
	ds.mu.RLock()
	defer ds.mu.RUnlock()
	return ds.reason
}

// SwitchedOff says who has switched recoveries off, and why; false if nobody has, as far as is known.
func (ds *Declarations) SwitchedOff() (by, reason string, off bool) {
	ds.mu.RLock()
	defer ds.mu.RUnlock()
	r := ds.content.recoveries
	return r.By, r.Reason, r.Off
}

// Discovered returns the servers that are to be watched because somebody asked for it, sorted.
func (ds *Declarations) Discovered() []topology.Key {
	ds.mu.RLock()
	defer ds.mu.RUnlock()
	out := slices.SortedFunc(maps.Keys(ds.content.discovered), topology.Key.Compare)
	return slices.DeleteFunc(out, func(k topology.Key) bool { return ds.content.forgotten[k] })
}

func (ds *Declarations) discovered(k topology.Key) bool {
	ds.mu.RLock()
	defer ds.mu.RUnlock()
	return ds.content.discovered[k]
}

// Forgotten reports whether the server is ignored.
func (ds *Declarations) Forgotten(k topology.Key) bool {
	ds.mu.RLock()
	defer ds.mu.RUnlock()
	return ds.content.forgotten[k]
}

// AllForgotten returns the servers that are ignored, sorted.
func (ds *Declarations) AllForgotten() []topology.Key {
	ds.mu.RLock()
	defer ds.mu.RUnlock()
	return slices.SortedFunc(maps.Keys(ds.content.forgotten), topology.Key.Compare)
}

// Alias returns the alias of a cluster, or "".
func (ds *Declarations) Alias(cluster string) string {
	ds.mu.RLock()
	defer ds.mu.RUnlock()
	return ds.content.aliases[cluster]
}

// Aliases returns the aliases by cluster.
func (ds *Declarations) Aliases() map[string]string {
	ds.mu.RLock()
	defer ds.mu.RUnlock()
	return maps.Clone(ds.content.aliases)
}

// Clusters returns the clusters with an alias, sorted. There is more than one only if two daemons set it at the same
// moment.
func (ds *Declarations) Clusters(alias string) []string {
	ds.mu.RLock()
	defer ds.mu.RUnlock()
	var out []string
	for cluster, a := range ds.content.aliases {
		if a == alias {
			out = append(out, cluster)
		}
	}
	slices.Sort(out)
	return out
}

// Downtimes returns the downtimes that have not ended.
func (ds *Declarations) Downtimes() map[topology.Key]topology.Downtime {
	now := time.Now()
	ds.mu.RLock()
	defer ds.mu.RUnlock()
	out := maps.Clone(ds.content.downtimes)
	maps.DeleteFunc(out, func(_ topology.Key, d topology.Downtime) bool { return !d.Until.After(now) })
	return out
}

// Rules returns the promotion rules, without those that were taken back.
func (ds *Declarations) Rules() map[topology.Key]topology.Rule {
	ds.mu.RLock()
	defer ds.mu.RUnlock()
	out := maps.Clone(ds.content.rules)
	maps.DeleteFunc(out, func(_ topology.Key, r topology.Rule) bool { return r == topology.Neutral || r == "" })
	return out
}

// Tags returns the tags by server and name.
func (ds *Declarations) Tags() map[topology.Key]map[string]string {
	ds.mu.RLock()
	defer ds.mu.RUnlock()
	out := map[topology.Key]map[string]string{}
	for k, tags := range ds.content.tags {
		if len(tags) > 0 {
			out[k] = maps.Clone(tags)
		}
	}
	return out
}
