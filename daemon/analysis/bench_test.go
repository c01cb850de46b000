package analysis_test

import (
	"fmt"
	"strings"
	"testing"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/drawing"
)

// BenchmarkAnalyze judges a fleet of 2000 servers in 200 clusters, one of which has lost its primary.
func BenchmarkAnalyze(b *testing.B) {
	var text strings.Builder
	for c := range 200 {
		how := ""
		if c == 7 {
			how = " down"
		}
		fmt.Fprintf(&text, "db%d%s\n", 10*c, how)
		for r := range 9 {
			if c == 7 {
				how = " ioerr=2003"
			}
			fmt.Fprintf(&text, "  db%d%s\n", 10*c+r+1, how)
		}
	}
	s := drawing.MustParse(text.String())
	b.ReportAllocs()
	for b.Loop() {
		if got := brief(analysis.Analyze(s, analysis.Defaults)); got != "db70 DeadPrimary" {
			b.Fatal(got)
		}
	}
}
