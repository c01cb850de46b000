package plan

import (
	"fmt"
	"slices"
	"strings"

	"orchestrator/daemon/topology"
)

// Next answers what to do now. Ask it again after every step: it remembers nothing, all it knows is in the situation.
func Next(s Situation) Decision {
	v := newView(s)
	var d Decision
	for _, k := range kinds {
		for _, one := range makers[k.name](v) {
			w := one.next()
			if w.empty() {
				continue
			}
			w.Kind, w.Failed = k.name, one.failed()
			v.spell(w.Steps)
			v.reserve(&w, one.claims())
			v.settle(&w)
			if w.Episode != nil {
				v.put(*w.Episode)
			}
			d.Works = append(d.Works, w)
		}
	}
	d.requested(v)
	d.fenceFirst(v)
	return d
}

// empty says that there is nothing to say of the work.
func (w Work) empty() bool {
	return w.Episode == nil && len(w.Steps)+len(w.Refused) == 0 && w.Wait == ""
}

// reserve removes from a work the steps at servers that earlier works claim or act on, and then claims the work's own
// servers. A fence waits for no claim: a second server that takes writes is worse than all that it could disturb.
func (v *view) reserve(w *Work, claims []topology.Key) {
	var steps []Step
	for _, s := range w.Steps {
		by := v.taken[s.At]
		switch {
		case by == nil, s.Kind == Fence && !v.acted[s.At]:
			steps = append(steps, s)
		case s.Kind != Fence:
			w.Wait = fmt.Sprintf("%v is needed by the %s of %v, which goes first: %s",
				s.At, by.Kind.Says(), by.Failed, by.Kind.row().because)
		}
	}
	if len(steps) < len(w.Steps) {
		if w.preempted(v); w.Episode == nil {
			steps = nil // a server is on record before anything is done there
		}
	}
	w.Steps = steps
	mine := *w
	for _, s := range steps {
		v.take(s.At, &mine)
		v.acted[s.At] = true
	}
	for _, k := range claims {
		v.take(k, &mine)
	}
}

// preempted says on record why the work does not go on; one that has not begun does not begin.
func (w *Work) preempted(v *view) {
	if w.Episode == nil || w.Wait == "" || !w.Episode.Closed.IsZero() {
		return
	}
	if w.Episode = v.stored(*w.Episode); w.Episode != nil {
		w.Episode.Blocked = w.Wait
	}
}

// acts says that the work has a step at k.
func (w *Work) acts(k topology.Key) bool {
	return slices.ContainsFunc(w.Steps, func(s Step) bool { return s.At == k })
}

// take notes that a work needs the server at k, unless one before it does.
func (v *view) take(k topology.Key, w *Work) {
	if v.taken[k] == nil {
		v.taken[k] = w
	}
}

// requested tells each work which request it answers. A request that calls for nothing is refused, and says why.
func (d *Decision) requested(v *view) {
	for i := range v.Requests {
		r := &v.Requests[i]
		if slices.ContainsFunc(v.Episodes, func(e Episode) bool {
			return e.Request != nil && e.Request.ID == r.ID && !e.Closed.IsZero()
		}) {
			continue // it was done
		}
		at := slices.IndexFunc(d.Works, func(w Work) bool { return w.Failed == r.Server && w.Kind != Aftercare })
		if at < 0 {
			d.Works = append(d.Works, Work{Kind: v.kindOf(r.Server), Failed: r.Server,
				Refused: []string{v.uncalled(*r)}})
			at = len(d.Works) - 1
		}
		d.Works[at].Request = r
	}
}

// kindOf is the kind of the work that a failure of the server at k would call for.
func (v *view) kindOf(k topology.Key) Kind {
	if v.primary == nil || v.primary.Key == k {
		return PrimaryFailover
	}
	return IntermediateFailover
}

// uncalled says why a request for a failover calls for no work.
func (v *view) uncalled(r Request) string {
	switch s := v.servers[r.Server]; {
	case r.Kind != Recover:
		return fmt.Sprintf("request %s: this daemon does not know requests of kind %q", r.ID, r.Kind)
	case s == nil:
		return fmt.Sprintf("request %s: %v is not a server of cluster %s", r.ID, r.Server, v.Cluster)
	case s.Up():
		return fmt.Sprintf("request %s: %v has not failed: it answers", r.ID, r.Server)
	case len(v.findings[r.Server]) > 0:
		return fmt.Sprintf("request %s: %v is not proved to have failed, or has no replica that could be moved: %s",
			r.ID, r.Server,
			v.findings[r.Server][0].Says)
	}
	return fmt.Sprintf("request %s: nothing is found at %v that calls for a failover", r.ID, r.Server)
}

// fenceFirst holds promotions back while another server must still be fenced: until then it takes writes.
func (d *Decision) fenceFirst(v *view) {
	var writable []string
	for _, s := range d.Steps() {
		if s.Kind == Fence && !v.servers[s.At].Instance.ReadOnly {
			writable = append(writable, s.At.String())
		}
	}
	if len(writable) == 0 {
		return
	}
	for i := range d.Works {
		w := &d.Works[i]
		if w.Promotes() {
			w.Steps = slices.DeleteFunc(w.Steps, func(s Step) bool { return s.Kind == Promote })
			w.Wait = "made read-only first, because it takes writes: " + strings.Join(writable, ", ")
		}
	}
}
