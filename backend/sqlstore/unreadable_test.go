package sqlstore

import (
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"orchestrator/backend"
)

// loosen makes the tables of a file what older programs made: no column has a type that SQLite insists on.
func loosen(t testing.TB, path string) {
	t.Helper()
	by(t, path, "PRAGMA writable_schema = ON")
	by(t, path, "UPDATE sqlite_master SET sql = replace(sql, 'STRICT, ', '')", "PRAGMA writable_schema = ON")
}

// by is somebody with a shell of SQLite.
func by(t testing.TB, path, statement string, before ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, s := range append(before, statement) {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// older is a file of an older program with three records.
func older(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := OpenSQLite(path)
	must(t, err)
	must(t, s.Put(t.Context(), of("tag", "a"), of("tag", "b"), of("rule", "c")))
	must(t, s.Close())
	loosen(t, path)
	return path
}

// A row of a wrong type is refused alone: the others are read, its readers know that it is there, and it gives way to
// what is written.
func TestARowThatCannotBeRead(t *testing.T) {
	for _, change := range []string{"version = 'no number'", "version = x'00'", "version = 1e300", "version = 1.5",
		"deleted = 'yes'", "deleted = x''", "deleted = 0.5"} {
		t.Run(change, func(t *testing.T) {
			path := older(t)
			by(t, path, "UPDATE record SET "+change+" WHERE key = 'a'")
			s, err := OpenSQLite(path)
			must(t, err)
			defer s.Close()
			wantKeys(t, s, "rule", "c")
			wantKeys(t, s, "tag", "a", "b")
			got, err := s.Get(t.Context(), "tag", "a")
			must(t, err)
			if _, err := backend.Decode[map[string]any](got); err == nil || got.Check() == nil {
				t.Errorf("it can be read: %+v", got)
			}
			if says := strings.Join(s.Unreadable(), "\n"); !strings.Contains(says, `tag "a" in `+path) ||
				!strings.Contains(says, "not a number") {
				t.Errorf("unreadable: %q", says)
			}
			all, err := s.Everything(t.Context())
			must(t, err)
			if len(all) != 3 || len(s.Unreadable()) != 1 {
				t.Errorf("%d of 3 records, unreadable %q", len(all), s.Unreadable())
			}
			again := of("tag", "a")
			again.Version += 1_000_000
			must(t, s.Put(t.Context(), again))
			if got, err = s.Get(t.Context(), "tag", "a"); err != nil || got.Version != again.Version {
				t.Errorf("after a write: %+v, %v", got, err)
			}
			if says := s.Unreadable(); len(says) > 0 {
				t.Errorf("after a write: %q", says)
			}
		})
	}
}

// The rows in the table of leases, too, which are read when the file is opened.
func TestALeaseThatCannotBeRead(t *testing.T) {
	for _, change := range []string{"term = 'x'", "beat = x'00'", "term = 1e300", "holder = x'ff'"} {
		t.Run(change, func(t *testing.T) {
			path := older(t)
			s, err := OpenSQLite(path)
			must(t, err)
			_, err = s.Lease("leader").Take(t.Context(), backend.Hold{}, backend.Hold{Holder: "d1", Term: 3})
			must(t, err)
			must(t, s.Close())
			by(t, path, "UPDATE lease SET "+change)
			s, err = OpenSQLite(path)
			must(t, err)
			defer s.Close()
			must(t, s.Check(t.Context()))
			seen, err := s.Lease("leader").Read(t.Context())
			must(t, err)
			if says := s.Unreadable(); !slices.ContainsFunc(says, func(text string) bool {
				return strings.Contains(text, `lease "leader"`)
			}) {
				t.Errorf("unreadable: %q", says)
			}
			next := backend.Hold{Holder: "d2", Term: seen.Term + 1}
			if got, err := s.Lease("leader").Take(t.Context(), seen, next); err != nil || got != next {
				t.Errorf("taken: %+v, %v", got, err)
			}
			next.Beat = 1
			if got, err := s.Lease("leader").Beat(t.Context(), next); err != nil || got != next {
				t.Errorf("beat: %+v, %v", got, err)
			}
			if says := s.Unreadable(); len(says) > 0 {
				t.Errorf("after that: %q", says)
			}
		})
	}
}

// What this program makes takes no such row.
func TestTheColumnsOfAFileHaveTypes(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	fill(t, s)
	for _, change := range []string{"record SET version = 'x'", "record SET deleted = x'00'", "lease SET term = 'x'"} {
		if _, err := s.write.Exec("UPDATE " + change); err == nil {
			t.Errorf("%s: taken", change)
		}
	}
}

// A daemon whose journal is lost has all that was acknowledged in the backend, and its next writes win there.
func TestAJournalThatIsLost(t *testing.T) {
	dir := t.TempDir()
	remote, local := filepath.Join(dir, "remote"), filepath.Join(dir, "local")
	for life := range 2 {
		there, err := OpenSQLite(remote)
		must(t, err)
		here, err := OpenSQLite(local)
		must(t, err)
		j, err := OpenJournal(t.Context(), there, here, JournalOptions{Facts: []string{"fact"}})
		must(t, err)
		if life > 0 {
			wantKeys(t, j, "tag", "a", "b")
		}
		for _, key := range []string{"a", "b"} {
			r, err := j.o.Clock.Encode("w", "tag", key, life)
			must(t, err)
			must(t, j.Put(t.Context(), r))
			if got, err := j.Get(t.Context(), "tag", key); err != nil || got.Version != r.Version {
				t.Errorf("life %d: %+v, %v", life, got, err)
			}
		}
		must(t, j.Close())
		for _, suffix := range []string{"", "-wal", "-shm"} {
			_ = os.Remove(local + suffix)
		}
	}
}
