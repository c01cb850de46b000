// Package hard plays on real servers of both flavours what people have met in the field, and what took the daemon in:
// names that differ, servers that only look as if they had the data, locks, servers that come back. One file per
// subject; the rig is tests/watched. "make hard" plays all; without ORCHESTRATOR_HARD=all only the quick ones are.
package hard

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

// quick runs a test of seconds for each flavour, also in CI.
func quick(t *testing.T, test func(t *testing.T, l *lab.Lab, flavor topology.Flavor)) {
	t.Helper()
	lab.Flavors(t, test)
}

// first runs a test for each flavour where all are played, else for MariaDB.
func first(t *testing.T, test func(t *testing.T, l *lab.Lab, flavor topology.Flavor)) {
	t.Helper()
	lab.FlavorsIf(t, whole(), test)
}

// flavors runs a test for each flavour where all are played.
func flavors(t *testing.T, test func(t *testing.T, l *lab.Lab, flavor topology.Flavor)) {
	t.Helper()
	all(t)
	lab.Flavors(t, test)
}

// only runs a test for one flavour where all are played.
func only(t *testing.T, flavor topology.Flavor, test func(t *testing.T, l *lab.Lab)) {
	t.Helper()
	all(t)
	test(t, lab.Test(t))
}

func all(t *testing.T) {
	t.Helper()
	if !whole() {
		t.Skip("takes long: make hard")
	}
}

func whole() bool { return os.Getenv("ORCHESTRATOR_HARD") == "all" }

// start makes a primary with n replicas, and lets a daemon find them from the first replica.
func start(t *testing.T, l *lab.Lab, spec lab.Spec, n int) *watched.Fleet {
	t.Helper()
	return watched.Start(t, l, spec, n, lab.DaemonSpec{Binary: binary})
}
