// Package recovery acts: it asks plan what to do about each cluster, does it, looks again, and asks again.
//
// It decides nothing, and keeps nothing that a successor would need: what is known comes from the fleet, what we are
// committed to from the episodes on record. The one idea: a turn does all that can be done now; whoever takes the
// next turn, this daemon or another one, asks the same question of the same fleet.
//
// Where to look: worker and turn (who acts in a cluster, and one round of it); situations (what is known of a cluster,
// judged once per change); permit and transfer (may this daemon act now); load, record and store (episodes and steps on
// record); hooks and tenure (who is notified, and since when); clusters (what readers are shown).
package recovery

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/backend"
	"orchestrator/daemon/analysis"
	"orchestrator/daemon/hook"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// Fleet is what is known of the servers, and the way to look again. What it returns is shared, and never changed.
type Fleet interface {
	Clusters() []string                    // the names of all, sorted
	Cluster(name string) topology.Snapshot // empty when there is none of that name
	Look(ctx context.Context, keys ...topology.Key)
	StayClose(cluster string, keys ...topology.Key)
}

// Subscription is a list of the clusters that have changed.
type Subscription interface {
	Changed() <-chan struct{} // signals that Take has something
	Take() []string
	Close()
}

// Operator changes servers.
type Operator interface {
	Do(ctx context.Context, step plan.Step) error
}

// Options of a Runner.
type Options struct {
	Fleet      Fleet
	Subscribe  func() Subscription // to the clusters of Fleet
	Operator   Operator
	Store      backend.Store
	Outbox     *backend.Outbox // to Store, for what is written behind; nil: one of its own
	Clock      *backend.Clock
	Writer     string // id of this daemon
	Policy     func(cluster string) plan.Policy
	Requests   func(cluster string) []plan.Request // of operators, that stand; nil: there are none
	Off        func() string                       // why recoveries are switched off everywhere; "" when on
	OffUnknown func() bool                         // Off assumes it, because it can't be read; nil: never
	Alias      func(cluster string) string         // its second name, for the metrics; nil: none has one
	Thresholds func() analysis.Thresholds
	Edition    func() uint64 // changes with Policy, Requests and Thresholds; nil: they never change
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Claim is asked before irreversible steps of an episode for what this daemon can show for them: plan.Permit
	// weighs it. Locks that it takes it may let go when ctx, that of the turn, ends. nil: this daemon is alone, and
	// may. See Gate.
	Claim func(ctx context.Context, s plan.Situation, e plan.Episode) plan.Claim
	// Transfer is asked before a promotion, and says why another daemon should lead and do it; "" when this one may.
	// nil: there is no other. See Transfer.
	Transfer func(ctx context.Context, s plan.Situation, e plan.Episode) string
	// Hooks are told about episodes, as the configuration has them now; nil: there are none.
	Hooks func() []hook.Hook
	// Turned is called at every turn of Run, and by that proves that it doesn't hang; nil: nobody asks.
	// Ending says that this daemon ends: nobody waits for what takes seconds. nil: it never does.
	Ending func() bool
	Turned func()
	// Tick is how often a cluster is judged though nothing changed, while time alone may change the verdict; 0 is a
	// second.
	Tick time.Duration
}

const (
	// turnBound ends a turn that would go round for ever; a failover takes some six rounds.
	turnBound = 200
	// storeTime bounds bookkeeping, which must never stop a recovery.
	storeTime = 2 * time.Second
	// storePatience is how long a recovery waits for it.
	storePatience = 200 * time.Millisecond
	// glance is how long the failed server is given to answer before an irreversible step.
	glance = 150 * time.Millisecond
	// stepTime bounds a step.
	stepTime = 15 * time.Second
	// vainPause grows by itself with each round in which nothing could be done.
	vainPause = 50 * time.Millisecond
	// settlingPause and settlingRounds are how often, and how many times in a row, a cluster is looked at while moved
	// replicas connect to a new primary: some 50 ms each. After that a poll is soon enough.
	settlingPause  = 50 * time.Millisecond
	settlingRounds = 40
	// kept is how many episodes a cluster keeps in memory.
	kept = 50
)

// Runner is the acting loop.
type Runner struct {
	Options
	metrics *metrics
	journal chan backend.Record
	writes  sync.WaitGroup // of episodes, see store.go

	mu       sync.Mutex
	episodes map[string][]plan.Episode // by cluster, newest first; a list is never changed, only replaced
	editions map[string]uint64         // of these lists and of the claims
	edition  uint64                    // the highest that a list or a verdict was given
	verdicts map[string]*verdict       // by cluster
	steps    map[string][]plan.Done    // by episode
	claims   map[string][]plan.Claim   // by cluster, what was put before plan.Permit last
	noted    map[string]noted          // by cluster, what was logged last
	workers  map[string]*worker        // by cluster
	arrived  map[string]time.Time      // by cluster, when it was seen first; zero: all of it has been asked
	ready    map[string]readiness      // by cluster, as it is shown
	leads    bool                      // Run runs: what is in memory is newer than what is on record
	unstored map[string]backend.Record // of tenures, by key: the store has not taken them yet
	waiting  *batch                    // of episodes, to be stored next; nil: none waits
	storing  bool                      // a batch is being stored
	// runs are by episode, and by hook.Key; of kept episodes only
	runs  map[string]map[string]hook.Run
	read  uint64        // the edition of what was read last
	owing chan struct{} // an episode has changed: hooks may be owed something
}

// New makes a Runner; Load and Run do the rest.
func New(o Options) *Runner {
	if o.Tick == 0 {
		o.Tick = time.Second
	}
	if o.Turned == nil {
		o.Turned = func() {}
	}
	if o.Ending == nil {
		o.Ending = func() bool { return false }
	}
	if o.Outbox == nil {
		o.Outbox = backend.NewOutbox(o.Store, time.Now)
	}
	if o.Edition == nil {
		o.Edition = func() uint64 { return 0 }
	}
	if o.Alias == nil {
		o.Alias = func(string) string { return "" }
	}
	r := &Runner{
		Options: o, journal: make(chan backend.Record, 1000),
		episodes: map[string][]plan.Episode{}, editions: map[string]uint64{}, verdicts: map[string]*verdict{},
		steps: map[string][]plan.Done{}, claims: map[string][]plan.Claim{}, noted: map[string]noted{},
		workers: map[string]*worker{}, ready: map[string]readiness{}, arrived: map[string]time.Time{},
		runs: map[string]map[string]hook.Run{}, unstored: map[string]backend.Record{}, owing: make(chan struct{}, 1),
	}
	r.metrics = newMetrics(r)
	if r.Hooks != nil {
		r.metrics.know(r.Hooks())
	}
	return r
}
