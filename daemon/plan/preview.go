package plan

import (
	"cmp"
	"reflect"
	"slices"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/topology"
)

// Previewed is what would happen: the decisions in order until nothing is left to do.
type Previewed struct {
	// Dead is the server that the preview supposes to have died; zero when it starts from what is.
	Dead topology.Key `json:"dead,omitzero"`
	// Works are in order of precedence. Each has the candidates as first ranked, all its steps, and the episode,
	// refusals and wait at its end.
	Works []Work `json:"works,omitempty"`
	// Steps are those of all works, in the order in which they would be done.
	Steps []Step `json:"steps,omitempty"`
	// Doubts are what would not stop the main work, and makes the cluster unready for it all the same.
	Doubts []string          `json:"doubts,omitempty"`
	After  topology.Snapshot `json:"-"` // the cluster as it would be then
}

// Main is the work about the server that is supposed to have died, or the first work where there is none. It is zero
// when nothing would be done.
func (p Previewed) Main() Work {
	for _, w := range p.Works {
		if w.Failed == p.Dead {
			return w
		}
	}
	if len(p.Works) == 0 || !p.Dead.IsZero() {
		return Work{}
	}
	return p.Works[0]
}

// Ready says that the main work would come to its end, that nothing of it would have to be refused, and that nothing
// makes its result doubtful.
func (p Previewed) Ready() bool { return p.Done() && len(p.Doubts) == 0 }

// Done says that the main work would come to its end, and nothing of it would have to be refused.
func (p Previewed) Done() bool { return len(p.Main().Refused) == 0 && p.Main().Outcome() != "" }

// add takes up a decision.
func (p *Previewed) add(d Decision) {
	for _, w := range d.Works {
		i := slices.IndexFunc(p.Works, func(o Work) bool { return o.Kind == w.Kind && o.Failed == w.Failed })
		if i < 0 {
			p.Works = append(p.Works, w)
			continue
		}
		before := p.Works[i]
		w.Steps = append(slices.Clone(before.Steps), w.Steps...)
		if before.Candidates != nil {
			w.Candidates = before.Candidates
		}
		w.Bound = cmp.Or(w.Bound, before.Bound)
		p.Works[i] = w
	}
	p.Steps = append(p.Steps, d.Steps()...)
}

// Preview plays the decisions out on paper: every step is taken to succeed at once.
func Preview(s Situation) Previewed { return While(always).Preview(s) }

// IfDies previews what would be done if a server died now in the way a killed process does: it refuses connections, and
// each of its replicas notices. This answers whether the cluster is ready for a failover.
func IfDies(s Situation, dead topology.Key) Previewed { return While(always).IfDies(s, dead) }

// While says whether somebody still waits for a preview, which can take seconds in a large cluster. Each round asks it;
// where nobody waits, the preview is not whole.
type While func() bool

func always() bool { return true }

// Preview is Preview while somebody waits for it.
func (w While) Preview(s Situation) Previewed { return w.play(settled(s)) }

// IfDies is IfDies while somebody waits for it.
func (w While) IfDies(s Situation, dead topology.Key) Previewed {
	if !w() {
		return Previewed{}
	}
	s = settled(s)
	p := w.play(s.With(Died(s.Snapshot, dead)))
	p.Dead, p.Doubts = dead, append(Doubts(s, dead), strangers(s, dead)...)
	return p
}

func (w While) play(s Situation) Previewed {
	var p Previewed
	waited := 0
	for range 30 { // a recovery takes some five rounds
		if !w() {
			break
		}
		d := Next(s)
		p.add(d)
		steps := d.Steps()
		if slices.ContainsFunc(steps, func(s Step) bool { return s.Kind == RestartReceiver }) {
			break // what the replicas find out can't be told beforehand
		}
		episodes, changed := merged(s.Episodes, d.Episodes())
		s.Episodes = episodes
		if len(steps) == 0 && !changed {
			if waited++; d.Wait() == "" || waited > 6 {
				break // what only waits for time to pass goes on by itself
			}
			s.Snapshot.At = s.Snapshot.At.Add(500 * time.Millisecond)
		}
		s.Snapshot.Servers = slices.Clone(s.Snapshot.Servers)
		for _, step := range steps {
			Pretend(&s.Snapshot, step)
		}
		s.Snapshot.At = s.Snapshot.At.Add(200 * time.Millisecond)
		s = Situate(s.Facts)
	}
	p.After = s.Snapshot
	if len(p.Works) == 1 {
		p.Works[0].Steps = p.Steps // the same ones: a daemon keeps a preview of each cluster
	}
	return p
}

// strangers are those who interfere with the locks that a failover takes.
func strangers(s Situation, dead topology.Key) (out []string) {
	cluster := s.Snapshot.Server(dead)
	for _, f := range s.Findings {
		if f.Code == analysis.StrangeLock && cluster != nil && f.Cluster == cluster.Cluster {
			out = append(out, "locks: "+f.Says)
		}
	}
	return out
}

// merged puts episodes in the places of those with their IDs, and says whether that changes anything.
func merged(episodes, with []Episode) (out []Episode, changed bool) {
	for _, e := range with {
		at := slices.IndexFunc(episodes, func(o Episode) bool { return o.ID == e.ID })
		changed = changed || at < 0 || !reflect.DeepEqual(episodes[at], e)
		episodes = replace(episodes, e)
	}
	return episodes, changed
}
