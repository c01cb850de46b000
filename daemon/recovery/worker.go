package recovery

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// Run judges and acts until ctx, which is that of the leadership, ends; it waits for the steps under way.
func (r *Runner) Run(ctx context.Context) error {
	r.lead(true)
	defer r.lead(false)
	if err := r.Load(ctx); err != nil {
		r.Logger.Error("begin without the episodes on record", "err", err)
	}
	writing, stop := context.WithCancel(context.WithoutCancel(ctx))
	var workers, journal, others sync.WaitGroup
	journal.Go(func() { r.keepJournal(writing) })
	others.Go(func() { r.keepReady(ctx) })
	began := time.Now()
	others.Go(func() { r.keepTelling(ctx, began) })
	defer func() { // the steps of the last turns belong into the journal too
		workers.Wait()
		r.writes.Wait()
		stop()
		journal.Wait()
		others.Wait()
		r.hide()
	}()
	news := r.Subscribe()
	defer news.Close()
	tick := time.NewTicker(r.Tick)
	defer tick.Stop()
	for {
		for _, cluster := range news.Take() {
			r.attend(ctx, cluster, &workers)
		}
		r.Turned()
		select {
		case <-ctx.Done():
			return nil
		case <-news.Changed():
		case <-tick.C: // only to show that it turns
		}
	}
}

func (r *Runner) lead(yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leads = yes
	clear(r.workers)
}

// attend sees to a cluster that has changed: its worker does, or else a look at it says whether it needs one.
func (r *Runner) attend(ctx context.Context, cluster string, workers *sync.WaitGroup) {
	if r.wake(cluster) {
		return
	}
	if todo, restless := r.judge(cluster); !todo && !restless {
		return
	}
	w := &worker{cluster: cluster, wake: make(chan struct{}, 1)}
	r.mu.Lock()
	r.workers[cluster] = w
	r.mu.Unlock()
	workers.Go(func() { r.work(ctx, w) })
}

// worker sees to one cluster, for as long as there is something to do or time alone may change what is to be done.
type worker struct {
	cluster string
	wake    chan struct{} // the cluster has changed
}

// breath is the shortest time from one judging of a cluster to the next: what its servers say arrives in bursts.
const breath = 3 * time.Millisecond

func (r *Runner) work(ctx context.Context, w *worker) {
	for {
		todo, restless := r.judge(w.cluster)
		if todo {
			r.Turn(ctx, w.cluster)
		} else if !restless && r.retire(w) {
			return
		}
		if !pause(ctx, breath) {
			return
		}
		tick := time.NewTimer(r.Tick)
		select {
		case <-ctx.Done():
		case <-w.wake:
		case <-tick.C:
		}
		tick.Stop()
	}
}

// wake has the worker of a cluster look at it again; false when it has none.
func (r *Runner) wake(cluster string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.workers[cluster]
	if w != nil {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	return w != nil
}

// retire ends a worker, unless it has been woken meanwhile.
func (r *Runner) retire(w *worker) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(w.wake) > 0 {
		return false
	}
	delete(r.workers, w.cluster)
	return true
}

// judge says whether there is something to do about a cluster, and whether there soon may be although nothing changes.
func (r *Runner) judge(cluster string) (todo, restless bool) {
	if r.arriving(cluster) {
		return false, true
	}
	j := r.Judged(cluster)
	if len(j.Snapshot.Servers) == 0 {
		r.drop(cluster)
		return false, false
	}
	r.metrics.failures.WithLabelValues(cluster)
	r.Fleet.StayClose(cluster, awaited(j.Episodes)...)
	d := j.verdict.decision()
	r.note(cluster, j.Decision())
	todo = len(d.Steps()) > 0 || slices.ContainsFunc(d.Episodes(), r.differs)
	return todo, j.verdict.restless || d.Wait() != "" || len(d.Refused()) > 0
}

// introduction is for how long a cluster that is new here is not judged while some of its servers have not been asked.
const introduction = time.Second

// arriving says whether a cluster is new here, and servers of it have not been asked yet. A decision would rest on a
// part of it, and be made again with every answer.
func (r *Runner) arriving(cluster string) bool {
	r.mu.Lock()
	began, known := r.arrived[cluster]
	if !known {
		began = time.Now()
		r.arrived[cluster] = began
	}
	r.mu.Unlock()
	if time.Since(began) >= introduction {
		return false
	}
	unasked := func(v topology.Server) bool { return v.Probe.Asked.IsZero() }
	if slices.ContainsFunc(r.Fleet.Cluster(cluster).Servers, unasked) {
		return true
	}
	r.mu.Lock()
	r.arrived[cluster] = time.Time{} // from now on it is judged at once
	r.mu.Unlock()
	return false
}

// drop lets go of what is kept of a cluster that there is no more.
func (r *Runner) drop(cluster string) {
	r.mu.Lock()
	delete(r.noted, cluster)
	delete(r.claims, cluster)
	delete(r.ready, cluster)
	delete(r.arrived, cluster)
	r.mu.Unlock()
	r.Fleet.StayClose(cluster)
	r.metrics.failures.DeleteLabelValues(cluster)
}

// awaited are the servers that works have left behind, and that must be seen at once when they come back.
func awaited(episodes []plan.Episode) []topology.Key {
	var out []topology.Key
	for _, e := range episodes {
		out = append(out, e.Awaited()...)
	}
	return out
}

// noted is what was logged of a decision.
type noted struct {
	refused []string
	wait    string
}

// note logs why nothing is done, and why it is waited, when that has changed, and not only its numbers.
func (r *Runner) note(cluster string, d plan.Decision) {
	now := noted{d.Refused(), d.Wait()}
	r.mu.Lock()
	before := r.noted[cluster]
	r.noted[cluster] = now
	r.mu.Unlock()
	if !plan.SameReasons(before.refused, now.refused) && len(now.refused) > 0 {
		r.Logger.Warn("not acting", "cluster", cluster, "why", strings.Join(now.refused, "; "))
	}
	if now.wait != "" && before.wait == "" {
		r.Logger.Info("waiting", "cluster", cluster, "why", now.wait)
	}
}
