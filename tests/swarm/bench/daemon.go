package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"

	"orchestrator/daemon"
	"orchestrator/daemon/config"
	"orchestrator/daemon/topology"
	"orchestrator/tests/swarm"
)

const daemonCommand = "daemon"

// program is the daemon that is measured.
type program struct {
	cmd     *exec.Cmd
	url     string
	dir     string
	profile bool
}

// startDaemon starts the daemon with an SQLite file of its own. Every cluster is repaired automatically.
func (s settings) startDaemon(dir string, seeds []topology.Key, poll time.Duration) (*program, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	var quoted []string
	for _, k := range seeds {
		quoted = append(quoted, strconv.Quote(k.String()))
	}
	text := fmt.Sprintf(`[http]
listen = %q
[servers]
user = %q
password_file = "password"
[backend]
path = "orchestrator.db"
[discovery]
poll = %q
seeds = [%s]
[[policy]]
clusters = ["*"]
recover_primary = true
recover_intermediate = true
`, address, swarm.User, poll, strings.Join(quoted, ",\n"))
	file := filepath.Join(dir, "orchestrator.toml")
	if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.WriteFile(filepath.Join(dir, "password"), []byte(swarm.Password+"\n"), 0o600)); err != nil {
		return nil, err
	}
	cmd := exec.Command(s.binary, "serve", "--config", file)
	if s.profile != "" {
		cmd = exec.Command("/proc/self/exe", daemonCommand, file, s.profile)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the daemon: %w", err)
	}
	return &program{cmd: cmd, url: "http://" + address, dir: dir, profile: s.profile != ""}, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (p *program) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	err := waitProcess(p.cmd, 30*time.Second)
	if err != nil {
		_ = p.cmd.Process.Kill()
	}
	return err
}

// log is the end of what the daemon has said.
func (p *program) log() string {
	text, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// usage is what a process has used or uses.
type usage struct {
	at    time.Time
	cpu   time.Duration
	rss   int // bytes
	files int
}

// clockTick is the unit of /proc/PID/stat on Linux.
const clockTick = 10 * time.Millisecond

func usageOf(pid int) (usage, error) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return usage{}, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 22 {
		return usage{}, fmt.Errorf("read %sstat: %q", dir, stat)
	}
	number := func(i int) int { n, _ := strconv.Atoi(fields[i]); return n }
	files, err := os.ReadDir(dir + "fd")
	return usage{at: time.Now(), cpu: time.Duration(number(11)+number(12)) * clockTick, rss: number(21) * os.Getpagesize(), files: len(files)}, err
}

// cores is how many were used between two moments.
func cores(from, to usage) float64 {
	return (to.cpu - from.cpu).Seconds() / to.at.Sub(from.at).Seconds()
}

// profiled runs a part, with a profile of the daemon if one is wanted.
func (p *program) profiled(part string, do func() error) error {
	if !p.profile {
		return do()
	}
	if err := os.WriteFile(filepath.Join(p.dir, "part"), []byte(part), 0o600); err != nil {
		return err
	}
	_ = p.cmd.Process.Signal(syscall.SIGUSR1)
	err := do()
	_ = p.cmd.Process.Signal(syscall.SIGUSR2)
	time.Sleep(500 * time.Millisecond) // for the profiles to be written
	return err
}

// serveDaemon is the daemon inside this program: SIGUSR1 begins a profile, SIGUSR2 writes it into dir.
func serveDaemon(file, dir string) error {
	c, err := config.Load(file)
	if err != nil {
		return err
	}
	d, err := daemon.New(c, daemon.Options{Version: "bench", Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	runtime.MemProfileRate = 64 << 10
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	go profile(signals, filepath.Dir(file), dir)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return d.Run(ctx)
}

// profile writes a profile of processor time and one of allocations for each pair of signals.
func profile(signals <-chan os.Signal, from, dir string) {
	var cpu *os.File
	var before runtime.MemStats
	name := ""
	for sig := range signals {
		switch {
		case sig == syscall.SIGUSR1 && cpu == nil:
			part, _ := os.ReadFile(filepath.Join(from, "part"))
			name = string(part)
			file, err := os.Create(filepath.Join(dir, name+".cpu"))
			if err != nil || pprof.StartCPUProfile(file) != nil {
				continue
			}
			cpu = file
			runtime.ReadMemStats(&before)
		case sig == syscall.SIGUSR2 && cpu != nil:
			pprof.StopCPUProfile()
			_ = cpu.Close()
			cpu = nil
			var after runtime.MemStats
			runtime.ReadMemStats(&after)
			fmt.Fprintf(os.Stderr, "%s: %d MB in %d allocations, %d MB live heap, %d goroutines\n", name, (after.TotalAlloc-before.TotalAlloc)>>20,
				after.Mallocs-before.Mallocs, after.HeapAlloc>>20, runtime.NumGoroutine())
			if file, err := os.Create(filepath.Join(dir, name+".allocs")); err == nil {
				_ = pprof.Lookup("allocs").WriteTo(file, 0)
				_ = file.Close()
			}
		}
	}
}
