package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

// applierEndsWithin is how long an applier of MySQL that was told to stop waits for the rest of a transaction: a
// minute, and some more.
const applierEndsWithin = 70 * time.Second

// allFail says why no candidate can be promoted now, although each is tried again and again.
func (e Episode) allFail() string {
	failing := slices.Clone(e.Failing)
	slices.SortFunc(failing, func(a, b Failing) int { return a.Key.Compare(b.Key) })
	var why []string
	for _, f := range failing {
		if e.fails(f.Key) {
			why = append(why, f.Why)
		}
	}
	return "no server can be promoted now, and each that could be is tried again: " + strings.Join(why, "; ")
}

// half says that the candidate was opened by this work, and that the channel from its source is not removed yet: the
// source died in the middle of a transaction, and the applier waits for the rest.
func (v *view) half(s *topology.Server, e Episode) bool {
	return s.Key == e.Candidate && slices.Contains(e.Opening, s.Key) && s.Up() && !s.Instance.ReadOnly &&
		!slices.ContainsFunc(s.Instance.Channels, func(c topology.Channel) bool { return c.IO != topology.Stopped })
}

// forgetSource is the step that removes the channel which a promoted server still has, once its applier has ended; nil
// when there is none. Until then it says what is waited for.
func (v *view) forgetSource(primary *topology.Server, e Episode) (step *Step, wait string) {
	if len(primary.Instance.Channels) == 0 {
		return nil, ""
	}
	applies := func(c topology.Channel) bool { return c.SQL != topology.Stopped }
	if slices.ContainsFunc(primary.Instance.Channels, applies) && v.recent(e.Promoted, applierEndsWithin) {
		return nil, fmt.Sprintf("%v takes writes; its applier waits for the rest of a transaction that %v did not "+
			"finish, and gives up within a minute", primary.Key, e.Failed)
	}
	return &Step{Kind: Promote, At: primary.Key,
		Expect: Expect{UUID: primary.Instance.UUID, Executed: primary.Instance.Executed, NotFrom: e.Failed},
		Why: fmt.Sprintf("it takes writes already; what is left of its replication from %v is removed",
			e.Failed)}, ""
}

// sawCommit notes when a commit was first seen at the server that was promoted: until then it is only believed to take
// writes.
func (v *view) sawCommit(e *Episode, primary *topology.Server) {
	switch has := primary.Instance.Executed.Count(); {
	case e.Had == 0:
		e.Had = has
	case has > e.Had && e.Committed.IsZero():
		e.Committed = v.Snapshot.At.Round(0)
	}
}

// tryWrite has a row of our own committed at the server that was promoted, where the operator has a table for it and no
// commit has been seen. A failover does not wait for that, and where it fails it is not tried for ever.
func (a *aftercare) tryWrite(w *Work, primary *topology.Server) {
	k := primary.Key
	if a.Policy.Heartbeat == "" || a.e.Closed.IsZero() || !a.e.Committed.IsZero() || a.e.fails(k) || w.acts(k) ||
		a.taken[k] != nil {
		return
	}
	w.Steps = append(w.Steps, Step{Kind: TryWrite, At: k, Table: a.Policy.Heartbeat,
		Expect: Expect{UUID: primary.Instance.UUID}, Why: "no commit has been seen there since it was opened"})
}

// Writes says what is known of writes at the server that was promoted; "" when none was.
func (e Episode) Writes() string {
	switch {
	case e.Promoted.IsZero():
		return ""
	case e.Committed.IsZero() && e.failing(e.Candidate) != nil:
		return fmt.Sprintf("no commit has been seen at %v since it was opened: %s", e.Candidate,
			e.failing(e.Candidate).Why)
	case e.Committed.IsZero():
		return fmt.Sprintf("no commit has been seen at %v since it was opened", e.Candidate)
	}
	return fmt.Sprintf("a commit was seen at %v, %s after it was opened", e.Candidate,
		e.Committed.Sub(e.Promoted).Round(time.Millisecond))
}
