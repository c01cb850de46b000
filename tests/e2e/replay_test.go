package e2e

import (
	"fmt"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/drawing"
	"orchestrator/daemon/plan"
)

// replayed waits for an open episode, saves what the daemon knows in its middle, and asks the desk: it must decide what
// the daemon decides, from JSON and from a drawing. Neither stands still, so they are asked until they were at one
// point.
func (f fleet) replayed() {
	f.Helper()
	cluster := f.Primary.Key.String()
	daemon, desk := "", ""
	f.Await("the desk decides as the daemon does", func() bool {
		saved, err := f.API.Snapshot(f.Ctx, cluster)
		if err != nil || len(saved.ByCluster) != 1 || len(saved.ByCluster[0].Episodes) == 0 ||
			saved.ByCluster[0].Episodes[0].Candidate.IsZero() {
			return false
		}
		now, err := f.API.Plan(f.Ctx, cluster, "")
		if err != nil {
			return false
		}
		daemon = outline(now.Now)
		read, err := drawing.Parse(drawing.Print(saved))
		f.Must(err)
		for _, s := range []drawing.Saved{saved, read} {
			facts := s.Facts(plan.Policy{}, analysis.Thresholds{})
			if desk = outline(plan.Decide(plan.Situate(facts[0]))); desk != daemon {
				return false
			}
		}
		return len(now.Now.Steps()) > 0
	})
	f.Logf("the daemon and the desk: %s", daemon)
}

// outline is what a decision does, without the words, which have times in them.
func outline(d plan.Decision) string {
	out := ""
	for _, w := range d.Works {
		out += fmt.Sprintf("%s of %v", w.Kind, w.Failed)
		if w.Episode != nil {
			out += fmt.Sprintf(" (%s, %s, %v)", w.Episode.ID, w.Episode.Stage, w.Episode.Candidate)
		}
		for _, s := range w.Steps {
			out += fmt.Sprintf(", %s at %v", s.Kind, s.At)
		}
		out += fmt.Sprintf(", %d refusals; ", len(w.Refused))
	}
	return out
}
