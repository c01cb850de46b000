package plan_test

import (
	"fmt"
	"strings"
	"testing"

	"orchestrator/daemon/plan"
)

// BenchmarkStar previews the death of a primary with many direct replicas: each is a candidate, and compared with each.
func BenchmarkStar(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		text := strings.Builder{}
		text.WriteString("db0\n")
		for i := range n {
			fmt.Fprintf(&text, "  db%d\n", i+1)
		}
		s := situation(text.String())
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if p := plan.IfDies(s, key("db0")); !p.Done() {
					b.Fatalf("%v", p.Works)
				}
			}
		})
	}
}
