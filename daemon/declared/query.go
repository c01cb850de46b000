package declared

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"orchestrator/daemon/topology"
)

// Mark writes into v what was declared about it, under any of its names; its first name counts before the others. What was
// there before goes.
func (b *Book) Mark(v *topology.Server) {
	now := time.Now()
	b.mu.RLock()
	defer b.mu.RUnlock()
	v.Rule, v.Downtime, v.Tags = "", nil, nil
	for _, k := range append([]topology.Key{v.Key}, v.Names...) {
		if v.Rule == "" {
			v.Rule = b.page.rules[k]
		}
		if d, ok := b.page.downtimes[k]; ok && v.Downtime == nil && d.Until.After(now) {
			v.Downtime = &d
		}
		for name, value := range b.page.tags[k] {
			if v.Tags == nil {
				v.Tags = map[string]string{}
			}
			if _, ok := v.Tags[name]; !ok {
				v.Tags[name] = value
			}
		}
	}
}

// RecoveriesOff says why nothing may be repaired, or "". What is not known counts as off.
func (b *Book) RecoveriesOff() string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	switch r := b.page.recoveries; {
	case b.reason != "":
		return "it is not known whether recoveries are switched off: " + b.reason
	case r.Off:
		return fmt.Sprintf("recoveries are switched off by %s: %s", r.By, r.Reason)
	}
	return ""
}

// SwitchedOff says who has switched recoveries off, and why; false while nobody has, as far as is known.
func (b *Book) SwitchedOff() (by, reason string, off bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	r := b.page.recoveries
	return r.By, r.Reason, r.Off
}

// Forgotten reports whether the server is to be kept out.
func (b *Book) Forgotten(k topology.Key) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.page.forgotten[k]
}

// AllForgotten returns the servers that are kept out, sorted.
func (b *Book) AllForgotten() []topology.Key {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return slices.SortedFunc(maps.Keys(b.page.forgotten), topology.Key.Compare)
}

// Alias returns the alias of a cluster, or "".
func (b *Book) Alias(cluster string) string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.page.aliases[cluster]
}

// Aliases returns the aliases by cluster.
func (b *Book) Aliases() map[string]string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return maps.Clone(b.page.aliases)
}

// Clusters returns the clusters that have an alias, sorted. There is more than one only where two daemons were told so at one time.
func (b *Book) Clusters(alias string) []string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var out []string
	for cluster, a := range b.page.aliases {
		if a == alias {
			out = append(out, cluster)
		}
	}
	slices.Sort(out)
	return out
}

// Downtimes returns the downtimes that have not ended.
func (b *Book) Downtimes() map[topology.Key]topology.Downtime {
	now := time.Now()
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := maps.Clone(b.page.downtimes)
	maps.DeleteFunc(out, func(_ topology.Key, d topology.Downtime) bool { return !d.Until.After(now) })
	return out
}

// Rules returns the wishes about promoting, but for those that were taken back.
func (b *Book) Rules() map[topology.Key]topology.Rule {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := maps.Clone(b.page.rules)
	maps.DeleteFunc(out, func(_ topology.Key, r topology.Rule) bool { return r == topology.Neutral || r == "" })
	return out
}

// Tags returns the tags by server and name.
func (b *Book) Tags() map[topology.Key]map[string]string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := map[topology.Key]map[string]string{}
	for k, tags := range b.page.tags {
		if len(tags) > 0 {
			out[k] = maps.Clone(tags)
		}
	}
	return out
}
