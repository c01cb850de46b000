package hosts

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	bootWithin = 2 * time.Minute
	stopWithin = 2 * time.Minute
)

// Host is one machine.
type Host struct {
	Name    string
	Address string // of its eth0, in the /24 of the network

	network *Network
	dir     string
	number  int
	nspawn  *exec.Cmd
	exited  chan struct{}
	leader  int // its process 1, as seen from here
}

// Boot makes a host of a root (see Root) and returns when it runs. It knows all hosts of the network by name, and they
// it.
func (n *Network) Boot(ctx context.Context, name, root string) (*Host, error) {
	n.mu.Lock()
	number := len(n.hosts)
	h := &Host{Name: name, Address: fmt.Sprintf("%s.%d", prefix, firstHost+number), network: n,
		dir: filepath.Join(n.dir, name), number: number}
	n.hosts = append(n.hosts, h)
	n.mu.Unlock()
	if err := h.furnish(root); err != nil {
		return h, fmt.Errorf("boot host %s: %w", name, err)
	}
	return h, h.Start(ctx)
}

func (h *Host) id() string { return h.network.id + "-" + h.Name }

// root is its file system, seen from here.
func (h *Host) root() string { return filepath.Join(h.dir, "root") }

// furnish makes its network and its file system.
func (h *Host) furnish(root string) error {
	port := fmt.Sprintf("port%d", h.number)
	for _, args := range [][]string{
		{"netns", "add", h.id()},
		{"-n", h.id(), "link", "set", "lo", "up"},
		{"-n", h.network.id, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", h.id()},
		{"-n", h.network.id, "link", "set", port, "master", "bridge", "up"},
		{"-n", h.id(), "addr", "add", h.Address + "/24", "dev", "eth0"},
		{"-n", h.id(), "link", "set", "eth0", "up"},
		{"-n", h.id(), "route", "add", "default", "via", Gateway},
	} {
		if err := ip(args...); err != nil {
			return err
		}
	}
	if err := h.format(root); err != nil {
		return err
	}
	for _, other := range h.network.Hosts() {
		if err := other.Write("/etc/hosts", h.network.names(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// format makes its file system, bare.
func (h *Host) format(root string) error {
	for _, dir := range []string{"upper", "work", "root"} {
		if err := os.MkdirAll(filepath.Join(h.dir, dir), 0o755); err != nil {
			return err
		}
	}
	layers := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", root, filepath.Join(h.dir, "upper"),
		filepath.Join(h.dir, "work"))
	if err := syscall.Mount("overlay", h.root(), "overlay", 0, layers); err != nil {
		return fmt.Errorf("mount an overlay on %s: %w", root, err)
	}
	// The root has the name servers of this machine, which can't be reached from there: each name that is not found
	// would take their time.
	if err := errors.Join(h.Write("/etc/hostname", h.Name+"\n", 0o644),
		h.Write("/etc/resolv.conf", "# There is nobody to ask; /etc/hosts has all names.\n", 0o644)); err != nil {
		return err
	}
	// Left to itself it would take the identity of the machine below, and all hosts the same one.
	identity := make([]byte, 16)
	rand.Read(identity) // never fails
	if err := h.Write("/etc/machine-id", hex.EncodeToString(identity)+"\n", 0o444); err != nil {
		return err
	}
	return h.Write("/etc/hosts", h.network.names(), 0o644)
}

// names are those of all hosts, as /etc/hosts has them.
func (n *Network) names() string {
	out := "127.0.0.1 localhost\n::1 localhost\n"
	for _, h := range n.Hosts() {
		out += h.Address + " " + h.Name + "\n"
	}
	return out
}

// Replace takes the power away, and boots another machine in its place: with the name and the address of this one, a
// root, and nothing of what was written.
func (h *Host) Replace(ctx context.Context, root string) error {
	if err := h.Kill(); err != nil {
		return err
	}
	if err := unmount(h.root()); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(h.dir, "upper")),
		os.RemoveAll(filepath.Join(h.dir, "work"))); err != nil {
		return err
	}
	if err := h.format(root); err != nil {
		return fmt.Errorf("replace host %s: %w", h.Name, err)
	}
	return h.Start(ctx)
}

// Start boots a host that is off, and returns when its service manager has started all that it was to start.
func (h *Host) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootWithin)
	defer cancel()
	if err := h.start(); err != nil {
		return fmt.Errorf("boot host %s: %w", h.Name, err)
	}
	for h.leader == 0 {
		if err := h.wait(ctx); err != nil {
			return fmt.Errorf("boot host %s: %w; its console: %s", h.Name, err, h.Console())
		}
		h.leader = h.findLeader()
	}
	for {
		out, err := h.Exec(ctx, "systemctl", "is-system-running", "--wait")
		switch state := strings.TrimSpace(out); {
		case state == "running", state == "degraded": // what a test expects of its units is for the test to say
			return nil
		case h.wait(ctx) != nil:
			return fmt.Errorf("boot host %s: it is %q after %v: %w; its console: %s", h.Name, state, bootWithin, err,
				h.Console())
		}
	}
}

// wait is a short one.
func (h *Host) wait(ctx context.Context) error {
	select {
	case <-h.exited:
		return errors.New("it ended")
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(20 * time.Millisecond):
		return nil
	}
}

func (h *Host) start() error {
	if h.Running() {
		return errors.New("it runs")
	}
	// The shell is process 1 of a namespace around the host's: when it is killed, which happens when we are, the kernel
	// kills all that is in there. systemd-nspawn's own death would leave the host running. It is in cgroups of its own,
	// by which all that belongs to the host is found again.
	var enter strings.Builder
	for _, dir := range cgroups(h.id()) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		fmt.Fprintf(&enter, "echo $$ >'%s/cgroup.procs' && ", dir)
	}
	console, err := os.OpenFile(filepath.Join(h.dir, "console"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer console.Close()
	enter.WriteString(`mount --make-rslave / && mount -t proc proc /proc && systemd-nspawn "$@"`)
	// Its network is its own, so it may do with it what a machine may: add an address, for example.
	cmd := exec.Command("sh", "-c", enter.String(), "sh", "--quiet", "--boot", "--capability=CAP_NET_ADMIN",
		"--directory="+h.root(), "--machine="+h.id(), "--hostname="+h.Name,
		"--register=no", "--keep-unit", "--network-namespace-path=/run/netns/"+h.id(), "--console=pipe",
		"--link-journal=no", "--resolv-conf=off", "--timezone=off")
	// Cgroups of version 2 alone, as Debian has had them since 11: a newer systemd boots with no other, whatever the
	// machine below has.
	cmd.Env = append(os.Environ(), "UNIFIED_CGROUP_HIERARCHY=1")
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true,
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	done := make(chan error)
	h.network.starts <- func() { done <- cmd.Start() }
	if err := <-done; err != nil {
		return err
	}
	exited := make(chan struct{})
	h.nspawn, h.exited, h.leader = cmd, exited, 0
	go func() {
		_ = cmd.Wait() // how it ended is on the console
		close(exited)
	}()
	return nil
}

// Running says whether the host is on.
func (h *Host) Running() bool {
	if h.nspawn == nil {
		return false
	}
	select {
	case <-h.exited:
		return false
	default:
		return true
	}
}

// findLeader looks for the process that is number 1 in there; 0 as long as that has not come to the place where it
// stays.
func (h *Host) findLeader() int {
	for _, dir := range cgroups(h.id()) {
		data, err := os.ReadFile(filepath.Join(dir, "payload", "init.scope", "cgroup.procs"))
		if err != nil {
			continue
		}
		for _, pid := range strings.Fields(string(data)) {
			status, err := os.ReadFile("/proc/" + pid + "/status")
			if err != nil {
				continue
			}
			_, rest, _ := strings.Cut(string(status), "\nNSpid:")
			line, _, _ := strings.Cut(rest, "\n")
			if f := strings.Fields(line); len(f) > 1 && f[len(f)-1] == "1" {
				n, _ := strconv.Atoi(pid)
				return n
			}
		}
	}
	return 0
}

// Command is a program in the host, as root there; it ends with the host.
func (h *Host) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	// that of process 1
	enter := []string{"--target", strconv.Itoa(h.leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
		"--root", "--wd", "--",
		"/usr/bin/env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
		"LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", program}
	return exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
}

// Exec runs a program in the host, as root there, and returns what it wrote, errors last. The error says what it was
// and how it ended.
func (h *Host) Exec(ctx context.Context, program string, args ...string) (string, error) {
	if !h.Running() {
		return "", fmt.Errorf("run %s on %s: the host is off", program, h.Name)
	}
	var out, errs bytes.Buffer
	cmd := h.Command(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("run %s %s on %s: %w: %s%s", program, strings.Join(args, " "), h.Name, err, tail(out.Bytes()),
			tail(errs.Bytes()))
	}
	return out.String() + errs.String(), err
}

// Path is where a file of the host lies here: for reading and writing by other means, whether it is on or off. What the
// host mounts (/run, /tmp, /proc) is not there, and a symbolic link in it may lead out of it.
func (h *Host) Path(file string) string { return filepath.Join(h.root(), file) }

// Write makes a file in the host, and the directories that lead to it. It is root's.
func (h *Host) Write(file, text string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(h.Path(file)), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(h.Path(file), []byte(text), mode); err != nil {
		return err
	}
	return os.Chmod(h.Path(file), mode) // whatever the umask
}

// Read returns what a file of the host holds.
func (h *Host) Read(file string) (string, error) {
	data, err := os.ReadFile(h.Path(file))
	return string(data), err
}

// Copy copies a file of this machine into the host.
func (h *Host) Copy(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	return h.Write(to, string(data), info.Mode().Perm())
}

// Console is what the host wrote there over all its lives.
func (h *Host) Console() string {
	data, err := os.ReadFile(filepath.Join(h.dir, "console"))
	if err != nil {
		return err.Error()
	}
	return tail(data)
}

// Kill takes the power away. What was written stays.
func (h *Host) Kill() error {
	if !h.Running() {
		return nil
	}
	if h.leader != 0 {
		_ = syscall.Kill(h.leader, syscall.SIGKILL) // process 1 takes all others with it, and then systemd-nspawn ends
	} else {
		_ = h.nspawn.Process.Kill()
	}
	return h.off()
}

// Shutdown ends the host in order.
func (h *Host) Shutdown(ctx context.Context) error {
	if _, err := h.Exec(ctx, "systemctl", "poweroff", "--no-block"); err != nil {
		return err
	}
	return h.off()
}

func (h *Host) off() error {
	select {
	case <-h.exited:
		h.leader = 0
		return removeCgroups(h.id())
	case <-time.After(stopWithin):
		return fmt.Errorf("switch host %s off: still there after %v", h.Name, stopWithin)
	}
}

// Cut takes the host off the network: nobody hears of it. Exec still works.
func (h *Host) Cut() error { return h.link("nomaster") }

// Heal ends Cut.
func (h *Host) Heal() error { return h.link("master", "bridge") }

// link moves its port: one that is on no bridge looks alive, and leads nowhere.
func (h *Host) link(to ...string) error {
	return ip(append([]string{"-n", h.network.id, "link", "set", fmt.Sprintf("port%d", h.number)}, to...)...)
}
