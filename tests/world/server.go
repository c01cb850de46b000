package world

import (
	"fmt"

	"orchestrator/daemon/topology"
)

// writers is how many server identities a world may have: a server that comes back with another UUID takes the next.
const writers = 12

// Set counts, by the number of the identity that wrote them, the transactions that a server has: always 1 to n, as
// replication is in order.
type Set [writers]int

// Has says whether every transaction of o is in s.
func (s Set) Has(o Set) bool {
	for i := range s {
		if s[i] < o[i] {
			return false
		}
	}
	return true
}

// With is the union.
func (s Set) With(o Set) Set {
	for i := range s {
		s[i] = max(s[i], o[i])
	}
	return s
}

// common is what both have.
func (s Set) common(o Set) Set {
	for i := range s {
		s[i] = min(s[i], o[i])
	}
	return s
}

// count is the number of transactions: the place in a binary log that holds just these.
func (s Set) count() (n int) {
	for _, one := range s {
		n += one
	}
	return n
}

// Health of a server process.
type Health int

const (
	Alive Health = iota
	Dead         // killed: connections are refused
	Hung         // stopped: connections are silent
)

// Server is the truth about one server.
type Server struct {
	N      int
	Key    topology.Key
	Alias  topology.Key // another name of it; zero: it has none
	Health Health
	Booted int // tick of the last start
	Maria  bool
	Rule   topology.Rule
	// Writer is its identity: what it writes is counted there. A new data directory has a new one.
	Writer    int
	Log       int // number of its binary logs; a new data directory begins others
	ReadOnly  bool
	Shut      bool // its configuration says read_only, for its next start
	Scheduler bool // scheduled events write; on MariaDB also on a read-only server
	Opened    bool // by a step of ours
	Stray     bool // a scratch copy, or an emptied server: somebody writes to it, and nobody chose it
	Locked    int  // for so many ticks nobody can write to it, open it, close it, or change its source
	lockedAt  int

	level int // the tick at which all that it had received was applied last

	Executed   Set
	Received   Set // with what was executed
	Purged     Set // what its binary logs no longer have
	LogUpdates bool
	LogFilters bool // it logs a part of its databases only

	Source    int  // number of its source, -1 when it has none
	IO        bool // its receiver is started
	Connected bool // and has a connection
	IOErrno   int  // of the last connection that could not be made; a stopped IO thread keeps it
	SQL       bool
	SQLErrno  int
	LagTicks  int  // it applies nothing for so many ticks
	Delayed   bool // on purpose, by an hour
	Filters   bool // it leaves a part of the data out
	Detached  bool // its source's name is spoilt
	// Coordinates says that it replicates without GTID. What it has received is then a place in the binary logs with
	// the number Read.
	Coordinates bool
	Read        int
	ReadPos     int // how many transactions of them it has received, of those that its source then had
	// Spelt is the name by which it knows its source; zero: the source's key. It does nothing for a step that calls its
	// source otherwise.
	Spelt topology.Key
	Semi  SemiSync
}

// String tells what is odd about the server.
func (v *Server) String() string {
	out := fmt.Sprintf("%v follows %d", v.Key, v.Source+1)
	for _, odd := range []struct {
		is   bool
		says string
	}{{v.Maria, "MariaDB"}, {v.Rule != "", string(v.Rule)}, {v.Delayed, "delayed"}, {v.Coordinates, "no GTID"},
		{v.Filters, "filters"}, {v.LogFilters, "logs a part"}, {!v.LogUpdates, "no log updates"},
		{v.Scheduler, "events"}, {v.Stray, "a scratch copy"}, {v.Semi.Source, "waits"},
		{v.Semi.Replica, "acknowledges"}, {v.doubtful(), "its key is doubtful"}} {
		if odd.is {
			out += ", " + odd.says
		}
	}
	return out
}

// Writes says that something can write to the server: clients, or its own events.
func (v *Server) Writes() bool {
	return v.Health == Alive && v.Source < 0 && v.Locked == 0 && (!v.ReadOnly || v.Scheduler && v.Maria)
}

// Open says that it lives and takes the writes of clients, as a primary does.
func (v *Server) Open() bool { return v.Health == Alive && !v.ReadOnly && v.Source < 0 && !v.Stray }

// Applies says that what it receives is applied.
func (v *Server) Applies() bool {
	return v.SQL && v.SQLErrno == 0 && v.LagTicks == 0 && !v.Delayed && v.Locked == 0
}

// Discards says that the server throws its relay logs away when its source is changed.
func (v *Server) Discards() bool { return v.Maria || !v.SQL || v.SQLErrno != 0 }

// doubtful says that the key of the server has led to another one, too: only its other name is its own.
func (v *Server) doubtful() bool { return !v.Alias.IsZero() && v.N%3 == 2 }

// Unsure says that a name of the server leads to another one as well.
func (v *Server) Unsure(name topology.Key) bool { return v.doubtful() && name == v.Key }

func uuid(writer int) string { return uuids[writer] }

var uuids = func() (out [writers]string) {
	for i := range out {
		out[i] = fmt.Sprintf("00000000-0000-0000-0000-%012d", i+1)
	}
	return out
}()

// Return is how a server that was dead comes back.
type Return int

const (
	Same    Return = iota
	Renamed        // with its data and another UUID, as a copy has that lost its auto.cnf
	Emptied        // with an empty data directory, at the same address
)

// Start starts a dead server.
func (w *World) Start(v *Server, how Return) {
	if w.identities == writers {
		how = Same
	}
	w.Say("%v started, %s", v.Key, [...]string{"as it was", "with another UUID", "with an empty data directory"}[how])
	v.Health, v.Booted, v.Locked = Alive, w.Tick, 0
	v.Received = v.Executed.With(v.Received)
	if v.Shut {
		v.ReadOnly, v.Shut = true, false
	}
	if how == Same {
		v.revive()
		return
	}
	v.Writer = w.identities
	w.identities++
	if how == Emptied {
		v.Executed, v.Received, v.Purged = Set{}, Set{}, Set{}
		v.Log++
		v.Source, v.IO, v.SQL, v.SQLErrno, v.Detached = -1, false, false, 0, false
		v.ReadOnly = w.Rand.IntN(2) == 0
		v.Semi.Source = false
	}
	v.revive()
}

// revive starts the threads of a replica, as a server does when it starts.
func (v *Server) revive() {
	if v.Source >= 0 {
		v.IO, v.SQL = true, true
	}
}
