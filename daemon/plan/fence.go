package plan

import (
	"fmt"
	"slices"
	"time"

	"orchestrator/daemon/topology"
)

const (
	// fenceSoon is how long after the first try a server whose scheduled events go on is fenced again: the first may
	// have been lost. The pause doubles with each try.
	fenceSoon = 250 * time.Millisecond
	// fenceAgain is the longest pause.
	fenceAgain = 30 * time.Second
)

// fence makes the step that makes s read-only, and notes that its scheduled events are stopped with it.
func (v *view) fence(s *topology.Server, e *Episode, why string) Step {
	if s.Instance.Scheduler {
		off := EventsOff{s.Key, v.Snapshot.At, v.Snapshot.At}
		if last := e.eventsOff(s.Key); last != nil && v.recent(last.At, 2*fenceAgain) {
			off.Since = last.Since
		}
		e.EventsOff = slices.DeleteFunc(slices.Clone(e.EventsOff), func(o EventsOff) bool { return o.Key == s.Key })
		e.EventsOff = append(e.EventsOff, off)
		why += "; its event scheduler is turned off, because scheduled events may write on a read-only server"
	}
	return Step{Kind: Fence, At: s.Key, Expect: Expect{UUID: s.Instance.UUID}, Why: why}
}

func (e Episode) eventsOff(k topology.Key) *EventsOff {
	for i := range e.EventsOff {
		if e.EventsOff[i].Key == k {
			return &e.EventsOff[i]
		}
	}
	return nil
}

// pause is how long the server is left in peace after the last try: as long as all tries have taken.
func (o EventsOff) pause() time.Duration {
	return min(max(o.At.Sub(o.Since), fenceSoon), fenceAgain)
}

// replacedBy is why a server that was replaced is fenced.
func replacedBy(primary topology.Key) string {
	return fmt.Sprintf("%v was promoted in its place: it must not take writes", primary)
}

// unfenced says that a server which was replaced takes writes: from clients, or from its own scheduled events, which
// write on a read-only server where their accounts may. A replica of MySQL is left alone, because its events can't run
// there as long as it is set up as one.
func (v *view) unfenced(s *topology.Server, e Episode) bool {
	i := s.Instance
	if !i.ReadOnly {
		return true
	}
	if !i.Scheduler || i.SuperReadOnly || i.Flavor == topology.MySQL && len(i.Channels) > 0 {
		return false
	}
	last := e.eventsOff(s.Key)
	return last == nil || !v.recent(last.At, last.pause())
}

// schedulerOff says that the event scheduler of the server at k is off because a fence turned it off, since when the
// server was not promoted.
func (v *view) schedulerOff(k topology.Key) bool {
	episodes := slices.Clone(v.Episodes)
	slices.SortStableFunc(episodes, func(a, b Episode) int { return byAge(b, a) })
	for _, e := range episodes {
		if e.eventsOff(k) != nil {
			return v.up(k) != nil && !v.up(k).Instance.Scheduler
		}
		if e.Candidate == k && !e.Promoted.IsZero() {
			return false
		}
	}
	return false
}
