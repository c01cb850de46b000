package packages

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"orchestrator/tests/hosts"
)

const (
	configFile = "/etc/orchestrator/orchestrator.toml"
	unit       = "orchestrator.service"
)

// host is one on which packages are installed.
type host struct {
	*hosts.Host
	t *testing.T
}

func boot(t *testing.T, name string, packages ...string) *host {
	t.Helper()
	full(t)
	n := hosts.Test(t)
	root, err := hosts.Root(t.Context(), packages...)
	if err != nil {
		t.Fatal(err)
	}
	h, err := n.Boot(t.Context(), name, root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && h.Running() {
			out, _ := h.Exec(context.Background(), "journalctl", "--no-pager", "-u", unit, "-n", "60")
			t.Logf("the journal of %s:\n%s", unit, out)
		}
	})
	return &host{h, t}
}

// in is the same host in a part of the test.
func (h *host) in(t *testing.T) *host { return &host{h.Host, t} }

// do runs a program that must not fail, and returns what it says.
func (h *host) do(program string, args ...string) string {
	h.t.Helper()
	out, err := h.Exec(h.t.Context(), program, args...)
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// fails runs a program that must fail, and returns what it says.
func (h *host) fails(program string, args ...string) string {
	h.t.Helper()
	out, err := h.Exec(h.t.Context(), program, args...)
	if err == nil {
		h.t.Fatalf("%s %v did not fail: %s", program, args, out)
	}
	return out
}

func (h *host) want(what, got, want string) {
	h.t.Helper()
	if got != want {
		h.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// eventually asks until it holds.
func (h *host) eventually(what string, within time.Duration, holds func() bool) {
	h.t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if holds() {
			return
		}
	}
	h.t.Fatalf("after %v it is not so that %s", within, what)
}

func (h *host) property(name string) string {
	h.t.Helper()
	return h.do("systemctl", "show", "--value", "-p", name, unit)
}

func (h *host) active() bool {
	_, err := h.Exec(h.t.Context(), "systemctl", "is-active", unit)
	return err == nil
}

func (h *host) copy(file string) string {
	h.t.Helper()
	to := "/root/" + file[strings.LastIndex(file, "/")+1:]
	if err := h.Copy(file, to); err != nil {
		h.t.Fatal(err)
	}
	return to
}

func (h *host) write(file, text string, mode os.FileMode) {
	h.t.Helper()
	if err := h.Write(file, text, mode); err != nil {
		h.t.Fatal(err)
	}
}

// configure replaces what the configuration says, not whose it is.
func (h *host) configure(text string) {
	h.t.Helper()
	h.write("/root/new.toml", text, 0o600)
	h.do("sh", "-c", "cat /root/new.toml >"+configFile)
}

// leads waits until the daemon leads, and returns its term.
func (h *host) leads() int64 {
	h.t.Helper()
	var s struct {
		Leading bool  `json:"leading"`
		Term    int64 `json:"term"`
	}
	h.eventually("the daemon leads", 30*time.Second, func() bool {
		out, err := h.Exec(h.t.Context(), "orchestrator-client", "status", "-o", "json")
		return err == nil && json.Unmarshal([]byte(out), &s) == nil && s.Leading
	})
	return s.Term
}

// journal is what the unit has logged since the host was booted.
func (h *host) journal() string {
	h.t.Helper()
	return h.do("journalctl", "--no-pager", "-b", "-o", "cat", "-u", unit)
}

// missing says which of the paths are there.
func (h *host) missing(paths ...string) {
	h.t.Helper()
	for _, p := range paths {
		if _, err := h.Exec(h.t.Context(), "test", "-e", p); err == nil {
			h.t.Errorf("%s is there", p)
		}
	}
}

func (h *host) there(paths ...string) {
	h.t.Helper()
	for _, p := range paths {
		h.do("test", "-e", p)
	}
}

// One life of an installation, from part to part.
func TestTheDebianPackageOnAHost(t *testing.T) {
	h := boot(t, "deb1", "man-db") // what the unit says of its manual page is looked up
	first, second := h.copy(pathOf(t, deb, older)), h.copy(pathOf(t, deb, newer))
	part := func(name string, f func(h *host)) {
		if t.Failed() {
			return
		}
		t.Run(name, func(t *testing.T) { f(h.in(t)) })
	}

	part("install", func(h *host) {
		h.do("dpkg", "-i", first)
		h.want("the unit", h.property("ActiveState")+" "+h.property("UnitFileState"), "active enabled")
		h.want("the account", h.property("User")+" "+h.do("stat", "-c", "%U", "/proc/"+h.property("MainPID")),
			"orchestrator orchestrator")
		h.leads()
		h.want("the configuration", h.do("stat", "-c", "%a %U:%G", configFile), "640 root:orchestrator")
		h.want("the credentials", h.do("stat", "-c", "%a %U:%G", "/etc/orchestrator/credentials"), "700 root:root")
		h.want("what it remembers", h.do("stat", "-c", "%a %U:%G", "/var/lib/orchestrator"),
			"750 orchestrator:orchestrator")
		h.want("its database", h.do("stat", "-c", "%a %U:%G", "/var/lib/orchestrator/orchestrator.db"),
			"600 orchestrator:orchestrator")
		for _, program := range []string{"orchestrator", "orchestrator-client"} {
			said := h.do(program, "--version")
			if ok, _ := regexp.MatchString("^"+program+" "+regexp.QuoteMeta(older)+
				` commit [0-9a-f]{40} go1\.\S+ linux/amd64$`, said); !ok {
				t.Errorf("%s --version: %s", program, said)
			}
		}
		if out := h.do("dpkg", "--verify", "orchestrator"); out != "" {
			t.Errorf("dpkg --verify: %s", out)
		}
	})

	part("the unit as systemd sees it", func(h *host) {
		if out := h.do("systemd-analyze", "verify", "/lib/systemd/system/"+unit); strings.Contains(out,
			"orchestrator") {
			t.Errorf("systemd-analyze verify: %s", out)
		}
		h.t.Log(h.do("sh", "-c", "systemd-analyze security --no-pager --threshold=15 "+unit+" | tail -n 1"))
		h.do("systemd-analyze", "security", "--no-pager", "--threshold=15", unit)
		// It can read its own state, and nobody's else: what the sandbox must not have taken away, and what it must
		// have.
		pid := h.property("MainPID")
		h.want("its capabilities", h.do("sed", "-n", "s/^Cap\\(Bnd\\|Eff\\|Amb\\):\\s*//p", "/proc/"+pid+"/status"),
			"0000000000000000\n0000000000000000\n0000000000000000")
		const get = `use IO::Socket::INET; $s = IO::Socket::INET->new("127.0.0.1:3000") or die $!; print $s "GET /metrics HTTP/1.0\r\n\r\n"; print while <$s>`
		if out := h.do("perl", "-e", get); !strings.Contains(out, "\nprocess_start_time_seconds ") ||
			!strings.Contains(out, "\nprocess_open_fds ") {
			t.Errorf("the metrics of the process are not all there: %s", out)
		}
	})

	part("reload", func(h *host) {
		before, pid := h.leads(), h.property("MainPID")
		h.configure("[log]\nlevel = \"debug\"\n")
		h.do("systemctl", "reload", unit)
		h.eventually("the configuration was reloaded", 10*time.Second,
			func() bool { return strings.Contains(h.journal(), "changed=[log.level]") })
		h.configure("[log]\nlevel = \"debu\"\n")
		h.do("systemctl", "reload", unit)
		h.eventually("what is wrong was said", 10*time.Second,
			func() bool { return strings.Contains(h.journal(), "nothing changed") })
		time.Sleep(6 * time.Second) // longer than a lease
		h.want("its term and its process", fmt.Sprint(h.leads(), " ", h.property("MainPID"), " ",
			h.property("ActiveState")), fmt.Sprint(before, " ", pid, " active"))
		if strings.Contains(h.journal(), "no longer leading") {
			t.Errorf("it lost the lead")
		}
		h.configure("")
	})

	part("credentials", func(h *host) {
		h.write("/etc/orchestrator/credentials/servers-password", "hunter2\n", 0o600)
		h.configure("[servers]\npassword_file = \"$CREDENTIALS_DIRECTORY/orchestrator_servers-password\"\n")
		h.do("systemctl", "restart", unit)
		h.leads()
		h.fails("runuser", "-u", "orchestrator", "--", "cat", "/etc/orchestrator/credentials/servers-password")
		h.fails("runuser", "-u", "nobody", "--", "cat",
			"/run/credentials/orchestrator.service/orchestrator_servers-password")
		if out := h.fails("orchestrator", "config", "check", configFile); !strings.Contains(out,
			"CREDENTIALS_DIRECTORY=/run/credentials/orchestrator.service") {
			t.Errorf("without the directory, config check says %s", out)
		}
		h.do("env", "CREDENTIALS_DIRECTORY=/run/credentials/orchestrator.service", "orchestrator", "config", "check",
			configFile)
		said := h.journal() + h.do("sh", "-c", "tr '\\0' ' ' </proc/"+h.property("MainPID")+
			"/environ; tr '\\0' ' ' </proc/"+h.property("MainPID")+"/cmdline")
		if strings.Contains(said, "hunter2") {
			t.Errorf("the secret is in\n%s", said)
		}
	})

	part("a bad configuration is not tried again", func(h *host) {
		h.configure("[log]\nlevel = \"debu\"\n")
		h.fails("systemctl", "restart", unit)
		time.Sleep(3 * time.Second) // longer than RestartSec
		h.want("the unit", h.property("ActiveState")+" "+h.property("ExecMainStatus")+" "+h.property("NRestarts"),
			"failed 3 0")
		if log := h.journal(); !strings.Contains(log, `did you mean "debug"?`) {
			t.Errorf("the journal says\n%s", log)
		}
	})

	part("without its backend", func(h *host) {
		h.write("/etc/orchestrator/credentials/peers", "a secret of thirty-two characters", 0o600)
		h.configure(`[backend]
kind = "mysql"
path = "/var/lib/orchestrator/journal.db"
address = "127.0.0.1:3307"
[peers]
daemons = ["http://127.0.0.1:3999"]
secret_file = "$CREDENTIALS_DIRECTORY/orchestrator_peers"
`)
		h.do("systemctl", "restart", unit)
		time.Sleep(8 * time.Second)
		h.want("the unit", h.property("ActiveState")+" "+h.property("NRestarts"), "active 0")
		if out := h.do("orchestrator-client", "status"); !strings.Contains(out, "the backend is unavailable") {
			t.Errorf("its status is %s", out)
		}
		h.do("systemctl", "stop", unit)
		h.want("its end", h.property("Result")+" "+h.property("ActiveState"), "success inactive")
		h.configure("")
	})

	part("watchdog", func(h *host) {
		h.write("/etc/systemd/system/orchestrator.service.d/soon.conf", "[Service]\nWatchdogSec=3s\n", 0o644)
		h.do("systemctl", "daemon-reload")
		h.do("systemctl", "restart", unit)
		h.leads()
		pid := h.property("MainPID")
		time.Sleep(8 * time.Second)
		h.want("the process of a daemon that is well", h.property("MainPID")+" "+h.property("NRestarts"), pid+" 0")
		began := time.Now()
		h.do("kill", "-STOP", pid)
		h.eventually("a daemon that hangs is restarted", 30*time.Second, func() bool {
			return h.property("NRestarts") == "1" && h.active() && h.property("MainPID") != pid
		})
		t.Logf("stopped, with WatchdogSec=3s: killed and restarted within %v",
			time.Since(began).Round(100*time.Millisecond))
		h.leads()
		if out := h.do("journalctl", "--no-pager", "-b", "-u", unit); !strings.Contains(out, "Watchdog timeout") {
			t.Errorf("the journal has no word of the watchdog:\n%s", out)
		}
		h.do("kill", "-KILL", h.property("MainPID"))
		h.eventually("a daemon that was killed is restarted", 30*time.Second,
			func() bool { return h.property("NRestarts") == "2" && h.active() })
		h.do("rm", "-r", "/etc/systemd/system/orchestrator.service.d")
		h.do("systemctl", "daemon-reload")
		h.do("systemctl", "restart", unit)
	})

	part("power loss", func(h *host) {
		h.leads()
		h.do("orchestrator-client", "recoveries", "off", "--reason", "kept for good")
		if err := h.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := h.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.eventually("it runs after a boot", 30*time.Second, h.active)
		h.leads()
		h.remembers()
	})

	part("upgrade", func(h *host) {
		h.configure("# ours\n")
		pid := h.property("MainPID")
		if out := h.do("dpkg", "-i", second); strings.Contains(out, "Configuration file") {
			t.Errorf("dpkg asks: %s", out)
		}
		h.want("the version", strings.Fields(h.do("orchestrator", "--version"))[1], newer)
		h.eventually("the new one runs", 30*time.Second,
			func() bool { return h.active() && h.property("MainPID") != pid })
		h.leads()
		h.want("the configuration", h.do("cat", configFile), "# ours")
		h.want("whose it is", h.do("stat", "-c", "%a %U:%G", configFile), "640 root:orchestrator")
		h.there("/etc/orchestrator/credentials/servers-password")
		h.remembers()
		h.do("systemctl", "stop", unit)
		h.do("dpkg", "-i", second)
		h.want("one that was stopped", h.property("ActiveState")+" "+h.property("UnitFileState"), "inactive enabled")
		h.do("systemctl", "start", unit)
	})

	part("remove", func(h *host) {
		pid := h.property("MainPID")
		h.do("dpkg", "--remove", "orchestrator")
		h.missing("/usr/bin/orchestrator", "/usr/bin/orchestrator-client", "/lib/systemd/system/orchestrator.service",
			"/proc/"+pid)
		h.there(configFile, "/etc/orchestrator/credentials/servers-password", "/var/lib/orchestrator/orchestrator.db")
		h.do("dpkg", "-i", second)
		h.leads()
		h.remembers()
		h.want("the configuration", h.do("cat", configFile), "# ours")
	})

	part("purge", func(h *host) {
		h.do("dpkg", "--purge", "orchestrator")
		h.missing("/etc/orchestrator", "/var/lib/orchestrator", "/usr/share/doc/orchestrator",
			"/etc/systemd/system/multi-user.target.wants/orchestrator.service",
			"/etc/systemd/system/orchestrator.service")
		h.do("systemctl", "daemon-reload")
		h.want("units that failed", h.do("systemctl", "--failed", "--no-legend"), "")
		h.do("dpkg", "-i", first) // as on a new host
		h.leads()
		if out := h.do("orchestrator-client", "recoveries", "status"); !strings.Contains(out, "are on") {
			t.Errorf("it remembers from before the purge: %s", out)
		}
	})
}

// remembers what was declared before.
func (h *host) remembers() {
	h.t.Helper()
	if out := h.do("orchestrator-client", "recoveries", "status"); !strings.Contains(out, "kept for good") {
		h.t.Errorf("what was declared is forgotten: %s", out)
	}
}

// The RPM's scripts and files, by rpm itself. Debian has rpm, but not the packages that ours depends on.
func TestTheRPMOnAHost(t *testing.T) {
	h := boot(t, "rpm1", "man-db", "rpm", "rpmlint")
	first, second := h.copy(pathOf(t, rpm, older)), h.copy(pathOf(t, rpm, newer))
	install := []string{"--nodeps", "--force-debian"}

	h.do("rpm", append(install, "--install", first)...)
	h.want("the configuration", h.do("stat", "-c", "%a %U:%G", configFile), "640 root:orchestrator")
	h.want("what rpm finds changed", h.do("sh", "-c", "rpm --verify --nodeps orchestrator || :"), "")
	h.do("systemctl", "daemon-reload")
	h.do("systemctl", "enable", "--now", unit)
	h.leads()
	h.do("orchestrator-client", "recoveries", "off", "--reason", "kept for good")
	h.configure("# ours\n")
	pid := h.property("MainPID")

	h.do("rpm", append(install, "--upgrade", second)...)
	h.want("the version", strings.Fields(h.do("orchestrator", "--version"))[1], newer)
	h.eventually("the new one runs", 30*time.Second, func() bool { return h.active() && h.property("MainPID") != pid })
	h.leads()
	h.remembers()
	h.want("the configuration", h.do("cat", configFile), "# ours")

	h.do("rpm", "--erase", "orchestrator")
	h.missing("/usr/bin/orchestrator", "/usr/lib/systemd/system/orchestrator.service",
		"/etc/systemd/system/multi-user.target.wants/orchestrator.service")
	h.there("/var/lib/orchestrator/orchestrator.db", configFile+".rpmsave")

	// Last, and on a host, because rpmlint unpacks the files to where the package has them.
	h.do("rm", configFile+".rpmsave")
	if err := h.Copy("rpmlint.toml", "/root/rpmlint.toml"); err != nil {
		t.Fatal(err)
	}
	if out, err := h.Exec(t.Context(), "rpmlint", "--config", "/root/rpmlint.toml", first); err != nil ||
		!strings.Contains(out, "0 errors, 0 warnings") {
		t.Errorf("rpmlint: %v: %s", err, out)
	}
}
