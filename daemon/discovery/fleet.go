// Package discovery decides whom to probe when, finds the neighbours of whoever answers, and keeps the fleet in memory.
//
// It talks to no server itself (see daemon/mysql, which is its Prober), judges nothing (see analysis) and stores
// nothing (see Dirty and Restore). The one idea: one queue of servers ordered by when they are due; a poll, a
// suspicion, a look on request and a socket that closed differ only in what they write into that queue, so that one
// bound on probes holds for all of them.
package discovery

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/daemon/topology"
)

// Prober asks servers. Probe returns within a deadline of its own; what it returns is the fleet's from then on. Watch
// blocks until an idle connection to the server is closed by the other side, and returns nil then; an error when it
// can't connect or ctx ends.
type Prober interface {
	Probe(ctx context.Context, k topology.Key) (topology.Instance, topology.Failure, error)
	Watch(ctx context.Context, k topology.Key) error
	Forget(k topology.Key)
}

// Options of a Fleet. The functions must not call the Fleet.
type Options struct {
	Seeds       []topology.Key
	Poll        time.Duration    // how often a server is asked, see Fleet.beat; 0 is 1 s
	MaxBackoff  time.Duration    // a dead server is asked at least this often; 0 is 30 s
	Concurrency int              // scheduled probes at a time; 0 is 300. Urgent ones may take as many again.
	Ignore      []*regexp.Regexp // matched against host:port: never looked at
	// MaxRegistered and MaxStrangers bound how many servers are looked at that were found by a registration and are
	// not confirmed: of one source, and in all. 0 is 100, and 1000.
	MaxRegistered, MaxStrangers int
	// ProbeTimeout is how long a probe lasts at most; 0 is 1 s. See watchdog.go for one that does not keep to it.
	ProbeTimeout time.Duration
	// Silence is how long a server must time out before it can be called dead: within it, it is asked at least twice.
	Silence time.Duration
	// Resolve says which of its names a server goes by: "given" (also ""; the one seen first, seeds before others),
	// "hostname" (@@hostname) or "report_host"; the last two only where the server answers under that name too.
	Resolve   string
	Declared  func(*topology.Server)  // fills what people declared; nil: nothing
	Edition   func() uint64           // changes whenever Declared would fill in something else; nil: it never would
	Forgotten func(topology.Key) bool // never added, and dropped at the next turn; nil: none
	// called at each turn of Run, and by that proves that it doesn't hang; nil: nobody asks
	Turned     func()
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// ErrRefused is returned by DiscoverNow for a server that is ignored or forgotten.
var ErrRefused = errors.New("not looked at")

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
	if o.Poll <= 0 {
		o.Poll = time.Second
	}
	if o.MaxBackoff <= 0 {
		o.MaxBackoff = 30 * time.Second
	}
	if o.Concurrency <= 0 {
		o.Concurrency = 300
	}
	if o.MaxRegistered <= 0 {
		o.MaxRegistered = 100
	}
	if o.MaxStrangers <= 0 {
		o.MaxStrangers = 1000
	}
	if o.ProbeTimeout <= 0 {
		o.ProbeTimeout = time.Second
	}
	if o.Forgotten == nil {
		o.Forgotten = func(topology.Key) bool { return false }
	}
	if o.Turned == nil {
		o.Turned = func() {}
	}
	if o.Declared == nil {
		o.Declared = func(*topology.Server) {}
	}
	if o.Edition == nil {
		o.Edition = func() uint64 { return 0 }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
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
