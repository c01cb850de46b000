package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// The binary log of the primary fills a small file system: reads work, commits hang.
func TestFullDiskIsNamed(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		root := t.TempDir()
		inside := root
		var more []string
		// it runs below a root of its own, and tells a full disk from other waits by its error log
		if flavor == lab.MySQL {
			root = filepath.Join(l.Root(flavor), "tmp", filepath.Base(filepath.Dir(root))+"-disk")
			if err := os.MkdirAll(root, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Remove(root) })
			inside = strings.TrimPrefix(root, l.Root(flavor))
			more = []string{"--performance-schema=1"}
		}
		if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=8m"); err != nil {
			t.Fatalf("mount a small file system on %s: %v", root, err)
		}
		t.Cleanup(func() {
			if err := l.Reset(); err != nil {
				t.Error(err)
			}
			if err := syscall.Unmount(root, 0); err != nil {
				t.Error(err)
			}
		})
		f := start(t, l, lab.Spec{Flavor: flavor, ExtraArgs: append(more, "--log-bin="+inside+"/binlog")}, 0)
		w := lab.Write(f.Ctx, 1, f.Primary)
		f.Must(w.AwaitRows(f.Ctx, 20))
		if err := os.WriteFile(filepath.Join(root, "ballast"), make([]byte, 64<<20), 0o600); err == nil {
			t.Fatal("the small file system is not small")
		}
		f.Await("the full disk is named", func() bool { return f.Found(analysis.PrimaryStalled, "disk") })
		f.Must(os.Remove(filepath.Join(root, "ballast")))
		f.During(time.Second, "nobody else is touched", func() bool { return !f.ReadOnly(f.Primary) })
		w.Stop()
	})
}
