// Package recovery acts: it asks plan what to do about each cluster, does it, looks again, and asks again.
//
// It decides nothing, and keeps nothing that a successor would need: what is known comes from the fleet, what we are committed to
// from the episodes on record. The one idea: a turn does all that can be done now; whoever takes the next turn, this daemon or
// another one, asks the same question of the same fleet.
package recovery

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"orchestrator/backend"
	"orchestrator/daemon/analysis"
	"orchestrator/daemon/hook"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// Fleet is what is known of the servers, and the way to look again.
type Fleet interface {
	Snapshot() topology.Snapshot
	Cluster(name string) topology.Snapshot
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
	Clock      *backend.Clock
	Writer     string // id of this daemon
	Policy     func(cluster string) plan.Policy
	Off        func() string               // why recoveries are switched off everywhere; "" when on
	Alias      func(cluster string) string // its second name, for the metrics; nil: none has one
	Thresholds func() analysis.Thresholds
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	// Claim is asked before irreversible steps of an episode for what this daemon can show for them: plan.Permit weighs it. Locks that
	// it takes it may let go when ctx, that of the turn, ends. nil: this daemon is alone, and may. See Gate.
	Claim func(ctx context.Context, s plan.Situation, e plan.Episode) plan.Claim
	// Yield is asked before a promotion, and says why another daemon is to lead and do it; "" when this one may. nil: there is no other. See Handover.
	Yield func(ctx context.Context, s plan.Situation, e plan.Episode) string
	// Hooks are told about episodes, as the configuration has them now; nil: there are none.
	Hooks func() []hook.Hook
	// Turned is called each time that the clusters were judged, and by that proves that Run doesn't hang; nil: nobody asks.
	Turned func()
	// Tick is how often clusters are judged though nothing changed; 0 is one second.
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
	// kept is how many episodes a cluster keeps in memory.
	kept = 50
)

// Runner is the acting loop.
type Runner struct {
	Options
	metrics *metrics
	journal chan backend.Record
	writes  sync.WaitGroup // of episodes

	mu       sync.Mutex
	episodes map[string][]plan.Episode // by cluster, newest first
	steps    map[string][]plan.Done    // by episode
	last     map[string]plan.Decision  // by cluster
	claims   map[string][]plan.Claim   // by cluster, what was put before plan.Permit last
	leads    bool                      // Run runs: what is in memory is newer than what is on record
	judged   []plan.Situation          // what Run judged last; nil when it does not run
	ready    map[string]bool           // by cluster: the primary could be replaced if it died
	running  map[string]bool           // clusters whose turn is under way
	again    map[string]bool           // those that changed meanwhile
	unstored map[string]backend.Record // of tenures, by key: the store has not taken them yet
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
	if o.Alias == nil {
		o.Alias = func(string) string { return "" }
	}
	r := &Runner{
		Options: o, journal: make(chan backend.Record, 1000),
		episodes: map[string][]plan.Episode{}, steps: map[string][]plan.Done{}, last: map[string]plan.Decision{},
		claims:  map[string][]plan.Claim{},
		running: map[string]bool{}, again: map[string]bool{},
		runs: map[string]map[string]hook.Run{}, unstored: map[string]backend.Record{}, owing: make(chan struct{}, 1),
	}
	r.metrics = newMetrics(r)
	if r.Hooks != nil {
		r.metrics.know(r.Hooks())
	}
	return r
}

// Load reads the episodes and steps on record; what is known already and newer stays.
func (r *Runner) Load(ctx context.Context) error {
	return r.load(ctx, func() bool { return true })
}

// load asks, when it has read everything, whether that is still wanted; mu is held then.
func (r *Runner) load(ctx context.Context, wanted func() bool) error {
	es, hs, err := r.onRecord(ctx)
	if err != nil {
		return err
	}
	ss, err := r.Store.List(ctx, StepKind)
	if err != nil {
		return fmt.Errorf("read the journal of steps: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !wanted() {
		return nil
	}
	r.read = edition(es, hs)
	for _, rec := range es {
		r.Clock.Observe(rec.Version)
		if e, err := backend.Decode[plan.Episode](rec); err == nil {
			if rec.Writer != r.Writer {
				e.DrainSince = time.Time{} // measured by the clock of another daemon; too long a wait loses nothing, too short a one may
			}
			r.remember(e)
		} else {
			r.Logger.Error("skip an unreadable episode", "episode", rec.Key, "err", err)
		}
	}
	known := r.known()
	for _, rec := range hs {
		r.Clock.Observe(rec.Version)
		if run, err := backend.Decode[hook.Run](rec); err == nil && known[run.Episode] && run.Newer(r.runs[run.Episode][rec.Key]) {
			r.keep(rec.Key, run)
		}
	}
	r.steps = map[string][]plan.Done{}
	for _, rec := range ss {
		r.Clock.Observe(rec.Version)
		if d, err := backend.Decode[plan.Done](rec); err == nil && known[d.Episode] {
			r.steps[d.Episode] = append(r.steps[d.Episode], d)
		}
	}
	return nil
}

// onRecord are the episodes, and then what hooks were told about them: a daemon that knew an episode, and not what was told about it, would tell it again.
func (r *Runner) onRecord(ctx context.Context) (episodes, runs []backend.Record, err error) {
	if episodes, err = r.Store.List(ctx, EpisodeKind); err != nil {
		return nil, nil, fmt.Errorf("read the episodes on record: %w", err)
	}
	if r.Hooks != nil {
		if runs, err = r.Store.List(ctx, HookKind); err != nil {
			return nil, nil, fmt.Errorf("read what hooks were told: %w", err)
		}
	}
	return episodes, runs, nil
}

// edition tells records from what they were. What they say would not: not all that is on record is kept, nor all of it as it is there.
func edition(lists ...[]backend.Record) uint64 {
	sum := fnv.New64a()
	for _, records := range lists {
		for _, rec := range records {
			fmt.Fprintf(sum, "%q %q %d %q\n", rec.Kind, rec.Key, rec.Version, rec.Writer)
		}
	}
	return sum.Sum64()
}

// Follow reads what another daemon has recorded, for those who ask this one; while Run runs it does nothing. The steps are read only when an episode has
// changed, or what hooks were told.
func (r *Runner) Follow(ctx context.Context) error {
	r.mu.Lock()
	leads, read := r.leads, r.read
	r.mu.Unlock()
	if leads {
		return nil
	}
	if r.Hooks != nil {
		r.metrics.know(r.Hooks())
	}
	episodes, runs, err := r.onRecord(ctx)
	if err != nil || edition(episodes, runs) == read {
		return err
	}
	return r.load(ctx, func() bool { return !r.leads })
}

// Run judges and acts until ctx, which is that of the leadership, ends; it waits for the steps under way.
func (r *Runner) Run(ctx context.Context) error {
	r.lead(true)
	defer r.lead(false)
	if err := r.Load(ctx); err != nil {
		r.Logger.Error("begin without the episodes on record", "err", err)
	}
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var turns, journal, ready sync.WaitGroup
	journal.Go(func() { r.keepJournal(writing) })
	ready.Go(func() { r.keepReady(ctx) })
	began := time.Now()
	ready.Go(func() { r.keepTelling(ctx, began) })
	defer func() { // the steps of the last turns belong into the journal too
		turns.Wait()
		r.writes.Wait()
		stop()
		journal.Wait()
		ready.Wait()
		r.show(nil)
	}()
	news := r.Subscribe()
	defer news.Close()
	tick := time.NewTicker(r.Tick)
	defer tick.Stop()
	for {
		r.judge(ctx, &turns)
		r.Turned()
		select {
		case <-ctx.Done():
			return nil
		case <-news.Changed():
			news.Take()
		case <-tick.C:
		}
	}
}

func (r *Runner) lead(yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leads = yes
}

// judge starts a turn for each cluster that has findings or something open, unless one is under way.
func (r *Runner) judge(ctx context.Context, turns *sync.WaitGroup) {
	snapshot := r.Fleet.Snapshot()
	var judged []plan.Situation
	for _, cluster := range snapshot.Clusters() {
		s := r.situation(cluster, snapshot)
		judged = append(judged, s)
		r.Fleet.StayClose(cluster, awaited(s.Episodes)...)
		d := plan.Next(s)
		r.note(cluster, d.Withhold(plan.Refusals(s.Claims)))
		if !r.todo(d) {
			continue
		}
		turns.Go(func() {
			for r.begin(cluster) {
				r.Turn(ctx, cluster)
				if !r.finish(cluster) || ctx.Err() != nil {
					return
				}
			}
		})
	}
	r.show(judged)
}

// awaited are the servers that works have left behind, and that must be seen at once when they come back.
func awaited(episodes []plan.Episode) []topology.Key {
	var out []topology.Key
	for _, e := range episodes {
		out = append(out, e.Awaited()...)
	}
	return out
}

// note remembers the decision for those who ask why.
func (r *Runner) note(cluster string, d plan.Decision) {
	r.mu.Lock()
	before := r.last[cluster]
	r.last[cluster] = d
	r.mu.Unlock()
	if refused := d.Refused(); !slices.Equal(before.Refused(), refused) && len(refused) > 0 {
		r.Logger.Warn("not acting", "cluster", cluster, "why", strings.Join(refused, "; "))
	}
	if wait := d.Wait(); wait != "" && before.Wait() == "" {
		r.Logger.Info("waiting", "cluster", cluster, "why", wait)
	}
}

// todo says whether there is something to do.
func (r *Runner) todo(d plan.Decision) bool {
	return len(d.Steps()) > 0 || slices.ContainsFunc(d.Episodes(), r.differs)
}

// begin claims the cluster; finish gives it back, and says whether somebody asked for another turn meanwhile.
func (r *Runner) begin(cluster string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running[cluster] {
		r.again[cluster] = true
		return false
	}
	r.running[cluster] = true
	return true
}

func (r *Runner) finish(cluster string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running[cluster] = false
	again := r.again[cluster]
	r.again[cluster] = false
	return again
}

// Turn does all that can be done about a cluster now: it acts, looks again and asks again, until there is nothing more to do.
func (r *Runner) Turn(ctx context.Context, cluster string) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	vain := 0 // rounds in a row in which every step failed
	for range turnBound {
		if ctx.Err() != nil {
			return
		}
		d := r.decide(ctx, cluster)
		r.note(cluster, d)
		r.record(ctx, d)
		steps := d.Steps()
		if len(steps) == 0 || ctx.Err() != nil {
			return
		}
		failed := r.act(ctx, cluster, d)
		keys := make([]topology.Key, 0, len(steps))
		for _, step := range steps {
			keys = append(keys, step.At)
		}
		r.Fleet.Look(ctx, keys...)
		if failed < len(steps) {
			vain = 0
		} else if vain++; !pause(ctx, min(time.Duration(vain)*vainPause, r.Tick)) { // nothing moved: not again at once
			return
		}
	}
	r.Logger.Error("a recovery goes round in circles", "cluster", cluster, "rounds", turnBound)
}

// pause waits, and says whether there is still somebody to wait for.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// lookAgain probes everybody who matters. The failed servers are given a moment only: a hung one would take the whole deadline to say
// nothing once more.
func (r *Runner) lookAgain(ctx context.Context, s plan.Situation, d plan.Decision) {
	var failed, others []topology.Key
	for _, w := range d.Works {
		failed = append(failed, w.Failed)
	}
	for _, v := range s.Snapshot.Servers {
		if v.Up() && !slices.Contains(failed, v.Key) {
			others = append(others, v.Key)
		}
	}
	var both sync.WaitGroup
	both.Go(func() { r.Fleet.Look(ctx, others...) })
	both.Go(func() {
		short, cancel := context.WithTimeout(ctx, glance)
		defer cancel()
		r.Fleet.Look(short, failed...)
	})
	both.Wait()
}

// act does the steps side by side, journals each, and says how many failed.
func (r *Runner) act(ctx context.Context, cluster string, d plan.Decision) int {
	var all sync.WaitGroup
	var failed atomic.Int32
	for _, w := range d.Works {
		episode := ""
		if w.Episode != nil {
			episode = w.Episode.ID
		}
		for _, step := range w.Steps {
			all.Go(func() {
				short, cancel := context.WithTimeout(ctx, stepTime)
				defer cancel()
				started := time.Now()
				err := step.Check()
				if err == nil {
					err = r.Operator.Do(short, step)
				}
				r.done(cluster, plan.Done{Step: step, Episode: episode, Started: started, Took: time.Since(started), Error: text(err)})
				if err != nil {
					failed.Add(1)
				}
			})
		}
	}
	all.Wait()
	return int(failed.Load())
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// situation is all that a decision about the cluster rests on.
func (r *Runner) situation(cluster string, fleet topology.Snapshot) plan.Situation {
	r.mu.Lock()
	episodes, claims := slices.Clone(r.episodes[cluster]), r.claims[cluster]
	r.mu.Unlock()
	return plan.Situate(plan.Facts{Cluster: cluster, Snapshot: fleet.Of(cluster), Policy: r.Policy(cluster), Thresholds: r.Thresholds(),
		Episodes: episodes, Off: r.Off(), Claims: claims})
}

// Mark adds to a snapshot what the episodes know: who was promoted last.
func (r *Runner) Mark(s topology.Snapshot) topology.Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	for cluster, episodes := range r.episodes {
		if k := plan.PromotedLast(episodes); !k.IsZero() {
			if s.Promoted == nil {
				s.Promoted = map[string]topology.Key{}
			}
			s.Promoted[cluster] = k
		}
	}
	return s
}

// Situation is what the next decision about a cluster would rest on, for those who ask why and what if.
func (r *Runner) Situation(cluster string) plan.Situation {
	return r.situation(cluster, r.Fleet.Snapshot())
}
