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
		case f.Code == analysis.PrimaryNotWritable && v.shut(f.At) != "":
			p.e = v.begin(PrimaryFailover, f)
		case f.Code == analysis.PrimaryStalled && v.servers[f.At].Instance.Stalled.Seconds >= stalledFor:
			p.e = v.begin(PrimaryFailover, f)
		default:
			continue
		}
		return []work{p}
	}
	return nil
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
	return p.restarted(p.suspected(), p.e)
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
	p.touchAll(&p.e)
	p.e.Stage, p.e.Blocked = Committed, ""
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
		p.leave(&p.e, true)
		p.loseSilent(&p.e)
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
		if p.e.Stage == Promoted && p.e.Acknowledged != nil {
			return p.givenUp()
		}
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
		return []string{p.notBeside()}, true
	}
	return nil, false
}

// givenUp ends the work after a promotion: a person who knows that it can't go on has acknowledged it. Replicas that
// were moved, and not started yet, are started.
func (p *primaryFailover) givenUp() Work {
	p.leave(&p.e, true)
	return p.close(p.e, fmt.Sprintf(
		"%v was promoted in place of %v; what was left to do is not done: acknowledged by %s", p.e.Candidate,
		p.e.Failed, p.e.Acknowledged.By))
}

// notBeside says why nobody is promoted beside the server that was promoted, and is not taken for that any more.
func (p *primaryFailover) notBeside() string {
	const shut = "set its read_only to 0"
	s := p.up(p.e.Candidate)
	if s == nil || !p.exchanged(s, p.e) {
		return fmt.Sprintf("%v was promoted, and takes no writes now; another server must not be promoted beside it: "+
			"if it should be the primary, %s; if not, acknowledge this episode", p.e.Candidate, shut)
	}
	now, then := "takes writes", ""
	if !writable(s) {
		now, then = "takes none", shut+" and "
	}
	return fmt.Sprintf("%v was promoted, and another server, or one without its data, stands there now and %s; "+
		"whether it has all that was committed there is not known, so nothing is moved under it, and no other server "+
		"is promoted beside it: if it should be the primary, %sacknowledge this episode; if not, stop it and "+
		"acknowledge this episode", p.e.Candidate, now, then)
}

// commitTo commits the episode to the candidate that was chosen.
func (p *primaryFailover) commitTo(c choice) {
	if p.e.Candidate != c.chosen.Key {
		s := p.up(p.e.Candidate)
		if s == nil || p.e.fails(s.Key) || p.exchanged(s, p.e) || !p.between(s, p.e).IsZero() {
			p.e.abandon(p.e.Candidate) // one below another replica, too: its receiver was stopped, and must be started
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
