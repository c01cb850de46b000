package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"orchestrator/daemon/api"
	"orchestrator/daemon/gtid"
	"orchestrator/tests/lab"
)

// fault is what happens to the primary, and how it comes back, where it does.
type fault struct {
	strike func(*lab.Lab, *lab.Server) error
	revert func(*lab.Lab, *lab.Server) error
}

var faults = map[string]fault{
	"kill": {strike: func(_ *lab.Lab, s *lab.Server) error { return s.Kill() }},
	"term": {strike: func(_ *lab.Lab, s *lab.Server) error { return s.Signal(15) }}, // and not Terminate, which waits
	"hang": {strike: func(_ *lab.Lab, s *lab.Server) error { return s.Hang() },
		revert: func(_ *lab.Lab, s *lab.Server) error { return s.Continue() }},
	"cut": {strike: func(l *lab.Lab, s *lab.Server) error { return l.Cut(s) },
		revert: func(l *lab.Lab, _ *lab.Server) error { return l.Heal() }},
}

const (
	// runWithin bounds one run, and returnWithin how long a returned primary may stay writable before that counts as
	// never.
	runWithin    = 3 * time.Minute
	returnWithin = 30 * time.Second
)

// run is what one failover gave.
type run struct {
	outage  time.Duration // last acknowledged row before, to first one after
	settled time.Duration // from the fault until every replica replicates from the new primary
	lost    int           // acknowledged rows that the new primary doesn't have
	// transactions that some replica had received after the fault, and the new primary doesn't have
	dropped uint64
	fenced  time.Duration // from the return of the old primary until it was read-only; negative: it never returned
	phases  []phase       // what the daemon did when, since the fault
}

// phase is a part of the recovery; begin and end count from the fault.
type phase struct {
	name       string
	begin, end time.Duration
}

func (r run) String() string {
	out := fmt.Sprintf("out %v, settled %v, lost %d, received and lost %d", r.outage.Round(time.Millisecond),
		r.settled.Round(time.Millisecond), r.lost, r.dropped)
	if r.fenced >= 0 {
		out += fmt.Sprintf(", old primary read-only %v after its return", r.fenced.Round(time.Millisecond))
	}
	for _, p := range r.phases {
		out += fmt.Sprintf("; %s %d to %d", p.name, p.begin.Milliseconds(), p.end.Milliseconds())
	}
	return out
}

// one does one run on fresh servers.
func one(ctx context.Context, l *lab.Lab, spec lab.Spec, replicas int, daemon lab.DaemonSpec, f fault) (run, error) {
	ctx, cancel := context.WithTimeout(ctx, runWithin)
	defer cancel()
	if err := l.Reset(); err != nil {
		return run{}, err
	}
	primary, others, err := l.Cluster(ctx, spec, replicas)
	if err != nil {
		return run{}, err
	}
	daemon.Seeds = append(daemon.Seeds[:0:0], primary.Key)
	d, err := l.StartDaemon(ctx, daemon)
	if err != nil {
		return run{}, err
	}
	if _, err := d.AwaitServers(ctx, replicas+1); err != nil {
		return run{}, err
	}
	w := lab.Write(ctx, 1, l.Servers()...)
	defer w.Stop()
	if err := w.AwaitRows(ctx, 20); err != nil {
		return run{}, err
	}
	if err := wait(ctx, randomWait()); err != nil {
		return run{}, err
	}

	r := run{fenced: -1}
	struck := time.Now()
	if err := f.strike(l, primary); err != nil {
		return r, err
	}
	received := make(chan gtid.Set)
	watching, end := context.WithCancel(ctx)
	defer end()
	go func() { received <- watchReceived(watching, others) }()
	err = w.AwaitAnother(ctx, primary)
	end()
	had := <-received
	if err != nil {
		return r, fmt.Errorf("no failover: %w; the daemon's log: %s", err, last(d.Log()))
	}
	promoted := w.Last()
	var moved []*lab.Server
	for _, s := range others {
		if s != promoted {
			moved = append(moved, s)
		}
	}
	if err := lab.AwaitReplication(ctx, promoted, moved...); err != nil {
		return r, fmt.Errorf("%w; the daemon's log: %s", err, last(d.Log()))
	}
	r.settled = time.Since(struck)
	if err := w.AwaitRows(ctx, 100); err != nil {
		return r, err
	}
	r.outage = w.Outage(struck).Length()

	if f.revert != nil {
		returned := time.Now()
		if err := f.revert(l, primary); err != nil {
			return r, err
		}
		if err := awaitReadOnly(ctx, primary); err != nil {
			return r, err
		}
		r.fenced = time.Since(returned)
	}
	w.Stop()
	lost, err := w.Lost(ctx, promoted)
	if err != nil {
		return r, err
	}
	r.lost = len(lost)
	has, err := promoted.Executed(ctx)
	if err != nil {
		return r, err
	}
	r.dropped = has.Missing(had)
	if f.revert != nil { // the server may have come back before its episode could be ended otherwise
		ctx, cancel = context.WithTimeout(ctx, returnWithin)
		defer cancel()
	}
	e, err := d.AwaitClosed(ctx, primary.Key)
	if err != nil {
		return r, err
	}
	r.phases = phases(e, struck)
	return r, nil
}

// watchReceived is all that replicas say they received, from now until ctx ends.
func watchReceived(ctx context.Context, replicas []*lab.Server) gtid.Set {
	var all gtid.Set
	for ctx.Err() == nil {
		for _, s := range replicas {
			if set, err := s.Received(ctx); err == nil { // one that is being promoted has forgotten
				all = all.Union(set)
			}
		}
		_ = wait(ctx, 5*time.Millisecond)
	}
	return all
}

// phases groups the steps of an episode by their kind.
func phases(e api.Episode, struck time.Time) []phase {
	out := []phase{{"verdict", 0, e.Opened.Sub(struck)}}
	at := map[string]int{}
	for _, s := range e.Steps {
		name := string(s.Kind)
		begin := s.Started.Sub(struck)
		end := begin + time.Duration(s.Took*float64(time.Second))
		i, ok := at[name]
		if !ok {
			i = len(out)
			at[name] = i
			out = append(out, phase{name, begin, end})
		}
		out[i].begin, out[i].end = min(out[i].begin, begin), max(out[i].end, end)
	}
	return out
}

func awaitReadOnly(ctx context.Context, s *lab.Server) error {
	ctx, cancel := context.WithTimeout(ctx, returnWithin)
	defer cancel()
	for {
		on, err := s.ReadOnly(ctx)
		if err == nil && on {
			return nil
		}
		if stop := wait(ctx, 5*time.Millisecond); stop != nil {
			return fmt.Errorf("the old primary %v is still writable %v after its return (%v)", s.Key, returnWithin, err)
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// last lines of a log.
func last(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}
