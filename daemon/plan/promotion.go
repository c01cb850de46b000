package plan

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// promote brings the candidate to the point where it has everything, and opens it.
func (p *primaryFailover) promote(w *Work, c choice) {
	cand := p.servers[p.e.Candidate]
	if !cand.Received().Contains(c.need) {
		p.catchUp(w, c, cand)
		return
	}
	if k := p.between(cand, p.e); !k.IsZero() && cand.Channel().IO != topology.Stopped {
		p.e.touch(cand.Key)
		w.Steps = append(w.Steps, p.stopReceiver(cand, k, fmt.Sprintf(
			"it is promoted in place of %v, so it receives nothing more from %v", p.e.Failed, k)))
		return
	}
	if !cand.Instance.Executed.Contains(c.need) && len(cand.Instance.Channels) > 0 {
		if !p.drained(w, cand, &c) {
			return
		}
	}
	if why, blocked := p.notYet(c, cand); why != "" {
		if w.Wait = why; blocked {
			p.e.Blocked = why
			w.Refused = append(w.Refused, why)
		}
		return
	}
	expect := Expect{UUID: cand.Instance.UUID, Executed: c.need, NotFrom: p.e.Failed}
	if ch := cand.Channel(); ch != nil { // one that somebody moved meanwhile follows a server that was promoted there
		expect.Source = ch.Source.Attached()
	}
	step := Step{Kind: Promote, At: cand.Key, Why: p.e.Why, Expect: expect, Events: p.schedulerOff(cand.Key)}
	var why string
	if step.SemiSync, why = p.semiSync(p.e, cand); step.SemiSync == Off {
		p.e.Unacknowledged = true
		step.Why += "; " + why
	}
	if cand.Instance.ReadOnly {
		p.e.opening(cand.Key)
	}
	w.Steps = append(w.Steps, step)
}

// drained has the candidate apply what it received. It returns true when the promotion may continue: never before all
// is applied, unless the policy allows the loss of the rest after a time. The rest is then no longer needed.
func (p *primaryFailover) drained(w *Work, cand *topology.Server, c *choice) bool {
	if p.e.DrainSince.IsZero() {
		p.e.DrainSince = p.Snapshot.At
	}
	left := cand.Instance.Executed.Missing(c.need)
	late := p.Snapshot.At.Sub(p.e.DrainSince) > p.Policy.DrainTimeout
	if late && p.Policy.AllowReceivedLoss {
		w.Bound = fmt.Sprintf("%s dropped, as the policy allows after %s; %s", are(left, "received transaction"),
			p.Policy.DrainTimeout, c.bound)
		c.need = cand.Instance.Executed
		return true
	}
	w.Wait = fmt.Sprintf("%v applies the last %s that it received", cand.Key, count(left, "transaction"))
	if late {
		why := fmt.Sprintf(
			"%v has not applied what it received within %s: %s left; "+
				"it is promoted as soon as it has (allow_received_loss is false)",
			cand.Key, p.Policy.DrainTimeout, are(left, "transaction"))
		p.e.Blocked = cmp.Or(p.e.Blocked, why)
		w.Refused = append(w.Refused, why)
	}
	w.Steps = append(w.Steps, p.drain(cand, c.need))
	return false
}

// notYet says why a candidate that has everything is not promoted now. blocked means that time alone does not change
// it.
func (p *primaryFailover) notYet(c choice, cand *topology.Server) (why string, blocked bool) {
	if silent := p.silence(p.e.Failed); silent < p.Thresholds.Silence {
		return fmt.Sprintf("%v has been silent for %s; another server is promoted after %s",
			p.e.Failed, silent.Round(time.Millisecond), p.Thresholds.Silence), false
	}
	if why := p.openedBeside(c); why != "" {
		return why, true
	}
	why = p.movedAway()
	return why, why != ""
}

// movedAway says that a replica which this episode began with follows a server that is out of reach, although we did
// not make it follow. Then somebody on the other side of a split has promoted that server.
func (p *primaryFailover) movedAway() string {
	for i := range p.Snapshot.Servers {
		s := &p.Snapshot.Servers[i]
		if !s.Up() || s.Channel() == nil || s.Key != p.e.Candidate && !p.e.touched(s.Key) {
			continue
		}
		k := s.Channel().Source.Attached()
		if k == p.e.Failed || k == p.e.Donor || slices.Contains(p.e.Abandoned, k) || p.up(k) != nil ||
			p.unmoved(s, p.e.Failed) || p.between(s, p.e) == k && p.servers[k].Probe.Failure.Dead() {
			continue
		}
		return fmt.Sprintf(
			"%v follows %v, which is out of reach, and this daemon did not move it there: "+
				"another daemon, which reaches %v, may have promoted it",
			s.Key, k, k)
	}
	return ""
}

// drain has the applier of s finish: it is started if it was stopped without an error, else waited for.
func (v *view) drain(s *topology.Server, need gtid.Set) Step {
	for _, c := range s.Instance.Channels {
		if c.SQL == topology.Stopped && c.SQLErrno == 0 {
			return Step{Kind: StartApplier, At: s.Key, Expect: Expect{UUID: s.Instance.UUID},
				Why: "its applier is stopped, and what it has received must be applied before it can be promoted"}
		}
	}
	left := s.Instance.Executed.Missing(need)
	return Step{Kind: AwaitApplied, At: s.Key, Set: s.Received().Intersect(need), Expect: Expect{UUID: s.Instance.UUID},
		Why: fmt.Sprintf("%s not applied yet, and would be lost%s", are(left, "received transaction"), writesWait(s))}
}

// writesWait says how long clients may have to wait until a server has applied what it has; "" when that is not long.
func writesWait(s *topology.Server) string {
	c := s.Channel()
	if c == nil || c.Lag == nil || *c.Lag < 10 {
		return ""
	}
	return fmt.Sprintf("; it was %s behind, and nobody can write until it has caught up, which may take as long",
		time.Duration(*c.Lag)*time.Second)
}

// catchUp gives a candidate that the operator prefers, and that lacks something, what another server has.
func (p *primaryFailover) catchUp(w *Work, c choice, cand *topology.Server) {
	donor := p.donor(c, cand, p.e)
	if donor == nil { // choice would have refused; the donor has gone meanwhile
		w.Wait = fmt.Sprintf("%v lacks transactions that no server in reach can give it", cand.Key)
		return
	}
	missing := count(cand.Received().Missing(c.need), "transaction")
	switch follows := cand.ChannelFrom(donor.Key); {
	case !keeps(cand).Contains(relayed(cand, donor)):
		w.Steps = append(w.Steps, p.drain(cand, cand.Received()))
		w.Wait = fmt.Sprintf("%v first applies what it received and %v can't send again", cand.Key, donor.Key)
	case !donor.Instance.Executed.Contains(c.need):
		w.Steps = append(w.Steps, p.drain(donor, c.need))
		w.Wait = fmt.Sprintf("%v applies what %v lacks", donor.Key, cand.Key)
	case follows == nil || follows.IO == topology.Stopped:
		p.e.Donor = donor.Key
		p.e.touch(cand.Key)
		w.Steps = append(w.Steps, Step{Kind: Repoint, At: cand.Key, Source: donor.Key,
			Expect: Expect{UUID: cand.Instance.UUID, Within: within(cand, donor)},
			Why: fmt.Sprintf("%v has %s that %v lacks; it gets them before it is promoted",
				donor.Key, missing, cand.Key)})
	default:
		if follows.IO == topology.Running {
			p.e.DrainSince = time.Time{}
		} else if p.e.DrainSince.IsZero() {
			p.e.DrainSince = p.Snapshot.At
		}
		w.Steps = append(w.Steps, Step{Kind: AwaitApplied, At: cand.Key, Set: c.need,
			Expect: Expect{UUID: cand.Instance.UUID},
			Why:    fmt.Sprintf("it fetches %s from %v", missing, donor.Key)})
		w.Wait = fmt.Sprintf("%v fetches from %v what it lacks", cand.Key, donor.Key)
	}
}

// giveUpDonor notes that the candidate has not connected to its donor in time.
func (p *primaryFailover) giveUpDonor() {
	cand := p.up(p.e.Candidate)
	if cand == nil || p.e.DrainSince.IsZero() || p.Snapshot.At.Sub(p.e.DrainSince) <= p.Policy.DrainTimeout {
		return
	}
	c := cand.ChannelFrom(p.e.Donor)
	if c != nil && c.IO == topology.Connecting && !p.e.unreached(cand.Key, p.e.Donor) {
		p.e.Unreached = append(slices.Clip(p.e.Unreached), Unreached{cand.Key, p.e.Donor})
	}
}

// donor is the first server that has all that is needed and can pass it on to the candidate.
func (v *view) donor(c choice, cand *topology.Server, e Episode) *topology.Server {
	for _, s := range c.donors {
		if s.Key != cand.Key && s.Received().Contains(c.need) && v.withholds(s, cand, c.need, e) == "" {
			return s
		}
	}
	return nil
}

// promotedAt is the time of a promotion that happens now. It is never before the previous promotion, even if the clock
// of the daemon that did that one was ahead. These times decide which server is the rightful primary, and all others
// are fenced.
func (v *view) promotedAt() time.Time {
	// Round drops the monotonic reading, which others who read the record do not have.
	if v.last == nil || v.Snapshot.At.Round(0).After(v.last.Promoted.Round(0)) {
		return v.Snapshot.At
	}
	return v.last.Promoted.Round(0).Add(time.Millisecond)
}
