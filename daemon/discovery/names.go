package discovery

import (
	"log/slog"
	"slices"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// names are what is known of names besides whose they are.
type names struct {
	// led are the UUIDs of the servers that a name has led to, the last one last.
	led map[topology.Key][]string
	// doubtful names have led to two servers that are both known; for good, as no name is by chance.
	doubtful map[topology.Key]bool
	// vouched are names under which we have not reached a server, and those whose replicas have shown to be meant.
	vouched map[topology.Key]*server
	// sightings are of replicas that may be connected to a server, and what they had received then.
	sightings map[*server]map[sighting]gtid.Set
	// enrolled are the servers at which somebody has registered, by the address given there.
	enrolled map[topology.Key][]*server
	lists    map[*server][]topology.Key // what is in enrolled, by server
	brought  map[topology.Key]bool      // further names of servers that a registration alone has told
}

type sighting struct {
	by   *server
	name topology.Key
}

func newNames() names {
	return names{led: map[topology.Key][]string{}, doubtful: map[topology.Key]bool{},
		vouched: map[topology.Key]*server{}, sightings: map[*server]map[sighting]gtid.Set{},
		enrolled: map[topology.Key][]*server{}, lists: map[*server][]topology.Key{},
		brought: map[topology.Key]bool{}}
}

// leads notes that a name has led to a server.
func (f *Fleet) leads(name topology.Key, s *server) {
	uuid := s.instance.UUID
	led := f.names.led[name]
	if uuid == "" || len(led) > 0 && led[len(led)-1] == uuid {
		return
	}
	led = slices.DeleteFunc(led, func(u string) bool { return u == uuid })
	f.names.led[name] = append(led[max(0, len(led)-3):], uuid)
	if len(led) > 0 {
		f.aliasEdition++
		f.touch(s)
	}
}

// isDoubtful says that a name has led to two servers that are both known. A server that has got another UUID was set up
// anew.
func (f *Fleet) isDoubtful(name topology.Key) bool {
	if f.names.doubtful[name] {
		return true
	}
	led := f.names.led[name]
	if len(led) < 2 {
		return false
	}
	known := 0
	for _, uuid := range led {
		if len(f.byUUID[uuid]) > 0 {
			known++
		}
	}
	if known > 1 {
		f.names.doubtful[name] = true
	}
	return known > 1
}

// doubtful are those of a server's names, sorted.
func (f *Fleet) doubtful(s *server) []topology.Key {
	var out []topology.Key
	for _, k := range append([]topology.Key{s.key}, s.names...) {
		if f.isDoubtful(k) {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, topology.Key.Compare)
	return out
}

// seek looks for the server that has answered under a key where another one answers now, by the names that it gave
// itself: it may live on.
func (f *Fleet) seek(s *server, former *topology.Instance) {
	if former == nil || former.UUID == "" || former.UUID == s.instance.UUID || len(f.byUUID[former.UUID]) > 0 {
		return
	}
	for _, k := range []topology.Key{own(former.ReportHost, former.Port), own(former.Hostname, former.Port)} {
		if k.IsZero() || f.at(k) != nil {
			continue
		}
		if t := f.add(k, ""); t != nil {
			t.trial, t.sought, t.name = true, former.UUID, s.name
		}
	}
}

// foundAgain takes in a server that was looked for, under a name of its own.
func (f *Fleet) foundAgain(s *server) {
	s.trial, s.sought = false, ""
	f.aliasEdition++ // the name that it lost is a doubtful one now
	f.log(slog.LevelInfo, "server found again under a name of its own", "server", s.key)
	f.stale(s)
	f.touch(s)
}

// alike says that a receiver has found its source to have its own server id or UUID.
func alike(c topology.Channel) bool {
	return c.IO == topology.Stopped && (c.IOErrno == 1593 || c.IOErrno == 13117)
}

// enroll notes who is registered with a server. One that never answered has no other tie to a cluster.
func (f *Fleet) enroll(s *server, registered []topology.Key) {
	before := f.names.lists[s]
	if slices.Equal(before, registered) {
		return
	}
	for _, k := range before {
		take(f.names.enrolled, k, s)
	}
	delete(f.names.lists, s)
	for _, k := range registered {
		put(f.names.enrolled, k, s)
		f.names.lists[s] = registered
	}
	for _, k := range slices.Concat(before, registered) {
		if t := f.at(k); t != nil && t.instance == nil {
			f.stale(t)
			f.stale(s)
			if t.stranger != nil && !slices.Contains(before, k) { // it has registered again: it may answer now
				f.want(t)
			}
		}
	}
}

// vouched is the server that a channel of MariaDB means by a name under which we have not reached it.
func (f *Fleet) vouched(c topology.Channel) *server {
	v := f.names.vouched[c.Source]
	if v == nil || f.servers[v.key] != v || v.instance == nil || c.SourceID != v.instance.ServerID {
		return nil
	}
	return v
}

// vouch finds out whom MariaDB's replicas mean by names that do not lead us there: a receiver that runs says the server
// id of its source. Ids are not unique in a fleet, so there must be more: the source has that replica on its list, or
// the replica has all that the source had a moment before, and the source a moment later all that the replica had.
func (f *Fleet) vouch(s *server) {
	f.confirm(s)
	for _, c := range s.instance.Channels {
		at := f.at(c.Source)
		if c.IO != topology.Running || c.SourceUUID != "" || c.SourceID == 0 || f.vouched(c) != nil ||
			at != nil && at.instance != nil && leadsTo(c, at) {
			continue
		}
		for _, o := range f.namesakes(c.SourceID) {
			switch {
			case o == s:
			case slices.ContainsFunc(o.instance.Registered, func(k topology.Key) bool { return f.canon(k) == s.key }):
				f.vouchFor(c.Source, o)
			case !o.instance.Executed.Empty() && c.Received.Contains(o.instance.Executed):
				if f.names.sightings[o] == nil {
					f.names.sightings[o] = map[sighting]gtid.Set{}
				}
				f.names.sightings[o][sighting{s, c.Source}] = c.Received
			}
		}
	}
}

// namesakes are the MariaDB servers with a server id that answer; there are few.
func (f *Fleet) namesakes(id uint32) (out []*server) {
	for _, s := range f.byID[id] {
		if s.up() && s.stranger == nil && s.instance.Flavor == topology.MariaDB {
			out = append(out, s)
		}
	}
	return out
}

// vouchFor notes which server a name means.
func (f *Fleet) vouchFor(name topology.Key, s *server) {
	f.log(slog.LevelInfo, "a replica is connected to a known server by another name", "server", s.key, "name", name)
	f.names.vouched[name] = s
	f.relink(ref{key: name})
}

// confirm is the other half of vouch, when the supposed source has answered again.
func (f *Fleet) confirm(s *server) {
	for seen, received := range f.names.sightings[s] {
		if s.instance.Executed.Contains(received) && len(f.namesakes(s.instance.ServerID)) == 1 {
			f.vouchFor(seen.name, s)
		}
	}
	delete(f.names.sightings, s)
}

// strangers are tied to a server by nothing but a registration: they have registered with it, or it with them, and have
// never answered.
func (f *Fleet) strangers(s *server) (out []*server) {
	for _, k := range f.names.lists[s] {
		if t := f.at(k); t != nil && t != s && (t.instance == nil || t.stranger != nil) {
			out = append(out, t)
		}
	}
	if s.instance == nil || s.stranger != nil {
		out = append(out, f.names.enrolled[s.key]...)
	}
	return out
}

// hearOf takes a name for one of a server that a replica has been connected to by it for a while, and that we know by
// another. It returns whose the name is then.
func (f *Fleet) hearOf(c topology.Channel, by, t *server) *server {
	if t == nil || t.instance == nil || !leadsTo(c, t) || by.probe.Answered.Sub(c.IOSince) < settled ||
		!f.welcome(c.Source) {
		return nil
	}
	f.alias(c.Source, t.key)
	t.names = insert(t.names, c.Source)
	f.leads(c.Source, t)
	f.touch(t)
	f.relink(ref{key: c.Source})
	return t
}

// settled is how long a receiver must have run: for a moment it may still tell whom it was connected to before.
const settled = time.Second
