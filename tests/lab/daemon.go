package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"orchestrator/daemon/api"
	"orchestrator/daemon/api/client"
	"orchestrator/daemon/topology"
)

// DaemonSpec says how to start a daemon.
type DaemonSpec struct {
	Binary string // of the program, see Build
	Seeds  []topology.Key
	// Config is TOML that stands after what is written here (http, servers, backend; the section discovery is open): ""
	// allows recoveries in every cluster.
	Config string
	// Backend is TOML in the place of "[backend] path", for daemons that share one; see StartDaemons.
	Backend string
	// HTTP is TOML for the section http.
	HTTP string
	// Admin is the admin account: it does at the members what the API asks for; its password is in the lab's file of
	// that name.
	Admin string
	// CrashAt kills the daemon's first life at this point of a recovery, see BuildToCrash; 0 is never.
	CrashAt int
	// TTL of the lease, for daemons that share a backend; 0 is the default.
	TTL time.Duration
	// Poll is how often servers are asked; 0 is the default.
	Poll time.Duration
	// Clock says that Binary is one of BuildToShift.
	Clock bool
}

// everything is what a daemon is allowed where nobody says otherwise.
const everything = `
[[policy]]
clusters = ["*"]
recover_primary = true
recover_intermediate = true
`

// Daemon is one running orchestrator, on an SQLite file of its own, with a client of its API.
type Daemon struct {
	process
	*client.Client
	URL        string
	ConfigFile string

	host   string
	port   int
	dir    string
	binary string
	shifts bool // its clock can be set
}

// Build builds the program and returns its path.
func Build(ctx context.Context, dir string) (string, error) { return build(ctx, dir) }

// BuildToCrash makes one that can be told to kill itself before or after any statement by which a recovery changes a
// server.
func BuildToCrash(ctx context.Context, dir string) (string, error) {
	return build(ctx, dir, "-tags=crash")
}

func build(ctx context.Context, dir string, flags ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build", "-trimpath"}, flags...), "-o", dir+"/",
		"orchestrator/cmd/orchestrator")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build orchestrator: %w: %s", err, tail(string(out)))
	}
	return filepath.Abs(filepath.Join(dir, "orchestrator"))
}

// StartDaemon starts a daemon and returns when it is ready.
func (l *Lab) StartDaemon(ctx context.Context, spec DaemonSpec) (*Daemon, error) {
	d, err := l.newDaemon(spec)
	if err != nil {
		return nil, err
	}
	if spec.CrashAt > 0 {
		return d, d.start(ctx, "/usr/bin/env", fmt.Sprintf("ORCHESTRATOR_CRASH_AT=%d", spec.CrashAt), d.binary)
	}
	return d, d.Restart(ctx)
}

// LaunchDaemon is StartDaemon, and doesn't wait until the daemon is ready, which it may never be.
func (l *Lab) LaunchDaemon(spec DaemonSpec) (*Daemon, error) {
	d, err := l.newDaemon(spec)
	if err != nil {
		return nil, err
	}
	return d, d.Launch()
}

// newDaemon gives a daemon its address, its directory and its configuration.
func (l *Lab) newDaemon(spec DaemonSpec) (*Daemon, error) {
	number, err := l.number()
	if err != nil {
		return nil, err
	}
	host, port := l.address(number), 3000
	dir := filepath.Join(l.dir, fmt.Sprintf("daemon-%d", number))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	d := &Daemon{URL: fmt.Sprintf("http://%s:%d", host, port), host: host, port: port, dir: dir, binary: spec.Binary,
		shifts:     spec.Clock,
		ConfigFile: filepath.Join(dir, "orchestrator.toml"),
		process:    process{lab: l, what: fmt.Sprintf("orchestrator at %s:%d", host, port), number: uint32(number)}}
	if d.Client, err = client.New(client.Options{Endpoints: []string{d.URL}}); err != nil {
		return nil, err
	}
	return d, d.configure(spec)
}

// configure writes the configuration, and registers the daemon with its lab.
func (d *Daemon) configure(spec DaemonSpec) error {
	var seeds []string
	for _, k := range spec.Seeds {
		seeds = append(seeds, fmt.Sprintf("%q", k))
	}
	config := spec.Config
	if config == "" {
		config = everything
	}
	poll := ""
	if spec.Poll > 0 {
		poll = fmt.Sprintf("poll = %q\n", spec.Poll)
	}
	text := fmt.Sprintf(`[http]
listen = "%s:%d"
%s[servers]
user = %q
password_file = "password"
public_key_file = %q
%s
[discovery]
seeds = [%s]
%s%s`, d.host, d.port, spec.HTTP, User, PublicKey(), cmp.Or(spec.Backend, "[backend]\npath = \"orchestrator.db\""), strings.Join(seeds, ", "), poll, config)
	if err := os.WriteFile(filepath.Join(d.dir, "password"), []byte(Password+"\n"), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(d.ConfigFile, []byte(text), 0o644); err != nil {
		return err
	}
	d.lab.mu.Lock()
	defer d.lab.mu.Unlock()
	if !slices.Contains(d.lab.daemons, d) {
		d.lab.daemons = append(d.lab.daemons, d)
	}
	return nil
}

// Restart starts a daemon that has ended; what it remembers is still there. It returns when the daemon is ready.
func (d *Daemon) Restart(ctx context.Context) error {
	if d.shifts {
		return d.start(ctx, "/usr/bin/env", "ORCHESTRATOR_CLOCK="+d.clock(), d.binary)
	}
	return d.start(ctx, d.binary)
}

// small gives a program a file system of its own in the place of a directory, with all that is there but the log, which
// stays outside. Nobody else sees it, and it ends with the program.
const small = `set -e
dir=$1 size=$2
shift 2
mkdir -p "$dir/small"
mount -t tmpfs -o "size=$size" lab "$dir/small"
for file in "$dir"/*; do
	case $file in */small | */log) ;; *) cp -a "$file" "$dir/small/" ;; esac
done
mount --bind "$dir/small" "$dir"
exec "$@"`

// RestartOn is Restart on a file system of that size ("16m"), of which nothing is left when the daemon ends.
func (d *Daemon) RestartOn(ctx context.Context, size string) error {
	return d.start(ctx, "/usr/bin/unshare", "--mount", "/bin/sh", "-c", small, "sh", d.dir, size, d.binary)
}

// filler is a file in the daemon's directory, as it sees it.
func (d *Daemon) filler() string {
	return filepath.Join(fmt.Sprintf("/proc/%d/root", d.Pid()), d.dir, "filler")
}

// Fill the file system of RestartOn.
func (d *Daemon) Fill() error {
	f, err := os.OpenFile(d.filler(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("fill the disk of %s: %w", d.what, err)
	}
	defer f.Close()
	for block := make([]byte, 4096); ; {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			return nil
		} else if err != nil {
			return fmt.Errorf("fill the disk of %s: %w", d.what, err)
		}
	}
}

// Free ends Fill.
func (d *Daemon) Free() error { return os.Remove(d.filler()) }

// Launch is Restart, and doesn't wait until the daemon is ready, which may take what it does not have yet.
func (d *Daemon) Launch() error { return d.launch(d.binary) }

func (d *Daemon) start(ctx context.Context, program string, args ...string) error {
	if err := d.launch(program, args...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	return d.await(ctx, func(ctx context.Context) error {
		s, err := d.Status(ctx)
		if err == nil && s.NotReady != "" {
			err = errors.New(s.NotReady)
		}
		return err
	}, d.Log)
}

func (d *Daemon) launch(program string, args ...string) error {
	if d.Pid() != 0 {
		return fmt.Errorf("start %s: it runs", d.what)
	}
	output, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer output.Close()
	return d.run("", output, program, append(args, "serve", "--config", d.ConfigFile)...)
}

// Log is all that the daemon has said, over all its lives.
func (d *Daemon) Log() string {
	text, err := os.ReadFile(filepath.Join(d.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// AwaitServers waits until the daemon knows a cluster of n servers that are all up, with a primary, and returns it.
func (d *Daemon) AwaitServers(ctx context.Context, n int) (api.Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, settledWithin)
	defer cancel()
	for {
		all, err := d.Clusters(ctx)
		if err == nil {
			for _, c := range all {
				if c.Servers == n && c.Up == n && !c.Primary.IsZero() {
					return d.Cluster(ctx, c.Name)
				}
			}
		}
		if wait := pause(ctx, 20*time.Millisecond); wait != nil {
			return api.Cluster{}, fmt.Errorf("wait until %s knows %d servers: it says %+v (%v); its log: %s", d.what, n,
				all, err, tail(d.Log()))
		}
	}
}

// AwaitClosed waits for an episode about a failed server that is closed, and returns it with its steps.
func (d *Daemon) AwaitClosed(ctx context.Context, failed topology.Key) (api.Episode, error) {
	ctx, cancel := context.WithTimeout(ctx, settledWithin)
	defer cancel()
	for {
		all, err := d.Episodes(ctx, "", "false")
		if err == nil {
			for _, e := range all {
				if e.Failed == failed {
					return d.Episode(ctx, e.ID)
				}
			}
		}
		if wait := pause(ctx, 20*time.Millisecond); wait != nil {
			return api.Episode{}, fmt.Errorf("wait until %s has ended the episode of %v: %w (last: %v); its log: %s",
				d.what, failed, wait, err, tail(d.Log()))
		}
	}
}

// Close kills the daemon.
func (d *Daemon) Close() error { return d.end() }
