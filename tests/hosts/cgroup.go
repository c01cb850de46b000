package hosts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cgroups are the directories of one group: one where the machine has cgroups of version 2 only; where it has both, one
// in each hierarchy that systemd uses.
func cgroups(id string) []string {
	const top = "/sys/fs/cgroup"
	if exists(top + "/cgroup.controllers") {
		return []string{filepath.Join(top, id)}
	}
	var out []string
	for _, hierarchy := range []string{"systemd", "unified"} {
		if exists(filepath.Join(top, hierarchy)) {
			out = append(out, filepath.Join(top, hierarchy, id))
		}
	}
	return out
}

// removeCgroups kills what is left in a group, and removes it with all that is below.
func removeCgroups(id string) error {
	for _, dir := range cgroups(id) {
		var err error
		for range 100 {
			if err = removeTree(dir); err == nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if err != nil {
			return fmt.Errorf("remove the cgroup %s: %w", dir, err)
		}
	}
	return nil
}

func removeTree(top string) error {
	var dirs []string
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	slices.Reverse(dirs) // the innermost first
	for _, dir := range dirs {
		data, failed := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if failed != nil {
			continue
		}
		for _, pid := range strings.Fields(string(data)) {
			if n, failed := strconv.Atoi(pid); failed == nil && n > 1 {
				_ = syscall.Kill(n, syscall.SIGKILL)
			}
		}
		if failed := syscall.Rmdir(dir); failed != nil && !errors.Is(failed, fs.ErrNotExist) {
			err = errors.Join(err, failed)
		}
	}
	return err
}
