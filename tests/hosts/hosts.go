// Package hosts boots whole Debian machines, of release 12 and newer, for tests of what is installed on machines:
// packages, units, playbooks.
//
// It is for what needs a service manager, package scripts and several file systems; for servers as mere processes there
// is tests/lab. It installs nothing into a host, and judges nothing. The one idea: a host is a container that
// systemd-nspawn boots from a cached Debian root, with an overlay for what it changes and a network namespace of its
// own; the hosts of a network hang on one bridge, in a namespace that nobody else is in, so that all have eth0, the
// port that they like, and the same address in every test. They die with the process that booted them.
//
// It needs root, and systemd-container, debootstrap and iproute2 of Debian 12.
package hosts

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// CacheEnv names the directory of what is kept between runs: the Debian roots, and what hosts change while they
	// run.
	CacheEnv     = "ORCHESTRATOR_CACHE"
	defaultCache = "/var/cache/orchestrator"

	// prefix is the first three numbers of every address; the bridge is .1, the first host .11.
	prefix    = "10.79.0"
	firstHost = 11
)

// Gateway is the address of the bridge: what Command and Dial come from.
const Gateway = prefix + ".1"

// gatewayMAC is given, because the kernel would take the lowest of the ports: then hosts lose the gateway for a moment
// whenever one is booted or cut off.
const gatewayMAC = "02:00:00:00:00:01"

// Network is a bridge with the hosts on it.
type Network struct {
	id   string // of its namespaces, directories and cgroups
	dir  string
	lock *os.File
	// run on one thread that lives as long as the network: the kernel kills a host when the *thread* that started it
	// ends
	starts chan func()

	mu    sync.Mutex
	hosts []*Host
}

// New makes an empty network, and clears away those whose process was killed.
func New() (*Network, error) {
	parent := filepath.Join(cache(), "hosts")
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, fmt.Errorf("make a network of hosts: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(parent, "net*"))
	if err != nil {
		return nil, err
	}
	for _, dir := range left {
		if err := sweep(dir); err != nil {
			return nil, fmt.Errorf("clear away %s, whose process is gone: %w", dir, err)
		}
	}
	dir, err := os.MkdirTemp(parent, "net")
	if err != nil {
		return nil, fmt.Errorf("make a network of hosts: %w", err)
	}
	starts := make(chan func())
	n := &Network{id: "orchestrator-" + filepath.Base(dir), dir: dir, starts: starts}
	if n.lock, err = lock(dir, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for start := range starts {
			start()
		}
	}()
	for _, args := range [][]string{
		{"netns", "add", n.id},
		{"-n", n.id, "link", "set", "lo", "up"},
		{"-n", n.id, "link", "add", "bridge", "address", gatewayMAC, "type", "bridge"},
		{"-n", n.id, "addr", "add", Gateway + "/24", "dev", "bridge"},
		{"-n", n.id, "link", "set", "bridge", "up"},
	} {
		if err := ip(args...); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	return n, nil
}

// Test gives a test a network that goes with it. With -short the test is skipped.
func Test(t testing.TB) *Network {
	t.Helper()
	if testing.Short() {
		t.Skip("boots hosts")
	}
	n, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, h := range n.Hosts() {
				t.Logf("console of %s: %s", h.Name, h.Console())
			}
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func cache() string { return cmp.Or(os.Getenv(CacheEnv), defaultCache) }

// lock takes the lock of a network or of a root; closing the file gives it back.
func lock(dir string, how int) (*os.File, error) {
	f, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), how); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// sweep removes what a network left behind whose process was killed; one that is in use is left alone.
func sweep(dir string) error {
	if strings.HasSuffix(dir, ".lock") {
		return nil
	}
	held, err := lock(dir, syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil
	}
	if err != nil {
		return err
	}
	return (&Network{id: "orchestrator-" + filepath.Base(dir), dir: dir, lock: held}).clear()
}

// Hosts are all that were booted, in that order.
func (n *Network) Hosts() []*Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]*Host(nil), n.hosts...)
}

// Close kills all hosts, and removes them and the network.
func (n *Network) Close() error {
	var failed error
	for _, h := range n.Hosts() {
		failed = errors.Join(failed, h.Kill())
	}
	if n.starts != nil {
		close(n.starts)
		n.starts = nil
	}
	return errors.Join(failed, n.clear())
}

// clear removes what the network has in the kernel and on disk, by name, even if another process made it.
func (n *Network) clear() error {
	var failed error
	roots, err := filepath.Glob(filepath.Join(n.dir, "*", "root"))
	failed = errors.Join(failed, err)
	for _, root := range roots {
		name := filepath.Base(filepath.Dir(root))
		failed = errors.Join(failed, removeCgroups(n.id+"-"+name), unmount(root))
		if exists("/run/netns/" + n.id + "-" + name) {
			failed = errors.Join(failed, ip("netns", "del", n.id+"-"+name))
		}
	}
	if exists("/run/netns/" + n.id) {
		failed = errors.Join(failed, ip("netns", "del", n.id))
	}
	if failed != nil {
		return failed // what is still mounted must not be removed as files
	}
	return errors.Join(os.RemoveAll(n.dir), os.Remove(n.dir+".lock"), n.lock.Close())
}

func exists(file string) bool {
	_, err := os.Lstat(file)
	return err == nil
}

// unmount tries for a moment: a process that was just killed may still be there.
func unmount(root string) error {
	var err error
	for range 100 {
		if err = syscall.Unmount(root, 0); err == nil || errors.Is(err, syscall.EINVAL) { // not mounted
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("unmount %s: %w", root, err)
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// Command is a program of this machine that is on the network, at Gateway: curl, ssh, ansible-playbook.
func (n *Network) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", n.id, program}, args...)...)
}

// Dial connects from Gateway; it suits http.Transport.DialContext.
func (n *Network) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	type answer struct {
		conn net.Conn
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		// never unlocked: the thread is in another namespace for good, and ends with the goroutine
		runtime.LockOSThread()
		conn, err := n.dialHere(ctx, network, address)
		done <- answer{conn, err}
	}()
	a := <-done
	return a.conn, a.err
}

func (n *Network) dialHere(ctx context.Context, network, address string) (net.Conn, error) {
	ns, err := os.Open("/run/netns/" + n.id)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter the namespace %s: %w", n.id, err)
	}
	// Addresses only: a name would be looked up, and two families tried, by goroutines on other threads.
	host, _, err := net.SplitHostPort(address)
	if err != nil || net.ParseIP(host) == nil {
		return nil, fmt.Errorf("dial %q: want an address with its port", address)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}
