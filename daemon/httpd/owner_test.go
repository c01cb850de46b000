package httpd

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// local serves a change that has no token, and counts how often it was done.
func local(t *testing.T, at string, allows func(*http.Request) (string, error)) (to *net.TCPAddr, done *atomic.Int64) {
	t.Helper()
	done = new(atomic.Int64)
	h, err := New(Options{Local: allows}, Mount{Method: "POST", Path: "/do", Access: Administer,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if who := Who(r.Context()); who != (Identity{"root", Admin, ByAccount}) {
				t.Errorf("the change is of %v", who)
			}
			done.Add(1)
			w.WriteHeader(http.StatusNoContent)
		})}, Mount{Method: "GET", Path: "/see", Access: Read, Handler: nothing})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, l, h, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		end()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().(*net.TCPAddr), done
}

// as has a user send a request with bash, and returns the status line of the answer.
func as(t *testing.T, uid uint32, to *net.TCPAddr, method, path, then string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-c", fmt.Sprintf(`exec 3<>/dev/tcp/%s/%d
printf '%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n' >&3; %s`, to.IP, to.Port, method, path, then))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestWithoutATokenOnlyTheOwnUserChangesAnything(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("only root can send requests as another user: run the tests as root")
	}
	for _, at := range []string{"127.0.31.2:0", "[::1]:0", "[::]:0"} {
		to, done := local(t, at, OwnOrRoot)
		if to.IP.IsUnspecified() {
			to.IP = net.IPv4(127, 0, 31, 2) // a socket of IPv6 that takes IPv4, too
		}
		for _, c := range []struct {
			uid          uint32
			method, path string
			want         string
		}{
			{0, "POST", "/do", "HTTP/1.1 204 No Content"},
			{65534, "POST", "/do", "HTTP/1.1 403 Forbidden"},
			{65534, "GET", "/see", "HTTP/1.1 204 No Content"},
		} {
			if got := as(t, c.uid, to, c.method, c.path, "read -r line <&3; echo $line"); got != c.want {
				t.Errorf("%s: %s %s as %d: got %q, want %q", at, c.method, c.path, c.uid, got, c.want)
			}
		}
		if got := done.Load(); got != 1 {
			t.Errorf("%s: the change was done %d times, want once", at, got)
		}
	}
}

// The kernel says of a socket that nobody has any more that it is root's.
func TestAConnectionThatWasClosedIsNobodys(t *testing.T) {
	asked := make(chan error, 1)
	to, done := local(t, "127.0.31.2:0", func(r *http.Request) (string, error) {
		time.Sleep(200 * time.Millisecond) // by then it is closed
		account, err := OwnOrRoot(r)
		asked <- err
		return account, err
	})
	as(t, 65534, to, "POST", "/do", "exec 3>&-")
	if err := <-asked; err == nil || done.Load() != 0 {
		t.Errorf("a change of another user was done: %v", err)
	}
}
