package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"orchestrator/daemon/topology"
)

// series are the runs of one flavour with one fault.
type series struct {
	flavor   topology.Flavor
	fault    string
	semisync bool
	runs     []run
	failed   int
}

// report prints the tables.
func report(out io.Writer, all []series) {
	fmt.Fprintln(out, "| servers | fault | runs | failed | writer out, ms: min / median / max | all replicas moved, "+
		"ms: min / median / max | acknowledged rows lost: sum | received and lost: sum | old primary read-only after "+
		"its return, ms: min / median / max |")
	fmt.Fprintln(out, "|---|---|--:|--:|--:|--:|--:|--:|--:|")
	for _, s := range all {
		lost, dropped := 0, uint64(0)
		for _, r := range s.runs {
			lost += r.lost
			dropped += r.dropped
		}
		name := string(s.flavor)
		if s.semisync {
			name += ", semi-sync"
		}
		fmt.Fprintf(out, "| %s | %s | %d | %d | %s | %s | %d | %d | %s |\n", name, s.fault, len(s.runs), s.failed,
			spread(s.runs, func(r run) time.Duration { return r.outage }),
			spread(s.runs, func(r run) time.Duration { return r.settled }), lost, dropped,
			spread(s.runs, func(r run) time.Duration { return r.fenced }))
	}
	fmt.Fprintln(out, "\nWhere the time goes, ms from the fault, medians:\n\n| servers | fault | step | begins | "+
		"ends |\n|---|---|---|--:|--:|")
	for _, s := range all {
		for _, p := range medians(s.runs) {
			fmt.Fprintf(out, "| %s | %s | %s | %d | %d |\n", s.flavor, s.fault, p.name, p.begin.Milliseconds(),
				p.end.Milliseconds())
		}
	}
}

// spread of what is not negative.
func spread(runs []run, of func(run) time.Duration) string {
	var values []time.Duration
	for _, r := range runs {
		if v := of(r); v >= 0 {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return ""
	}
	slices.Sort(values)
	return fmt.Sprintf("%d / %d / %d", values[0].Milliseconds(), median(values).Milliseconds(),
		values[len(values)-1].Milliseconds())
}

// median of at least one value.
func median(values []time.Duration) time.Duration {
	values = slices.Clone(values)
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// medians of each phase over the runs that had it, in the order of their ends.
func medians(runs []run) []phase {
	var names []string
	begins, ends := map[string][]time.Duration{}, map[string][]time.Duration{}
	for _, r := range runs {
		for _, p := range r.phases {
			if begins[p.name] == nil {
				names = append(names, p.name)
			}
			begins[p.name], ends[p.name] = append(begins[p.name], p.begin), append(ends[p.name], p.end)
		}
	}
	var out []phase
	for _, name := range names {
		out = append(out, phase{name, median(begins[name]), median(ends[name])})
	}
	slices.SortStableFunc(out, func(a, b phase) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	return out
}
