package sqlstore

import (
	"path/filepath"
	"testing"

	"orchestrator/backend"
	"orchestrator/backend/storetest"
)

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := OpenSQLite(filepath.Join(dir, "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openStore(t testing.TB, dir string) backend.Store { return open(t, dir) }

func TestStore(t *testing.T) { storetest.Run(t, openStore) }

func TestCrash(t *testing.T) { storetest.RunCrash(t, openStore) }

func TestLease(t *testing.T) {
	storetest.RunLease(t, func(t testing.TB, dir string) backend.Lease {
		s := open(t, dir)
		t.Cleanup(func() { s.Close() })
		return s.Lease("leader")
	})
}
