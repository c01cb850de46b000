package analysis

import (
	"fmt"
	"strings"
	"testing"

	"orchestrator/daemon/topology"
)

// BenchmarkAnalyze judges a fleet of 2000 servers in 200 clusters, one of which has lost its primary.
func BenchmarkAnalyze(b *testing.B) {
	var drawing strings.Builder
	for c := range 200 {
		how := ""
		if c == 7 {
			how = " down"
		}
		fmt.Fprintf(&drawing, "db%d%s\n", 10*c, how)
		for r := range 9 {
			if c == 7 {
				how = " ioerr=2003"
			}
			fmt.Fprintf(&drawing, "  db%d%s\n", 10*c+r+1, how)
		}
	}
	s := topology.MustParseDrawing(drawing.String())
	b.ReportAllocs()
	for b.Loop() {
		if got := brief(Analyze(s, Defaults)); got != "db70 DeadPrimary" {
			b.Fatal(got)
		}
	}
}
