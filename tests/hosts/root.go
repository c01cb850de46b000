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

// Releases of Debian that hosts can be.
const (
	Bookworm = "bookworm" // Debian 12
	Sid      = "sid"      // unstable, which alone has MySQL; a root of it stays what it was when it was made
)

// base is in every root: enough to boot, to look around, and to be logged in to.
var base = []string{"ca-certificates", "dbus", "iproute2", "procps", "systemd", "systemd-sysv"}

// Root returns a Debian 12 root with these packages besides the base; see RootOf.
func Root(ctx context.Context, packages ...string) (string, error) {
	return RootOf(ctx, Bookworm, packages...)
}

// RootOf returns a root of a release of Debian with these packages besides the base; the first who needs it makes it,
// which takes a minute, and later runs find it in the cache. No service of it has run, and none that the packages bring
// is disabled. Packages are named in full ("openssh-server", "mariadb-server").
func RootOf(ctx context.Context, release string, packages ...string) (string, error) {
	all := append(slices.Clone(base), packages...)
	slices.Sort(all)
	all = slices.Compact(all)
	h := fnv.New64a()
	fmt.Fprint(h, all)
	dir := filepath.Join(cache(), "hosts", fmt.Sprintf("%s-%016x", release, h.Sum64()))
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
	// Each begins with the one that has the base alone, so that debootstrap, which takes most of the time, runs once a
	// release.
	begin := []string{"debootstrap", "--variant=minbase", "--include=" + strings.Join(base, ","), release, draft}
	if len(all) > len(base) {
		bare, err := RootOf(ctx, release)
		if err != nil {
			return "", err
		}
		begin = []string{"cp", "-a", bare, draft}
	}
	if out, err := exec.CommandContext(ctx, begin[0], begin[1:]...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("make a Debian root in %s: %s: %w: %s", draft, begin[0], err, tail(out))
	}
	// The rest by apt-get, which finds what packages depend on where debootstrap only guesses. 101 is "not allowed": no
	// service starts in there. A mirror may be a picture of one day: debootstrap takes what it has, and apt-get, there
	// and later on the host, must take it too. It is signed all the same.
	const install = `mount -t proc proc "$1/proc"
printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d" && chmod 755 "$1/usr/sbin/policy-rc.d"
cp -L /etc/resolv.conf "$1/etc/resolv.conf"
echo 'Acquire::Check-Valid-Until "false";' >"$1/etc/apt/apt.conf.d/90old"
chroot "$@"
rm "$1/usr/sbin/policy-rc.d"
chroot "$1" apt-get clean`
	enter := []string{"--mount", "sh", "-ec", install, "sh", draft, "sh", "-ec",
		`apt-get -q update && exec apt-get -q -y --no-install-recommends install "$@"`, "sh"}
	cmd := exec.CommandContext(ctx, "unshare", append(enter, all...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("install %s in %s: %w: %s", strings.Join(all, " "), draft, err, tail(out))
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
