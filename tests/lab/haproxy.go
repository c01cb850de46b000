package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"orchestrator/haproxy"
)

const haproxyd = "/usr/sbin/haproxy"

// later is where a HAProxy from 3.1 on is, if somebody has put it there: debootstrap --include=haproxy sid DIR.
const later = "/var/cache/orchestrator/haproxy-sid"

// HAProxyRoots are the roots for NewHAProxy, by the version that a configuration is to be written for.
func HAProxyRoots() map[string]string {
	out := map[string]string{"2.6": ""}
	if _, err := os.Stat(later + haproxyd); err == nil {
		out["3.1"] = later
	}
	return out
}

// HAProxy is one HAProxy, with addresses of its own. Make it, write a configuration with them, Start.
type HAProxy struct {
	process
	Host, Database, HTTP string
	Socket               string // as it sees it

	root, dir string
	old       []process // what reloads left behind
}

// NewHAProxy hands out the addresses. root is a Debian root with another HAProxy in it, or "".
func (l *Lab) NewHAProxy(root string) (*HAProxy, error) {
	number, err := l.number()
	if err != nil {
		return nil, err
	}
	host := l.address(number)
	h := &HAProxy{Host: host, Database: host + ":3307", HTTP: host + ":3080", root: root,
		process: process{lab: l, what: "HAProxy at " + host, number: uint32(number)}}
	h.dir = filepath.Join(l.dir, fmt.Sprintf("haproxy-%d", number))
	if root != "" {
		h.dir = filepath.Join(root, "tmp", fmt.Sprintf("lab-%d", l.Subnet), fmt.Sprintf("haproxy-%d", number))
	}
	h.Socket = filepath.Join(strings.TrimPrefix(h.dir, root), "admin.sock")
	l.mu.Lock()
	l.proxies = append(l.proxies, h)
	l.mu.Unlock()
	return h, os.MkdirAll(h.dir, 0o755)
}

// HAProxies are all that were made, in that order.
func (l *Lab) HAProxies() []*HAProxy {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*HAProxy(nil), l.proxies...)
}

// Runtime is a client of its runtime socket.
func (h *HAProxy) Runtime() haproxy.Runtime {
	return haproxy.Runtime{Socket: filepath.Join(h.root, h.Socket)}
}

// account is left out of a configuration: a cut finds packets by the group that the lab gave the process.
var account = regexp.MustCompile(`(?m)^\s*(user|group) haproxy$`)

// Write the configuration that the next Start or Reload takes.
func (h *HAProxy) Write(config string) error {
	return os.WriteFile(filepath.Join(h.dir, "haproxy.cfg"), []byte(account.ReplaceAllString(config, "")), 0o644)
}

// File writes one that its configuration can name, and returns the path as HAProxy sees it.
func (h *HAProxy) File(name string, data []byte) (string, error) {
	file := filepath.Join(h.dir, name)
	return strings.TrimPrefix(file, h.root), os.WriteFile(file, data, 0o600)
}

// Start starts it, and returns when it answers at its runtime socket. After Kill it is a restart.
func (h *HAProxy) Start(ctx context.Context) error {
	if h.Pid() != 0 {
		return fmt.Errorf("start %s: it runs", h.what)
	}
	return h.launch(ctx)
}

// Reload starts a new process that takes over from the old one, which ends when its sessions have, or hard-stop-after
// says so.
func (h *HAProxy) Reload(ctx context.Context) error {
	pid := h.Pid()
	if pid == 0 {
		return fmt.Errorf("reload %s: it doesn't run", h.what)
	}
	h.old = append(h.old, h.process)
	return h.launch(ctx, "-sf", fmt.Sprint(pid))
}

func (h *HAProxy) launch(ctx context.Context, args ...string) error {
	output, err := os.OpenFile(filepath.Join(h.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer output.Close()
	dir := strings.TrimPrefix(h.dir, h.root)
	if err := h.run(h.root, output, haproxyd, append([]string{"-db", "-f", dir + "/haproxy.cfg"},
		args...)...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return h.await(ctx, func(ctx context.Context) error {
		pid, err := h.Runtime().Pid(ctx)
		if err == nil && pid != h.Pid() {
			err = errors.New("the old process still answers")
		}
		return err
	}, h.Log)
}

// Log is all that it has said.
func (h *HAProxy) Log() string {
	text, err := os.ReadFile(filepath.Join(h.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Close kills it, and what its reloads left behind.
func (h *HAProxy) Close() error {
	failed := h.end()
	for _, p := range h.old {
		failed = errors.Join(failed, p.end())
	}
	if h.root != "" {
		failed = errors.Join(failed, os.RemoveAll(h.dir))
	}
	return failed
}
