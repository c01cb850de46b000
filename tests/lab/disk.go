package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"orchestrator/daemon/topology"
)

// SmallDisk is a file system of a few megabytes that is about to be full.
type SmallDisk struct {
	Inside string // as a server sees it

	dir string
}

// NewSmallDisk makes one for servers of a flavour; it goes with the test, after the servers of this lab.
func (l *Lab) NewSmallDisk(t testing.TB, flavor topology.Flavor) *SmallDisk {
	t.Helper()
	parent := l.dir
	if flavor == MySQL { // it runs below a root of its own
		parent = l.mysqlDir()
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(parent, "disk-*")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatalf("mount a small file system on %s: %v", dir, err)
	}
	t.Cleanup(func() {
		for _, s := range l.Servers() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return &SmallDisk{Inside: strings.TrimPrefix(dir, l.Root(flavor)), dir: dir}
}

func (d *SmallDisk) filler() string { return filepath.Join(d.dir, "filler") }

// Fill leaves no space.
func (d *SmallDisk) Fill() error {
	if err := os.WriteFile(d.filler(), make([]byte, 64<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("fill %s: want no space left, got %v", d.dir, err)
	}
	return nil
}

// Free ends Fill.
func (d *SmallDisk) Free() error { return os.Remove(d.filler()) }
