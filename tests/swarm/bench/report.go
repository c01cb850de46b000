package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"orchestrator/tests/swarm"
)

// result is what was measured with one size of the fleet.
type result struct {
	servers    int
	poll       time.Duration
	known      time.Duration
	cores      float64
	swarmCores float64
	rss, files int
	gap        time.Duration
	api        [5][]time.Duration // a list for each of readKinds

	single, at20, at200, silent20 []swarm.Outcome
}

func (r result) measured() bool { return r.known > 0 }

const (
	oneCluster = "clusters/%s"
	onePlan    = "clusters/%s/plan"
)

// readKinds are the paths that are read.
var readKinds = [5]string{oneCluster, onePlan, "clusters", "instances", "findings"}

// print writes one table: a row for each measure, a column for each size.
func print(out io.Writer, all []result) error {
	var head, line strings.Builder
	head.WriteString("| |")
	line.WriteString("|---|")
	for _, r := range all {
		fmt.Fprintf(&head, " %d servers, poll %s |", r.servers, r.poll)
		line.WriteString("--:|")
	}
	if _, err := fmt.Fprintf(out, "\n%s\n%s\n", &head, &line); err != nil {
		return err
	}
	for _, m := range measures() {
		row := "| " + m.name + " |"
		for _, r := range all {
			row += " " + m.says(r) + " |"
		}
		if _, err := fmt.Fprintln(out, row); err != nil {
			return err
		}
	}
	return nil
}

type measure struct {
	name string
	says func(result) string
}

func measures() []measure {
	steady := func(say func(r result) string) func(result) string {
		return func(r result) string {
			if r.files == 0 {
				return "–"
			}
			return say(r)
		}
	}
	out := []measure{
		{"all known after, s", func(r result) string { return fmt.Sprintf("%.1f", r.known.Seconds()) }},
		{"processor, cores", steady(func(r result) string { return fmt.Sprintf("%.2f", r.cores) })},
		{"resident memory, MB", steady(func(r result) string { return fmt.Sprint(r.rss >> 20) })},
		{"open files", steady(func(r result) string { return fmt.Sprint(r.files) })},
		{"longest time between two polls of one server, s", steady(func(r result) string {
			return fmt.Sprintf("%.2f", r.gap.Seconds())
		})},
		{"(the swarm itself: cores)", steady(func(r result) string { return fmt.Sprintf("%.2f", r.swarmCores) })},
	}
	for i, name := range []string{"one cluster", "its plan", "list of clusters", "all instances", "findings"} {
		out = append(out, measure{"GET " + name + ", ms: median / p99", func(r result) string {
			if len(r.api[i]) == 0 {
				return "–"
			}
			return fmt.Sprintf("%.1f / %.1f", milliseconds(quantile(r.api[i], 0.5)),
				milliseconds(quantile(r.api[i], 0.99)))
		}})
	}
	for _, f := range []struct {
		name string
		of   func(result) []swarm.Outcome
	}{
		{"one primary dies", func(r result) []swarm.Outcome { return r.single }},
		{"20 die at once", func(r result) []swarm.Outcome { return r.at20 }},
		{"200 die at once", func(r result) []swarm.Outcome { return r.at200 }},
		{"20 fall silent at once", func(r result) []swarm.Outcome { return r.silent20 }},
	} {
		out = append(out, measure{f.name + ": promoted / followed, s: median (longest)",
			func(r result) string { return text(f.of(r)) }})
	}
	return out
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// text is the median and the longest of what outcomes took, and how many clusters were not repaired in time.
func text(out []swarm.Outcome) string {
	var promoted, followed []time.Duration
	for _, o := range out {
		if o.Done {
			promoted, followed = append(promoted, o.Promoted), append(followed, o.Followed)
		}
	}
	failed := ""
	if n := len(out) - len(promoted); n > 0 {
		failed = fmt.Sprintf(", %d not repaired", n)
	}
	if len(promoted) == 0 {
		return "–" + failed
	}
	one := func(all []time.Duration) string {
		return fmt.Sprintf("%.2f (%.2f)", quantile(all, 0.5).Seconds(), slices.Max(all).Seconds())
	}
	return one(promoted) + " / " + one(followed) + failed
}

// quantile is the part q of the way through what was measured; 0.5 is the median.
func quantile(all []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
