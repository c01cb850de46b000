package main

import (
	"strings"
	"testing"
	"time"
)

func TestReportSaysMinMedianMaxAndWhatWasLost(t *testing.T) {
	ms := time.Millisecond
	runs := []run{
		{outage: 30 * ms, settled: 50 * ms, lost: 1, fenced: -1, phases: []phase{{"verdict", 0, 10 * ms},
			{"promote", 12 * ms, 20 * ms}}},
		{outage: 10 * ms, settled: 20 * ms, fenced: -1, phases: []phase{{"verdict", 0, 4 * ms}}},
		{outage: 20 * ms, settled: 90 * ms, lost: 2, dropped: 5, fenced: 7 * ms},
	}
	var out strings.Builder
	report(&out, []series{{flavor: "mariadb", fault: "kill", runs: runs, failed: 1}})
	for _, want := range []string{
		"| mariadb | kill | 3 | 1 | 10 / 20 / 30 | 20 / 50 / 90 | 3 | 5 | 7 / 7 / 7 |",
		"| mariadb | kill | verdict | 0 | 7 |",
		"| mariadb | kill | promote | 12 | 20 |",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("want %q in:\n%s", want, out.String())
		}
	}
}
