package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// challengeAgain is how long replicas that found their source alive are left in peace.
const challengeAgain = 30 * time.Second

// Next answers what to do now. Ask it again after every step: it remembers nothing, all it knows is in the situation.
func Next(s Situation) Decision {
	w := world{Situation: s}
	var d decision
	ep := w.open()
	switch {
	case ep == nil:
		d = w.begin()
	case ep.Kind == IntermediateFailover:
		d = w.intermediate(*ep)
	default:
		d = w.primary(*ep)
	}
	var out Decision
	if d.Episode != nil || len(d.Steps)+len(d.Refused) > 0 || d.Wait != "" {
		out.Works = append(out.Works, d.work())
	}
	n := len(d.Steps)
	w.aftercare(&d)
	for _, step := range d.Steps[n:] {
		out.Works = append(out.Works, Work{Kind: Aftercare, Failed: step.At, Steps: []Step{step}})
	}
	for _, e := range d.Update {
		out.Works = append(out.Works, Work{Kind: Aftercare, Failed: e.Failed, Episode: &e})
	}
	out.fenceFirst()
	return out
}

// decision is what is to be done about one episode.
type decision struct {
	Work
	Update []Episode
}

func (d decision) work() Work {
	if e := d.Episode; e != nil {
		d.Kind, d.Failed = e.Kind, e.Failed
	}
	return d.Work
}

// fenceFirst holds promotions back while somebody else must still be fenced: a former primary that has just come back takes writes until then.
func (d *Decision) fenceFirst() {
	if !slices.ContainsFunc(d.Steps(), func(s Step) bool { return s.Kind == Fence }) {
		return
	}
	for i := range d.Works {
		w := &d.Works[i]
		if w.Promotes() {
			w.Steps = slices.DeleteFunc(w.Steps, func(s Step) bool { return s.Kind == Promote })
			w.Wait = "a former primary that takes writes is fenced first"
		}
	}
}

// world is a situation with the questions that decisions ask of it.
type world struct{ Situation }

func (w world) open() *Episode {
	for i := range w.Episodes {
		if w.Episodes[i].Closed.IsZero() {
			e := w.Episodes[i]
			return &e
		}
	}
	return nil
}

func (w world) finding(at topology.Key, codes ...analysis.Code) *analysis.Finding {
	for i, f := range w.Findings {
		if f.At == at && slices.Contains(codes, f.Code) {
			return &w.Findings[i]
		}
	}
	return nil
}

var (
	deadPrimary = []analysis.Code{analysis.DeadPrimary, analysis.DeadPrimaryAndSomeReplicas}
	suspect     = []analysis.Code{analysis.UnreachablePrimary, analysis.UnreachablePrimaryWithLaggingReplicas}
	// deadIntermediate are the codes that are witnessed by replicas, so that these may be moved.
	deadIntermediate = []analysis.Code{
		analysis.DeadIntermediate, analysis.DeadIntermediateAndSomeReplicas,
		analysis.DeadIntermediateWithSingleReplicaFailingToConnect, analysis.AllIntermediateReplicasFailingToConnectOrDead,
		analysis.DeadFormerPrimary,
	}
)

// begin looks for a finding that calls for an episode.
func (w world) begin() decision {
	about := func(kind Kind, f analysis.Finding, d decision) decision {
		d.Kind, d.Failed = kind, f.At
		return d
	}
	for _, f := range w.Findings {
		switch {
		case slices.Contains(deadPrimary, f.Code):
			return about(PrimaryFailover, f, w.commit(w.episode(PrimaryFailover, f)))
		case slices.Contains(suspect, f.Code):
			return about(PrimaryFailover, f, w.suspected(w.episode(PrimaryFailover, f)))
		case f.Code == analysis.DeadPrimaryAndReplicas:
			return about(PrimaryFailover, f, decision{Work: Work{Refused: []string{fmt.Sprintf(
				"no witness: %v and all its replicas are out of reach, so it may be our own network that is down", f.At)}}})
		case f.Code == analysis.DeadPrimaryWithoutReplicas:
			if e := w.orphaned(f); e != nil {
				return about(PrimaryFailover, f, w.commit(*e))
			}
		}
	}
	for _, f := range w.Findings {
		if slices.Contains(deadIntermediate, f.Code) {
			return about(IntermediateFailover, f, w.intermediate(w.episode(IntermediateFailover, f)))
		}
	}
	return decision{}
}

// orphaned is for a server that died after it was promoted and before anybody followed it: its replicas-to-be still point to the one before,
// and can't witness. That it refuses connections must do, and another of them is promoted.
func (w world) orphaned(f analysis.Finding) *Episode {
	last := w.lastPromoted()
	if last == nil || last.Candidate != f.At || last.Acknowledged != nil || !proved(w.Snapshot.Server(f.At).Probe.Failure) ||
		len(w.followers(last.Failed)) == 0 {
		return nil
	}
	e := w.episode(PrimaryFailover, f)
	e.Failed, e.FailedUUID, e.Abandoned = last.Failed, last.FailedUUID, append(slices.Clone(last.Abandoned), last.Candidate)
	return &e
}

func (w world) episode(kind Kind, f analysis.Finding) Episode {
	e := Episode{Kind: kind, Cluster: w.Cluster, Failed: f.At, Code: f.Code, Evidence: f.Evidence, Opened: w.Snapshot.At, Stage: Suspected}
	since := w.Snapshot.At
	if v := w.Snapshot.Server(f.At); v != nil {
		if !v.Probe.FailingSince.IsZero() {
			since = v.Probe.FailingSince
		}
		if v.Instance != nil {
			e.FailedUUID = v.Instance.UUID
		}
	}
	id := fmt.Sprintf("%s-%d-%d", strings.NewReplacer(":", "_", "%", "_").Replace(f.At.Host), f.At.Port, since.UnixMilli())
	e.ID = id
	for n := 2; stored(e, w) != nil; n++ { // the same failure has had an episode that ended too early
		e.ID = fmt.Sprintf("%s-%d", id, n)
	}
	return e
}

// gate lists what forbids an automatic recovery of this failure before anything is touched.
func (w world) gate(e Episode) []string {
	var no []string
	if w.Off != "" {
		no = append(no, "recoveries are switched off: "+w.Off)
	}
	switch p := w.Policy; {
	case !p.Named:
		no = append(no, fmt.Sprintf("policy: no policy of the configuration names cluster %s", w.Cluster))
	case e.Kind == PrimaryFailover && !p.RecoverPrimary:
		no = append(no, fmt.Sprintf("policy: recover_primary is false for cluster %s", w.Cluster))
	case e.Kind == IntermediateFailover && !p.RecoverIntermediate:
		no = append(no, fmt.Sprintf("policy: recover_intermediate is false for cluster %s", w.Cluster))
	}
	failed := w.Snapshot.Server(e.Failed)
	if failed == nil {
		return append(no, fmt.Sprintf("%v is not in the fleet any more", e.Failed))
	}
	if d := failed.Downtime; d != nil && d.Until.After(w.Snapshot.At) {
		no = append(no, fmt.Sprintf("downtime: %v is in downtime until %s (%s: %s)", e.Failed, d.Until.UTC().Format(time.RFC3339), d.Owner, d.Reason))
	}
	if e.Kind == IntermediateFailover {
		return no
	}
	if last := w.lastPromotion(); w.Policy.AntiFlap > 0 && last != nil && w.Snapshot.At.Sub(last.At) < w.Policy.AntiFlap {
		when := fmt.Sprintf("%s ago", w.Snapshot.At.Sub(last.At).Round(time.Second))
		if last.At.After(w.Snapshot.At) {
			when = fmt.Sprintf("at %s, which is yet to come by the clock of this daemon", last.At.UTC().Format(time.RFC3339))
		}
		no = append(no, fmt.Sprintf("anti-flapping: %v was promoted %s, and the policy wants %s between promotions (acknowledge that episode to allow another)",
			last.To, when, w.Policy.AntiFlap))
	}
	if !w.Policy.AllowUnfenced && !proved(failed.Probe.Failure) {
		no = append(no, fmt.Sprintf("policy: %v is silent, not proved dead, and can't be fenced; allow_unfenced is false", e.Failed))
	}
	if failed.Instance != nil {
		for _, c := range failed.Instance.Channels {
			if w.Snapshot.Server(c.Source) == nil {
				no = append(no, fmt.Sprintf("%v itself replicates from %v, which is outside the fleet: a promotion would cut the cluster off from it", e.Failed, c.Source))
			}
		}
	}
	for _, r := range w.followers(e.Failed) {
		if c := r.ChannelFrom(e.Failed); !c.AutoPosition && !r.MultiSource() {
			no = append(no, fmt.Sprintf("%v does not replicate by GTID: without it nobody can prove what it has received", r.Key))
		}
	}
	return no
}

// proved says that the failure itself shows that no server process takes writes there.
func proved(f topology.Failure) bool { return f == topology.Refused || f == topology.Shutdown }

func (w world) lastPromotion() *Promotion {
	var last *Promotion
	for i, p := range w.Promotions {
		if last == nil || p.At.After(last.At) {
			last = &w.Promotions[i]
		}
	}
	return last
}

// followers are the direct replicas of k that can be reached.
func (w world) followers(k topology.Key) []topology.Server {
	var out []topology.Server
	for _, r := range w.Snapshot.Replicas(k) {
		if r.Up() {
			out = append(out, r)
		}
	}
	return out
}

// suspected makes the replicas of a silent primary find out for themselves whether it lives: a receiver that is started anew has to
// connect. All are asked at once: to stop a receiver can take seconds (MariaDB with semi-sync wants to tell the source), and to a living
// source they are back in milliseconds. They are asked again only much later.
func (w world) suspected(e Episode) decision {
	failed := w.Snapshot.Server(e.Failed)
	if failed == nil || failed.Up() {
		return w.undo(e)
	}
	if f := w.finding(e.Failed, deadPrimary...); f != nil {
		e.Code, e.Evidence = f.Code, f.Evidence
		return w.commit(e)
	}
	if w.finding(e.Failed, suspect...) == nil {
		return decision{Work: Work{Episode: stored(e, w), Wait: fmt.Sprintf("no witness: %v is out of reach, and so are those who could tell", e.Failed)}}
	}
	if no := w.gate(e); len(no) > 0 {
		return decision{Work: Work{Episode: stored(e, w), Refused: no}}
	}
	silent := w.Snapshot.At.Sub(failed.Probe.FailingSince)
	patience, failures := w.Thresholds.Silence*2/5, 1 // one time-out is long enough in itself
	if proved(failed.Probe.Failure) || failed.Probe.Failure == topology.Reset {
		patience, failures = 200*time.Millisecond, 2
	}
	if silent < patience || failed.Probe.Failures < failures {
		return decision{Work: Work{Episode: stored(e, w), Wait: fmt.Sprintf("%v has been out of reach for %s only", e.Failed, silent.Round(time.Millisecond))}}
	}
	var receiving []topology.Server
	var waiting []string
	halfway := decision{Work: Work{Episode: &e}}
	asked := w.Snapshot.At.Sub(e.Challenged)
	for _, r := range w.followers(e.Failed) {
		c := r.ChannelFrom(e.Failed)
		switch {
		case r.MultiSource():
		case c.Halted() && slices.Contains(e.Witnesses, r.Key):
			halfway.Steps = append(halfway.Steps, Step{Kind: StartReceiver, At: r.Key, Expect: Expect{UUID: r.Instance.UUID, Source: e.Failed},
				Why: "its receiver was stopped to be started anew, and whoever did that did not come to the second half"})
		case c.IO != topology.Running:
		case r.Instance.Flavor == topology.MariaDB && !c.Drained(r.Instance.Executed):
			waiting = append(waiting, fmt.Sprintf("%v must apply what it received first: starting its receiver anew throws relay logs away", r.Key))
		default:
			receiving = append(receiving, r)
		}
	}
	switch {
	case len(halfway.Steps) > 0:
		return halfway
	case len(receiving) == 0:
		if len(waiting) == 0 {
			waiting = append(waiting, fmt.Sprintf("no replica of %v can tell whether it lives", e.Failed))
		}
		return decision{Work: Work{Episode: stored(e, w), Wait: strings.Join(waiting, "; ")}}
	case !e.Challenged.IsZero() && asked >= 0 && asked < challengeAgain: // negative: by a daemon whose clock was ahead, at a time that is not known
		return decision{Work: Work{Episode: &e, Wait: fmt.Sprintf("%v reached %v with a receiver that was started anew %s ago: it lives, and only we can't reach it",
			receiving[0].Key, e.Failed, asked.Round(time.Millisecond))}}
	}
	e.Challenged = w.Snapshot.At
	for _, r := range receiving {
		if !slices.Contains(e.Witnesses, r.Key) {
			e.Witnesses = append(e.Witnesses, r.Key)
		}
	}
	d := decision{Work: Work{Episode: &e}}
	for _, r := range receiving {
		d.Steps = append(d.Steps, Step{Kind: RestartReceiver, At: r.Key, Expect: Expect{UUID: r.Instance.UUID, Source: e.Failed},
			Why: fmt.Sprintf("%v does not answer us (%s for %s) and %v seems still connected: it has to connect anew, and so finds out whether its source lives",
				e.Failed, failed.Probe.Failure, silent.Round(time.Millisecond), r.Key)})
	}
	return d
}

// stored returns e only if it is already an episode on record: what has not begun leaves no record.
func stored(e Episode, w world) *Episode {
	if slices.ContainsFunc(w.Episodes, func(o Episode) bool { return o.ID == e.ID }) {
		return &e
	}
	return nil
}

func (w world) close(e Episode, outcome string) decision {
	if stored(e, w) == nil {
		return decision{}
	}
	e.Closed, e.Outcome, e.Blocked = w.Snapshot.At, outcome, ""
	if e.Stage == Replaced {
		e.Stage = Ended
	}
	return decision{Work: Work{Episode: &e}}
}

// commit weighs everything that can forbid the failover; if nothing does, the receivers are stopped. From then on what each replica
// has received is final, and a semi-synchronous primary gets no acknowledgement any more.
func (w world) commit(e Episode) decision {
	no := w.gate(e)
	c := w.choice(e)
	if c.chosen == nil && c.adopted == nil {
		no = append(no, c.refused...)
	}
	if len(no) > 0 {
		e.Blocked = strings.Join(no, "; ")
		return decision{Work: Work{Episode: stored(e, w), Refused: no, Candidates: c.ranking}}
	}
	e.Stage = Committed
	e.Blocked = ""
	e.Witnesses = nil
	for _, r := range w.followers(e.Failed) {
		e.Witnesses = append(e.Witnesses, r.Key)
	}
	return w.primary(e)
}

// primary carries a committed failover of a primary on, from wherever it stands.
func (w world) primary(e Episode) decision {
	if e.Stage == Suspected {
		return w.suspected(e)
	}
	failed := w.Snapshot.Server(e.Failed)
	c := w.choice(e)
	if c.adopted != nil {
		e.Candidate, e.Blocked = c.adopted.Key, ""
		if e.Why == "" {
			e.Why = "it had already been opened for writes"
		}
		return w.regroup(e)
	}
	if e.Stage == Replaced {
		// It was opened for writes once and is silent or read-only now. To promote a second server beside it would split the cluster;
		// once it is found dead in its own right, that is the next episode.
		if v := w.Snapshot.Server(e.Candidate); v == nil || !v.Up() {
			e.Unfinished = true
			return w.close(e, fmt.Sprintf("%v was promoted, and fell silent before the other replicas were moved", e.Candidate))
		}
	}
	if failed != nil && failed.Up() && e.Stage != Replaced {
		return w.undo(e)
	}
	d := decision{Work: Work{Candidates: c.ranking, Bound: c.bound}}
	for _, r := range w.followers(e.Failed) {
		if r.MultiSource() {
			continue
		}
		if r.ChannelFrom(e.Failed).IO == topology.Running && e.Stage != Replaced && !w.gone(e.Candidate) {
			return w.undo(e) // it lives after all: whoever committed us to this was away, and this replica found it again
		}
		if r.ChannelFrom(e.Failed).IO != topology.Stopped {
			e.witness(r.Key) // it may have come back meanwhile
			d.Steps = append(d.Steps, Step{Kind: StopReceiver, At: r.Key, Expect: Expect{UUID: r.Instance.UUID, Source: e.Failed},
				Why: fmt.Sprintf("from now on nobody receives from %v, so what each replica has is final", e.Failed)})
		}
	}
	if len(d.Steps) > 0 {
		d.Episode = &e
		return d
	}
	if c.chosen == nil {
		e.Blocked = strings.Join(c.refused, "; ")
		d.Episode, d.Refused, d.Wait = &e, c.refused, e.Blocked
		return d
	}
	if e.Candidate != c.chosen.Key {
		if v := w.Snapshot.Server(e.Candidate); v != nil && !v.Up() && !slices.Contains(e.Abandoned, e.Candidate) {
			e.Abandoned = append(e.Abandoned, e.Candidate)
		}
		e.Candidate, e.Why = c.chosen.Key, strings.Join(c.ranking[0].Reasons, "; ")
		e.Stage = Chosen
	}
	e.Blocked = ""
	d.Episode = &e
	w.promote(&d, &e, c)
	return d
}

// promote brings the candidate to the point where it has everything, and opens it.
func (w world) promote(d *decision, e *Episode, c choice) {
	cand := *w.Snapshot.Server(e.Candidate)
	have := cand.Instance.Executed
	if !cand.Received().Contains(c.need) {
		w.catchUp(d, e, c, cand)
		return
	}
	if !have.Contains(c.need) && len(cand.Instance.Channels) > 0 {
		if e.DrainSince.IsZero() {
			e.DrainSince = w.Snapshot.At
		}
		late := w.Snapshot.At.Sub(e.DrainSince) > w.Policy.DrainTimeout
		if !late || !w.Policy.AllowReceivedLoss {
			left := have.Missing(c.need)
			d.Wait = fmt.Sprintf("%v applies the last %d transactions that it received", cand.Key, left)
			if late {
				e.Blocked = fmt.Sprintf("%v has not applied what it received within %s: %d transactions are left; it is promoted as soon as it has (allow_received_loss is false)",
					cand.Key, w.Policy.DrainTimeout, left)
				d.Refused = append(d.Refused, e.Blocked)
			}
			d.Steps = append(d.Steps, w.drain(cand, c.need))
			return
		}
		d.Bound = fmt.Sprintf("%d received transactions are dropped, as the policy allows after %s", have.Missing(c.need), w.Policy.DrainTimeout)
		c.need = have
	}
	if silent := w.silence(e.Failed); silent < w.Thresholds.Silence {
		d.Wait = fmt.Sprintf("%v has been silent for %s; another is promoted after %s", e.Failed, silent.Round(time.Millisecond), w.Thresholds.Silence)
		return
	}
	if other := w.openedBeside(*e); other != nil {
		e.Blocked = fmt.Sprintf("%v takes writes already, opened by somebody else, and lacks %d transactions that others of its cluster have: to promote %v beside it would split the cluster",
			other.Key, other.Instance.Executed.Missing(c.need), cand.Key)
		d.Refused, d.Wait = append(d.Refused, e.Blocked), e.Blocked
		return
	}
	if why := w.movedAway(*e); why != "" {
		e.Blocked = why
		d.Refused, d.Wait = append(d.Refused, why), why
		return
	}
	expect := Expect{UUID: cand.Instance.UUID, Executed: c.need, NotFrom: e.Failed}
	if ch := cand.Channel(); ch != nil { // one that somebody moved meanwhile follows whom he promoted
		expect.Source = ch.Source.Attached()
	}
	d.Steps = append(d.Steps, Step{Kind: Promote, At: cand.Key, Why: e.Why, Expect: expect})
}

// openedBeside is a server of the cluster that takes writes, and was not opened by us: by another daemon, on the other side of a split, or by hand.
func (w world) openedBeside(e Episode) *topology.Server {
	for _, v := range w.Snapshot.Servers {
		if v.Up() && v.Key != e.Failed && v.Key != e.Candidate && !slices.Contains(e.Abandoned, v.Key) && len(v.Instance.Channels) == 0 && !v.Instance.ReadOnly {
			return &v
		}
	}
	return nil
}

// movedAway says that a replica which this episode began with follows a server that is out of reach, and that we did not make it follow: somebody else,
// on the other side of a split, promoted that one.
func (w world) movedAway(e Episode) string {
	for _, v := range w.Snapshot.Servers {
		if !v.Up() || v.Channel() == nil || v.Key != e.Candidate && !slices.Contains(e.Witnesses, v.Key) {
			continue
		}
		k := v.Channel().Source.Attached()
		source := w.Snapshot.Server(k)
		if k == e.Failed || k == e.Donor || slices.Contains(e.Abandoned, k) || source != nil && source.Up() {
			continue
		}
		return fmt.Sprintf("%v follows %v, which is out of reach, and nobody here moved it there: another daemon, which reaches it, may have promoted it", v.Key, k)
	}
	return ""
}

// silence is how long the server has been silent; for ever, when it has proved that it is dead.
func (w world) silence(k topology.Key) time.Duration {
	v := w.Snapshot.Server(k)
	if v == nil || proved(v.Probe.Failure) {
		return 1<<63 - 1
	}
	return w.Snapshot.At.Sub(v.Probe.FailingSince)
}

// drain has the applier of v finish: it is started if it was stopped without an error, else waited for.
func (w world) drain(v topology.Server, need gtid.Set) Step {
	for _, c := range v.Instance.Channels {
		if c.SQL == topology.Stopped && c.SQLErrno == 0 {
			return Step{Kind: StartApplier, At: v.Key, Expect: Expect{UUID: v.Instance.UUID},
				Why: "its applier is stopped, and what it has received must be applied before it can be promoted"}
		}
	}
	return Step{Kind: AwaitApplied, At: v.Key, Set: v.Received().Subtract(v.Received().Subtract(need)), Expect: Expect{UUID: v.Instance.UUID},
		Why: fmt.Sprintf("%d received transactions are not applied yet, and would be lost", v.Instance.Executed.Missing(need))}
}

// catchUp gives a candidate that the operator prefers, and that lacks something, what another replica has.
func (w world) catchUp(d *decision, e *Episode, c choice, cand topology.Server) {
	donor := w.donor(c, cand.Key)
	if donor == nil { // choice would have refused; the donor has gone meanwhile
		d.Wait = fmt.Sprintf("%v lacks transactions that nobody in reach can give it", cand.Key)
		return
	}
	missing := cand.Received().Missing(c.need)
	switch follows := cand.ChannelFrom(donor.Key); {
	case !donor.Instance.Executed.Contains(c.need):
		d.Steps = append(d.Steps, w.drain(*donor, c.need))
		d.Wait = fmt.Sprintf("%v applies what %v lacks", donor.Key, cand.Key)
	case follows == nil || follows.IO == topology.Stopped:
		e.Donor = donor.Key
		d.Steps = append(d.Steps, Step{Kind: Repoint, At: cand.Key, Source: donor.Key,
			Expect: Expect{UUID: cand.Instance.UUID, Within: within(cand, *donor)},
			Why:    fmt.Sprintf("%v has %d transactions that %v lacks; it gets them before it is promoted", donor.Key, missing, cand.Key)})
	default:
		d.Steps = append(d.Steps, Step{Kind: AwaitApplied, At: cand.Key, Set: c.need, Expect: Expect{UUID: cand.Instance.UUID},
			Why: fmt.Sprintf("it fetches %d transactions from %v", missing, donor.Key)})
		d.Wait = fmt.Sprintf("%v fetches from %v what it lacks", cand.Key, donor.Key)
	}
}

// donor is the first server that has all that is needed and can pass it on.
func (w world) donor(c choice, but topology.Key) *topology.Server {
	for _, r := range w.Snapshot.Servers {
		if r.Key != but && r.Up() && slices.Contains(c.donors, r.Key) && r.Received().Contains(c.need) {
			return &r
		}
	}
	return nil
}

// within is what r may have received at most if it is to follow source: the source's transactions, and those that r wrote itself (a
// MySQL replica that carries errant transactions can follow all the same).
func within(r, source topology.Server) gtid.Set {
	return source.Instance.Executed.Union(r.Received().From(r.Instance.UUID))
}

// regroup moves everybody under the new primary, once that takes writes.
func (w world) regroup(e Episode) decision {
	if e.Stage != Replaced {
		e.Stage = Replaced
		e.Promoted = w.next()
	}
	d := decision{Work: Work{Episode: &e}}
	primary := *w.Snapshot.Server(e.Candidate)
	if v := w.Snapshot.Server(e.Failed); v != nil && v.Up() && !v.Instance.ReadOnly {
		d.Steps = append(d.Steps, fence(*v, e))
	}
	for _, r := range w.Snapshot.Servers {
		if r.Key == primary.Key || r.Key == e.Failed || !r.Up() {
			continue
		}
		step, lost := w.move(r, primary, e.Failed, e)
		if step != nil {
			e.witness(r.Key) // it may have come back only now, and a repoint that is done by half must be known as ours
			d.Steps = append(d.Steps, *step)
		}
		if lost != "" {
			e.lose(r.Key, lost)
		}
	}
	if len(d.Steps) > 0 {
		return d
	}
	for _, r := range w.Snapshot.Replicas(e.Failed) {
		if !r.Up() {
			e.lose(r.Key, fmt.Sprintf("out of reach (%s); it is moved under %v when it comes back", r.Probe.Failure, primary.Key))
		}
	}
	outcome := fmt.Sprintf("%v replaces %v", e.Candidate, e.Failed)
	if len(e.Lost) > 0 {
		outcome += fmt.Sprintf("; %d lost", len(e.Lost))
	}
	return w.close(e, outcome)
}

// witness notes that we have changed the replication of k, and says whether that is new.
func (e *Episode) witness(k topology.Key) bool {
	if slices.Contains(e.Witnesses, k) {
		return false
	}
	e.Witnesses = append(slices.Clone(e.Witnesses), k)
	return true
}

func (e *Episode) lose(k topology.Key, why string) {
	if !slices.ContainsFunc(e.Lost, func(l Lost) bool { return l.Key == k }) {
		e.Lost = append(e.Lost, Lost{k, why})
	}
}

// move says how r gets from the failed server to its new source, or why it can't.
func (w world) move(r, source topology.Server, failed topology.Key, e Episode) (*Step, string) {
	c := r.ChannelFrom(failed)
	if c == nil { // repointed, and killed before it was started?
		if c = r.ChannelFrom(source.Key); c == nil || r.MultiSource() || !c.Halted() || !slices.Contains(e.Witnesses, r.Key) {
			return nil, ""
		}
	}
	if r.MultiSource() {
		return nil, fmt.Sprintf("it has several sources, and those are never changed automatically; its channel from %v must be moved by hand", failed)
	}
	if !c.AutoPosition {
		return nil, "it does not replicate by GTID, so its place in another source's binary log can't be proved"
	}
	limit := within(r, source)
	if extra := r.Received().Subtract(limit); !extra.Empty() {
		why := fmt.Sprintf("it has %d transactions that %v lacks (%s)", extra.Count(), source.Key, extra)
		return detach(r, *c, failed, why), why
	}
	if newer(source.Instance, r.Instance) {
		why := fmt.Sprintf("it runs %v and can't follow %v, which runs %v", r.Instance.Version, source.Key, source.Instance.Version)
		return detach(r, *c, failed, why), why
	}
	return &Step{Kind: Repoint, At: r.Key, Source: source.Key, Expect: Expect{UUID: r.Instance.UUID, Within: limit},
		Why: fmt.Sprintf("its source %v has failed; %v has all that it received", failed, source.Key)}, ""
}

// detach is nil for a server that receives nothing any more and still has to apply what it received: to change its source now would throw
// that away.
func detach(r topology.Server, c topology.Channel, failed topology.Key, why string) *Step {
	if c.IO == topology.Stopped && !c.Drained(r.Instance.Executed) {
		return nil
	}
	return &Step{Kind: Detach, At: r.Key, Expect: Expect{UUID: r.Instance.UUID, Source: failed}, Why: why}
}

// newer says that a runs a later release series than b, which then can't replicate from it with certainty.
func newer(a, b *topology.Instance) bool {
	x, y := a.Version, b.Version
	x.Patch, y.Patch = 0, 0
	return x.Compare(y) > 0
}

// gone says that the candidate has been taken from its source already, or may have been.
func (w world) gone(candidate topology.Key) bool {
	v := w.Snapshot.Server(candidate)
	return v != nil && (!v.Up() || len(v.Instance.Channels) == 0)
}

// undo takes back what was done before anything irreversible: the primary answers again.
func (w world) undo(e Episode) decision {
	if v := w.Snapshot.Server(e.Candidate); v != nil && !v.Up() {
		e.Blocked = fmt.Sprintf("%v answers again, and %v, which may have been opened for writes already, does not: both may take writes", e.Failed, e.Candidate)
		return decision{Work: Work{Episode: &e, Wait: e.Blocked, Refused: []string{e.Blocked}}}
	}
	d := decision{Work: Work{Episode: &e, Wait: fmt.Sprintf("%v answers again before anybody was promoted: the replicas go back to it", e.Failed)}}
	for _, r := range w.Snapshot.Servers { // also a candidate that was to fetch from another what it lacked
		if c := r.Channel(); r.Up() && c != nil && c.Halted() && slices.Contains(e.Witnesses, r.Key) {
			d.Steps = append(d.Steps, Step{Kind: StartReceiver, At: r.Key, Expect: Expect{UUID: r.Instance.UUID, Source: c.Source},
				Why: fmt.Sprintf("%v answers again", e.Failed)})
		}
	}
	if len(d.Steps) == 0 {
		for _, k := range e.Witnesses {
			if v := w.Snapshot.Server(k); v != nil && !v.Up() {
				e.Left = append(e.Left, k)
			}
		}
		return w.close(e, fmt.Sprintf("%v answered again before anybody was promoted", e.Failed))
	}
	return d
}

func fence(v topology.Server, e Episode) Step {
	return Step{Kind: Fence, At: v.Key, Expect: Expect{UUID: v.Instance.UUID},
		Why: fmt.Sprintf("%v was promoted in its place: it must not take writes", e.Candidate)}
}

// aftercare asks for what ended failovers still want. Whoever was promoted last is the rightful primary: any other server that failed, or was a
// candidate, and that comes back writable is fenced, and asked until it is. A replica that was out of reach then is moved.
func (w world) aftercare(d *decision) {
	if d.Episode != nil { // whom this decision finds promoted is the last one already
		w.Episodes = replace(w.Episodes, *d.Episode)
	}
	for _, e := range w.Episodes {
		if len(e.Left) > 0 {
			w.startLeft(d, e)
		}
	}
	last := w.lastPromoted()
	if last == nil {
		return
	}
	for _, e := range w.Episodes {
		if e.Kind != PrimaryFailover || e.Promoted.IsZero() || e.Acknowledged != nil {
			continue
		}
		for _, k := range append(slices.Clone(e.Abandoned), e.Failed, e.Candidate) {
			v := w.Snapshot.Server(k)
			if v == nil || !v.Up() || k == last.Candidate || len(v.Instance.Channels) > 0 ||
				e.FailedUUID != "" && k == e.Failed && v.Instance.UUID != e.FailedUUID {
				continue
			}
			if !v.Instance.ReadOnly {
				if !d.acts(k) {
					d.Steps = append(d.Steps, fence(*v, *last))
				}
			} else if k == e.Failed && e.Fenced.IsZero() && !e.Closed.IsZero() {
				e.Fenced = w.Snapshot.At
				d.Update = append(d.Update, e)
			}
		}
	}
	if w.open() == nil && d.Episode == nil && last.Acknowledged == nil {
		w.bringHome(d, *last)
	}
}

// startLeft starts the receivers that an undone failover left stopped, of replicas that are back.
func (w world) startLeft(d *decision, e Episode) {
	left := e.Left
	e.Left = nil
	for _, k := range left {
		v := w.Snapshot.Server(k)
		switch {
		case v == nil:
		case !v.Up() || d.acts(k):
			e.Left = append(e.Left, k)
		case v.ChannelFrom(e.Failed) != nil && !v.MultiSource() && v.ChannelFrom(e.Failed).Halted():
			e.Left = append(e.Left, k)
			d.Steps = append(d.Steps, Step{Kind: StartReceiver, At: k, Expect: Expect{UUID: v.Instance.UUID, Source: e.Failed},
				Why: fmt.Sprintf("it was stopped when %v seemed dead, and out of reach when the others were started again", e.Failed)})
		}
	}
	if len(e.Left) != len(left) {
		d.Update = append(d.Update, e)
	}
}

// lastPromoted is the episode of the latest promotion.
func (w world) lastPromoted() *Episode {
	var last *Episode
	for i, e := range w.Episodes {
		if e.Kind == PrimaryFailover && !e.Promoted.IsZero() && (last == nil || e.Promoted.After(last.Promoted)) {
			last = &w.Episodes[i]
		}
	}
	return last
}

// next is the time of a promotion that happens now: never before the one before it, though that was done by a daemon whose clock was ahead. By these
// times it is known who is the rightful primary, and all others are fenced.
func (w world) next() time.Time {
	last := w.lastPromoted()
	if last == nil || w.Snapshot.At.Round(0).After(last.Promoted.Round(0)) { // as others will read them, without what our own process knows besides
		return w.Snapshot.At
	}
	return last.Promoted.Round(0).Add(time.Millisecond)
}

// bringHome moves replicas that were out of reach during a failover, and are back now, under the primary.
func (w world) bringHome(d *decision, e Episode) {
	primary := w.Snapshot.Server(e.Candidate)
	if primary == nil || !primary.Up() || len(primary.Instance.Channels) > 0 || w.Off != "" || !w.Policy.RecoverPrimary {
		return
	}
	for _, old := range w.Episodes {
		if old.Kind != PrimaryFailover || old.Promoted.IsZero() || old.Acknowledged != nil || old.Failed == primary.Key {
			continue
		}
		for _, r := range w.Snapshot.Servers {
			if !r.Up() || d.acts(r.Key) || r.Key == primary.Key || r.ChannelFrom(old.Failed) == nil && !old.Unfinished {
				continue
			}
			step, lost := w.move(r, *primary, old.Failed, old)
			if step != nil && step.Kind == Repoint {
				if old.witness(r.Key) || !old.Unfinished { // should it be done by half only, it is known as ours
					old.Unfinished = true
					d.Update = append(d.Update, old)
				}
				d.Steps = append(d.Steps, *step)
			}
			if n := len(old.Lost); lost != "" {
				old.Lost = slices.Clone(old.Lost)
				if old.lose(r.Key, lost); len(old.Lost) > n {
					d.Update = append(d.Update, old)
				}
			}
		}
	}
}

func (d decision) acts(k topology.Key) bool {
	return slices.ContainsFunc(d.Steps, func(s Step) bool { return s.At == k })
}

// intermediate moves the replicas of a dead intermediate server under the nearest living server above it.
func (w world) intermediate(e Episode) decision {
	if e.Stage == Suspected {
		if no := w.gate(e); len(no) > 0 {
			return decision{Work: Work{Episode: stored(e, w), Refused: no}}
		}
		for _, r := range w.followers(e.Failed) {
			e.Witnesses = append(e.Witnesses, r.Key)
		}
		e.Stage = Committed
	}
	if v := w.Snapshot.Server(e.Failed); v == nil || v.Up() {
		d := decision{Work: Work{Episode: &e}}
		for _, r := range w.followers(e.Candidate) {
			if c := r.ChannelFrom(e.Candidate); slices.Contains(e.Witnesses, r.Key) && !r.MultiSource() && c.Halted() {
				d.Steps = append(d.Steps, Step{Kind: StartReceiver, At: r.Key, Expect: Expect{UUID: r.Instance.UUID, Source: e.Candidate},
					Why: "it was moved, and not started yet"})
			}
		}
		if len(d.Steps) > 0 {
			return d
		}
		return w.close(e, fmt.Sprintf("%v answers again", e.Failed))
	}
	above := w.above(e.Failed)
	if above == nil {
		e.Blocked = fmt.Sprintf("no living server above %v can take its replicas", e.Failed)
		return decision{Work: Work{Episode: &e, Refused: []string{e.Blocked}, Wait: e.Blocked}}
	}
	e.Candidate = above.Key
	e.Why = fmt.Sprintf("it is the nearest living server above %v", e.Failed)
	e.Blocked = ""
	d := decision{Work: Work{Episode: &e}}
	for _, r := range w.Snapshot.Servers {
		if !r.Up() || r.Key == e.Failed || r.Key == above.Key {
			continue
		}
		if c := r.ChannelFrom(e.Failed); c != nil && c.IO == topology.Running {
			continue // it receives: its source lives after all
		}
		if c := r.ChannelFrom(e.Failed); c != nil && !r.MultiSource() && !r.Received().Subtract(within(r, *above)).Empty() && w.behind(*above, r) {
			d.Wait = fmt.Sprintf("%v must be read again before %v can be moved under it", above.Key, r.Key)
			continue
		}
		step, lost := w.move(r, *above, e.Failed, e)
		if step != nil && step.Kind == Repoint {
			d.Steps = append(d.Steps, *step)
		} else if lost != "" {
			e.lose(r.Key, lost)
		}
	}
	if len(d.Steps) > 0 || d.Wait != "" {
		return d
	}
	for _, r := range w.Snapshot.Replicas(e.Failed) {
		if !r.Up() {
			e.lose(r.Key, fmt.Sprintf("out of reach (%s)", r.Probe.Failure))
		}
	}
	outcome := fmt.Sprintf("the replicas of %v follow %v", e.Failed, above.Key)
	if len(e.Lost) > 0 {
		outcome += fmt.Sprintf("; %d lost", len(e.Lost))
	}
	if stored(e, w) == nil { // nothing to move, nothing begun
		return decision{}
	}
	return w.close(e, outcome)
}

// behind says that a's facts are older than r's, so that what a seems to lack may only not have been read yet.
func (w world) behind(a, r topology.Server) bool { return a.Probe.Answered.Before(r.Probe.Answered) }

// above is the nearest server up the tree from k that is up and can serve replicas; else the primary.
func (w world) above(k topology.Key) *topology.Server {
	serves := func(v *topology.Server) bool {
		return v != nil && v.Key != k && v.Up() && v.Instance.LogBin && (len(v.Instance.Channels) == 0 || v.Instance.LogReplicaUpdates)
	}
	at := w.Snapshot.Server(k)
	for range w.Snapshot.Servers {
		if at == nil || at.Instance == nil || len(at.Instance.Channels) == 0 {
			break
		}
		at = w.Snapshot.Server(at.Instance.Channels[0].Source)
		if serves(at) {
			return at
		}
	}
	if p := w.Snapshot.Primary(); serves(p) {
		return p
	}
	return nil
}
