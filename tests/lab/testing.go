package lab

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"

	"orchestrator/daemon/topology"
)

// Test gives a test a lab that goes with it. With -short the test is skipped: real servers take seconds.
func Test(t testing.TB) *Lab {
	t.Helper()
	if testing.Short() {
		t.Skip("needs real servers")
	}
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, s := range l.Servers() {
				t.Logf("log of %s at %v: %s", s.Name, s.Key, s.Log())
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// RunWith builds the program once for all tests of a package, and runs them: what TestMain returns to os.Exit. With
// -short nothing is built.
func RunWith(m *testing.M, program *string) (code int) {
	flag.Parse()
	if testing.Short() {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "orchestrator-program-*")
	if err == nil {
		defer os.RemoveAll(dir)
		*program, err = Build(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// Flavors runs a test for each flavour, each with a lab of its own, in parallel with each other and with other tests:
// servers mostly wait.
func Flavors(t *testing.T, test func(t *testing.T, l *Lab, f topology.Flavor)) {
	t.Parallel()
	for _, f := range []topology.Flavor{MariaDB, MySQL} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			test(t, Test(t), f)
		})
	}
}

// FlavorsIf is Flavors where both are wanted. Else it plays MariaDB alone, which takes a third of the time.
func FlavorsIf(t *testing.T, both bool, test func(t *testing.T, l *Lab, f topology.Flavor)) {
	if both {
		Flavors(t, test)
		return
	}
	t.Parallel()
	t.Run(string(MariaDB), func(t *testing.T) { test(t, Test(t), MariaDB) })
}

// TestCluster is Cluster for tests.
func (l *Lab) TestCluster(t testing.TB, spec Spec, n int) (primary *Server, replicas []*Server) {
	t.Helper()
	primary, replicas, err := l.Cluster(context.Background(), spec, n)
	if err != nil {
		t.Fatal(err)
	}
	return primary, replicas
}
