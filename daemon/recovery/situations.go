package recovery

import (
	"iter"
	"slices"
	"sync"
	"time"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// Judged is one cluster with all that follows from what is known of it. Whoever asks between two changes shares what
// was worked out for the first, and must change nothing. What one answer is made of comes from one Judged, so that it
// can't contradict itself.
type Judged struct {
	// Situation is that of the last change; its Snapshot has the same content, and the latest times of probes.
	plan.Situation
	// Edition is another one whenever anything here may be, but the times of probes. No two clusters ever share one.
	Edition uint64

	verdict *verdict
}

// verdict is what follows from one situation.
type verdict struct {
	basis    basis
	at       time.Time
	edition  uint64
	restless bool
	until    time.Time // when time alone changes the verdict although the cluster is at rest; zero: never
	plan.Situation
	primary   topology.Key         // the one that is shown; zero: the cluster has none
	top       topology.Key         // the one that would be failed over: most replicas follow it
	decision  func() plan.Decision // whatever the claims permit
	permitted func() plan.Decision // less what they don't permit
	readiness func() plan.Previewed
}

// basis is what a verdict rests on. Two that are the same make the same verdict, unless time matters.
type basis struct {
	revision uint64 // of the snapshot
	episodes uint64 // and of the claims
	edition  uint64 // of the configuration and of the declarations
	off      switched
}

// switched says whether recoveries are off, and whether that is only assumed.
type switched struct {
	why     string
	unknown bool
}

func (r *Runner) switched() switched {
	return switched{r.Off(), r.OffUnknown != nil && r.OffUnknown()}
}

// momentary is how long a verdict is shared in which time matters.
const momentary = 50 * time.Millisecond

// unhurried is how long a preview takes at least before it is broken off because the daemon ends: those of large
// clusters only.
const unhurried = 200 * time.Millisecond

// Judged is a cluster as it is known now; without servers when there is none of that name.
func (r *Runner) Judged(cluster string) Judged {
	// They are read before what they are the edition of: a change in between is seen next time.
	off, edition := r.switched(), r.Edition()
	r.mu.Lock()
	v, episodes, claims := r.verdicts[cluster], r.episodes[cluster], r.claims[cluster]
	b := basis{episodes: r.editions[cluster], edition: edition, off: off}
	r.mu.Unlock()
	snapshot := r.Fleet.Cluster(cluster)
	b.revision = snapshot.Revision
	if v == nil || v.basis != b || v.outdated() {
		v = newVerdict(b, r.situate(cluster, snapshot, episodes, claims, off), r.Ending)
		r.mu.Lock()
		r.edition++
		v.edition = r.edition
		if r.verdicts[cluster] = v; len(snapshot.Servers) == 0 {
			delete(r.verdicts, cluster)
		}
		r.mu.Unlock()
	}
	j := Judged{Situation: v.Situation, Edition: v.edition, verdict: v}
	j.Snapshot.At, j.Snapshot.Servers = snapshot.At, snapshot.Servers
	return j
}

// All are all clusters, sorted by name, each as it is when its turn comes.
func (r *Runner) All() iter.Seq[Judged] {
	return func(yield func(Judged) bool) {
		for _, name := range r.Fleet.Clusters() {
			if j := r.Judged(name); len(j.Snapshot.Servers) > 0 && !yield(j) {
				return
			}
		}
	}
}

// Mark adds to a snapshot of the fleet what the episodes know: who was promoted last.
func (r *Runner) Mark(s topology.Snapshot) topology.Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Promoted = map[string]topology.Key{}
	for cluster, episodes := range r.episodes {
		if k := plan.PromotedLast(episodes); !k.IsZero() {
			s.Promoted[cluster] = k
		}
	}
	return s
}

// situation is what the next decision about a cluster rests on; it is shared with nobody.
func (r *Runner) situation(cluster string) plan.Situation {
	r.mu.Lock()
	episodes, claims := r.episodes[cluster], r.claims[cluster]
	r.mu.Unlock()
	return r.situate(cluster, r.Fleet.Cluster(cluster), episodes, claims, r.switched())
}

func (r *Runner) situate(
	cluster string, snapshot topology.Snapshot, episodes []plan.Episode, claims []plan.Claim, off switched,
) plan.Situation {
	return plan.Situate(plan.Facts{
		Cluster: cluster, Snapshot: snapshot, Policy: r.Policy(cluster), Thresholds: r.Thresholds(), Episodes: episodes,
		Requests: r.requests(cluster, episodes), Claims: claims, Off: off.why,
		OffUnknown: off.unknown,
	})
}

// requests are those that nothing has come of yet. One whose episode has ended is done.
func (r *Runner) requests(cluster string, episodes []plan.Episode) []plan.Request {
	if r.Requests == nil {
		return nil
	}
	return slices.DeleteFunc(r.Requests(cluster), func(q plan.Request) bool {
		return slices.ContainsFunc(episodes, func(e plan.Episode) bool {
			return e.Request != nil && e.Request.ID == q.ID && !e.Closed.IsZero()
		})
	})
}

func newVerdict(b basis, s plan.Situation, ending func() bool) *verdict {
	v := &verdict{basis: b, at: time.Now(), restless: restless(s), until: flapping(s), Situation: s}
	if p := s.Snapshot.Primary(); p != nil {
		v.top, v.primary = p.Key, p.Key
		if writer := s.Snapshot.Writer(p); writer != nil {
			v.primary = writer.Key
		}
	}
	v.decision = sync.OnceValue(func() plan.Decision { return plan.Next(s) })
	v.permitted = sync.OnceValue(func() plan.Decision { return v.decision().Withhold(plan.Refusals(s.Claims)) })
	v.readiness = sync.OnceValue(func() plan.Previewed {
		began := time.Now()
		wanted := func() bool { return !ending() || time.Since(began) < unhurried }
		p := plan.While(wanted).IfDies(s, v.top)
		p.After = topology.Snapshot{} // nobody asks for it, and it is kept as long as the verdict
		return p
	})
	return v
}

// outdated says that time alone may have changed what follows from the situation.
func (v *verdict) outdated() bool {
	return v.restless && time.Since(v.at) > momentary || !v.until.IsZero() && !time.Now().Before(v.until)
}

// flapping is when the policy allows another failover again; zero when nothing stands in its way. Until then the
// cluster is not ready for one.
func flapping(s plan.Situation) time.Time {
	var until time.Time
	for _, p := range s.Promotions {
		if end := p.At.Add(s.Policy.AntiFlap); end.After(s.Snapshot.At) && end.After(until) {
			until = end
		}
	}
	return until
}

// restless says that what follows from a situation may change although nothing does but the time.
func restless(s plan.Situation) bool {
	return len(s.Requests) > 0 ||
		slices.ContainsFunc(s.Episodes, func(e plan.Episode) bool { return e.Closed.IsZero() }) ||
		slices.ContainsFunc(s.Snapshot.Servers, func(v topology.Server) bool {
			return !v.Up() || slices.ContainsFunc(v.Instance.Channels,
				func(c topology.Channel) bool { return c.IO == topology.Connecting })
		})
}

// Primary is the primary of the cluster; nil when it has none.
func (j Judged) Primary() *topology.Server { return j.Snapshot.Server(j.verdict.primary) }

// Decision is what would be done now, and why not, with what Permit said last.
func (j Judged) Decision() plan.Decision { return j.verdict.permitted() }

// Readiness is what would be done if the primary died now; false when there is none.
func (j Judged) Readiness() (plan.Previewed, bool) { return j.verdict.ready() }

func (v *verdict) ready() (plan.Previewed, bool) {
	if v.primary.IsZero() {
		return plan.Previewed{}, false
	}
	return v.readiness(), true
}

// Later are Decision and Readiness, for who may ask later. They hold no copy of the situation, as j.Decision would.
func (j Judged) Later() (decide func() plan.Decision, ready func() (plan.Previewed, bool)) {
	return j.verdict.permitted, j.verdict.ready
}

// Ready says that the primary answers, and could be replaced if it died now.
func (j Judged) Ready() bool {
	p := j.Primary()
	if p == nil || !p.Up() {
		return false
	}
	preview, _ := j.Readiness()
	return preview.Ready()
}
