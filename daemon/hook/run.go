package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Result of an attempt.
type Result struct {
	Outcome Outcome
	Says    string // how it failed; nothing that the hook wrote itself
	Output  string // what the command wrote, or the URL answered: the last outputKept bytes
	Took    time.Duration
}

const (
	outputKept = 4 << 10
	// grace is what a command has between SIGTERM and SIGKILL when it took too long.
	grace = 2 * time.Second
	// parting is what it has when nobody waits for it any more: enough for a script to undo a step or to finish it, and
	// little compared with the time until another daemon leads, which waits for that.
	parting = 200 * time.Millisecond
)

// Do makes one attempt, and returns when the hook has ended. After Timeout it stops the hook and all that it started.
// When ctx ends, it returns within twice parting.
func (h Hook) Do(ctx context.Context, m Message) Result {
	began := time.Now()
	body, err := json.Marshal(m)
	if err != nil { // our own plain types
		panic(fmt.Sprintf("encode a message of hook %s: %v", h.Name, err))
	}
	limited, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	var r Result
	switch {
	case h.Func != nil:
		err = h.Func(limited, m)
	case len(h.Command) > 0:
		r, err = h.command(ctx, limited, m, body)
	default:
		r, err = h.post(limited, m, body)
	}
	r.Took = time.Since(began)
	switch {
	case err == nil:
		r.Outcome = OK
	case ctx.Err() != nil && m.Test:
		r.Outcome, r.Says = Interrupted, "stopped, because nobody waits for the test any more, or this daemon stops"
	case ctx.Err() != nil:
		r.Outcome, r.Says = Interrupted, "stopped, because this daemon no longer leads"
	case limited.Err() != nil:
		r.Outcome, r.Says = TimedOut, fmt.Sprintf("stopped, because it took longer than %v", h.Timeout)
	default:
		r.Outcome, r.Says = Failed, err.Error()
	}
	return r
}

// command runs a program in a process group of its own, so that all that it starts is stopped with it. It gets an
// environment of its own, because that of the daemon may contain secrets.
func (h Hook) command(ctx, limited context.Context, m Message, body []byte) (Result, error) {
	cmd := exec.Command(h.Command[0], h.Command[1:]...)
	cmd.Env = append(kept(), Environment(m)...)
	cmd.Stdin = bytes.NewReader(body)
	cmd.Dir = "/"
	var out tail
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = parting // what it leaves running may hold its output open for ever
	if err := cmd.Start(); err != nil {
		return Result{}, err
	}
	exited, ended := make(chan struct{}), make(chan bool)
	go func() { ended <- end(ctx, limited, cmd.Process.Pid, exited) }()
	err := cmd.Wait()
	close(exited)
	switch cut := <-ended; {
	case cut && err == nil: // it may have done half of its work, and exited with 0
		err = limited.Err()
	case !cut && errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success():
		err = nil
	}
	return Result{Output: out.String()}, err
}

// end stops a process group when its time is over, and says whether it had to. SIGKILL follows SIGTERM sooner when ctx
// ends too.
func end(ctx, limited context.Context, group int, exited <-chan struct{}) bool {
	select {
	case <-exited:
		return false
	case <-limited.Done():
	}
	_ = syscall.Kill(-group, syscall.SIGTERM)
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case <-exited:
	case <-late.C:
	case <-ctx.Done():
		late.Reset(parting)
		select {
		case <-exited:
		case <-late.C:
		}
	}
	_ = syscall.Kill(-group, syscall.SIGKILL) // including what it left behind; without that the group is gone
	return true
}

// kept is the part of the environment of this process that a command gets.
func kept() []string {
	var out []string
	for _, name := range []string{"PATH", "HOME", "LANG", "TZ"} {
		if v, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+v)
		}
	}
	return out
}

// client follows no redirection: it would lead to an address that the operator did not configure.
var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (h Hook) post(ctx context.Context, m Message, body []byte) (Result, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return Result{}, errors.New("its URL is not valid")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", Key(m.Episode.ID, m.Moment, h.Name))
	if h.Token != "" {
		req.Header.Set("Authorization", "Bearer "+h.Token)
	}
	answer, err := client.Do(req)
	if err != nil {
		var of *url.Error // its text contains the URL, which may be secret
		if errors.As(err, &of) {
			err = fmt.Errorf("post to %s: %w", req.URL.Host, of.Err)
		}
		return Result{}, err
	}
	defer answer.Body.Close()
	var out tail
	if _, err := io.Copy(&out, io.LimitReader(answer.Body, 1<<20)); err != nil {
		return Result{Output: out.String()}, fmt.Errorf("read the answer of %s: %w", req.URL.Host, err)
	}
	if answer.StatusCode/100 != 2 {
		return Result{Output: out.String()}, fmt.Errorf("%s answered %s", req.URL.Host, answer.Status)
	}
	return Result{Output: out.String()}, nil
}

// tail keeps the last bytes that are written to it.
type tail struct {
	buf []byte
	cut bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - outputKept; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
		t.cut = true
	}
	return len(p), nil
}

func (t *tail) String() string {
	s := strings.ToValidUTF8(strings.TrimRight(string(t.buf), "\n"), "�")
	if t.cut {
		s = "…" + s
	}
	return s
}
