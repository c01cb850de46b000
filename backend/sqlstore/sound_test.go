package sqlstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"orchestrator/backend"
)

// unsound calls Check as often as a daemon does in some seconds, and returns what it says in the end.
func unsound(t *testing.T, s *Store) string {
	t.Helper()
	says := ""
	for range 4 {
		if err := s.Check(t.Context()); err != nil {
			says = err.Error()
		}
	}
	return says
}

// after is what the next process finds in the file: this one is killed.
func after(t *testing.T, s *Store) *Store {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.db")
	for _, suffix := range []string{"", "-wal"} {
		if b, err := os.ReadFile(s.name + suffix); err == nil {
			write(t, path+suffix, b)
		}
	}
	next, err := OpenSQLite(path)
	must(t, err)
	t.Cleanup(func() { next.Close() })
	return next
}

func TestASoundFileStaysSo(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	for i := range 20 {
		fill(t, s)
		must(t, s.Put(t.Context(), of("instance", fmt.Sprint(i))))
		must(t, s.Check(t.Context()))
		if i%5 == 0 {
			_, err := s.write.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
			must(t, err)
			must(t, s.Put(t.Context(), of("instance", "x")))
		}
	}
	if next := after(t, s); next.Lost() != "" || s.Lost() != "" {
		t.Errorf("after a kill: %q, %q", next.Lost(), s.Lost())
	}
}

// What was acknowledged survives that somebody removes the log, also when the daemon is killed afterwards.
func TestWhatWasAcknowledgedSurvivesARemovedLog(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	fill(t, s)
	must(t, os.Remove(s.name+"-wal"))
	must(t, s.Put(t.Context(), of("tag", "later")))
	wantKeys(t, after(t, s), "tag", "later")
	must(t, os.Remove(s.name+"-wal"))
	must(t, s.Check(t.Context())) // nobody writes; it is noticed all the same
	must(t, os.Remove(s.name+"-wal"))
	must(t, os.Remove(s.name+"-shm"))
	must(t, s.Check(t.Context()))
	must(t, s.Put(t.Context(), of("tag", "more")))
	next := after(t, s)
	wantKeys(t, next, "tag", "later", "more")
	if got, err := next.List(t.Context(), "k"); err != nil || len(got) != 500 || next.Lost() != "" {
		t.Errorf("%d of 500 records, %v, lost %q", len(got), err, next.Lost())
	}
}

// A log that is missing at the start, because it was removed after a kill, is said to be so.
func TestALogThatIsMissingIsSaid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	crashed(t, path)
	must(t, os.Remove(path+"-wal"))
	s, err := OpenSQLite(path)
	must(t, err)
	if says := s.Lost(); !strings.Contains(says, "-wal is missing") {
		t.Errorf("lost: %q", says)
	}
	must(t, s.Close())
	s, err = OpenSQLite(path)
	must(t, err)
	defer s.Close()
	if says := s.Lost(); says != "" {
		t.Errorf("after a stop in order: %q", says)
	}
}

// Whatever is done to the bytes of a file that is in use: a few checks later the store says what, and takes nothing.
func TestDamageIsNoticed(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(t *testing.T, path string)
		says   string
	}{
		"cut off": {func(t *testing.T, path string) { must(t, os.Truncate(path, 2*4096)) },
			"overwritten or cut off"},
		"emptied":    {func(t *testing.T, path string) { must(t, os.Truncate(path, 0)) }, "overwritten or cut off"},
		"the header": {func(t *testing.T, path string) { overwrite(t, path, 0, make([]byte, 4096)) }, "overwritten"},
		"a page": {func(t *testing.T, path string) { overwrite(t, path, 2*4096, make([]byte, 4096)) },
			"overwritten or cut off"},
		"another store": {func(t *testing.T, path string) {
			other := filepath.Join(t.TempDir(), "other.db")
			filled(t, other)
			b, err := os.ReadFile(other)
			must(t, err)
			must(t, os.WriteFile(path, b, 0o600))
		}, "another store"},
		"replaced": {func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".old"))
			filled(t, path)
		}, "removed or replaced"},
		"removed":         {func(t *testing.T, path string) { must(t, os.Remove(path)) }, "removed or replaced"},
		"the log emptied": {func(t *testing.T, path string) { must(t, os.Truncate(path+"-wal", 0)) }, "was emptied"},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			defer s.Close()
			fill(t, s)
			_, err := s.write.Exec("PRAGMA wal_checkpoint(PASSIVE)")
			must(t, err)
			must(t, s.Check(t.Context()))
			c.damage(t, s.name)
			if says := unsound(t, s); !strings.Contains(says, c.says) || !strings.Contains(says, s.name) {
				t.Errorf("it says %q, want %q", says, c.says)
			}
			if err := s.Put(t.Context(), of("tag", "t")); err == nil {
				t.Error("a write is acknowledged")
			}
		})
	}
}

// small is a directory on a file system of a megabyte or two, and what fills it.
func small(t *testing.T) (dir string, full func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir = t.TempDir()
	must(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"))
	t.Cleanup(func() { must(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	return dir, func() {
		f, err := os.Create(filepath.Join(dir, "filler"))
		must(t, err)
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 512))
		}
	}
}

func TestAFullDiskIsSaidAndEnds(t *testing.T) {
	dir, fill := small(t)
	s := open(t, dir)
	defer s.Close()
	must(t, s.Put(t.Context(), of("tag", "before")))
	must(t, s.Check(t.Context()))
	fill()
	if says := unsound(t, s); !strings.Contains(says, "file system is full") {
		t.Errorf("it says %q", says)
	}
	acknowledged := []string{"before"}
	for i := range 200 {
		r := of("tag", fmt.Sprintf("t%03d", i))
		r.Document = []byte(`"` + strings.Repeat("x", 4000) + `"`)
		if err := s.Put(t.Context(), r); err == nil {
			acknowledged = append(acknowledged, r.Key)
		} else if !errors.Is(err, backend.ErrUnavailable) {
			t.Fatalf("it looks like the fault of a record: %v", err)
		}
	}
	if len(acknowledged) == 201 {
		t.Fatal("the disk was not full")
	}
	wantKeys(t, after(t, s), "tag", acknowledged...)
	must(t, os.Remove(filepath.Join(dir, "filler")))
	must(t, s.Check(t.Context()))
	must(t, s.Put(t.Context(), of("tag", "then")))
}

func TestAReadOnlyFileSystemIsSaid(t *testing.T) {
	dir, _ := small(t)
	s := open(t, dir)
	defer s.Close()
	must(t, s.Check(t.Context()))
	must(t, syscall.Mount(dir, dir, "", syscall.MS_BIND, ""))
	must(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""))
	defer func() { must(t, syscall.Unmount(dir, syscall.MNT_DETACH)) }()
	if says := unsound(t, s); !strings.Contains(says, "read-only") {
		t.Errorf("it says %q", says)
	}
}
