package hostile_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"orchestrator/tests/watched"
)

// limited runs the daemon as a shell would after these commands.
func (r *row) limited(commands string) {
	r.Helper()
	r.program = filepath.Join(r.TempDir(), "orchestrator")
	text := fmt.Sprintf("#!/bin/sh\n%s\nexec %s \"$@\"\n", commands, binary)
	if err := os.WriteFile(r.program, []byte(text), 0o755); err != nil {
		r.Fatal(err)
	}
}

// dial connects to the daemon's API from one of the addresses of a client.
func dial(f *watched.Fleet, client byte) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 33, client)}, Timeout: 5 * time.Second}
	return d.DialContext(f.Ctx, "tcp", strings.TrimPrefix(f.API.URL, "http://"))
}

// Idle connections take no files that the daemon needs to act, and keep nobody out.
func TestIdleConnections(t *testing.T) {
	r := begin(t)
	r.limited("ulimit -n 256")
	r.failsOver(func(f *watched.Fleet) {
		for i := range 400 {
			c, err := dial(f, byte(1+i%4))
			f.Must(err)
			t.Cleanup(func() { c.Close() })
			if i%2 == 0 { // the others never say a word
				fmt.Fprint(c, "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
			}
		}
	})
}

// Requests without end delay those of others by a moment, and what the daemon has to do not at all. What strangers send
// does not fill the log.
func TestRequestsWithoutEnd(t *testing.T) {
	r := begin(t)
	ctx, end := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	defer clients.Wait()
	defer end()
	f := r.failsOver(func(f *watched.Fleet) {
		for i := range 24 {
			clients.Go(func() { flood(ctx, f, byte(10+i%2)) })
		}
	})
	if size := len(f.API.Log()); size > 1<<20 {
		t.Errorf("the log has %d bytes", size)
	}
}

// flood sends reads, and changes from pages of another site with long paths, one after the other.
func flood(ctx context.Context, f *watched.Fleet, client byte) {
	long := "/api/v1/instances/" + strings.Repeat("x", 8000)
	for ctx.Err() == nil {
		c, err := dial(f, client)
		if err != nil {
			continue
		}
		stop := context.AfterFunc(ctx, func() { c.Close() })
		answers := bufio.NewReader(c)
		for err == nil {
			for _, request := range []string{"GET /api/v1/clusters", "GET /api/v1/instances", "DELETE " + long} {
				fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n\r\n", request)
				var res *http.Response
				if res, err = http.ReadResponse(answers, nil); err != nil {
					break
				}
				_, err = io.Copy(io.Discard, res.Body)
			}
		}
		stop()
		c.Close()
	}
}

// A machine that has no processor and little memory to spare.
func TestABusyMachine(t *testing.T) {
	r := begin(t)
	r.limited("export GOMEMLIMIT=32MiB")
	r.failsOver(func(f *watched.Fleet) {
		for range 2 {
			busy := exec.CommandContext(f.Ctx, "sh", "-c", "while :; do :; done")
			f.Must(busy.Start())
			t.Cleanup(func() { _, _ = busy.Process.Kill(), busy.Wait() })
		}
	})
}

// A local user who is not the daemon's can look, and change nothing.
func TestAnotherLocalUserChangesNothing(t *testing.T) {
	r := begin(t)
	r.failsOver(func(f *watched.Fleet) {
		host, port, _ := net.SplitHostPort(strings.TrimPrefix(f.API.URL, "http://"))
		cmd := exec.CommandContext(f.Ctx, "bash", "-c", fmt.Sprintf(`exec 3<>/dev/tcp/%s/%s
printf 'PUT /api/v1/recoveries HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n' >&3
printf 'Content-Length: 44\r\n\r\n{"enabled":false,"by":"mallory","reason":"x"}' >&3
read -r line <&3; echo $line`, host, port))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Dir = "/"
		out, err := cmd.CombinedOutput()
		if !strings.Contains(string(out), "403") {
			f.Must(errors.Join(err, fmt.Errorf("answered %q, want 403", out)))
		}
	})
}
