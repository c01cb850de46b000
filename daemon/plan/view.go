package plan

import (
	"slices"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// view is a situation as a decision reads it: who is who, who follows whom, what each has. It is made once a decision.
type view struct {
	Situation
	servers map[topology.Key]*topology.Server
	// outside are the strangers: nothing rests on them, and nothing is done there.
	outside map[topology.Key]*topology.Server
	// replicas are the direct replicas by source, in the order of the snapshot, reachable or not.
	replicas  map[topology.Key][]*topology.Server
	followers map[topology.Key][]*topology.Server // the replicas that can be reached
	findings  map[topology.Key][]*analysis.Finding
	primary   *topology.Server // nil in an empty cluster
	// last is the episode of the latest promotion, of this decision too; nil when there was none.
	last *Episode
	// taken are the servers that works before the present one need.
	taken map[topology.Key]*Work
	// acted are those at which they have a step.
	acted map[topology.Key]bool
	// level is what each server that can be reached has received; nil until somebody asks. See received.
	level map[topology.Key]gtid.Set
	// trees are the servers below others, as far as somebody asked.
	trees map[topology.Key]tree
}

func newView(s Situation) *view {
	strangers := s.Snapshot.Strangers()
	s.Snapshot = s.Snapshot.Admitted()
	v := &view{Situation: s, last: lastPromoted(s.Episodes), primary: s.Snapshot.Primary(),
		servers:   make(map[topology.Key]*topology.Server, len(s.Snapshot.Servers)),
		replicas:  map[topology.Key][]*topology.Server{},
		followers: map[topology.Key][]*topology.Server{},
		findings:  map[topology.Key][]*analysis.Finding{},
		taken:     map[topology.Key]*Work{},
		acted:     map[topology.Key]bool{},
		trees:     map[topology.Key]tree{},
		outside:   make(map[topology.Key]*topology.Server, len(strangers)),
	}
	for i := range strangers {
		v.outside[strangers[i].Key] = &strangers[i]
	}
	for i := range s.Snapshot.Servers {
		r := &s.Snapshot.Servers[i]
		v.servers[r.Key] = r
		if r.Instance == nil {
			continue
		}
		for j, c := range r.Instance.Channels {
			if slices.ContainsFunc(r.Instance.Channels[:j], func(o topology.Channel) bool {
				return o.Source == c.Source
			}) {
				continue
			}
			v.replicas[c.Source] = append(v.replicas[c.Source], r)
			if r.Up() {
				v.followers[c.Source] = append(v.followers[c.Source], r)
			}
		}
	}
	for i, f := range s.Findings {
		v.findings[f.At] = append(v.findings[f.At], &s.Findings[i])
	}
	return v
}

// up returns the server at k when it can be reached, else nil.
func (v *view) up(k topology.Key) *topology.Server {
	if s := v.servers[k]; s != nil && s.Up() {
		return s
	}
	return nil
}

// down says that there is a server at k, and that it can't be reached.
func (v *view) down(k topology.Key) bool { return v.servers[k] != nil && !v.servers[k].Up() }

// finding returns the first finding at k that has one of the codes, or nil.
func (v *view) finding(k topology.Key, codes ...analysis.Code) *analysis.Finding {
	for _, f := range v.findings[k] {
		if slices.Contains(codes, f.Code) {
			return f
		}
	}
	return nil
}

// stored returns e when it is on record, else nil: what has not begun leaves no record.
func (v *view) stored(e Episode) *Episode {
	if slices.ContainsFunc(v.Episodes, func(o Episode) bool { return o.ID == e.ID }) {
		return &e
	}
	return nil
}

// put makes the works after this one see an episode as it is now. A server that the episode has promoted then counts as
// the last one promoted.
func (v *view) put(e Episode) {
	v.Episodes = replace(v.Episodes, e)
	v.last = lastPromoted(v.Episodes)
}

// request returns what an operator asked for about the server at k, or nil.
func (v *view) request(k topology.Key) *Request {
	for i, r := range v.Requests {
		if r.Server == k && r.Kind == Recover {
			return &v.Requests[i]
		}
	}
	return nil
}

// silence is how long the server at k has been silent; for ever, when it has proved that it is dead.
func (v *view) silence(k topology.Key) time.Duration {
	s := v.servers[k]
	if s == nil || s.Probe.Failure.Dead() {
		return 1<<63 - 1
	}
	return v.Snapshot.At.Sub(s.Probe.FailingSince)
}

// recent says that a moment on record is less than that away. One that is further ahead was noted by a clock that was
// ahead, or this one was set back since: nothing waits until that moment has come.
func (v *view) recent(at time.Time, within time.Duration) bool {
	return v.Snapshot.At.Sub(at).Abs() < within
}

// downtime says that people declared a downtime of the server, and that it has not ended.
func (v *view) downtime(s *topology.Server) bool {
	return s.Downtime != nil && s.Downtime.Until.After(v.Snapshot.At)
}

// writable says that the server at k can be reached, follows nobody and takes writes.
func writable(s *topology.Server) bool {
	return s.Up() && len(s.Instance.Channels) == 0 && !s.Instance.ReadOnly
}

// travel is how long a transaction may be under way between servers that are well.
const travel = 50 * time.Millisecond

// received is all that the server has, applied or not, and all that can have reached it since it was probed.
//
// The positions of two servers are read at two moments. A transaction that one has and another seems to lack may have
// reached the other since its probe. So it lacks the transaction for certain in two cases only. Either it was probed
// later, by more than the time a transaction travels. Or it can't have got it since: no receiver of it was connected,
// and it takes no writes itself. At a promotion all receivers have been stopped, so there this is exact. All code that
// checks what a server lacks calls this function, and nothing else makes this allowance.
func (v *view) received(s *topology.Server) gtid.Set {
	if v.level == nil {
		v.level = v.levelled()
	}
	if set, ok := v.level[s.Key]; ok {
		return set
	}
	return s.Received()
}

// levelled is what the servers that can be reached have received.
func (v *view) levelled() map[topology.Key]gtid.Set {
	var up []*topology.Server // those that were asked last come first
	for i := range v.Snapshot.Servers {
		if s := &v.Snapshot.Servers[i]; s.Up() {
			up = append(up, s)
		}
	}
	slices.SortStableFunc(up, func(a, b *topology.Server) int { return b.Probe.Answered.Compare(a.Probe.Answered) })
	late, arriving := union{view: v, of: up}, union{view: v, of: up}
	out := make(map[topology.Key]gtid.Set, len(up))
	for _, s := range up {
		have, at := s.Received(), s.Probe.Answered
		switch {
		case s.Receiving():
			have = have.Union(v.passed(s, arriving.after(at.Add(-travel))))
		case writable(s) && s.Instance.Flavor == topology.MariaDB:
			// Its positions do not show which transactions it wrote itself.
			have = have.Union(late.after(at))
		case writable(s):
			have = have.Union(late.after(at).From(s.Instance.UUID))
		}
		out[s.Key] = have
	}
	return out
}

// passed is what of a set the source of s can have sent it since: a source that receives nothing itself sends only what
// it has, one that does not apply that only what it has applied, and any other what its own source can have sent.
func (v *view) passed(s *topology.Server, set gtid.Set) gtid.Set {
	for range v.Snapshot.Servers { // up to one that decides it; there may be a circle
		c := s.Channel()
		if c == nil {
			return set
		}
		switch source := v.up(c.Source); {
		case source == nil, writable(source):
			return set
		case stuck(source) != "":
			return set.Intersect(source.Instance.Executed)
		case source.Receiving():
			s = source
		default:
			return set.Intersect(source.Received())
		}
	}
	return set
}

// union is of what servers have that were asked after a moment; that only goes back.
type union struct {
	*view
	of   []*topology.Server // those that were asked last come first
	set  gtid.Set
	next int
}

func (u *union) after(at time.Time) gtid.Set {
	for ; u.next < len(u.of) && u.of[u.next].Probe.Answered.After(at); u.next++ {
		u.set = u.set.Union(u.shared(u.of[u.next]))
	}
	return u.set
}

// shared is what others can have got from the source of the server: all that it has, without what it wrote itself.
func (v *view) shared(s *topology.Server) gtid.Set {
	have := s.Received()
	switch {
	case len(s.Instance.Channels) == 0:
		return have
	case s.Instance.Flavor == topology.MariaDB && v.finding(s.Key, analysis.ErrantGTID) != nil:
		// MariaDB names the last writer only, so its own writes can't be told apart in what it has executed.
		return replicated(s)
	}
	return have.Subtract(have.From(s.Instance.UUID))
}

// replicated is what came by replication, as the receivers and appliers of a server of MariaDB tell. A domain in which
// the server itself wrote last tells nothing.
func replicated(s *topology.Server) (came gtid.Set) {
	for _, c := range s.Instance.Channels {
		came = came.Union(c.Received.NotLastBy(s.Instance.ServerID))
	}
	return came
}
