// Package discovery decides whom to probe when, finds the neighbours of whoever answers, and keeps the fleet in memory.
//
// It talks to no server itself (see daemon/mysql, which is its Prober), judges nothing (see analysis) and stores
// nothing (see Dirty and Restore). The one idea: one queue of servers ordered by when they are due; a poll, a
// suspicion, a look on request and a socket that closed differ only in what they write into that queue, so that one
// bound on probes holds for all of them.
//
// Where to look: members (which servers there are, under which keys); schedule, greeting and watchdog (when one is
// asked, and what if that does not end); answer and change (what an answer changes); identity, names and links (who
// is who, and replicates from whom); strangers, confirm and gate (who is believed, and asked at all); cluster, snapshot
// and subscribe (what readers see, and when); remember and recall (what is stored); request (what others ask for).
package discovery

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"orchestrator/daemon/topology"
)

// Fleet is all that is known of the servers.
type Fleet struct {
	prober  Prober
	o       Options
	metrics *metrics
	wake    chan struct{} // tells the loop that something became due before its timer
	over    chan struct{} // closed when Run has ended
	wg      sync.WaitGroup

	mu       sync.Mutex
	after    []func()        // run by unlock, out of the lock: logging, and calls of the prober that may block
	ctx      context.Context // of Run; nil before it and after it
	began    bool
	servers  map[topology.Key]*server
	aliases  map[topology.Key]topology.Key // other names of servers, to the key in servers
	buried   map[topology.Key]topology.Key // names of forgotten servers, to the key under which they were forgotten
	close    map[topology.Key]int          // servers that StayClose named, and for how many clusters
	closeOf  map[string][]topology.Key     // what StayClose was last told, by cluster
	found    int                           // servers found so far
	strange  int                           // servers that are strangers
	waiting  []*server                     // with registrations that there was no room for
	queue    queue
	alarm    time.Time // for when the timer of the loop is set
	flights  uint64    // probes started so far
	inflight int
	flying   map[uint64]flight // the probes under way, by number
	stuck    int               // of those that were given up, how many have not ended
	watched  time.Time         // when the watchdog last looked
	idle     []chan job        // of the goroutines that wait for a probe to make

	greetings greetings

	// Who replicates from whom, under canonical keys, and what could change that: see links.go.
	replicas map[topology.Key][]*server
	refs     map[ref][]*server
	byUUID   map[string][]*server
	byID     map[uint32][]*server
	clones   map[[2]topology.Key]bool // pairs with one UUID that are two servers, once logged
	names    names
	tried    map[topology.Key]time.Time // canonical keys that were tried in vain, not to be tried before

	// Clusters, and who is to hear of them: see cluster.go and subscribe.go.
	clusters      map[string]*cluster
	clusterNames  []string             // sorted; nil: to be made again
	unnamed       map[*server]struct{} // whose cluster may have another name by now
	revisions     uint64               // the highest that was given
	aliasEdition  uint64               // rises with each change of aliases
	declared      uint64               // the edition of the declarations that subscribers were told of
	news          map[string]struct{}  // clusters that are to be entered on the lists of subscribers
	subscriptions map[*Subscription]struct{}

	touched   map[*server]struct{} // something storable may have changed
	confirmed []topology.Confirmation
}

// server is what the fleet keeps of one server; everything in it belongs to Fleet.mu.
type server struct {
	key      topology.Key
	hash     uint64 // of key: spreads servers over intervals
	order    int    // in which it was found
	seed     bool   // named by the configuration or by a person
	restored bool
	// trial marks a key that was made up from what a server says of itself: it counts only once it answers as that
	// server.
	trial bool
	// sought is whom a trial was made up for, by UUID: a server that lost its name to another one. It stays if it is.
	sought   string
	id       uint32 // server id, as it is in Fleet.byID
	probe    topology.Probe
	instance *topology.Instance // never changed once it is set, only replaced: readers share it
	names    []topology.Key     // sorted; never changed, only replaced
	sources  []topology.Key     // canonical, a channel each; never changed, only replaced
	refs     []ref
	name     string    // of its cluster; sticky; "" while it never had any
	cluster  *cluster  // nil while it is in none: just found, or a trial
	settled  time.Time // when the last probe was begun that note took notice of
	left     *topology.Departure
	readAt   time.Time // end of the last probe that was answered
	acquaintance

	due     time.Time // zero: at once
	index   int       // in the queue; -1: not in it
	flight  uint64    // number of the probe under way; 0: none
	again   bool      // wanted once more when that ends
	met     bool      // has answered this process
	held    bool      // waits for its first probe, see greetings
	waiters []waiter

	unwatch context.CancelFunc // nil while not watched
	revived chan struct{}      // tells the watcher that the server answers again

	stored *topology.Server // as Dirty returned it last
}

// waiter wants the end of a probe that began after that number of probes.
type waiter struct {
	after uint64
	done  chan struct{}
}

func (s *server) failing() bool { return s.probe.Failure != topology.OK }

func (s *server) up() bool { return !s.failing() && !s.probe.Answered.IsZero() && s.instance != nil }

// New makes a Fleet that knows the seeds; nothing is asked before Run.
func New(p Prober, o Options) *Fleet {
	o = o.withDefaults()
	f := &Fleet{
		prober: p, o: o, greetings: greetings{room: fewest, most: max(fewest, 2*o.Concurrency)},
		wake: make(chan struct{}, 1), over: make(chan struct{}),
		flying:  map[uint64]flight{},
		servers: map[topology.Key]*server{}, aliases: map[topology.Key]topology.Key{},
		buried: map[topology.Key]topology.Key{},
		close:  map[topology.Key]int{}, closeOf: map[string][]topology.Key{},
		replicas: map[topology.Key][]*server{}, refs: map[ref][]*server{},
		byUUID: map[string][]*server{},
		byID:   map[uint32][]*server{}, clones: map[[2]topology.Key]bool{},
		tried:    map[topology.Key]time.Time{},
		names:    newNames(),
		clusters: map[string]*cluster{}, unnamed: map[*server]struct{}{}, news: map[string]struct{}{},
		subscriptions: map[*Subscription]struct{}{}, touched: map[*server]struct{}{},
	}
	f.metrics = newMetrics(o.Registerer, f)
	f.mu.Lock()
	defer f.unlock()
	for _, k := range o.Seeds {
		if s := f.add(k, "seed"); s != nil {
			s.seed = true
		}
	}
	return f
}

// unlock lets go of the lock, then does what must not be done while holding it.
func (f *Fleet) unlock() {
	after := f.after
	f.after = nil
	f.mu.Unlock()
	for _, do := range after {
		do()
	}
}

func (f *Fleet) log(level slog.Level, event string, args ...any) {
	f.after = append(f.after, func() { f.o.Logger.Log(context.Background(), level, event, args...) })
}

// Run probes until ctx ends, and waits for all that it started. It can be called once.
func (f *Fleet) Run(ctx context.Context) error {
	f.mu.Lock()
	if f.began {
		f.unlock()
		return errors.New("run discovery: it runs or has ended already; make a new one")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.began, f.ctx = true, ctx
	f.unlock()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(f.turn())
		f.o.Turned()
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-f.wake:
		}
	}
	f.mu.Lock()
	f.ctx = nil // nothing is started from here on
	f.unlock()
	f.wg.Wait()
	close(f.over)
	return nil
}

// idle is how long the loop sleeps when nothing is due: it turns now and then all the same, so that it can be told
// from one that hangs.
const idle = 5 * time.Second

// turn starts what is due, and says how long nothing else will be.
func (f *Fleet) turn() time.Duration {
	f.mu.Lock()
	defer f.unlock()
	now := time.Now()
	f.declare()
	f.giveUp(now)
	f.launch(now)
	f.alarm = now.Add(idle)
	if len(f.queue) > 0 && f.queue[0].due.After(now) && f.queue[0].due.Before(f.alarm) {
		f.alarm = f.queue[0].due
	}
	return f.alarm.Sub(now)
}
