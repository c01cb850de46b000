package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

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

func TestTwoFilesAreTwoIdentities(t *testing.T) {
	one, two := open(t, t.TempDir()), open(t, t.TempDir())
	defer one.Close()
	defer two.Close()
	a, errA := one.Identity(t.Context())
	b, errB := two.Identity(t.Context())
	if a == b || errA != nil || errB != nil {
		t.Fatalf("identities %q and %q (%v, %v)", a, b, errA, errB)
	}
}

// Whatever is wrong with a file: it is refused, the words say what and where, and neither the file nor its directory
// has changed.
func TestRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		make func(t *testing.T, path string)
		says string
	}{
		"no SQLite file": {func(t *testing.T, path string) {
			write(t, path, bytes.Repeat([]byte("[mysqld]\n"), 1000))
		}, "not an SQLite database"},
		"a short text":  {func(t *testing.T, path string) { write(t, path, []byte("x")) }, "not an SQLite database"},
		"an empty file": {func(t *testing.T, path string) { write(t, path, nil) }, "it is empty"},
		"a database of another program": {func(t *testing.T, path string) {
			execute(t, path, "CREATE TABLE record (kind)", "CREATE TABLE lease (name)")
		}, "another program"},
		"a database of another program with a log": {func(t *testing.T, path string) {
			execute(t, path, "PRAGMA journal_mode = WAL", "CREATE TABLE t (x)")
		}, "another program"},
		"a newer layout": {func(t *testing.T, path string) {
			filled(t, path)
			execute(t, path, "PRAGMA user_version = 99")
		}, "newer version"},
		"an impossible layout": {func(t *testing.T, path string) {
			filled(t, path)
			execute(t, path, "PRAGMA user_version = 0")
		}, "layout is 0"},
		"a table gone": {func(t *testing.T, path string) {
			filled(t, path)
			execute(t, path, "DROP TABLE lease")
		}, "its tables are not those of a store"},
		"truncated in a page":     {func(t *testing.T, path string) { cut(t, path, 10_001) }, "damaged"},
		"truncated at a page":     {func(t *testing.T, path string) { cut(t, path, 3*4096) }, "damaged"},
		"truncated in the header": {func(t *testing.T, path string) { cut(t, path, 50) }, "not an SQLite database"},
		"a page overwritten": {func(t *testing.T, path string) {
			filled(t, path)
			overwrite(t, path, 2*4096, bytes.Repeat([]byte{0xA5}, 4096))
		}, "damaged"},
		"a page overwritten, with a log beside it": {func(t *testing.T, path string) {
			crashed(t, path)
			overwrite(t, path, 2*4096, bytes.Repeat([]byte{0xA5}, 4096))
		}, "damaged"},
		"a directory": {func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) }, "is a directory"},
		"a link to nowhere": {func(t *testing.T, path string) { must(t, os.Symlink("nowhere", path)) },
			"a link to a file that does not exist"},
		"a pipe, not a file": {func(t *testing.T, path string) { must(t, syscall.Mkfifo(path, 0o600)) },
			"not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "store.db")
			tc.make(t, path)
			before := contents(t, dir)
			s, err := OpenSQLite(path)
			if err == nil {
				s.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %q does not say %q of %s", err, tc.says, path)
			}
			if after := contents(t, dir); !maps.Equal(after, before) {
				t.Errorf("the directory has changed: %v, before %v", slices.Sorted(maps.Keys(after)),
					slices.Sorted(maps.Keys(before)))
			}
		})
	}
}

// contents returns what is in each file of a directory. The index beside a log is left out: it is memory that readers
// share.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		text := e.Type().String()
		if e.Type().IsRegular() {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			must(t, err)
			text = string(b)
		}
		if !strings.HasSuffix(e.Name(), "-shm") {
			out[e.Name()] = text
		}
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	must(t, os.WriteFile(path, content, 0o600))
}

func execute(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	must(t, err)
	defer db.Close()
	for _, s := range statements {
		_, err := db.Exec(s)
		must(t, err)
	}
}

// filled makes a store of some pages.
func filled(t *testing.T, path string) {
	t.Helper()
	s, err := OpenSQLite(path)
	must(t, err)
	defer s.Close()
	fill(t, s)
}

func fill(t *testing.T, s *Store) {
	t.Helper()
	var records []backend.Record
	for i := range 500 {
		records = append(records, backend.Record{Kind: "k", Key: fmt.Sprint(i), Version: 1, Writer: "w",
			Document: []byte(`"some words to fill the pages"`)})
	}
	must(t, s.Put(t.Context(), records...))
}

// crashed leaves a store as a killed daemon does: its last writes are in the log only.
func crashed(t *testing.T, path string) {
	t.Helper()
	s, err := OpenSQLite(filepath.Join(t.TempDir(), "live.db"))
	must(t, err)
	defer s.Close()
	fill(t, s)
	_, err = s.write.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
	must(t, err)
	must(t, s.Put(t.Context(), backend.Record{Kind: "k", Key: "last", Version: 1, Writer: "w"}))
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(s.name + suffix)
		must(t, err)
		write(t, path+suffix, b)
	}
}

func cut(t *testing.T, path string, size int64) {
	t.Helper()
	filled(t, path)
	must(t, os.Truncate(path, size))
}

func overwrite(t *testing.T, path string, at int64, with []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt(with, at)
	must(t, err)
}

// asNobody reports whether the test is to go on: root may write everywhere, so there the test runs itself once more as
// nobody.
func asNobody(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return true
	}
	dir := t.TempDir()
	must(t, errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o755)))
	program := filepath.Join(dir, "test")
	b, err := os.ReadFile(os.Args[0])
	must(t, err)
	must(t, os.WriteFile(program, b, 0o755))
	work := filepath.Join(dir, "work")
	must(t, os.Mkdir(work, 0o700))
	must(t, os.Chown(work, 65534, 65534))
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^"+t.Name()+"$")
	cmd.Dir, cmd.Env = work, append(os.Environ(), "TMPDIR="+work)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
	return false
}

func TestBadPlaces(t *testing.T) {
	if !asNobody(t) {
		return
	}
	dir := t.TempDir()
	readOnly := filepath.Join(dir, "readonly")
	must(t, os.Mkdir(readOnly, 0o500))
	write(t, filepath.Join(dir, "file"), []byte("x"))
	for name, tc := range map[string]struct{ path, says string }{
		"no path":            {"", "must name a file"},
		"a directory's path": {dir + "/", "must name a file"},
		"no such directory": {filepath.Join(dir, "none", "store.db"), "there is no directory " +
			filepath.Join(dir, "none")},
		"a file as directory":           {filepath.Join(dir, "file", "store.db"), "not a directory"},
		"a place where nothing is made": {"/proc/store.db", "must be writable"},
		"a read-only directory":         {filepath.Join(readOnly, "store.db"), "must be writable"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := OpenSQLite(tc.path)
			if err == nil {
				s.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %q does not say %q", err, tc.says)
			}
		})
	}
}

func TestReadOnlyFile(t *testing.T) {
	if !asNobody(t) {
		return
	}
	path := filepath.Join(t.TempDir(), "store.db")
	filled(t, path)
	must(t, os.Chmod(path, 0o400))
	if s, err := OpenSQLite(path); err == nil || !strings.Contains(err.Error(), "writable") {
		if err == nil {
			s.Close()
		}
		t.Fatalf("a file that cannot be written: %v", err)
	}
}

func TestNothingIsLeftBeside(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v (%v), want 0600", e.Name(), info.Mode(), err)
		}
	}
	must(t, s.Close())
	if left := contents(t, dir); len(left) != 1 {
		t.Errorf("after closing there is %v", slices.Sorted(maps.Keys(left)))
	}
}

func TestAfterACrashTheLogCounts(t *testing.T) {
	dir := t.TempDir()
	crashed(t, filepath.Join(dir, "store.db"))
	s := open(t, dir)
	defer s.Close()
	if _, err := s.Get(t.Context(), "k", "last"); err != nil {
		t.Fatal(err)
	}
}

// A crash while the log was carried over into the file: the file alone is nonsense, and the log has what belongs there.
func TestAHalfCarriedLogMendsTheFile(t *testing.T) {
	live := open(t, t.TempDir())
	defer live.Close()
	fill(t, live)
	dir := t.TempDir()
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(live.name + suffix)
		must(t, err)
		write(t, filepath.Join(dir, "store.db"+suffix), b)
	}
	overwrite(t, filepath.Join(dir, "store.db"), 4096, bytes.Repeat([]byte{0xA5}, 4096))
	s := open(t, dir)
	defer s.Close()
	if got, err := s.List(t.Context(), "k"); err != nil || len(got) != 500 {
		t.Fatalf("%d of 500 records, %v", len(got), err)
	}
}

func TestPathsMayHaveAnyName(t *testing.T) {
	for _, name := range []string{"a b.db", "what?mode=memory", "50%25.db", "#1", "größe.db", "a&b=c;d"} {
		path := filepath.Join(t.TempDir(), name)
		filled(t, path)
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// Writing on into a file that was removed or replaced would acknowledge what is gone at the next start.
func TestAFileThatWasReplacedIsNotWritten(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer s.Close()
	must(t, os.Rename(s.name, s.name+".old"))
	r := backend.Record{Kind: "k", Key: "k", Version: 1, Writer: "w"}
	for _, state := range []string{"removed", "replaced"} {
		if err := s.Put(t.Context(), r); err == nil || !strings.Contains(err.Error(), "replaced") {
			t.Errorf("%s: Put = %v", state, err)
		}
		if h, err := s.Lease("l").Beat(t.Context(), backend.Hold{Holder: "a", Term: 1, Beat: 1}); err == nil {
			t.Errorf("%s: Beat = %v", state, h)
		}
		write(t, s.name, []byte("another file"))
	}
}

// A write that has to wait for another process ends with its context.
func TestWaitingEndsWithTheContext(t *testing.T) {
	dir := t.TempDir()
	s, other := open(t, dir), open(t, dir)
	defer s.Close()
	defer other.Close()
	tx, err := other.write.BeginTx(t.Context(), nil)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	r := backend.Record{Kind: "k", Key: "k", Version: 1, Writer: "w"}
	if err := s.Put(ctx, r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put = %v, want that its time was over", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %v to end", took)
	}
	must(t, tx.Rollback())
	must(t, s.Put(t.Context(), r))
}

func TestTwoDaemonsCreateTheFileAtOnce(t *testing.T) {
	for range 10 {
		dir := t.TempDir()
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				s, err := OpenSQLite(filepath.Join(dir, "store.db"))
				if err != nil {
					t.Error(err)
					return
				}
				defer s.Close()
				if err := s.Put(t.Context(), backend.Record{Kind: "k", Key: fmt.Sprint(i), Version: 1,
					Writer: "w"}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		s := open(t, dir)
		if got, err := s.List(t.Context(), "k"); err != nil || len(got) != 4 {
			t.Fatalf("%d records of 4, %v", len(got), err)
		}
		s.Close()
	}
}
