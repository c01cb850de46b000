package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/topology"
)

// challengeAgain is how long replicas that found their source alive are left in peace.
const challengeAgain = 30 * time.Second

var (
	deadPrimary = []analysis.Code{analysis.DeadPrimary, analysis.DeadPrimaryAndSomeReplicas}
	lonely      = []analysis.Code{analysis.DeadPrimaryWithoutReplicas, analysis.DeadPrimaryAndReplicas}
	suspect     = []analysis.Code{analysis.UnreachablePrimary, analysis.UnreachablePrimaryWithLaggingReplicas}
)

// primaryFailover replaces a dead primary with one of its replicas. It lets the replicas find out that the primary is
// dead, stops their receivers, and has the best one apply what it received. Then it opens that one for writes and moves
// the others under it.
type primaryFailover struct {
	*view
	e Episode
	// verdict is why no replica need be asked whether the primary lives; "" when they must be.
	verdict analysis.Code
	refused []string // why nothing is begun
}

// primaryFailovers is the one that is open; a cluster has one primary at a time, so the next begins when it is over.
func primaryFailovers(v *view) []work {
	if open := v.open(PrimaryFailover); len(open) > 0 {
		return []work{&primaryFailover{view: v, e: open[0], verdict: v.orphanOf(open[0])}}
	}
	for _, f := range v.Findings {
		p := &primaryFailover{view: v}
		switch {
		case slices.Contains(deadPrimary, f.Code), slices.Contains(suspect, f.Code):
			p.e = v.begin(PrimaryFailover, f)
		case slices.Contains(lonely, f.Code) && v.orphaned(f.At):
			p.e, p.verdict = v.beginOrphaned(f), f.Code
		case f.Code == analysis.DeadPrimaryAndReplicas:
			p.e = v.begin(PrimaryFailover, f)
			p.refused = []string{fmt.Sprintf("no witness: %v and all its replicas are out of reach, "+
				"so it may be our own network that is down", f.At)}
		case f.Code == analysis.PrimaryStalled && v.servers[f.At].Instance.Stalled.Seconds >= stalledFor:
			p.e = v.begin(PrimaryFailover, f)
		default:
			continue
		}
		return []work{p}
	}
	return nil
}

// begin makes the episode of a failure that was found. It is on record only once the work has done something.
func (v *view) begin(kind Kind, f analysis.Finding) Episode {
	e := Episode{Kind: kind, Cluster: v.Cluster, Failed: f.At, Code: f.Code, Evidence: f.Evidence,
		Opened: v.Snapshot.At, Stage: Suspected, Request: v.request(f.At)}
	since := v.Snapshot.At
	if s := v.servers[f.At]; s != nil {
		if !s.Probe.FailingSince.IsZero() {
			since = s.Probe.FailingSince
		}
		if s.Instance != nil {
			e.FailedUUID = s.Instance.UUID
		}
	}
	id := fmt.Sprintf("%s-%d-%d", strings.NewReplacer(":", "_", "%", "_").Replace(f.At.Host), f.At.Port,
		since.UnixMilli())
	e.ID = id
	for n := 2; v.stored(e) != nil; n++ { // the same failure has had an episode that ended too early
		for _, o := range v.Episodes {
			if o.ID == e.ID {
				e.Challenged = o.Challenged // the replicas need not be asked again at once
			}
		}
		e.ID = fmt.Sprintf("%s-%d", id, n)
	}
	return e
}

// orphaned says that k died after it was promoted and before any server that lives followed it. Its future replicas
// still point to the previous primary and can't be witnesses. That k refuses connections must be enough, and another of
// them is promoted.
func (v *view) orphaned(k topology.Key) bool {
	return v.last != nil && v.last.Candidate == k && v.last.Acknowledged == nil &&
		proved(v.servers[k].Probe.Failure) && len(v.followers[v.last.Failed]) > 0
}

func (v *view) beginOrphaned(f analysis.Finding) Episode {
	e := v.begin(PrimaryFailover, f)
	e.Failed, e.FailedUUID, e.Abandoned = v.last.Failed, v.last.FailedUUID, slices.Clone(v.last.Abandoned)
	e.abandon(v.last.Candidate)
	return e
}

// orphanOf is the verdict on an open episode that beginOrphaned began, and that has been blocked since.
func (v *view) orphanOf(e Episode) analysis.Code {
	if v.last == nil || v.last.Failed != e.Failed || !slices.Contains(e.Abandoned, v.last.Candidate) ||
		v.servers[v.last.Candidate] == nil || !v.orphaned(v.last.Candidate) {
		return ""
	}
	if f := v.finding(v.last.Candidate, lonely...); f != nil {
		return f.Code
	}
	return ""
}

func (p *primaryFailover) next() Work {
	switch {
	case len(p.refused) > 0:
		return p.unwitnessed(p.refused[0])
	case p.e.Stage != Suspected:
		return p.goOn()
	case p.verdict != "":
		return p.commit()
	}
	return p.suspected()
}

func (p *primaryFailover) failed() topology.Key { return p.e.Failed }

// claims are all servers that could take writes and all that follow the failed one, until another server takes writes.
// After that they are the servers that still have to be moved.
func (p *primaryFailover) claims() []topology.Key {
	if p.e.Stage == Suspected || !p.e.Closed.IsZero() {
		return nil
	}
	out := []topology.Key{p.e.Failed}
	for _, r := range p.replicas[p.e.Failed] {
		out = append(out, r.Key)
	}
	if p.e.Stage != Promoted {
		out = append(append(out, p.e.Candidate, p.e.Donor), p.e.Touched...)
	}
	return out
}

// suspected makes the replicas of a silent primary find out for themselves whether it lives: a receiver that is
// restarted has to connect. All receivers are restarted at once, because a stop can take seconds (MariaDB with
// semi-sync notifies the source). If the source lives, they are back in milliseconds. They are restarted again only
// much later.
func (p *primaryFailover) suspected() Work {
	failed := p.servers[p.e.Failed]
	if failed == nil {
		return p.undo()
	}
	if failed.Up() {
		return p.answering(failed)
	}
	if f := p.finding(p.e.Failed, deadPrimary...); f != nil {
		if p.e.Blocked == "" || p.e.Code != f.Code { // else the record would change with each probe
			p.e.Code, p.e.Evidence = f.Code, f.Evidence
		}
		return p.commit()
	}
	if p.primary.Key != p.e.Failed && p.primary.Up() {
		now := fmt.Sprintf("%v is the primary of the cluster now", p.primary.Key)
		return p.withdraw(now, now)
	}
	if p.finding(p.e.Failed, suspect...) == nil {
		return p.waits("no witness: %v is out of reach, and so are those who could tell", p.e.Failed)
	}
	if no := p.gate(p.e); len(no) > 0 {
		return Work{Episode: p.stored(p.e), Refused: no}
	}
	if failed.Probe.Failure == topology.NoHost {
		return p.waits("this daemon can't resolve the name of %v, which says nothing of the server: "+
			"fix its resolver, or add the server by its address", p.e.Failed)
	}
	silent := p.Snapshot.At.Sub(failed.Probe.FailingSince)
	patience, failures := p.Thresholds.Silence*2/5, 1 // one time-out is long enough in itself
	if proved(failed.Probe.Failure) || failed.Probe.Failure == topology.Reset {
		patience, failures = 200*time.Millisecond, 2
	}
	if silent < patience || failed.Probe.Failures < failures {
		return p.waits("%v has been out of reach for only %s", p.e.Failed, silent.Round(time.Millisecond))
	}
	return p.challenge(silent)
}

// waits leaves the episode, if there is one, as it is.
func (p *primaryFailover) waits(format string, args ...any) Work {
	return Work{Episode: p.stored(p.e), Wait: fmt.Sprintf(format, args...)}
}

// challenge restarts the receivers of the replicas that seem connected.
func (p *primaryFailover) challenge(silent time.Duration) Work {
	var receiving []*topology.Server
	var waiting []string
	halfway := Work{Episode: &p.e}
	for _, r := range p.followers[p.e.Failed] {
		c := r.ChannelFrom(p.e.Failed)
		switch {
		case r.MultiSource():
		case c.Halted() && p.e.touched(r.Key):
			halfway.Steps = append(halfway.Steps, p.start(r, p.e.Failed,
				"its receiver was stopped for a restart, and the daemon that did that did not come to start it"))
		case c.IO != topology.Running:
		case r.Instance.Flavor == topology.MariaDB && !c.Drained(r.Instance.Executed):
			waiting = append(waiting, fmt.Sprintf(
				"%v must apply what it received first: a restart of its receiver would throw relay logs away", r.Key))
		default:
			receiving = append(receiving, r)
		}
	}
	since := p.Snapshot.At.Sub(p.e.Challenged)
	switch {
	case len(halfway.Steps) > 0:
		return halfway
	case len(receiving) == 0 && len(waiting) > 0:
		return p.waits("%s", strings.Join(waiting, "; "))
	case len(receiving) == 0 && !p.allAsked():
		return p.waits("the replicas of %v are asked again", p.e.Failed)
	case len(receiving) == 0:
		return p.unwitnessed(fmt.Sprintf("no replica of %v can tell whether it lives: start the receiver of one of "+
			"them, so that it finds out", p.e.Failed))
	case !p.e.Challenged.IsZero() && since >= 0 && since < challengeAgain:
		// since is negative when the clock of the daemon that restarted the receivers was ahead.
		return Work{Episode: p.stored(p.e), Wait: fmt.Sprintf(
			"%v reconnected to %v %s ago, so %v is alive, and only this daemon can't reach it",
			receiving[0].Key, p.e.Failed, since.Round(time.Millisecond), p.e.Failed)}
	}
	p.e.Challenged = p.Snapshot.At
	w := Work{Episode: &p.e}
	for _, r := range receiving {
		p.e.touch(r.Key)
		w.Steps = append(w.Steps, Step{Kind: RestartReceiver, At: r.Key, From: p.e.Failed,
			Expect: Expect{UUID: r.Instance.UUID, Source: p.e.Failed},
			Why: fmt.Sprintf("%v does not answer us (%s for %s) and %v seems still connected: "+
				"it has to connect again, and so finds out whether its source lives",
				p.e.Failed, p.servers[p.e.Failed].Probe.Failure, silent.Round(time.Millisecond), r.Key)})
	}
	return w
}

// commit checks everything that can forbid the failover. If nothing does, it stops the receivers. From then on what
// each replica has received is final, and a semi-synchronous primary gets no more acknowledgements.
func (p *primaryFailover) commit() Work {
	no := p.gate(p.e)
	c := p.choice(p.e)
	if c.chosen == nil && c.adopted == nil {
		no = append(no, c.refused...)
	}
	if len(no) > 0 {
		w := p.block(no...)
		w.Candidates = c.ranking
		return w
	}
	p.e.Stage, p.e.Blocked, p.e.Touched = Committed, "", nil
	if r := p.request(p.e.Failed); r != nil {
		p.e.Request = r
	}
	for _, r := range p.followers[p.e.Failed] {
		p.e.touch(r.Key)
	}
	return p.goOn()
}

// goOn carries a committed failover on, from wherever it stands.
func (p *primaryFailover) goOn() Work {
	c := p.choice(p.e)
	if c.adopted != nil {
		p.e.Candidate, p.e.Blocked = c.adopted.Key, ""
		if p.e.Why == "" {
			p.e.Why = "it had already been opened for writes"
		}
		return p.regroup()
	}
	if p.e.Stage == Promoted && p.up(p.e.Candidate) == nil {
		// The candidate was opened for writes once and is silent now. To promote a second server beside it would split
		// the cluster. If it is found dead itself, that is the next episode.
		p.e.Unfinished = true
		return p.close(p.e, fmt.Sprintf(
			"%v was promoted, and fell silent before the other replicas were moved", p.e.Candidate))
	}
	if p.up(p.e.Failed) != nil && p.e.Stage != Promoted {
		return p.undo()
	}
	w := Work{Candidates: c.ranking, Bound: c.bound}
	if alive := p.stop(&w); alive {
		// The daemon that committed to this was away, and this replica has reconnected: the failed server is alive.
		return p.undo()
	}
	w.Episode = &p.e
	if len(w.Steps) > 0 {
		return w
	}
	if c.chosen == nil {
		p.e.Blocked = strings.Join(c.refused, "; ")
		w.Refused, w.Wait = c.refused, p.e.Blocked
		return w
	}
	if p.e.Stage == Promoted && p.e.Candidate != c.chosen.Key {
		p.e.Blocked = fmt.Sprintf(
			"%v was promoted, and takes no writes now; another server must not be promoted beside it", p.e.Candidate)
		w.Refused, w.Wait = []string{p.e.Blocked}, p.e.Blocked
		return w
	}
	if p.e.Candidate != c.chosen.Key {
		if p.down(p.e.Candidate) {
			p.e.abandon(p.e.Candidate)
		}
		p.e.Candidate, p.e.Why = c.chosen.Key, strings.Join(c.ranking[0].Reasons, "; ")
		p.e.DrainSince = time.Time{}
		p.e.Stage = Chosen
	}
	p.e.Blocked = ""
	p.promote(&w, c)
	p.fenceWriters(&w)
	return w
}

// stop has every replica stop its receiver. It returns true when one of them receives again from the failed server,
// which is therefore alive.
func (p *primaryFailover) stop(w *Work) (alive bool) {
	for _, r := range p.followers[p.e.Failed] {
		c := r.ChannelFrom(p.e.Failed)
		if r.MultiSource() || c.IO == topology.Stopped {
			continue
		}
		if c.IO == topology.Running && p.e.Stage != Promoted && !p.leftItsSource(p.e.Candidate) {
			return true
		}
		p.e.touch(r.Key) // it may have come back meanwhile
		w.Steps = append(w.Steps, Step{Kind: StopReceiver, At: r.Key, From: p.e.Failed,
			Expect: Expect{UUID: r.Instance.UUID, Source: p.e.Failed},
			Why: fmt.Sprintf(
				"from now on no server receives from %v, so what each replica has is final", p.e.Failed)})
	}
	return false
}

// leftItsSource says that the candidate has been taken from its source already, or may have been.
func (p *primaryFailover) leftItsSource(candidate topology.Key) bool {
	s := p.servers[candidate]
	return s != nil && (!s.Up() || len(s.Instance.Channels) == 0)
}

// undo takes back what was done before anything irreversible: the primary answers again.
func (p *primaryFailover) undo() Work {
	e := &p.e
	if p.down(e.Candidate) {
		e.Blocked = fmt.Sprintf(
			"%v answers again, and %v, which may have been opened for writes already, does not: both may take writes",
			e.Failed, e.Candidate)
		return Work{Episode: e, Wait: e.Blocked, Refused: []string{e.Blocked}}
	}
	return p.withdraw(fmt.Sprintf("%v answers again before another server was promoted: the replicas go back to it",
		e.Failed), fmt.Sprintf("%v answered again before another server was promoted", e.Failed))
}

// withdraw starts the receivers that were stopped, and closes the episode without a promotion.
func (p *primaryFailover) withdraw(why, outcome string) Work {
	e := &p.e
	w := Work{Episode: e, Wait: why}
	for i := range p.Snapshot.Servers { // also a candidate that fetches from another what it lacks
		r := &p.Snapshot.Servers[i]
		if c := r.Channel(); r.Up() && c != nil && c.Halted() && e.touched(r.Key) {
			w.Steps = append(w.Steps, p.start(r, c.Source, why))
		}
	}
	if len(w.Steps) > 0 {
		return w
	}
	for _, k := range e.Touched {
		if p.down(k) {
			e.Left = append(e.Left, k)
		}
	}
	return p.close(*e, outcome)
}

// start makes the step that starts the receiver of r again.
func (v *view) start(r *topology.Server, source topology.Key, why string) Step {
	return Step{Kind: StartReceiver, At: r.Key, From: source, Expect: Expect{UUID: r.Instance.UUID, Source: source},
		Why: why}
}

// close ends an episode that is on record; one that never began leaves nothing.
func (v *view) close(e Episode, outcome string) Work {
	if v.stored(e) == nil {
		return Work{}
	}
	e.Closed, e.Outcome, e.Blocked = v.Snapshot.At, outcome, ""
	if e.Stage == Promoted {
		e.Stage = Ended
	}
	return Work{Episode: &e}
}
