package discovery

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

// retry is after how long a name is tried again that a server gives itself, and under which it did not answer.
const retry = 5 * time.Minute

// learn notes the UUID of a server; before is the one that it had.
func (f *Fleet) learn(s *server, before string) {
	if id := s.instance.ServerID; id != s.id {
		take(f.byID, s.id, s)
		put(f.byID, id, s)
		s.id = id
	}
	uuid := s.instance.UUID
	if uuid == before {
		if uuid != "" {
			put(f.byUUID, uuid, s)
		}
		return
	}
	if before != "" {
		take(f.byUUID, before, s)
	}
	if uuid != "" {
		put(f.byUUID, uuid, s)
	}
	// another server answers at this address: nobody knows whose the other names are now
	if before != "" && len(s.names) > 0 {
		for _, n := range s.names {
			f.release(s, n)
		}
	}
	f.relink(ref{uuid: before}, ref{uuid: uuid}, ref{key: s.key})
}

func (f *Fleet) unlearn(s *server) {
	if s.instance != nil {
		uuid := s.instance.UUID
		take(f.byUUID, uuid, s)
		take(f.byID, s.id, s)
		f.relink(ref{uuid: uuid})
	}
}

// identify finds out whether a server that has just answered is one that is known under another key already, and
// returns the one that is kept; nil for a trial that was somebody else.
func (f *Fleet) identify(s *server) *server {
	if s.instance.UUID != "" && len(f.byUUID[s.instance.UUID]) > 1 {
		for _, o := range sortedServers(f.byUUID[s.instance.UUID]) {
			if o == s || !o.up() {
				continue
			}
			if why, clone := differ(s, o); why != "" {
				f.cloned(s, o, why, clone)
				continue
			}
			keep, drop := f.choose(s, o)
			f.merge(keep, drop)
			s = keep
		}
	}
	if s.trial && s.sought != "" && s.sought == s.instance.UUID {
		f.foundAgain(s)
	}
	if s.trial {
		f.tried[s.key] = time.Now().Add(retry)
		f.remove(s)
		return nil
	}
	return s
}

// differ says why two servers that give one UUID are not one server; "" when they are. A server that was cloned with
// its UUID is the danger: whoever takes two such servers for one moves replicas to the wrong one. clone is false
// where it may be a matter of time only.
func differ(a, b *server) (why string, clone bool) {
	x, y := a.instance, b.instance
	switch {
	case x.ServerID != y.ServerID:
		return fmt.Sprintf("server_id %d and %d", x.ServerID, y.ServerID), true
	case !strings.EqualFold(x.Hostname, y.Hostname) || x.Port != y.Port:
		return fmt.Sprintf("they call themselves %s:%d and %s:%d", x.Hostname, x.Port, y.Hostname, y.Port), true
	}
	apart := x.StartedAt.Sub(y.StartedAt).Abs()
	if apart <= 2*time.Second { // each is exact to a second
		return "", false
	}
	settled := a.probe.Answered.Sub(y.StartedAt) > patience && b.probe.Answered.Sub(x.StartedAt) > patience
	return fmt.Sprintf("one was started %v after the other", apart.Round(time.Second)), settled
}

func (f *Fleet) cloned(a, b *server, why string, sure bool) {
	if b.key.Compare(a.key) < 0 {
		a, b = b, a
	}
	pair := [2]topology.Key{a.key, b.key}
	if !sure || f.clones[pair] {
		return
	}
	f.clones[pair] = true
	f.log(slog.LevelWarn,
		"two servers have one UUID; give one of them its own (remove auto.cnf from its data directory and restart it)",
		"server", a.key, "other", b.key, "uuid", a.instance.UUID, "why", why)
}

// choose says under which of two keys a server is kept.
func (f *Fleet) choose(a, b *server) (keep, drop *server) {
	if a.stranger != nil && b.stranger == nil { // only what a server of the fleet calls itself counts
		a, b = b, a
	}
	k := f.preferred(*a.instance)
	switch {
	case k == a.key:
		return a, b
	case k == b.key:
		return b, a
	case (a.stranger == nil) != (b.stranger == nil):
		return a, b
	case a.trial != b.trial:
		if a.trial {
			return b, a
		}
	case f.isDoubtful(a.key) != f.isDoubtful(b.key):
		if f.isDoubtful(a.key) {
			return b, a
		}
	case a.seed != b.seed:
		if b.seed {
			return b, a
		}
	case b.order < a.order:
		return b, a
	}
	return a, b
}

// preferred is the key that a server should go by; zero where it is that under which it was found.
func (f *Fleet) preferred(i topology.Instance) topology.Key {
	host := ""
	switch f.o.Resolve {
	case "hostname":
		host = i.Hostname
	case "report_host":
		host = i.ReportHost
	}
	return own(host, i.Port)
}

// own is the key of a name that a server gives itself; zero where that is no name, or one of our own machine.
func own(host string, port int) topology.Key {
	k, err := topology.MakeKey(host, port)
	if err != nil || strings.HasPrefix(k.Host, "localhost") {
		return topology.Key{}
	}
	return k
}

// prefer tries the key that a server should go by. The name counts once the same server answers under it; until then,
// and where it never does, the server stays what it was called.
func (f *Fleet) prefer(s *server) {
	k := f.preferred(*s.instance)
	if k.IsZero() || k == s.key || f.servers[k] != nil || time.Now().Before(f.tried[k]) || !f.welcome(k) {
		return
	}
	if c, ok := f.aliases[k]; ok {
		if c != s.key {
			return
		}
		f.unalias(k)
		s.names = without(s.names, k)
		f.relink(ref{key: k})
	}
	if t := f.add(k, ""); t != nil {
		t.trial = true
	}
}

// merge makes one server of two.
func (f *Fleet) merge(keep, drop *server) {
	f.log(slog.LevelInfo, "one server under two names", "server", keep.key, "also", drop.key)
	if drop.probe.Asked.After(keep.probe.Asked) && (drop.stranger == nil || keep.stranger != nil) {
		keep.probe = drop.probe
		if drop.instance != nil {
			before := ""
			if keep.instance != nil {
				before = keep.instance.UUID
			}
			keep.instance = drop.instance
			f.learn(keep, before)
		}
	}
	keep.order = min(keep.order, drop.order)
	keep.seed = keep.seed || drop.seed
	keep.restored = keep.restored || drop.restored
	keep.trial = false
	if drop.stranger == nil {
		defer f.trust(keep, fmt.Sprintf("it is %v", drop.key))
	} else {
		f.names.brought[drop.key] = true
	}
	keep.again = keep.again || drop.again
	f.touch(keep)
	names := append([]topology.Key{drop.key}, drop.names...)
	name := drop.name
	waiters := drop.waiters
	drop.waiters, drop.names = nil, nil
	f.remove(drop)
	for _, n := range names {
		f.alias(n, keep.key)
		keep.names = insert(keep.names, n)
		f.leads(n, keep)
	}
	for _, n := range names {
		f.relink(ref{key: n})
	}
	f.link(keep)
	if len(waiters) > 0 {
		keep.waiters = append(keep.waiters, waiters...)
		f.want(keep)
	}
	if keep.name == "" {
		keep.name = name
	}
	if name == drop.key.String() && !drop.restored { // a name that nobody has relied on yet
		f.rename(name, keep.key.String())
	}
	f.stale(keep)
	keep.unsure()
	f.watch(keep)
}

// rename gives the servers that bear a cluster's name another one.
func (f *Fleet) rename(from, to string) {
	c := f.clusters[from]
	if c == nil {
		return
	}
	for _, s := range slices.Clone(c.members) {
		f.leave(s)
		s.name = to
		f.touch(s)
		f.stale(s)
	}
}

// testify believes replicas that are connected about who is at the addresses they use: it drops one at which nobody
// ever answered us when they say whose it is, and asks again about one that was another name of a server that they
// are not connected to.
func (f *Fleet) testify(s *server) {
	for n, c := range s.instance.Channels {
		if at := f.at(c.Source); alike(c) && at != nil && at.key != c.Source && time.Now().After(f.tried[c.Source]) {
			f.tried[c.Source] = time.Now().Add(retry) // its source seems to be itself: where does the name lead now?
			f.release(at, c.Source)
		}
		if c.IO != topology.Running || n >= len(s.sources) {
			continue
		}
		t, at := f.servers[s.sources[n]], f.at(c.Source)
		if at == nil {
			at = f.hearOf(c, s, t)
		}
		switch {
		case t == nil || t.instance == nil || at == nil || at == s && at == t:
		case at != t && at.key == c.Source && at.instance == nil && !at.seed:
			f.merge(t, at)
		case at.key != c.Source && at.up() && (at != t || c.SourceID != 0 && c.SourceID != at.instance.ServerID) &&
			time.Now().After(f.tried[c.Source]):
			f.tried[c.Source] = time.Now().Add(retry) // we and the replica may be led to different servers for good
			f.release(at, c.Source)
		}
	}
}

// release makes another name of a server a server of its own, until it has answered.
func (f *Fleet) release(s *server, name topology.Key) {
	f.unalias(name)
	s.names = without(s.names, name)
	f.touch(s)
	if t := f.add(name, "a former name of "+s.key.String()); t != nil && f.names.brought[name] {
		f.brings(t, s)
	}
	f.relink(ref{key: name})
}

func without(keys []topology.Key, k topology.Key) []topology.Key {
	var out []topology.Key
	for _, o := range keys {
		if o != k {
			out = append(out, o)
		}
	}
	return out
}
