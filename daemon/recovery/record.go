package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"orchestrator/backend"
	"orchestrator/daemon/plan"
)

// Kinds of records that this package owns.
const (
	EpisodeKind = "episode"
	// StepKind is that of the journal; versions are times, so that what is old can be purged.
	StepKind = "step"
	// HookKind is that of what hooks were told.
	HookKind = "hook"
	// tenureKind is that of since when the configuration has had each moment of a hook.
	tenureKind = "hook_since"
)

// Owed are the kinds that tell what has happened, and that a backend which was away is to get when it is back:
// without them a successor would think that hooks were told nothing, and tell them all once more.
func Owed() []string { return []string{EpisodeKind, HookKind, tenureKind} }

// ErrNoEpisode is returned for an id that is on no record.
var ErrNoEpisode = errors.New("no such episode")

// remember puts an episode into memory, newest first; mu is held.
func (r *Runner) remember(e plan.Episode) {
	es := slices.Clone(r.episodes[e.Cluster])
	switch at := slices.IndexFunc(es, func(o plan.Episode) bool { return o.ID == e.ID }); {
	case at < 0:
		es = append([]plan.Episode{e}, es...)
		slices.SortStableFunc(es, func(a, b plan.Episode) int { return b.Opened.Compare(a.Opened) })
	case reflect.DeepEqual(es[at], e):
		return
	default:
		es[at] = e
	}
	es, old := sift(es)
	for _, o := range old {
		delete(r.runs, o.ID)
		delete(r.steps, o.ID)
	}
	r.edition++
	r.episodes[e.Cluster], r.editions[e.Cluster] = es, r.edition
}

// sift parts the oldest episodes from those that are kept. What is open and the latest promotion are kept whatever the
// clock said when they began: after it was set back they look older than all others.
func sift(es []plan.Episode) (keep, old []plan.Episode) {
	if len(es) <= kept {
		return es, nil
	}
	latest := slices.MaxFunc(es, func(a, b plan.Episode) int { return a.Promoted.Compare(b.Promoted) }).ID
	more := len(es) - kept
	for _, e := range slices.Backward(es) {
		if more > 0 && !e.Closed.IsZero() && e.ID != latest {
			old = append(old, e)
			more--
		} else {
			keep = append(keep, e)
		}
	}
	slices.Reverse(keep)
	return keep, old
}

// known are the ids of the episodes that are kept; mu is held.
func (r *Runner) known() map[string]bool {
	out := map[string]bool{}
	for _, es := range r.episodes {
		for _, e := range es {
			out[e.ID] = true
		}
	}
	return out
}

func (r *Runner) differs(e plan.Episode) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.episodes[e.Cluster] {
		if o.ID == e.ID {
			return !reflect.DeepEqual(o, e)
		}
	}
	return true
}

// record stores the episodes of a decision before any of its steps is done. That they can't be stored stops nothing:
// memory carries this daemon on, and a successor without the record finds the same fleet.
func (r *Runner) record(ctx context.Context, d plan.Decision) {
	var changed []plan.Episode
	for _, e := range d.Episodes() {
		if !r.differs(e) {
			continue
		}
		if err := e.Check(); err != nil { // nothing of a recovery waits for this, but a successor may misread it
			r.Logger.Error("an episode is not consistent; the recovery goes on", "err", err)
		}
		changed = append(changed, e)
	}
	if len(changed) == 0 {
		return
	}
	var records []backend.Record
	r.mu.Lock()
	for _, e := range changed {
		r.tell(e)
		r.remember(e)
		records = append(records, r.encode(EpisodeKind, e.ID, e))
	}
	stored := r.store(ctx, records)
	r.mu.Unlock()
	r.owe()
	late := time.NewTimer(storePatience)
	defer late.Stop()
	select {
	case <-stored:
	case <-late.C: // a disk that is that slow must not keep writers waiting
		r.Logger.Warn("an episode is being stored late; the recovery goes on", "episode", changed[0].ID, "after",
			storePatience)
	}
}

// tell logs what has become of an episode; mu is held.
func (r *Runner) tell(e plan.Episode) {
	var before plan.Episode
	for _, o := range r.episodes[e.Cluster] {
		if o.ID == e.ID {
			before = o
		}
	}
	log := r.Logger.With("cluster", e.Cluster, "episode", e.ID)
	if before.ID == "" {
		log.Warn("episode opened", "kind", e.Kind, "failed", e.Failed, "code", e.Code, "evidence", e.Evidence)
	}
	if e.Candidate != before.Candidate && !e.Candidate.IsZero() {
		log.Warn("candidate chosen", "candidate", e.Candidate, "why", e.Why)
	}
	if before.Promoted.IsZero() && !e.Promoted.IsZero() {
		log.Warn("promoted", "primary", e.Candidate, "after", e.Promoted.Sub(e.Opened))
		r.metrics.promotions.Inc()
	}
	if e.Blocked != before.Blocked && e.Blocked != "" {
		log.Error("blocked", "why", e.Blocked)
	}
	if before.Fenced.IsZero() && !e.Fenced.IsZero() {
		log.Info("failed primary is read-only", "server", e.Failed)
	}
	if before.Closed.IsZero() && !e.Closed.IsZero() {
		log.Warn("episode closed", "outcome", e.Outcome, "lost", e.Lost, "took", e.Closed.Sub(e.Opened))
		r.metrics.closed(e)
	}
}

func (r *Runner) encode(kind, key string, v any) backend.Record {
	document, err := json.Marshal(v)
	if err != nil { // our own plain types
		panic(fmt.Sprintf("encode %s %s: %v", kind, key, err))
	}
	return backend.Record{Kind: kind, Key: key, Version: r.Clock.Next(), Writer: r.Writer, Document: document}
}

// done journals a step. The journal is written behind, so that the next step does not wait for the disk.
func (r *Runner) done(cluster string, d plan.Done) {
	if d.Step.Kind == plan.AwaitApplied && d.Error != "" { // it is asked again until it is
		r.Logger.Debug("not applied yet", "cluster", cluster, "at", d.Step.At, "says", d.Error)
		return
	}
	if d.Error == "" {
		r.Logger.Info("step", "cluster", cluster, "kind", d.Step.Kind, "at", d.Step.At, "took", d.Took, "why",
			d.Step.Why)
	} else {
		r.Logger.Error("step failed", "cluster", cluster, "kind", d.Step.Kind, "at", d.Step.At, "took", d.Took, "err",
			d.Error)
	}
	r.metrics.step(cluster, d)
	if d.Episode == "" {
		return
	}
	r.mu.Lock()
	r.steps[d.Episode] = append(r.steps[d.Episode], d)
	r.mu.Unlock()
	rec := r.encode(StepKind, fmt.Sprintf("%s/%020d/%s", d.Episode, d.Started.UnixNano(), d.Step.At), d)
	select {
	case r.journal <- rec:
	default: // the disk is that far behind: the journal may have a gap, the recovery may not wait
		r.metrics.bookkeeping.Inc()
	}
}

func (r *Runner) keepJournal(ctx context.Context) {
	for {
		var batch []backend.Record
		select {
		case rec := <-r.journal:
			batch = append(batch, rec)
		case <-ctx.Done():
			select {
			case rec := <-r.journal:
				batch = append(batch, rec)
			default:
				return
			}
		}
		for len(r.journal) > 0 && len(batch) < 100 {
			batch = append(batch, <-r.journal)
		}
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
		if err := r.Outbox.Put(short, batch...); err != nil {
			r.metrics.bookkeeping.Inc()
			r.Logger.Error("steps could not be journaled; it is tried again", "steps", len(batch), "err", err)
		}
		cancel()
	}
}

// Episodes returns those of a cluster, newest first; of all clusters when it is "".
func (r *Runner) Episodes(cluster string) []plan.Episode {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []plan.Episode
	for c, es := range r.episodes {
		if cluster == "" || c == cluster {
			out = append(out, es...)
		}
	}
	slices.SortStableFunc(out, func(a, b plan.Episode) int { return b.Opened.Compare(a.Opened) })
	return out
}

// Episode returns one with the steps that were done for it.
func (r *Runner) Episode(id string) (plan.Episode, []plan.Done, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, es := range r.episodes {
		for _, e := range es {
			if e.ID == id {
				return e, slices.Clone(r.steps[id]), nil
			}
		}
	}
	return plan.Episode{}, nil, fmt.Errorf("%w: %q", ErrNoEpisode, id)
}

// Acknowledge ends what an ended episode still asks for: anti-flapping, and fencing the failed server.
func (r *Runner) Acknowledge(ctx context.Context, id, by, comment string, at time.Time) error {
	e, _, err := r.Episode(id)
	if err != nil {
		return err
	}
	e.Acknowledged = &plan.Acknowledgement{By: by, Comment: comment, At: at}
	if _, err := backend.Write(ctx, r.Store, r.Clock, r.encode(EpisodeKind, e.ID, e)); err != nil {
		return fmt.Errorf("acknowledge episode %s: %w", id, err)
	}
	r.mu.Lock()
	r.remember(e)
	r.mu.Unlock()
	r.wake(e.Cluster)
	return nil
}
