package analysis

import (
	"slices"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// errant are the transactions that a replica has and that no way of replication can have brought it; none where that
// can't be known. Servers are asked one after the other, so a replica may well have what its source had
// not yet when that was asked: what a server above it wrote is never errant.
func (v *view) errant() (none gtid.Set) {
	if !v.Up() || len(v.sources) == 0 {
		return none
	}
	above := v.f.above(v.Server)
	if above[v.Key] != nil { // it stands in a circle: its writes are meant to be
		return none
	}
	var have gtid.Set // what its sources had
	for _, s := range v.sources {
		if s.Instance == nil {
			return none
		}
		have = have.Union(s.Received())
	}
	if len(v.sources) < len(v.Instance.Channels) {
		return none // a source that we don't know may have brought anything
	}
	if v.Instance.Flavor == topology.MariaDB {
		return v.errantMaria(have)
	}
	left := v.Instance.Executed.Subtract(have)
	if left.Empty() { // as nearly always
		return none
	}
	for _, s := range v.sources {
		left = left.Subtract(v.f.lacked(s)) // the source was emptied: see SourceLacksTransactions
	}
	// or somebody above receives from servers that we don't know, whose writes are unknown to us by name
	outside := v.askedFirst()
	for _, s := range above {
		if s.Instance == nil || len(v.f.sourcesOf(s)) < len(s.Instance.Channels) {
			outside = true
		}
		if s.Instance != nil {
			left = left.Subtract(left.From(s.Instance.UUID))
		}
	}
	left = left.Subtract(v.f.wroteByRecord(v.Server, left))
	if outside {
		left = left.From(v.Instance.UUID)
	}
	return left
}

// wroteByRecord is what of a set the server wrote that was promoted last: those above s may have been moved under it
// after they answered last.
func (f *fleet) wroteByRecord(s *topology.Server, set gtid.Set) (none gtid.Set) {
	k := f.promoted[s.Cluster]
	if p := f.servers[k]; k != s.Key && p != nil && p.Instance != nil {
		return set.From(p.Instance.UUID)
	}
	return none
}

// askedFirst says that a source was asked before this server and was receiving then: it may have got since what it
// seems to lack. Only what this server wrote itself it can't have got.
func (v *view) askedFirst() bool {
	return slices.ContainsFunc(v.sources, func(s *topology.Server) bool {
		return s.Receiving() && s.Probe.Answered.Before(v.Probe.Answered)
	})
}

// errantMaria looks for local writes: MariaDB names the last writer of each domain, and nobody but the replica writes
// under its own id. A local write has a higher number than all that the replica has received, unless its source has
// gone past it since: that is seen only where the source's log shows that it lacks it, because it may as well date from
// when this server was the primary.
func (v *view) errantMaria(have gtid.Set) gtid.Set {
	left := v.Instance.BinlogWritten.Subtract(have).Union(v.beyondReceived(have))
	for _, s := range v.sources {
		left = left.Union(s.Instance.ShownToLack(v.Instance.BinlogWritten))
	}
	return left.LastBy(v.Instance.ServerID)
}

// beyondReceived is what the replica has logged with higher numbers than all that it has received, where its sources
// have gone on with transactions of other writers.
func (v *view) beyondReceived(have gtid.Set) (left gtid.Set) {
	var received gtid.Set
	for _, c := range v.Instance.Channels {
		if !c.AutoPosition || c.Received.Empty() {
			return gtid.Set{} // what it has received is not known
		}
		received = received.Union(c.Received)
	}
	left = v.Instance.BinlogWritten.Subtract(received)
	if left.Empty() { // as nearly always
		return left
	}
	theirs, ours := have.LastWriters(), left.LastWriters()
	same := false
	for domain, writer := range ours {
		same = same || theirs[domain] == writer
	}
	if same { // the last that its sources have is its own: it was the primary until a moment ago
		return gtid.Set{}
	}
	return left
}
