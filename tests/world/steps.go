package world

import (
	"fmt"
	"slices"

	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// Elsewhere is an error of a step that says nothing against the server.
type Elsewhere struct{ error }

// Elsewhere is for plan.Elsewhere.
func (Elsewhere) Elsewhere() bool { return true }

// locked are the steps that a lock of the whole server stops.
var locked = []plan.StepKind{plan.Promote, plan.Fence, plan.Repoint, plan.Detach}

// Do tries a step. half, between 0 and 1, is how much of it is done before whoever does it dies; 1 is all.
func (w *World) Do(step plan.Step, half float64) error {
	if err := step.Check(); err != nil {
		panic(err)
	}
	v := w.Find(step.At)
	if v == nil || v.Health != Alive || !w.Reaches(w.Daemon, v.N) || w.Unresolved[[2]int{w.Daemon, v.N}] {
		return fmt.Errorf("%v: out of reach", step.At)
	}
	if err := w.expect(v, step.Expect); err != nil {
		return Elsewhere{err}
	}
	if !step.From.IsZero() && v.Source >= 0 && w.written(v) != step.From {
		return nil // no channel has that source
	}
	if v.Locked > 0 && slices.Contains(locked, step.Kind) {
		return fmt.Errorf("%v: the whole server is locked", v.Key)
	}
	if step.Kind == plan.Repoint && v.Source < 0 {
		return fmt.Errorf("%v has no source, and so no account to replicate with", v.Key)
	}
	parts := w.parts(v, step)
	for i, part := range parts {
		if float64(i) >= half*float64(len(parts)) {
			w.Say("%s at %v: killed after part %d of %d", step.Kind, step.At, i, len(parts))
			return fmt.Errorf("killed in the middle")
		}
		part()
	}
	w.connect(v)
	w.Say("%s at %v %v", step.Kind, step.At, step.Source)
	return nil
}

// written is the source of v as v itself writes it.
func (w *World) written(v *Server) topology.Key {
	if !v.Spelt.IsZero() {
		return v.Spelt
	}
	return w.Servers[v.Source].Key
}

func (w *World) expect(v *Server, e plan.Expect) error {
	executed := w.GTIDs(v.Executed)
	switch {
	case e.UUID != "" && e.UUID != uuid(v.Writer):
		return fmt.Errorf("%v is another server", v.Key)
	case !executed.Contains(e.Executed):
		return fmt.Errorf("%v lacks transactions", v.Key)
	case !e.Within.Empty() && !e.Within.Contains(w.GTIDs(v.Received)):
		return fmt.Errorf("%v received more", v.Key)
	case v.Discards() && !executed.Contains(e.Kept):
		return fmt.Errorf("%v would lose its relay logs", v.Key)
	case !e.NotFrom.IsZero() && v.Source >= 0 && w.written(v) == e.NotFrom && v.Connected:
		return fmt.Errorf("%v receives from %v", v.Key, e.NotFrom)
	case !e.Source.IsZero() && v.Source >= 0 && w.written(v) != e.Source:
		return fmt.Errorf("%v has another source", v.Key)
	}
	return nil
}

// parts are the statements of a step, in order.
func (w *World) parts(v *Server, step plan.Step) []func() {
	stop := func() { v.IO, v.Connected = false, false }
	start := func() { v.IO = true; w.connect(v) }
	switch step.Kind {
	case plan.RestartReceiver:
		return []func(){stop, start}
	case plan.StopReceiver:
		return []func(){stop}
	case plan.StartReceiver:
		return []func(){start}
	case plan.StartApplier:
		return []func(){func() { v.SQL = true }}
	case plan.AwaitApplied:
		return []func(){func() {
			if v.Applies() {
				v.Executed = v.Received
			}
		}}
	case plan.Promote:
		return []func(){
			func() { stop(); v.SQL = false },
			func() { v.Source, v.Received = -1, v.Executed },
			func() { w.open(v, step) },
		}
	case plan.Repoint:
		return []func(){
			func() { stop(); v.SQL = v.SQL && !v.Maria }, // which changes its source only while both stand still
			func() { w.repoint(v, step.Source) },
			func() { start(); v.SQL = true },
		}
	case plan.Fence:
		return []func(){func() { v.Scheduler = false }, func() { v.ReadOnly, v.Opened = true, false }}
	case plan.Detach:
		return []func(){stop, func() {
			if v.Executed.Has(v.Received) {
				v.SQL, v.Detached = false, true
			}
		}}
	case plan.SemiSyncOn:
		return []func(){func() { v.Semi.Source = true }}
	case plan.SemiSyncOff:
		return []func(){func() { v.Semi.Source = false }}
	}
	// plan.TryWrite is for policies with a table, which no world has.
	panic("unknown step " + step.Kind)
}

func (w *World) open(v *Server, step plan.Step) {
	v.ReadOnly, v.Opened = false, true
	v.Scheduler = v.Scheduler || step.Events
	if step.SemiSync != "" {
		v.Semi.Source = step.SemiSync == plan.On
	}
}

func (w *World) repoint(v *Server, name topology.Key) {
	s := w.Find(name)
	v.Source, v.Read, v.ReadPos, v.Detached, v.Spelt = s.N, 0, 0, false, topology.Key{}
	if name != s.Key {
		v.Spelt = name
	}
	if v.Discards() {
		v.Received = v.Executed
	}
}
