// Package e2e runs the whole daemon against real servers that die, hang, lag, are cut off and come back, and holds it
// to what it promises. Scenarios in which nothing may happen count as much as those in which something must.
package e2e

import (
	"os"
	"testing"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// binary is the daemon's program, built once.
var binary string

func TestMain(m *testing.M) { os.Exit(lab.RunWith(m, &binary)) }

// first runs a test for each flavour where all are played, else for MariaDB.
func first(t *testing.T, test func(t *testing.T, l *lab.Lab, flavor topology.Flavor)) {
	t.Helper()
	lab.FlavorsIf(t, os.Getenv("ORCHESTRATOR_E2E") == "all", test)
}

// fleet is a cluster of real servers with a daemon that watches it.
type fleet struct{ *watched.Fleet }

// start makes a primary with n replicas, and lets a daemon find them from one of them.
func start(t *testing.T, l *lab.Lab, spec lab.Spec, n int) fleet {
	t.Helper()
	return startWith(t, l, spec, n, lab.DaemonSpec{Binary: binary})
}

func startWith(t *testing.T, l *lab.Lab, spec lab.Spec, n int, daemon lab.DaemonSpec) fleet {
	t.Helper()
	return fleet{watched.Start(t, l, spec, n, daemon)}
}
