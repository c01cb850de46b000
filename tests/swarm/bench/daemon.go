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

const (
	daemonCommand = "daemon"
	stopWithin    = 30 * time.Second
)

// program is the daemon that is measured.
type program struct {
	cmd     *exec.Cmd
	url     string
	dir     string
	profile bool
	ended   chan struct{} // closed when the process has ended
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
	if err := errors.Join(os.WriteFile(file, []byte(text), 0o600),
		os.WriteFile(filepath.Join(dir, "password"), []byte(swarm.Password+"\n"), 0o600)); err != nil {
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
	return &program{cmd: cmd, url: "http://" + address, dir: dir, profile: s.profile != "", ended: ending(cmd)}, nil
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
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopWithin):
		_ = p.cmd.Process.Kill()
		return fmt.Errorf("the daemon has not ended within %s", stopWithin)
	}
}

// wait waits a while; it is an error that the daemon ends meanwhile.
func (p *program) wait(ctx context.Context, d time.Duration) error {
	select {
	case <-p.ended:
		return errors.New("the daemon has ended")
	default:
		return wait(ctx, d)
	}
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
	return usage{at: time.Now(), cpu: time.Duration(number(11)+number(12)) * clockTick,
		rss: number(21) * os.Getpagesize(), files: len(files)}, err
}

// cores is how many were used between two moments.
func cores(from, to usage) float64 {
	return (to.cpu - from.cpu).Seconds() / to.at.Sub(from.at).Seconds()
}

// profiled runs a part, with a profile of the daemon if one is wanted. The first part is profiled from the start.
func (p *program) profiled(part string, do func() error) error {
	if !p.profile {
		return do()
	}
	if part != partKnown {
		if err := os.WriteFile(filepath.Join(p.dir, "part"), []byte(part), 0o600); err != nil {
			return err
		}
		_ = p.cmd.Process.Signal(syscall.SIGUSR1)
	}
	err := do()
	_ = p.cmd.Process.Signal(syscall.SIGUSR2)
	time.Sleep(500 * time.Millisecond) // for the profiles to be written
	return err
}

// serveDaemon is the daemon inside this program: SIGUSR1 begins a profile, SIGUSR2 writes it into dir.
func serveDaemon(file, dir string) error {
	runtime.MemProfileRate = 64 << 10
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGUSR2)
	p := &profiler{dir: dir}
	p.begin(partKnown)
	go func() {
		for sig := range signals {
			if sig == syscall.SIGUSR2 {
				p.end()
			} else if part, err := os.ReadFile(filepath.Join(filepath.Dir(file), "part")); err == nil {
				p.begin(string(part))
			}
		}
	}()
	c, err := config.Load(file)
	if err != nil {
		return err
	}
	d, err := daemon.New(c, daemon.Options{Version: "bench", Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return d.Run(ctx)
}

// profiler writes a profile of processor time and one of allocations for each part.
type profiler struct {
	dir, part string
	cpu       *os.File
	before    runtime.MemStats
}

func (p *profiler) begin(part string) {
	file, err := os.Create(filepath.Join(p.dir, part+".cpu"))
	if err != nil || pprof.StartCPUProfile(file) != nil {
		return
	}
	p.part, p.cpu = part, file
	runtime.ReadMemStats(&p.before)
}

func (p *profiler) end() {
	if p.cpu == nil {
		return
	}
	pprof.StopCPUProfile()
	_ = p.cpu.Close()
	p.cpu = nil
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	file, err := os.Create(filepath.Join(p.dir, p.part+".allocs"))
	if err != nil {
		return
	}
	defer file.Close()
	_ = pprof.Lookup("allocs").WriteTo(file, 0)
	text := fmt.Sprintf("%d MB in %d allocations, %d MB live heap, %d goroutines\n",
		(after.TotalAlloc-p.before.TotalAlloc)>>20, after.Mallocs-p.before.Mallocs, after.HeapAlloc>>20,
		runtime.NumGoroutine())
	_ = os.WriteFile(filepath.Join(p.dir, p.part+".txt"), []byte(text), 0o644)
}
