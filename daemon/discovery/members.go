package discovery

import (
	"cmp"
	"log/slog"
	"regexp"
	"slices"
	"strings"

	"orchestrator/daemon/topology"
)

// welcome says whether a server may be looked at.
func (f *Fleet) welcome(k topology.Key) bool {
	// "//" marks a source that was detached on purpose
	if k.Host == "" || k.Port == 0 || strings.HasPrefix(k.Host, "//") {
		return false
	}
	if f.forgotten(k) {
		return false
	}
	text := k.String()
	return !slices.ContainsFunc(f.o.Ignore, func(r *regexp.Regexp) bool { return r.MatchString(text) })
}

func (f *Fleet) forgotten(k topology.Key) bool {
	if f.o.Forgotten(k) {
		return true
	}
	under, ok := f.buried[k]
	return ok && under != k && f.o.Forgotten(under)
}

// add puts a server that nobody has into the fleet, due at once; nil where it is not welcome. from is for the log.
func (f *Fleet) add(k topology.Key, from string) *server {
	if s := f.at(k); s != nil {
		return s
	}
	if !f.welcome(k) {
		return nil
	}
	f.found++
	s := &server{key: k, hash: hash(k), order: f.found, index: -1, revived: make(chan struct{}, 1)}
	f.servers[k] = s
	f.queue.put(s)
	f.stale(s)
	f.touch(s)
	if from != "" {
		f.log(slog.LevelInfo, "server found", "server", k, "from", from)
	}
	f.poke()
	f.rouse()
	return s
}

// remove takes a server out of the fleet; a probe of it that is under way comes to nothing.
func (f *Fleet) remove(s *server) {
	for _, r := range f.replicas[s.key] {
		f.stale(r)
	}
	if c := s.cluster; c != nil {
		for _, mate := range c.members {
			if mate != s {
				f.stale(mate) // one of them stands for all
				break
			}
		}
	}
	f.part(s)
	s.stranger = nil
	for _, t := range f.servers {
		if s.brought > 0 && t.by == s {
			t.by = nil
			s.brought--
		}
	}
	f.leave(s)
	f.queue.drop(s)
	delete(f.touched, s)
	delete(f.servers, s.key)
	for _, n := range s.names {
		f.unalias(n)
	}
	f.unlearn(s)
	f.unlink(s)
	f.enroll(s, nil)
	delete(f.names.sightings, s)
	f.watch(s)
	for _, w := range s.waiters {
		close(w.done)
	}
	s.waiters = nil
	f.relink(ref{key: s.key})
	for _, n := range s.names {
		f.relink(ref{key: n})
	}
	k := s.key
	f.after = append(f.after, func() { f.prober.Forget(k) })
}

// at finds a server under any of its names; nil when nobody has it.
func (f *Fleet) at(k topology.Key) *server { return f.servers[f.canon(k)] }

// canon is the key under which a server is kept. A name that was spoilt on purpose stays spoilt.
func (f *Fleet) canon(k topology.Key) topology.Key {
	if k.Detached() {
		return f.canon(k.Attached()).Detach()
	}
	if c, ok := f.aliases[k]; ok {
		return c
	}
	return k
}

// alias makes a name another one of a server; unalias takes it away.
func (f *Fleet) alias(name, canonical topology.Key) {
	f.aliases[name] = canonical
	f.aliasEdition++
}

func (f *Fleet) unalias(name topology.Key) {
	delete(f.aliases, name)
	f.aliasEdition++
}

func insert(keys []topology.Key, k topology.Key) []topology.Key {
	if slices.Contains(keys, k) {
		return keys
	}
	keys = append(slices.Clone(keys), k)
	slices.SortFunc(keys, topology.Key.Compare)
	return keys
}

func sortedServers(all []*server) []*server {
	return slices.SortedFunc(slices.Values(all), func(a, b *server) int {
		return cmp.Or(a.key.Compare(b.key), cmp.Compare(a.order, b.order))
	})
}
