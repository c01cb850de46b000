package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/topology"
)

// A server is one under all its names. Works are planned under the key of each; what is done at a server is done in the
// words of that server, and only names that lead to one server are written into others.

// spell writes into steps the names by which the servers themselves know their sources.
func (v *view) spell(steps []Step) {
	for i := range steps {
		s := &steps[i]
		s.From = v.spelling(s.At, s.From)
		s.Expect.NotFrom = v.spelling(s.At, s.Expect.NotFrom)
		s.Expect.Source = v.spelling(s.At, s.Expect.Source)
		if to := v.servers[s.Source]; to != nil {
			s.Source = to.Address()
		}
	}
}

// spelling is how the server at k writes one of its sources; the key itself where it has no such source.
func (v *view) spelling(k, source topology.Key) topology.Key {
	at := v.servers[k]
	if at == nil || at.Instance == nil || source.IsZero() {
		return source
	}
	for _, c := range at.Instance.Channels {
		if c.Source.Attached() == source {
			return c.Written().Attached()
		}
	}
	return source
}

// unaddressed says why no server can be made to follow one.
func unaddressed(s *topology.Server) string {
	return fmt.Sprintf("no name of %v is known that leads to it alone, so nothing can be made to follow it", s.Key)
}

// known puts the key under which a server is kept now in the place of any other name of it. What is on record was
// written when it may have been kept under another.
func (f Facts) known() Facts {
	names := map[topology.Key]*topology.Server{}
	for i := range f.Snapshot.Servers {
		s := &f.Snapshot.Servers[i]
		for _, n := range s.Names {
			if !slices.Contains(s.Doubtful, n) {
				names[n] = s
			}
		}
	}
	for _, s := range f.Snapshot.Servers {
		delete(names, s.Key)
	}
	if len(names) == 0 {
		return f
	}
	key := func(k topology.Key) topology.Key {
		if s := names[k]; s != nil {
			return s.Key
		}
		return k
	}
	keys := func(of []topology.Key) []topology.Key {
		var out []topology.Key
		for _, k := range of {
			if k = key(k); !slices.Contains(out, k) {
				out = append(out, k)
			}
		}
		return out
	}
	f.Requests = slices.Clone(f.Requests)
	for i := range f.Requests {
		r := &f.Requests[i]
		r.Server, r.Candidate = key(r.Server), key(r.Candidate)
	}
	f.Episodes = slices.Clone(f.Episodes)
	for i := range f.Episodes {
		e := &f.Episodes[i]
		if s := names[e.Failed]; s != nil && s.Instance != nil && s.Instance.UUID == e.FailedUUID {
			e.Failed = s.Key
		}
		e.Candidate, e.Donor = key(e.Candidate), key(e.Donor)
		e.Touched, e.Abandoned, e.Left = keys(e.Touched), keys(e.Abandoned), keys(e.Left)
		e.Opening = keys(e.Opening)
		e.Unreached = slices.Clone(e.Unreached)
		for j, u := range e.Unreached {
			e.Unreached[j] = Unreached{key(u.Key), key(u.Donor)}
		}
		e.Lost = slices.Clone(e.Lost)
		for j := range e.Lost {
			e.Lost[j].Key = key(e.Lost[j].Key)
		}
	}
	return f
}

// unheard tells of those that read from the server at k and of whom nothing is known: they may have received more than
// anybody who can be asked.
func (v *view) unheard(k topology.Key) (out []string) {
	if v.finding(k, analysis.UnknownReader) != nil && len(v.strangers(k)) == 0 {
		out = append(out, fmt.Sprintf("an unknown reader of the binary log of %v may have received more", k))
	}
	for i := range v.Snapshot.Servers {
		if s := &v.Snapshot.Servers[i]; s.Key != k && s.Instance != nil && s.ChannelFrom(topology.Key{}) != nil {
			out = append(out, fmt.Sprintf("%v follows an unknown source, because what it says is no name (%s): if "+
				"that is %v, what it received does not count, and it is not moved", s.Key,
				cmp.Or(strings.Join(s.Instance.Unusable, "; "), "it says none"), k))
		}
	}
	return out
}

// strangers are registered as replicas of the server at k, and have never answered.
func (v *view) strangers(k topology.Key) (out []*topology.Server) {
	s := v.servers[k]
	if s == nil || s.Instance == nil {
		return nil
	}
	for _, n := range s.Instance.Registered {
		if r := cmp.Or(v.servers[n], v.outside[n]); r != nil && r.Instance == nil && !barred(r) {
			out = append(out, r)
		}
	}
	return out
}

// barred says that the configuration leaves a server out: it is no replica of anybody here.
func barred(s *topology.Server) bool {
	return s.Stranger != nil && s.Stranger.Kind == topology.NotAdmitted
}

// alike says why r can't follow source although it is another server: each takes the other for itself.
func alike(r, source *topology.Server) string {
	a, b := r.Instance, source.Instance
	switch {
	case a.ServerID != 0 && a.ServerID == b.ServerID:
		return fmt.Sprintf("it has the server_id of %v, %d, and so can't follow it", source.Key, a.ServerID)
	case a.UUID != "" && a.UUID == b.UUID:
		return fmt.Sprintf("it has the server UUID of %v, %s, and so can't follow it", source.Key, a.UUID)
	}
	return ""
}
