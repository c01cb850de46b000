package packages

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The programs of the other architecture, by an emulator of its processor: the daemon serves, keeps what it is told in
// SQLite, and ends in order.
func TestTheProgramsRunOnArm64(t *testing.T) {
	full(t)
	dir := t.TempDir()
	run(t, "dpkg-deb", "--extract", pathOf(t, strings.Replace(deb, "amd64", "arm64", 1), older), dir)
	emulated := func(program string, args ...string) *exec.Cmd {
		return exec.CommandContext(t.Context(), "qemu-aarch64-static",
			append([]string{filepath.Join(dir, "usr/bin", program)}, args...)...)
	}
	ask := func(args ...string) string {
		t.Helper()
		out, err := emulated("orchestrator-client", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("orchestrator-client %s: %v: %s", strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	for _, program := range []string{"orchestrator", "orchestrator-client"} {
		out, err := emulated(program, "--version").CombinedOutput()
		if want := "^" + program + " " + regexp.QuoteMeta(older) +
			` commit [0-9a-f]{40} go1\.\S+ linux/arm64\n$`; err != nil || !regexp.MustCompile(want).Match(out) {
			t.Errorf("%s --version: %v: %s", program, err, out)
		}
	}

	listen := freePort(t)
	file := filepath.Join(dir, "o.toml")
	text := fmt.Sprintf("[http]\nlisten = %q\n[backend]\npath = %q\n", listen, filepath.Join(dir, "o.db"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	said := func() string { text, _ := os.ReadFile(log.Name()); return string(text) }
	serves := func(then func()) {
		t.Helper()
		daemon := emulated("orchestrator", "serve", "--config", file)
		daemon.Stdout, daemon.Stderr = log, log
		if err := daemon.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- daemon.Wait() }()
		for _, page := range []string{"/health/live", "/health/ready", "/health/leader"} {
			if err := answers("http://"+listen+page, 30*time.Second); err != nil {
				t.Fatalf("%v\n%s", err, said())
			}
		}
		then()
		_ = daemon.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("told to end, it ended with %v\n%s", err, said())
			}
		case <-time.After(30 * time.Second):
			t.Errorf("told to end, it still runs 30 s later\n%s", said())
		}
	}
	api := "http://" + listen
	serves(func() {
		ask("--api", api, "recoveries", "off", "--reason", "kept for good")
		time.Sleep(3 * time.Second) // some of its own turns
	})
	serves(func() {
		if out := ask("--api", api, "recoveries", "status"); !strings.Contains(out, "kept for good") {
			t.Errorf("what was declared is forgotten: %s", out)
		}
	})
}

// freePort is an address of the loopback that nobody serves.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// answers waits until a page is there.
func answers(url string, within time.Duration) error {
	err := errors.New("it was not asked")
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		var a *http.Response
		if a, err = http.Get(url); err != nil {
			continue
		}
		body, _ := io.ReadAll(a.Body)
		a.Body.Close()
		if a.StatusCode == http.StatusOK {
			return nil
		}
		err = fmt.Errorf("%s: %s", a.Status, body)
	}
	return fmt.Errorf("%s doesn't answer within %v: %w", url, within, err)
}
