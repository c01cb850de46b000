package recovery

import (
	"context"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// Turn does all that can be done about a cluster now: it acts, looks again and asks again, until there is nothing
// more to do.
func (r *Runner) Turn(ctx context.Context, cluster string) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	vain := 0      // rounds in a row in which every step failed
	settling := 0  // rounds that only waited for replicas to connect to a new primary
	acted := false // and not everybody has been looked at since
	for range turnBound {
		if ctx.Err() != nil {
			return
		}
		d := r.decide(ctx, cluster)
		steps := d.Steps()
		if len(steps) == 0 && acted {
			// What the others say of the servers that were changed is from before. Nothing is closed on that, and
			// nobody is shown it until the next poll.
			acted = false
			r.lookAround(ctx, cluster)
			continue
		}
		r.note(cluster, d)
		r.record(ctx, d)
		if len(steps) == 0 && d.Settling() && settling < settlingRounds && pause(ctx, settlingPause) {
			settling++
			r.lookAround(ctx, cluster)
			continue
		}
		if len(steps) == 0 || ctx.Err() != nil {
			return
		}
		failed := r.act(ctx, cluster, d)
		acted = true
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

// lookAround probes everybody in a cluster who answered last time. One that is silent now holds nothing up for long.
func (r *Runner) lookAround(ctx context.Context, cluster string) {
	short, cancel := context.WithTimeout(ctx, glance)
	defer cancel()
	var up []topology.Key
	for _, v := range r.Fleet.Cluster(cluster).Servers {
		if v.Up() {
			up = append(up, v.Key)
		}
	}
	r.Fleet.Look(short, up...)
}

// lookAgain probes everybody who matters. The failed servers are given a moment only: a hung one would take the whole
// deadline to say nothing once more.
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

// act does the steps side by side, journals each, notes at which servers they fail, and says how many failed.
func (r *Runner) act(ctx context.Context, cluster string, d plan.Decision) int {
	var all sync.WaitGroup
	var failed atomic.Int32
	for _, w := range d.Works {
		if len(w.Steps) == 0 {
			continue
		}
		all.Go(func() {
			tried := r.try(ctx, cluster, w)
			for _, t := range tried {
				if t.err != nil {
					failed.Add(1)
				}
			}
			if ctx.Err() == nil && w.Episode != nil {
				r.noteFailing(*w.Episode, tried)
			}
		})
	}
	all.Wait()
	return int(failed.Load())
}

// tried is a step, and how it failed.
type tried struct {
	plan.Done
	err error
}

// try does the steps of one work.
func (r *Runner) try(ctx context.Context, cluster string, w plan.Work) []tried {
	out := make([]tried, len(w.Steps))
	episode := ""
	if w.Episode != nil {
		episode = w.Episode.ID
	}
	var all sync.WaitGroup
	for i, step := range w.Steps {
		all.Go(func() {
			short, cancel := context.WithTimeout(ctx, stepTime)
			defer cancel()
			started := time.Now()
			err := step.Check()
			if err == nil {
				err = r.Operator.Do(short, step)
			}
			out[i] = tried{plan.Done{Step: step, Episode: episode, Started: started, Took: time.Since(started),
				Error: text(err)}, err}
			r.done(cluster, out[i].Done)
		})
	}
	all.Wait()
	return out
}

// noteFailing notes in an episode at which servers its steps fail. It is stored with the next change of the episode: a
// daemon that takes over meanwhile finds out by itself.
func (r *Runner) noteFailing(e plan.Episode, steps []tried) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.episodes[e.Cluster] {
		if o.ID != e.ID {
			continue
		}
		after := o
		for _, t := range steps {
			after = after.Tried(t.Done, t.err)
		}
		if !reflect.DeepEqual(after, o) {
			r.remember(after)
		}
		return
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
