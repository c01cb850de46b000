// Package world is a fleet on paper that obeys, loses and half-obeys: servers die, hang, return and are cut off; steps
// are done, lost, or done by half. It plays the part of both the servers and the network for the simulation.
//
// It is no model of MySQL: only of what decisions rest on, which is who has which transactions, who is connected to
// whom, and who takes writes. Time is counted in ticks by the caller; the same seed gives the same world.
package world

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// Set counts, by the number of the server that wrote them, the transactions that a server has: always 1 to n, as
// replication is in order.
type Set [8]int

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

// Health of a server process.
type Health int

const (
	Alive Health = iota
	Dead         // killed: connections are refused
	Hung         // stopped: connections are silent
)

// Server is the truth about one server.
type Server struct {
	N          int
	Key        topology.Key
	Health     Health
	ReadOnly   bool
	Executed   Set
	Received   Set // with what was executed
	Source     int // number of its source, -1 when it has none
	IO         bool
	Connected  bool // the IO thread has a connection
	IOErrno    int  // of the last connection that could not be made; a stopped IO thread keeps it
	SQL        bool
	SQLErrno   int
	Rule       topology.Rule
	LogUpdates bool
	Filters    bool // it leaves a part of the data out
	Purged     Set  // what its binary logs no longer have
	Maria      bool
	LagTicks   int  // it applies nothing for so many ticks
	Opened     bool // by a step of ours
	Detached   bool // its source's name is spoilt
	Booted     int  // tick of the last start
	Stray      bool // a scratch copy: it left its source long ago, and somebody writes to it
	// Spelt is the name by which it knows its source; zero: the source's key. It does nothing for a step that calls its
	// source otherwise.
	Spelt topology.Key
}

// World is the truth about a cluster and its network.
type World struct {
	Rand    *rand.Rand
	Tick    int
	Servers []*Server
	// Cut holds the pairs that can't reach each other; daemons have the numbers -1, -2, …
	Cut map[[2]int]bool
	// Daemon is the number of the one that asks and acts now; each remembers what it heard itself.
	Daemon   int
	SemiSync bool
	Acked    Set // what a client was told to be committed
	Log      []string
	probes   map[int][]topology.Server // what each daemon last heard
}

// Step of time.
const Step = 50 * time.Millisecond

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Now is the time of the present tick.
func (w *World) Now() time.Time { return epoch.Add(time.Duration(w.Tick) * Step) }

// New makes a primary (number 0) with replicas, some of them below others.
func New(seed uint64) *World { return grow(seed, 4) }

// NewTree makes one in which most replicas have others below them or above them; there is always an intermediate
// source, and a direct replica besides.
func NewTree(seed uint64) *World { return grow(seed, 1) }

// grow makes a world of which one server in so many, from the third on, is below another replica.
func grow(seed uint64, tier int) *World {
	r := rand.New(rand.NewPCG(seed, 1))
	w := &World{Rand: r, Cut: map[[2]int]bool{}, Daemon: -1, probes: map[int][]topology.Server{},
		SemiSync: r.IntN(2) == 0}
	maria := r.IntN(2) == 0
	n := 2 + r.IntN(5)
	if tier == 1 {
		n = 4 + r.IntN(4)
	}
	for i := range n {
		v := &Server{N: i, Key: topology.Key{Host: fmt.Sprintf("db%d", i+1), Port: 3306}, Source: 0, IO: true,
			SQL: true, Connected: true, ReadOnly: true, LogUpdates: r.IntN(12) > 0, Maria: maria}
		switch {
		case i == 0:
			v.Source, v.IO, v.SQL, v.Connected, v.ReadOnly, v.LogUpdates = -1, false, false, false, false, true
		case tier == 1 && i == 2, tier == 1 && i > 3 && r.IntN(2) == 0, tier > 1 && i > 1 && r.IntN(tier) == 0:
			if s := w.Servers[1+r.IntN(i-1)]; s.LogUpdates || i == 2 {
				v.Source, s.LogUpdates = s.N, true // a second tier, or a third
			}
		}
		v.Filters = i > 0 && r.IntN(20) == 0
		switch r.IntN(12) {
		case 0:
			v.Rule = topology.Prefer
		case 1:
			v.Rule = topology.PreferNot
		case 2:
			v.Rule = topology.MustNot
		}
		if v.Source >= 0 && r.IntN(4) == 0 {
			v.Spelt = topology.Key{Host: "name-of-" + w.Servers[v.Source].Key.Host, Port: 3306}
		}
		w.Servers = append(w.Servers, v)
		w.probes[-1] = append(w.probes[-1], topology.Server{Key: v.Key, Cluster: "c", Rule: v.Rule})
	}
	for range 20 {
		w.Advance()
	}
	if n > 3 && r.IntN(6) == 0 {
		w.stray(w.Servers[n-1])
	}
	w.ProbeAll()
	return w
}

// stray makes a replica a scratch copy, before any daemon has looked.
func (w *World) stray(v *Server) {
	v.Stray, v.Source, v.IO, v.SQL, v.Connected, v.ReadOnly = true, -1, false, false, false, false
	for range 5 {
		w.Advance()
	}
}

// Say keeps a line for whoever has to understand a failing run.
func (w *World) Say(format string, args ...any) {
	w.Log = append(w.Log, fmt.Sprintf("%5d ", w.Tick)+fmt.Sprintf(format, args...))
}

// Reaches says whether a can talk to b; daemons are -1, -2, …
func (w *World) Reaches(a, b int) bool { return !w.Cut[[2]int{a, b}] && !w.Cut[[2]int{b, a}] }

// Advance lets one tick pass: clients write, replicas receive and apply.
func (w *World) Advance() {
	w.Tick++
	for _, v := range w.Servers {
		w.connect(v)
	}
	for _, v := range w.Servers {
		if v.Health == Alive && !v.ReadOnly && v.Source < 0 && w.Tick-v.Booted > 2 {
			v.Executed[v.N] += 1 + w.Rand.IntN(3)
			v.Received = v.Received.With(v.Executed)
		}
	}
	for _, v := range w.Servers {
		if v.Health != Alive || !v.Connected || w.Rand.IntN(6) == 0 {
			continue
		}
		if !v.Received.Has(w.Servers[v.Source].Purged) { // error 1236
			v.IO, v.Connected, v.IOErrno = false, false, Purged
			continue
		}
		have := w.Servers[v.Source].Executed
		if w.Rand.IntN(3) == 0 { // the last of it is still under way
			have[v.Source] = max(v.Received[v.Source], have[v.Source]-w.Rand.IntN(3))
		}
		v.Received = v.Received.With(have)
	}
	for _, v := range w.Servers {
		if v.Health != Alive {
			continue
		}
		if v.LagTicks > 0 {
			v.LagTicks--
		} else if v.SQL && v.SQLErrno == 0 {
			v.Executed = v.Received
		}
	}
	w.acknowledge()
}

// acknowledge tells clients what is committed: at once, or with semi-sync when a replica has it. What one acknowledges
// that filters is worth nothing.
func (w *World) acknowledge() {
	for _, v := range w.Servers {
		if v.Health != Alive || v.ReadOnly || v.Source >= 0 {
			continue
		}
		if !w.SemiSync {
			continue
		}
		for _, r := range w.Servers {
			if r.Health == Alive && r.Source == v.N && r.Connected && !r.Filters {
				w.Acked[v.N] = max(w.Acked[v.N], min(r.Received[v.N], v.Executed[v.N]))
			}
		}
	}
}

// Purged is the error of a receiver whose source no longer has what it asks for.
const Purged = 1236

// Discards says that the server throws its relay logs away when its source is changed.
func (v *Server) Discards() bool { return v.Maria || !v.SQL || v.SQLErrno != 0 }

// Purge has a server delete all its binary logs but the one that it begins now.
func (w *World) Purge(v *Server) {
	w.Say("%v purges its logs", v.Key)
	v.Purged = v.Executed
}

// connect settles whether the IO thread of v has a connection. One to a hung or cut-off source stays, as TCP does,
// until it is made anew.
func (w *World) connect(v *Server) {
	if v.Health != Alive || !v.IO || v.Source < 0 || v.Detached {
		v.Connected = false
		return
	}
	s := w.Servers[v.Source]
	if s.Health == Dead {
		v.Connected, v.IOErrno = false, 2003
	} else if s.Health == Alive && w.Reaches(v.N, s.N) {
		v.Connected, v.IOErrno = true, 0
	}
}

// view is what the daemon last heard; another one begins with what the first knew of the servers.
func (w *World) view() []topology.Server {
	if w.probes[w.Daemon] == nil {
		w.probes[w.Daemon] = slices.Clone(w.probes[-1])
	}
	return w.probes[w.Daemon]
}

// ProbeAll has the daemon ask every server.
func (w *World) ProbeAll() {
	for _, v := range w.Servers {
		w.Probe(v.N)
	}
}

// Probe has the daemon ask one server.
func (w *World) Probe(n int) {
	v, p := w.Servers[n], &w.view()[n]
	p.Probe.Asked = w.Now()
	fail := topology.OK
	switch {
	case !w.Reaches(w.Daemon, n), v.Health == Hung:
		fail = topology.Timeout
	case v.Health == Dead:
		fail = topology.Refused
	}
	if fail != topology.OK {
		if p.Probe.Failure == topology.OK {
			p.Probe.FailingSince, p.Probe.Failures = w.Now(), 0
		}
		p.Probe.Failure = fail
		p.Probe.Failures++
		return
	}
	p.Probe = topology.Probe{Asked: w.Now(), Answered: w.Now()}
	old := p.Instance
	switch p.Instance = w.instance(v); {
	case v.Source >= 0:
		p.Left = nil
	case old != nil && len(old.Channels) > 0:
		p.Left = &topology.Departure{From: old.Channels[0].Source.Attached(), Seen: w.Now()}
	}
}

func uuid(n int) string { return fmt.Sprintf("00000000-0000-0000-0000-%012d", n+1) }

// GTIDs writes a set as the servers would; MariaDB's are told in one domain a writer, which keeps the order of each.
func GTIDs(s Set) gtid.Set {
	var parts []string
	for i, n := range s {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s:1-%d", uuid(i), n))
		}
	}
	return gtid.MustParse(strings.Join(parts, ","))
}

func (w *World) instance(v *Server) *topology.Instance {
	i := &topology.Instance{UUID: uuid(v.N), ServerID: uint32(v.N + 1), Flavor: topology.MySQL,
		Version: topology.Version{Major: 8, Minor: 4}, ReadOnly: v.ReadOnly, SuperReadOnly: v.ReadOnly,
		LogBin: true, LogReplicaUpdates: v.LogUpdates, GTID: true, Executed: GTIDs(v.Executed),
		Purged: GTIDs(v.Purged)}
	if v.Maria {
		i.Flavor, i.Version = topology.MariaDB, topology.Version{Major: 10, Minor: 11}
	}
	if v.Source < 0 {
		return i
	}
	c := topology.Channel{Source: w.Servers[v.Source].Key, SourceUUID: uuid(v.Source), AutoPosition: true,
		Received: GTIDs(v.Received), SQLErrno: v.SQLErrno,
		Filters: v.Filters, IO: topology.Stopped, SQL: topology.Stopped}
	c.Spelt = v.Spelt
	if v.Detached {
		c.Source.Host, c.SourceUUID = "//"+c.Source.Host, ""
		if !c.Spelt.IsZero() {
			c.Spelt = c.Spelt.Detach()
		}
	}
	switch {
	case v.Connected:
		c.IO = topology.Running
	case v.IO:
		c.IO = topology.Connecting
	}
	c.IOErrno = v.IOErrno
	if v.SQL && v.SQLErrno == 0 {
		c.SQL = topology.Running
	}
	i.Channels = []topology.Channel{c}
	return i
}

// Snapshot is what the daemon knows.
func (w *World) Snapshot() topology.Snapshot {
	return topology.Snapshot{At: w.Now(), Servers: slices.Clone(w.view())}
}

// Find returns the server behind a key, or nil.
func (w *World) Find(k topology.Key) *Server {
	for _, v := range w.Servers {
		if v.Key == k {
			return v
		}
	}
	return nil
}

// Do tries a step. half, between 0 and 1, is how much of it is done before whoever does it dies; 1 is all.
func (w *World) Do(step plan.Step, half float64) error {
	if err := step.Check(); err != nil {
		panic(err)
	}
	v := w.Find(step.At)
	if v == nil || v.Health != Alive || !w.Reaches(w.Daemon, v.N) {
		return fmt.Errorf("%v: out of reach", step.At)
	}
	if err := w.expect(v, step.Expect); err != nil {
		return err
	}
	if !step.From.IsZero() && v.Source >= 0 && w.written(v) != step.From {
		return nil // no channel has that source
	}
	parts := w.parts(v, step)
	for i, part := range parts {
		if float64(i) >= half*float64(len(parts)) {
			w.Say("%s at %v: killed after part %d of %d", step.Kind, step.At, i, len(parts))
			return fmt.Errorf("killed in the middle")
		}
		part()
	}
	w.connect(v)
	w.Say("%s at %v %v", step.Kind, step.At, step.Source)
	return nil
}

// written is the source of v as v itself writes it.
func (w *World) written(v *Server) topology.Key {
	if !v.Spelt.IsZero() {
		return v.Spelt
	}
	return w.Servers[v.Source].Key
}

func (w *World) expect(v *Server, e plan.Expect) error {
	have := w.instance(v)
	switch {
	case e.UUID != "" && e.UUID != have.UUID:
		return fmt.Errorf("%v is another server", v.Key)
	case !have.Executed.Contains(e.Executed):
		return fmt.Errorf("%v lacks transactions", v.Key)
	case !e.Within.Empty() && !e.Within.Contains(GTIDs(v.Received)):
		return fmt.Errorf("%v received more", v.Key)
	case v.Discards() && !have.Executed.Contains(e.Kept):
		return fmt.Errorf("%v would lose its relay logs", v.Key)
	case !e.NotFrom.IsZero() && v.Source >= 0 && w.written(v) == e.NotFrom && v.Connected:
		return fmt.Errorf("%v receives from %v", v.Key, e.NotFrom)
	case !e.Source.IsZero() && v.Source >= 0 && w.written(v) != e.Source:
		return fmt.Errorf("%v has another source", v.Key)
	}
	return nil
}

// parts are the statements of a step, in order.
func (w *World) parts(v *Server, step plan.Step) []func() {
	stop := func() { v.IO, v.Connected = false, false }
	start := func() { v.IO = true; w.connect(v) }
	switch step.Kind {
	case plan.RestartReceiver:
		return []func(){stop, start}
	case plan.StopReceiver:
		return []func(){stop}
	case plan.StartReceiver:
		return []func(){start}
	case plan.StartApplier:
		return []func(){func() { v.SQL = true }}
	case plan.AwaitApplied:
		return []func(){func() {
			if v.SQL && v.SQLErrno == 0 && v.LagTicks == 0 {
				v.Executed = v.Received
			}
		}}
	case plan.Promote:
		return []func(){
			func() { stop(); v.SQL = false },
			func() { v.Source, v.Received = -1, v.Executed },
			func() { v.ReadOnly, v.Opened = false, true },
		}
	case plan.Repoint:
		repoint := func() {
			v.Source, v.Detached, v.Spelt = w.Find(step.Source).N, false, topology.Key{}
			if v.Discards() {
				v.Received = v.Executed
			}
		}
		return []func(){stop, repoint, start}
	case plan.Fence:
		return []func(){func() { v.ReadOnly, v.Opened = true, false }}
	case plan.Detach:
		return []func(){stop, func() {
			if v.Executed.Has(v.Received) {
				v.SQL, v.Detached = false, true
			}
		}}
	}
	panic("unknown step " + step.Kind)
}
