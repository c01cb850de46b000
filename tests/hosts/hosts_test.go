package hosts

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func boot(t *testing.T, n *Network, names ...string) []*Host {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	root, err := Root(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var out []*Host
	for _, name := range names {
		h, err := n.Boot(ctx, name, root)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, h)
	}
	return out
}

func do(t *testing.T, h *Host, program string, args ...string) string {
	t.Helper()
	out, err := h.Exec(t.Context(), program, args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func TestTwoHostsAreTwoMachines(t *testing.T) {
	n := Test(t)
	both := boot(t, n, "one", "two")
	one, two := both[0], both[1]
	if got := do(t, one, "hostname"); got != "one" {
		t.Errorf("its name is %q", got)
	}
	if a, b := do(t, one, "cat", "/etc/machine-id"), do(t, two, "cat", "/etc/machine-id"); a == b || len(a) != 32 {
		t.Errorf("their identities are %q and %q", a, b)
	}
	if got := do(t, one, "pwd"); got != "/" {
		t.Errorf("programs run in %q", got)
	}
	do(t, one, "sh", "-c", "echo of one >/root/kept && sync")
	if _, err := two.Read("/root/kept"); !os.IsNotExist(err) {
		t.Errorf("a file of one is seen in two: %v", err)
	}
	if got := do(t, one, "getent", "hosts", "two"); !strings.HasPrefix(got, two.Address) {
		t.Errorf("one knows two as %q, not by %s", got, two.Address)
	}
	do(t, one, "systemd-run", "--unit=asleep", "sleep", "1000")
	if err := one.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := one.Exec(t.Context(), "true"); err == nil {
		t.Error("a host that is off answers")
	}
	if err := one.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := do(t, one, "cat", "/root/kept"); got != "of one" {
		t.Errorf("after the power came back, the file holds %q", got)
	}
	if out, err := one.Exec(t.Context(), "systemctl", "is-active", "asleep"); err == nil {
		t.Errorf("a process survived the power: %s", out)
	}
	if err := one.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if one.Running() {
		t.Error("on after a shutdown")
	}
	root, err := Root(t.Context())
	if err == nil {
		err = one.Replace(t.Context(), root)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := one.Read("/root/kept"); !os.IsNotExist(err) {
		t.Errorf("another machine in its place has a file of it: %v", err)
	}
	if got := do(t, two, "getent", "hosts", "one"); !strings.HasPrefix(got, one.Address) {
		t.Errorf("two knows what is in the place of one as %q, not by %s", got, one.Address)
	}
}

func TestHostsAreOnANetworkOfTheirOwn(t *testing.T) {
	n := Test(t)
	h := boot(t, n, "web")[0]
	// The host serves a file by the only program of the base that can: perl.
	const serve = `use IO::Socket::INET; $s = IO::Socket::INET->new(LocalPort => 8080, Listen => 5, ReuseAddr => 1);
while ($c = $s->accept) { <$c>; print $c "HTTP/1.0 200 OK\r\n\r\nhello from " . $c->peerhost; close $c }`
	do(t, h, "systemd-run", "--unit=web", "perl", "-e", serve)
	url := fmt.Sprintf("http://%s:8080/", h.Address)
	get := func() (string, error) {
		c := http.Client{Timeout: time.Second, Transport: &http.Transport{DialContext: n.Dial, DisableKeepAlives: true}}
		r, err := c.Get(url)
		if err != nil {
			return "", err
		}
		defer r.Body.Close()
		data, err := io.ReadAll(r.Body)
		return string(data), err
	}
	// A bridge that has just got its only port may drop what comes in the first moments.
	soon := func() (got string, err error) {
		for range 100 {
			if got, err = get(); err == nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		return got, err
	}
	got, err := soon()
	if got != "hello from "+Gateway {
		t.Errorf("it serves %q, %v", got, err)
	}
	if out, err := n.Command(t.Context(), "sh", "-c", "ip -o -4 addr show bridge").Output(); err != nil ||
		!strings.Contains(string(out), Gateway) {
		t.Errorf("a program on the network sees %s, %v", out, err)
	}
	if err := h.Cut(); err != nil {
		t.Fatal(err)
	}
	if got, err := get(); err == nil {
		t.Errorf("a host that is cut off serves %q", got)
	}
	do(t, h, "true")
	if err := h.Heal(); err != nil {
		t.Fatal(err)
	}
	if _, err := soon(); err != nil {
		t.Errorf("after the cut: %v", err)
	}
}

// The process that boots is killed: what it had is gone, and the next network clears away what it left.
func TestHostsDieWithTheirProcess(t *testing.T) {
	if os.Getenv("ORCHESTRATOR_HOSTS_CHILD") != "" {
		n := Test(t)
		h := boot(t, n, "orphan")[0]
		fmt.Printf("child: %s %d\n", n.dir, h.leader)
		time.Sleep(time.Minute)
		return
	}
	if testing.Short() {
		t.Skip("boots hosts")
	}
	child := exec.Command(os.Args[0], "-test.run", "^TestHostsDieWithTheirProcess$", "-test.v")
	child.Env = append(os.Environ(), "ORCHESTRATOR_HOSTS_CHILD=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var dir string
	var leader int
	var said strings.Builder
	buf := make([]byte, 1000)
	for !strings.Contains(said.String(), "child: ") {
		k, err := out.Read(buf)
		if err != nil {
			t.Fatalf("%v: it says %s", err, said.String())
		}
		said.Write(buf[:k])
	}
	_, rest, _ := strings.Cut(said.String(), "child: ")
	if _, err := fmt.Sscan(rest, &dir, &leader); err != nil {
		t.Fatalf("%v: it says %s", err, said.String())
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	gone := func() bool { return !exists(fmt.Sprintf("/proc/%d", leader)) }
	for range 200 {
		if gone() {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !gone() {
		t.Errorf("process 1 of the host, %d, lives on", leader)
	}
	n := Test(t)
	if exists(dir) {
		t.Errorf("%s is still there after %s was made", dir, n.dir)
	}
}

// A system newer than this machine's: its service manager wants cgroups of version 2, and its packages are from an
// archive that may be a picture of one day.
func TestAHostOfDebianUnstable(t *testing.T) {
	if os.Getenv("ORCHESTRATOR_PACKAGES") == "" {
		t.Skip("what unstable has changes every day: make test-package")
	}
	n := Test(t)
	// as in tests/fleet: one root for both
	root, err := RootOf(t.Context(), Sid, "openssh-server", "python3", "python3-apt")
	if err != nil {
		t.Fatal(err)
	}
	h, err := n.Boot(t.Context(), "new", root)
	if err != nil {
		t.Fatal(err)
	}
	if got := do(t, h, "systemctl", "is-system-running"); got != "running" {
		t.Errorf("it is %s: %s", got, do(t, h, "systemctl", "--failed"))
	}
	if got := do(t, h, "stat", "-f", "-c", "%T", "/sys/fs/cgroup"); got != "cgroup2fs" {
		t.Errorf("its cgroups are a %s", got)
	}
	if sources := do(t, h, "cat", "/etc/apt/sources.list"); !strings.Contains(sources, " sid ") {
		t.Errorf("its packages are from %s", sources)
	}
}
