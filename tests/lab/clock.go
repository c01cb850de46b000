package lab

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

//go:embed testdata/shift.go
var shift []byte

// BuildToShift makes one whose wall clock can be set, see Daemon.SetClock: it is compiled with a time.Now that adds a
// number of seconds to the wall clock, and leaves the monotonic one alone, as the kernel does when the clock is set.
func BuildToShift(ctx context.Context, dir string) (string, error) {
	overlay, err := shiftable(ctx, dir)
	if err != nil {
		return "", err
	}
	return build(ctx, dir, overlay)
}

// BuildTestToShift makes the program of a package's tests so. The environment variable ORCHESTRATOR_CLOCK names the
// file with the number of seconds, which may change all the time.
func BuildTestToShift(ctx context.Context, dir, pkg string) (string, error) {
	overlay, err := shiftable(ctx, dir)
	if err != nil {
		return "", err
	}
	to := filepath.Join(dir, "test")
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-trimpath", overlay, "-o", to, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the tests of %s: %w: %s", pkg, err, tail(string(out)))
	}
	return to, nil
}

// shiftable makes, in dir, the library whose clock can be set, and returns the flag by which the compiler takes it.
func shiftable(ctx context.Context, dir string) (flag string, err error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("ask for GOROOT: %w", err)
	}
	library := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	text, err := os.ReadFile(filepath.Join(library, "time.go"))
	if err != nil {
		return "", err
	}
	// In a bubble of testing/synctest, time.Now has no monotonic part by itself, and durations would be measured by
	// the wall clock.
	const before = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	const after = "\tsec += shift.Load()\n\tif mono == 0 {\n\t\tmono = runtimeNano()\n\t}\n"
	changed := strings.Replace(string(text), before, before+after, 1)
	if changed == string(text) {
		return "", fmt.Errorf("change time.Now: it does not begin in %s as it is known to", library)
	}
	patched, added, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "shift.go"),
		filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(library, "time.go"): patched,
		filepath.Join(library, "shift.go"): added}})
	if err != nil {
		return "", err
	}
	for file, content := range map[string][]byte{patched: []byte(changed), added: shift, overlay: list} {
		if err := os.WriteFile(file, content, 0o644); err != nil {
			return "", err
		}
	}
	return "-overlay=" + overlay, nil
}

// SetClock sets the daemon's wall clock: by that much it is ahead of the machine's from now on, also in its next lives.
// The daemon must be started with DaemonSpec.Clock. It returns when the daemon says so itself, within a minute.
func (d *Daemon) SetClock(ctx context.Context, ahead time.Duration) error {
	fresh := d.clock() + ".new"
	if err := os.WriteFile(fresh, []byte(fmt.Sprint(int64(ahead/time.Second))), 0o644); err != nil {
		return err
	}
	if err := os.Rename(fresh, d.clock()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for d.Pid() != 0 {
		s, err := d.Snapshot(ctx, "")
		if err == nil && (time.Until(s.At)-ahead).Abs() < time.Minute {
			return nil
		}
		if wait := pause(ctx, 5*time.Millisecond); wait != nil {
			return fmt.Errorf("set the clock of %s by %v: %w (it says %v, %v)", d.what, ahead, wait, s.At, err)
		}
	}
	return nil
}

// clock is the file that says by how much the daemon's clock was set.
func (d *Daemon) clock() string { return filepath.Join(d.dir, "clock") }
