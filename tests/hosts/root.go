package hosts

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// base is in every root: enough to boot, to look around, and to be logged in to.
var base = []string{"ca-certificates", "dbus", "iproute2", "procps", "systemd", "systemd-sysv"}

// Root returns a Debian 12 root with these packages besides the base; the first who needs it makes it, which takes a minute, and later runs
// find it in the cache. No service of it has run, and none that the packages bring is disabled. Packages are named in full
// ("openssh-server", "mariadb-server").
func Root(ctx context.Context, packages ...string) (string, error) {
	all := append(slices.Clone(base), packages...)
	slices.Sort(all)
	all = slices.Compact(all)
	h := fnv.New64a()
	fmt.Fprint(h, all)
	dir := filepath.Join(cache(), "hosts", fmt.Sprintf("bookworm-%016x", h.Sum64()))
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("make a Debian root: %w", err)
	}
	held, err := lock(dir, syscall.LOCK_EX)
	if err != nil {
		return "", fmt.Errorf("lock %s: %w", dir, err)
	}
	defer held.Close()
	if exists(dir) {
		return dir, nil
	}
	draft := dir + ".draft"
	if err := os.RemoveAll(draft); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "debootstrap", "--variant=minbase", "--include="+strings.Join(all, ","), "bookworm", draft)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make a Debian root in %s: debootstrap: %w: %s", draft, err, tail(out))
	}
	if out, err := exec.CommandContext(ctx, "chroot", draft, "apt-get", "clean").CombinedOutput(); err != nil {
		return "", fmt.Errorf("empty the cache of apt in %s: %w: %s", draft, err, tail(out))
	}
	return dir, os.Rename(draft, dir)
}

// tail is the end of what a program said.
func tail(out []byte) string {
	const most = 2000
	if len(out) > most {
		out = out[len(out)-most:]
	}
	return strings.TrimSpace(string(out))
}
