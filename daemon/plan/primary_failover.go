package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/topology"
)

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
		case slices.Contains(lonely, f.Code) && v.forlorn(f.At) != "":
			p.e, p.refused = v.begin(PrimaryFailover, f), []string{v.forlorn(f.At)}
		case f.Code == analysis.PrimaryStalled && v.servers[f.At].Instance.Stalled.Seconds >= stalledFor:
			p.e = v.begin(PrimaryFailover, f)
		default:
			continue
		}
		return []work{p}
	}
	return nil
}

// forlorn says why a primary is not replaced that is out of reach and has no replica in reach, and what would help; ""
// where there is nobody to be promoted.
func (v *view) forlorn(k topology.Key) string {
	switch {
	case v.finding(k, analysis.DeadPrimaryAndReplicas) != nil:
		return v.deserted(k)
	case v.finding(k, analysis.DeadPrimaryWithoutReplicas) != nil:
		return v.stranded(k)
	}
	return ""
}

// deserted is that of a primary whose replicas are all out of reach.
func (v *view) deserted(k topology.Key) string {
	for i := range v.Snapshot.Servers {
		if s := &v.Snapshot.Servers[i]; s.Up() {
			return fmt.Sprintf("no witness: %v and all its replicas are out of reach; %v answers, so not all of our "+
				"network is down, but it did not follow %v itself, so it can't tell whether that lives: bring one of "+
				"the replicas back, or, if you know that %v is dead for good, promote %v or another by hand",
				k, s.Key, k, k, s.Key)
		}
	}
	return fmt.Sprintf("no witness: %v and all its replicas are out of reach, so it may be our own network that is "+
		"down: look from another host, and bring one of the servers back", k)
}

// stranded is that of a dead primary that no server follows, although other servers of its cluster live; "" when none
// does. They follow a server that it has replaced, and nothing tells what it wrote since.
func (v *view) stranded(k topology.Key) string {
	var alive []string
	for i := range v.Snapshot.Servers {
		if s := &v.Snapshot.Servers[i]; s.Up() && s.Key != k {
			alive = append(alive, s.Key.String())
		}
	}
	if len(alive) == 0 {
		return ""
	}
	one := alive[0]
	if len(alive) > 1 {
		one = "one of " + strings.Join(alive, ", ")
	}
	return fmt.Sprintf("%v is the primary and dead, and no server follows it: what it wrote is on no other server; "+
		"bring it back, or promote %s by hand and lose that", k, one)
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
		v.servers[k].Probe.Failure.Dead() && len(v.followers[v.last.Failed]) > 0
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

// suspected makes the replicas of a silent primary find out for themselves whether it lives: see challenge.
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
	f := p.finding(p.e.Failed, suspect...)
	if f == nil {
		if why := p.forlorn(p.e.Failed); why != "" {
			return p.unwitnessed(why)
		}
		return p.waits(p.e, "no witness: %v is out of reach, and so are those who could tell", p.e.Failed)
	}
	if no := p.gate(p.e); len(no) > 0 {
		if why := unresolved(failed); why != "" {
			no = append([]string{why}, no...)
		}
		return Work{Episode: p.stored(p.e), Refused: no}
	}
	w, missing := p.challenge(&p.e, failed, f.Says)
	switch {
	case missing == "":
		return w
	case !p.allAsked():
		return p.waits(p.e, "the replicas of %v are asked again", p.e.Failed)
	}
	return p.unwitnessed(missing)
}

// waits leaves the episode, if there is one, as it is.
func (v *view) waits(e Episode, format string, args ...any) Work {
	return Work{Episode: v.stored(e), Wait: fmt.Sprintf(format, args...)}
}

// commit checks everything that can forbid the failover. If nothing does, it stops the receivers. From then on what
// each replica has received is final, and a semi-synchronous primary gets no more acknowledgements.
func (p *primaryFailover) commit() Work {
	c := p.choice(p.e)
	var nobody []string
	if c.chosen == nil && c.adopted == nil {
		nobody = c.refused
	}
	if no := p.gate(p.e, nobody...); len(no) > 0 {
		w := p.block(no...)
		w.Candidates = c.ranking
		return w
	}
	p.e.Stage, p.e.Blocked, p.e.Touched = Committed, "", nil
	for _, r := range p.followers[p.e.Failed] {
		p.e.touch(r.Key)
	}
	return p.goOn()
}

// goOn carries a committed failover on, from wherever it stands.
func (p *primaryFailover) goOn() Work {
	if r := p.request(p.e.Failed); r != nil && p.e.Stage != Promoted {
		p.e.Request = r
	}
	p.giveUpDonor()
	c := p.choice(p.e)
	if c.adopted != nil {
		if why := p.adoptsLater(c.adopted); why != "" {
			return p.overrule(c, why)
		}
		p.adopt(c.adopted)
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
	if k := p.predecessor(); p.up(k) != nil && p.e.Stage != Promoted && !p.exchanged(p.up(k), *p.last) {
		return p.undoFor(k)
	}
	w := Work{Candidates: c.ranking, Bound: c.bound}
	if alive := p.stop(&w); alive {
		// The daemon that committed to this was away, and this replica has reconnected: the failed server is alive.
		return p.undo()
	}
	if no := p.overruled(c); len(no) > 0 {
		return p.overrule(c, no...)
	}
	w.Episode = &p.e
	if slices.ContainsFunc(w.Steps, func(s Step) bool {
		return !p.e.fails(s.At) || c.chosen != nil && s.At == c.chosen.Key
	}) {
		return w
	}
	// What is left are receivers that do not stop although they were told to, again and again. They are no reason to
	// keep writers waiting: they can't reach the failed server.
	if no, none := p.notChosen(c); none {
		p.e.Blocked = strings.Join(no, "; ")
		w.Refused, w.Wait = no, p.e.Blocked
		return w
	}
	p.commitTo(c)
	if p.e.Blocked = ""; p.e.fails(c.chosen.Key) {
		p.e.Blocked = p.e.allFail()
		w.Refused = append(w.Refused, p.e.Blocked)
	}
	stops := w.Steps
	w.Steps = nil
	p.promote(&w, c)
	p.fenceWriters(&w)
	for _, s := range stops {
		if !w.acts(s.At) {
			w.Steps = append(w.Steps, s)
		}
	}
	return w
}

// adopt takes a server that takes writes already for the candidate.
func (p *primaryFailover) adopt(s *topology.Server) {
	if p.e.Candidate != s.Key {
		p.e.abandon(p.e.Candidate)
	}
	p.e.Candidate, p.e.CandidateUUID, p.e.Blocked = s.Key, s.Instance.UUID, ""
	if p.e.Why == "" {
		p.e.Why = "it had already been opened for writes"
	}
}

// notChosen says that nobody is promoted, and why.
func (p *primaryFailover) notChosen(c choice) (why []string, none bool) {
	if c.chosen == nil {
		return c.refused, true
	}
	if p.e.Stage == Promoted && p.e.Candidate != c.chosen.Key {
		return []string{fmt.Sprintf(
			"%v was promoted, and takes no writes now; another server must not be promoted beside it: "+
				"if it should be the primary, set its read_only to 0; if not, acknowledge this episode",
			p.e.Candidate)}, true
	}
	return nil, false
}

// commitTo commits the episode to the candidate that was chosen.
func (p *primaryFailover) commitTo(c choice) {
	if p.e.Candidate != c.chosen.Key {
		if s := p.up(p.e.Candidate); s == nil || p.e.fails(s.Key) || p.exchanged(s, p.e) {
			p.e.abandon(p.e.Candidate)
		}
		p.e.Candidate, p.e.Why = c.chosen.Key, strings.Join(c.ranking[0].Reasons, "; ")
		p.e.DrainSince = time.Time{}
		p.e.Stage = Chosen
	}
	if !p.begun(c.ranking[0], p.e) { // it may have come back with another
		p.e.CandidateUUID = c.chosen.Instance.UUID
	}
}

// stop has every replica stop its receiver. It returns true when one of them receives again from the failed server,
// which is therefore alive.
func (p *primaryFailover) stop(w *Work) (alive bool) {
	for _, r := range p.followers[p.e.Failed] {
		c := r.ChannelFrom(p.e.Failed)
		if r.MultiSource() || c.IO == topology.Stopped {
			continue
		}
		if c.IO == topology.Running && !c.Full && p.e.Stage != Promoted && !p.leftItsSource(p.e.Candidate) {
			return true
		}
		p.e.touch(r.Key) // it may have come back meanwhile
		w.Steps = append(w.Steps, p.stopReceiver(r, p.e.Failed, fmt.Sprintf(
			"from now on no server receives from %v, so what each replica has is final", p.e.Failed)))
	}
	return false
}

// leftItsSource says that the candidate has been taken from its source already, or may have been.
func (p *primaryFailover) leftItsSource(candidate topology.Key) bool {
	s := p.servers[candidate]
	return s != nil && (!s.Up() || len(s.Instance.Channels) == 0)
}

// predecessor is the server that the last failover promoted in the place of the same failed one, and that died before
// any other followed it; zero where this is no such case.
func (p *primaryFailover) predecessor() topology.Key {
	if p.last == nil || p.last.ID == p.e.ID || p.last.Failed != p.e.Failed ||
		!slices.Contains(p.e.Abandoned, p.last.Candidate) {
		return topology.Key{}
	}
	return p.last.Candidate
}

// undo takes back what was done before anything irreversible: the primary answers again.
func (p *primaryFailover) undo() Work { return p.undoFor(p.e.Failed) }

func (p *primaryFailover) undoFor(k topology.Key) Work {
	e := &p.e
	if i := slices.IndexFunc(e.Opening, p.down); i >= 0 {
		e.Blocked = fmt.Sprintf(
			"%v answers again, and %v, which may have been opened for writes already, does not: both may take writes",
			k, e.Opening[i])
		return Work{Episode: e, Wait: e.Blocked, Refused: []string{e.Blocked}}
	}
	for _, o := range e.Opening {
		if s := p.up(o); s != nil && writable(s) {
			why := fmt.Sprintf("%v answers again, and %v, which was opened in its place, is not taken for the new "+
				"primary", k, o)
			return Work{Episode: e, Wait: why, Steps: []Step{p.fence(s, e, why)}}
		}
	}
	return p.withdraw(fmt.Sprintf("%v answers again before another server was promoted: the replicas go back to it", k),
		fmt.Sprintf("%v answered again before another server was promoted", k))
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
	p.leave(e)
	return p.close(*e, outcome)
}

// leave notes the servers that are out of reach, and whose receivers the episode may have stopped.
func (v *view) leave(e *Episode) {
	for _, k := range e.Touched {
		if v.down(k) {
			e.Left = append(slices.Clip(e.Left), k)
		}
	}
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
