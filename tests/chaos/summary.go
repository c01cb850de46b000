// Package chaos breaks whole deployments: several daemons, a backend pair behind HAProxies, a topology, all of them
// real, and holds them to what they promise: one failover, never two; nothing that was acknowledged is lost; a leader
// again within seconds.
//
// It is not for single parts, which have tests of their own. The one idea: whatever is done to a deployment, the same
// eyes watch it, and what they saw is one line of one table.
package chaos

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// outcome is what one run of a scenario has cost.
type outcome struct {
	scenario, servers string

	leaderless  time.Duration // no daemon said that it leads
	backendless time.Duration // no daemon acknowledged a declared write
	worst       time.Duration // the same, of the daemon for which it was the longest
	writersOut  time.Duration // the topology took no rows
	overlap     time.Duration // two daemons changed servers at the same time
	twoMembers  time.Duration // daemons used different members of the pair

	opened       int // replicas opened for writes
	stale        int // connections that an HAProxy sent to a member that lacked what was acknowledged
	acknowledged int // declared writes
	lost         int // of them
	rows         int // acknowledged rows of the topology that are lost
}

// table draws outcomes for docs/measurements.md: a line for each scenario on each kind of servers, in the order in
// which they came.
func table(outcomes []outcome) string {
	type line struct{ scenario, servers string }
	var lines []line
	by := map[line][]outcome{}
	for _, o := range outcomes {
		l := line{o.scenario, o.servers}
		if by[l] == nil {
			lines = append(lines, l)
		}
		by[l] = append(by[l], o)
	}
	order := map[string]int{}
	for _, l := range lines {
		if _, seen := order[l.scenario]; !seen {
			order[l.scenario] = len(order)
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int {
		return cmp.Or(cmp.Compare(order[a.scenario], order[b.scenario]), cmp.Compare(a.servers, b.servers))
	})
	rows := [][]string{{"scenario", "servers", "runs", "no leader, s", "no declared write, s", "at the worst daemon, s",
		"writers out, s", "on two members, s", "replicas opened",
		"two act at once, s", "to a stale member", "acknowledged", "lost", "rows lost"}}
	for _, l := range lines {
		all := by[l]
		row := []string{l.scenario, l.servers, fmt.Sprint(len(all))}
		for _, of := range []func(outcome) time.Duration{
			func(o outcome) time.Duration { return o.leaderless },
			func(o outcome) time.Duration { return o.backendless },
			func(o outcome) time.Duration { return o.worst }, func(o outcome) time.Duration { return o.writersOut },
			func(o outcome) time.Duration { return o.twoMembers },
		} {
			row = append(row, spread(all, of))
		}
		var overlap time.Duration
		opened := 0
		sum := outcome{}
		for _, o := range all {
			overlap, opened = max(overlap, o.overlap), max(opened, o.opened)
			sum.stale += o.stale
			sum.acknowledged += o.acknowledged
			sum.lost += o.lost
			sum.rows += o.rows
		}
		rows = append(rows, append(row, fmt.Sprint(opened), seconds(overlap), fmt.Sprint(sum.stale),
			fmt.Sprint(sum.acknowledged), fmt.Sprint(sum.lost), fmt.Sprint(sum.rows)))
	}
	return markdown(rows, 2)
}

// spread is median and maximum, or the one value there is.
func spread(all []outcome, of func(outcome) time.Duration) string {
	var values []time.Duration
	for _, o := range all {
		values = append(values, of(o))
	}
	slices.Sort(values)
	if len(values) == 1 {
		return seconds(values[0])
	}
	return seconds(values[(len(values)-1)/2]) + " / " + seconds(values[len(values)-1])
}

func seconds(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	return fmt.Sprintf("%.1f", d.Seconds())
}

// markdown draws rows of cells, the first of which is the head; columns from the one called numbers on stand to the
// right.
func markdown(rows [][]string, numbers int) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var out strings.Builder
	for n, row := range rows {
		for i, cell := range row {
			blank := strings.Repeat(" ", widths[i]-len([]rune(cell)))
			if i < numbers {
				out.WriteString("| " + cell + blank + " ")
			} else {
				out.WriteString("| " + blank + cell + " ")
			}
		}
		out.WriteString("|\n")
		if n > 0 {
			continue
		}
		for i, w := range widths {
			if i < numbers {
				out.WriteString("|" + strings.Repeat("-", w+2))
			} else {
				out.WriteString("|" + strings.Repeat("-", w+1) + ":")
			}
		}
		out.WriteString("|\n")
	}
	return out.String()
}

// span is a stretch of time.
type span struct{ from, to time.Time }

// join makes one of spans that are no farther apart than this.
func join(spans []span, apart time.Duration) []span {
	spans = slices.Clone(spans)
	slices.SortFunc(spans, func(a, b span) int { return a.from.Compare(b.from) })
	var out []span
	for _, s := range spans {
		if last := len(out) - 1; last >= 0 && s.from.Sub(out[last].to) <= apart {
			if s.to.After(out[last].to) {
				out[last].to = s.to
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

// without is how much of a stretch no span covers.
func without(whole span, spans []span) time.Duration {
	left := whole.to.Sub(whole.from)
	for _, s := range join(spans, 0) {
		left -= common(whole, s)
	}
	return left
}

// overlap is how long spans of a and of b were at the same time.
func overlap(a, b []span) (out time.Duration) {
	for _, one := range join(a, 0) {
		for _, two := range join(b, 0) {
			out += common(one, two)
		}
	}
	return out
}

func common(a, b span) time.Duration {
	from, to := a.from, a.to
	if b.from.After(from) {
		from = b.from
	}
	if b.to.Before(to) {
		to = b.to
	}
	return max(0, to.Sub(from))
}
