package hostile_test

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // to read the daemon's file

	"orchestrator/tests/watched"
)

// within runs a command in the file systems that the daemon sees.
func within(f *watched.Fleet, name string, args ...string) error {
	args = append([]string{"-t", fmt.Sprint(f.API.Pid()), "-m", name}, args...)
	if out, err := exec.CommandContext(f.Ctx, "nsenter", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("nsenter %v: %w: %s", args, err, out)
	}
	return nil
}

// The store fails while the primary dies, or just before. The daemon fails over, or says that it does not, and why, and
// does it once the store is back. What was acknowledged is there afterwards.
func TestTheStoreFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		breaks, repairs func(f *watched.Fleet, dir, store string) error
		seldom          bool // only where all is played
	}{
		"the disk is full": {
			breaks:  func(f *watched.Fleet, _, _ string) error { return f.API.Fill() },
			repairs: func(f *watched.Fleet, _, _ string) error { return f.API.Free() },
		},
		"the file system is read-only": {
			breaks: func(f *watched.Fleet, dir, _ string) error {
				return errors.Join(within(f, "mount", "--bind", dir, dir),
					within(f, "mount", "-o", "remount,bind,ro", dir))
			},
			repairs: func(f *watched.Fleet, dir, _ string) error { return within(f, "umount", "-l", dir) },
			seldom:  true,
		},
		"the store is replaced": {
			breaks: func(f *watched.Fleet, _, store string) error {
				return errors.Join(within(f, "mv", store, store+".old"), within(f, "touch", store))
			},
			repairs: func(f *watched.Fleet, _, store string) error { return within(f, "mv", store+".old", store) },
		},
		"the log of the store is removed": {
			breaks: func(f *watched.Fleet, _, store string) error { return within(f, "rm", store+"-wal") },
			seldom: true,
		},
	} {
		if !whole && c.seldom {
			continue
		}
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			f := r.start()
			dir := filepath.Dir(f.API.ConfigFile)
			store := filepath.Join(dir, "orchestrator.db")
			f.Must(f.API.Terminate())
			f.Must(f.API.RestartOn(f.Ctx, "16m"))
			_, err := f.API.AwaitServers(f.Ctx, 3)
			f.Must(err)
			f.Await("it leads", func() bool { s, err := f.API.Status(f.Ctx); return err == nil && s.Leading })

			tags := map[string]string{}
			tag := func(name string) error {
				err := f.API.SetTag(f.Ctx, f.Replicas[0].Key.String(), name, "1")
				if err == nil {
					tags[name] = "1"
				}
				return err
			}
			f.Must(tag("before"))
			f.Must(c.breaks(f, dir, store))
			took := failsOverOrSaysWhyNot(f)
			_ = tag("meanwhile")
			if c.repairs != nil {
				f.Must(c.repairs(f, dir, store))
			}
			_, primary := f.Promoted()
			f.Settled(primary)
			if took > 0 {
				r.compare(f, took)
			}
			f.Await("what is said is stored again", func() bool { return tag("after") == nil })

			stored := tagsIn(f, store)
			for name := range tags {
				if !slices.Contains(stored, name) {
					t.Errorf("the tag %s was acknowledged, and is not stored: %q", name, stored)
				}
			}
		})
	}
}

// failsOverOrSaysWhyNot kills the primary, and returns how long after that another one was promoted; 0: it was not, and
// the daemon said why.
func failsOverOrSaysWhyNot(f *watched.Fleet) (took time.Duration) {
	f.Helper()
	at := time.Now()
	f.Must(f.Primary.Kill())
	f.Await("it fails over, or says why not", func() bool {
		es, err := f.API.Episodes(f.Ctx, "", "")
		if err == nil && len(es) > 0 && !es[0].Promoted.IsZero() {
			took = es[0].Promoted.Sub(at)
			return true
		}
		refused := f.Refused()
		s, err := f.API.Status(f.Ctx)
		if err != nil || len(refused) == 0 || s.NotReady == "" {
			return false
		}
		f.Logf("not promoted after %v: %q; not ready: %s", time.Since(at), refused, s.NotReady)
		return true
	})
	return took
}

// tagsIn are the names of the tags in the store, as another process reads them.
func tagsIn(f *watched.Fleet, store string) (names []string) {
	f.Helper()
	file := filepath.Join(f.TempDir(), "store")
	f.Must(f.API.Hang()) // so that the file and its log belong together
	for _, suffix := range []string{"", "-wal"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/root%s%s", f.API.Pid(), store, suffix))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.Fatal(err)
		}
		f.Must(os.WriteFile(file+suffix, text, 0o600))
	}
	f.Must(f.API.Continue())
	db, err := sql.Open("sqlite", "file:"+file)
	f.Must(err)
	defer db.Close()
	rows, err := db.QueryContext(f.Ctx, "SELECT key FROM record WHERE kind = 'tag' AND deleted = 0")
	f.Must(err)
	defer rows.Close()
	for rows.Next() {
		var key string // host:port/name
		f.Must(rows.Scan(&key))
		names = append(names, key[strings.LastIndexByte(key, '/')+1:])
	}
	f.Must(rows.Err())
	return names
}
