package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is a program that was started here; it dies when we do. Its name and address are for errors.
type process struct {
	lab    *Lab
	what   string
	number uint32 // by which a cut finds its packets, see group
	cmd    *exec.Cmd
	exited chan struct{}
}

// group is the process's own group id.
func (p *process) group() uint32 { return groups + uint32(p.lab.Subnet)<<8 + p.number }

// run starts the program; root is the directory that it sees as /, output where what it says goes (nil: nowhere).
func (p *process) run(root string, output *os.File, program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot:     root,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true, // a Ctrl-C at the terminal is for the program that started it
		Credential: &syscall.Credential{Uid: uint32(os.Getuid()), Gid: p.group()},
	}
	if output != nil {
		cmd.Stdout, cmd.Stderr = output, output
	}
	if err := p.lab.onKeeper(cmd.Start); err != nil {
		return fmt.Errorf("start %s: %w", p.what, err)
	}
	exited := make(chan struct{})
	p.cmd, p.exited = cmd, exited
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(exited)
	}()
	return nil
}

// await asks until the program is ready, it ends, or ctx does.
func (p *process) await(ctx context.Context, ready func(context.Context) error, log func() string) error {
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("start %s: it ended (%v); its log: %s", p.what, p.cmd.ProcessState, log())
		default:
		}
		if wait := pause(ctx, 20*time.Millisecond); wait != nil {
			return fmt.Errorf("wait for %s: %w (last: %v); its log: %s", p.what, wait, err, log())
		}
	}
}

// Pid of the process itself; 0 when it doesn't run.
func (p *process) Pid() int {
	if p.cmd == nil {
		return 0
	}
	select {
	case <-p.exited:
		return 0
	default:
		return p.cmd.Process.Pid
	}
}

// Signal sends, and doesn't wait.
func (p *process) Signal(signal syscall.Signal) error {
	if p.Pid() == 0 {
		return fmt.Errorf("signal %v to %s: it doesn't run", signal, p.what)
	}
	if err := p.cmd.Process.Signal(signal); err != nil {
		return fmt.Errorf("signal %v to %s: %w", signal, p.what, err)
	}
	return nil
}

// Kill sends SIGKILL and waits until the process is gone.
func (p *process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	return p.Wait(30 * time.Second)
}

// Terminate sends SIGTERM and waits until the program has ended in its order.
func (p *process) Terminate() error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.Wait(60 * time.Second)
}

// Hang stops the process as it stands (SIGSTOP): connections stay open, and nobody answers. It returns when every
// thread has stopped.
func (p *process) Hang() error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		running, err := p.running()
		if err != nil || running == 0 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("stop %s: %d threads still run after 5 s", p.what, running)
		}
	}
}

// running counts the threads that are not stopped.
func (p *process) running() (n int, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
	for _, file := range tasks {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it ended meanwhile
		}
		if err != nil {
			return n, err
		}
		_, state, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
		if !strings.HasPrefix(state, "T") {
			n++
		}
	}
	return n, err
}

// Continue ends Hang.
func (p *process) Continue() error { return p.Signal(syscall.SIGCONT) }

// Wait until the process has ended.
func (p *process) Wait(most time.Duration) error {
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-p.exited:
		return nil
	case <-t.C:
		return fmt.Errorf("wait for the end of %s: still there after %v", p.what, most)
	}
}

// end kills the process if it runs; that it ends by itself at this moment is as good.
func (p *process) end() error {
	if p.Pid() == 0 {
		return nil
	}
	if err := p.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) && p.Pid() != 0 {
		return err
	}
	return p.Wait(30 * time.Second)
}
