package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// What this file knows: a GTID is not its data. A server may have executed a transaction and left out a part of it,
// and one that has it may have purged it from the log that it would send it from.

// partial says why s may have only a part of the data that its GTIDs name; "" when it has all that top has sent.
func (v *view) partial(s *topology.Server, top topology.Key) string {
	if v.Policy.AllowFilters {
		return ""
	}
	if filters(s) {
		return "it filters what it replicates, so it has only a part of the data"
	}
	return v.sieve(s, top)
}

// sieve says what has left out a part of the data on its way from top to s, the filters of s itself apart.
func (v *view) sieve(s *topology.Server, top topology.Key) string {
	for range v.Snapshot.Servers {
		c := s.Channel()
		if c == nil || c.Source == top {
			break
		}
		if s = v.servers[c.Source]; s == nil || s.Instance == nil {
			break
		}
		if filters(s) {
			return fmt.Sprintf("%v, from which it got its data, filters what it replicates", s.Key)
		}
		if s.Instance.BinlogFilters {
			return fmt.Sprintf("%v, from which it got its data, logs only a part of its databases", s.Key)
		}
	}
	return ""
}

func filters(s *topology.Server) bool {
	return s.Left != nil && s.Left.Filters || s.Instance != nil && slices.ContainsFunc(s.Instance.Channels,
		func(c topology.Channel) bool { return c.Filters })
}

// keeps is what r still has when it is made to follow another source. The change throws its relay logs away on
// MariaDB, and on MySQL where the applier stands still.
func keeps(r *topology.Server) gtid.Set {
	if r.Instance.Flavor == topology.MariaDB || slices.ContainsFunc(r.Instance.Channels,
		func(c topology.Channel) bool { return c.SQL == topology.Stopped }) {
		return r.Instance.Executed
	}
	return r.Received()
}

// unsendable is what source has executed and can't send: it is no longer in its binary logs, or never was.
func unsendable(source *topology.Server) gtid.Set {
	i := source.Instance
	switch {
	case i.LogBin && i.LogReplicaUpdates:
		return i.Purged
	case i.LogBin && i.Flavor == topology.MariaDB && len(i.Channels) == 0 && !i.BinlogWritten.Empty():
		return i.Purged // where its own writes begin is not known
	}
	return i.Purged.Union(i.Executed.Subtract(i.Executed.From(i.UUID)))
}

// gone is what r would ask source for and not get. Its receiver would stop with error 1236.
func gone(r, source *topology.Server) gtid.Set {
	return source.Instance.Executed.Subtract(keeps(r)).Intersect(unsendable(source))
}

// relayed is what r has received, has not applied yet, and could not get from source again.
func relayed(r, source *topology.Server) gtid.Set {
	return r.Received().Subtract(r.Instance.Executed).Intersect(unsendable(source))
}

// idle says that the applier of s was stopped by somebody, and has something to apply. On MariaDB the start of a thread
// throws the relay logs away while the other thread stands still, too.
func idle(s *topology.Server) bool {
	return !s.Instance.Executed.Contains(s.Received()) && slices.ContainsFunc(s.Instance.Channels,
		func(c topology.Channel) bool { return c.SQL == topology.Stopped && c.SQLErrno == 0 })
}

// stopReceiver is the step that stops a receiver; first the one that starts the applier, where that could not be
// started any more afterwards.
func (v *view) stopReceiver(r *topology.Server, source topology.Key, why string) Step {
	expect := Expect{UUID: r.Instance.UUID, Source: source}
	if r.Instance.Flavor == topology.MariaDB && idle(r) {
		return Step{Kind: StartApplier, At: r.Key, From: source, Expect: expect,
			Why: "its applier is stopped: were its receiver stopped, too, MariaDB would throw away what it received"}
	}
	return Step{Kind: StopReceiver, At: r.Key, From: source, Expect: expect, Why: why}
}

// withholds says why donor can't give cand what that lacks of the set; "" when it can.
func (v *view) withholds(donor, cand *topology.Server, set gtid.Set, e Episode) string {
	i, lacks := donor.Instance, set.Subtract(cand.Received())
	if left := lacks.Subtract(i.Executed); !left.Empty() {
		if why := stuck(donor); why != "" {
			return why
		}
	}
	switch partial := v.partial(donor, e.Failed); {
	case donor.Address().IsZero():
		return "no name is known that leads to it and to no other server"
	case donor.MultiSource():
		return "it has several sources"
	case writable(donor) && donor.Key != e.Candidate:
		return "it takes writes itself, which would come along"
	case !i.LogBin || !i.LogReplicaUpdates:
		return "it has no binary log of them"
	case i.BinlogFilters && !v.Policy.AllowFilters:
		return "it logs only a part of its databases"
	case partial != "":
		return partial
	case v.finding(donor.Key, analysis.ErrantGTID) != nil && !v.Policy.AllowErrant:
		return "it has errant transactions, which would come along; allow_errant is false"
	}
	if why := cmp.Or(alike(cand, donor), analysis.CantFollow(cand.Instance, donor.Instance)); why != "" {
		return why
	}
	if lost := lacks.Intersect(unsendable(donor)); !lost.Empty() {
		return fmt.Sprintf("it has purged %s from its binary logs", lost.Text())
	}
	switch c := cand.ChannelFrom(donor.Key); {
	case c != nil && c.IO == topology.Stopped && c.IOErrno != 0 && !topology.ConnectionError(c.IOErrno):
		return fmt.Sprintf("%v followed it, and its receiver stopped with error %d", cand.Key, c.IOErrno)
	case e.unreached(cand.Key, donor.Key) && (c == nil || c.IO != topology.Running):
		return v.unconnected(cand, donor)
	}
	return ""
}

// diverged says that two replicas have different transactions with one number, as MariaDB has when two servers wrote in
// one domain: then no position contains the other, whatever the numbers are. "" where there is none.
func (v *view) diverged(c choice, e Episode) string {
	for _, s := range c.donors {
		if s.Instance.Flavor != topology.MariaDB || v.partial(s, e.Failed) != "" {
			continue
		}
		if left := v.passedOn(s, e).Subtract(c.need); !left.Empty() {
			return fmt.Sprintf("%s would be thrown away: %v has %s, and another replica has a transaction of another "+
				"server with that number, so none has all; allow_received_loss is false",
				count(left.Count(), "received transaction"), s.Key, left.Text())
		}
	}
	return ""
}

// unconnected tells of a candidate that has not connected to its donor in time, and what a person can do.
func (v *view) unconnected(cand, donor *topology.Server) string {
	why := ""
	if c := cand.ChannelFrom(donor.Key); c != nil && c.IOErrno != 0 {
		why = ": " + failed(c.IOErrno, c.IOError)
	}
	return fmt.Sprintf("%v has not connected to it within %s%s; to go on, have %v replicate from %v", cand.Key,
		v.Policy.DrainTimeout, why, cand.Key, donor.Key)
}

// stuck says why s will not apply what it has received; "" when it does, or needs only to be started.
func stuck(s *topology.Server) string {
	if why := broken(s); why != "" {
		return "its applier stopped with " + why
	}
	for _, c := range s.Instance.Channels {
		if c.Delay > 0 {
			return fmt.Sprintf("it is delayed by %s, and has not applied them; %s", seconds(c.Delay), liftDelay(s, c))
		}
		if s.Instance.Flavor == topology.MariaDB && idle(s) && c.IO == topology.Stopped {
			return "both its threads are stopped, and MariaDB throws away what it has received when it starts one: " +
				keepRelayLogs
		}
	}
	return ""
}

// keepRelayLogs is how a person has MariaDB apply its relay logs although both threads are stopped.
const keepRelayLogs = "to have it apply them: CHANGE MASTER TO RELAY_LOG_FILE = …, RELAY_LOG_POS = … as SHOW SLAVE " +
	"STATUS has them, START SLAVE SQL_THREAD; at the end STOP SLAVE, CHANGE MASTER TO MASTER_USE_GTID = slave_pos, " +
	"START SLAVE"

// liftDelay is how a person ends a delay, so that s applies what it has received. Both flavours throw relay logs away
// where the delay is changed while both threads stand still.
func liftDelay(s *topology.Server, c topology.Channel) string {
	if s.Instance.Flavor == topology.MariaDB {
		return "to apply them now: STOP SLAVE, CHANGE MASTER TO MASTER_DELAY = 0, RELAY_LOG_FILE = …, " +
			"RELAY_LOG_POS = … as SHOW SLAVE STATUS has them (else it throws them away), START SLAVE SQL_THREAD; at " +
			"the end STOP SLAVE, CHANGE MASTER TO MASTER_USE_GTID = slave_pos, START SLAVE"
	}
	start := ""
	if c.IO == topology.Stopped {
		start = "START REPLICA IO_THREAD (else it throws them away), "
	}
	return fmt.Sprintf("to apply them now: %sSTOP REPLICA SQL_THREAD, CHANGE REPLICATION SOURCE TO SOURCE_DELAY = 0, "+
		"START REPLICA SQL_THREAD", start)
}

// tree are all servers that follow failed, directly or through others, whether they can be reached or not.
func (v *view) tree(failed topology.Key) []*topology.Server {
	if t, ok := v.trees[failed]; ok {
		return t.servers
	}
	seen := map[topology.Key]bool{failed: true}
	var out []*topology.Server
	for todo := slices.Clone(v.replicas[failed]); len(todo) > 0; todo = todo[1:] {
		if s := todo[0]; !seen[s.Key] {
			seen[s.Key] = true
			out = append(out, s)
			todo = append(todo, v.replicas[s.Key]...)
		}
	}
	delete(seen, failed)
	v.trees[failed] = tree{slices.Clip(out), seen}
	return out
}

// tree is what tree has found once.
type tree struct {
	servers []*topology.Server
	in      map[topology.Key]bool
}

// between is the server that s follows in place of the failed one; zero where s follows that, nobody, or several.
func (v *view) between(s *topology.Server, e Episode) topology.Key {
	c := s.Channel()
	if c == nil || c.Source == e.Failed || c.Source == e.Donor {
		return topology.Key{}
	}
	if v.tree(e.Failed); !v.trees[e.Failed].in[c.Source] {
		return topology.Key{}
	}
	return c.Source
}

// ahead compares places in the binary log of one source: -1, 0 or 1; ok is false where they can't be compared.
func ahead(a, b *topology.Channel) (n int, ok bool) {
	x, i, okA := logNumber(a.ReadFile)
	y, j, okB := logNumber(b.ReadFile)
	if !okA || !okB || x != y || a.SourceUUID != "" && b.SourceUUID != "" && a.SourceUUID != b.SourceUUID {
		return 0, false
	}
	switch {
	case i != j:
		return sign(i > j), true
	case a.ReadPos != b.ReadPos:
		return sign(a.ReadPos > b.ReadPos), true
	}
	return 0, true
}

func sign(more bool) int {
	if more {
		return 1
	}
	return -1
}

// logNumber splits the name of a binary log, such as binlog.000012.
func logNumber(file string) (name string, n uint64, ok bool) {
	i := strings.LastIndexByte(file, '.')
	if i < 0 {
		return "", 0, false
	}
	_, err := fmt.Sscanf(file[i+1:], "%d", &n)
	return file[:i], n, err == nil
}

// notCompared are the reasons of incomparable, where they forbid a promotion.
func (v *view) notCompared(e Episode, need gtid.Set) (why []string) {
	if v.Policy.AllowReceivedLoss || v.fetches(e) {
		return nil
	}
	for _, one := range v.incomparable(e, need) {
		why = append(why, one+"; allow_received_loss is false, else it would be left behind")
	}
	return why
}

// fetches says that the candidate was compared when it was chosen, and follows another replica now to fetch what it
// lacks: it shows no coordinates any more.
func (v *view) fetches(e Episode) bool {
	s := v.up(e.Candidate)
	return s != nil && !e.Donor.IsZero() && s.ChannelFrom(e.Donor) != nil
}

// incomparable are the replicas without GTID that may have received what no other has, each with the reason. need is
// what a new primary must have.
func (v *view) incomparable(e Episode, need gtid.Set) (why []string) {
	for _, r := range v.followers[e.Failed] {
		if !r.ChannelFrom(e.Failed).AutoPosition && !r.MultiSource() && v.partial(r, e.Failed) == "" {
			if one := v.unshown(r, e, need); one != "" {
				why = append(why, one)
			}
		}
	}
	return why
}

// unshown says why a replica without GTID may have received what no other has; "" when its coordinates show that one
// that replicates by GTID from the same source has received as much. One that has fallen silent since shows it where
// all that it had is needed. Nothing is shown where the source was emptied since: its binary log is another one now.
func (v *view) unshown(r *topology.Server, e Episode, need gtid.Set) string {
	c := r.ChannelFrom(e.Failed)
	if i := v.servers[e.Failed].Instance; i != nil && i.Executed.Empty() && !need.Empty() {
		return fmt.Sprintf("%v does not replicate by GTID, and %v was emptied since: its binary log is another one "+
			"now, so what %v has received can't be compared", r.Key, e.Failed, r.Key)
	}
	for _, o := range v.replicas[e.Failed] {
		with := o.ChannelFrom(e.Failed)
		if !with.AutoPosition || v.partial(o, e.Failed) != "" || !o.Up() && !need.Contains(o.Received()) {
			continue
		}
		if n, ok := ahead(with, c); ok && n >= 0 {
			return ""
		}
	}
	if c.ReadFile == "" {
		return fmt.Sprintf(
			"%v does not replicate by GTID: without it, what it has received can't be known for certain", r.Key)
	}
	return fmt.Sprintf("%v does not replicate by GTID, and has received up to %s:%d of %v: "+
		"no replica with GTID is shown to have as much", r.Key, c.ReadFile, c.ReadPos, e.Failed)
}
