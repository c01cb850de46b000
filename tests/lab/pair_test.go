package lab

import (
	"os"
	"testing"
	"time"

	"orchestrator/daemon/topology"
)

func TestPairReplicatesBothWays(t *testing.T) {
	FlavorsIf(t, os.Getenv("ORCHESTRATOR_HARD") == "all", func(t *testing.T, l *Lab, f topology.Flavor) {
		a, b, err := l.Pair(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for i, from := range []*Server{a, b} {
			to := []*Server{b, a}[i]
			if err := from.Exec(t.Context(), "CREATE TABLE orchestrator.t"+from.Name+
				" (id INT PRIMARY KEY)"); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
				if err := to.Exec(t.Context(), "DELETE FROM orchestrator.t"+from.Name+" WHERE id = 1"); err == nil {
					break
				} else if time.Now().After(end) {
					t.Fatalf("what %v wrote does not come to %v: %v", from.Key, to.Key, err)
				}
			}
		}
	})
}
