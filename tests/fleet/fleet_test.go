package fleet

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"orchestrator/daemon/api"
	"orchestrator/daemon/topology"
	"orchestrator/tests/hosts"
)

// Env must be set for the test to run: it takes minutes, and boots eight hosts. With "part" the test ends before
// anything is upgraded or replaced. FlavorEnv says what servers they get:
// "mariadb", which is the default, or "mysql".
const (
	Env       = "ORCHESTRATOR_FLEET"
	FlavorEnv = "ORCHESTRATOR_FLEET_FLAVOR"
)

// repo is the top of the repository.
const repo = "../.."

// names are the hosts of ansible/inventory/example, in the order of their addresses.
var names = []string{"backend1", "backend2", "daemon1", "daemon2", "daemon3", "db1", "db2", "db3"}

// operator is who deploys the fleet: a machine on its network, with the collection installed, an inventory and an ssh
// key.
type operator struct {
	*testing.T
	flavor    topology.Flavor // of the backend and of the managed servers
	net       *hosts.Network
	hosts     map[string]*hosts.Host
	dir       string // of the key, the inventory and the collection
	playbooks string
	packages  *packages
	web       *http.Client
	began     time.Time
	booted    time.Time
	said      bytes.Buffer // all that playbooks have printed
}

func flavor(t *testing.T) topology.Flavor {
	f := topology.Flavor(cmp.Or(os.Getenv(FlavorEnv), string(topology.MariaDB)))
	if f != topology.MariaDB && f != topology.MySQL {
		t.Fatalf("%s is %q: want %s or %s", FlavorEnv, f, topology.MariaDB, topology.MySQL)
	}
	return f
}

func TestAFleet(t *testing.T) {
	if os.Getenv(Env) == "" {
		t.Skip("boots eight hosts, for minutes: make test-fleet")
	}
	ctx := t.Context()
	o := &operator{T: t, flavor: flavor(t), net: hosts.Test(t), hosts: map[string]*hosts.Host{}, dir: t.TempDir(),
		began: time.Now()}
	first, second := o.builds(ctx)
	care := []string{"-e", "orchestrator_admin_api=true"}
	first, second = append(first, care...), append(second, care...)
	o.prepare(ctx)
	chat := o.hooks()
	o.boot(ctx)
	secrets := o.watchSecrets(ctx)
	leaders := o.watchLeaders(ctx)

	o.chapter("from bare hosts to a fleet")
	out := o.play(ctx, "site", first...)
	elected := leaders.first(t)
	o.note("from booted hosts to an elected leader: %.0f s; to the end of site.yml: %.0f s",
		elected.Sub(o.booted).Seconds(), time.Since(o.booted).Seconds())
	o.note("of it, tasks that install Debian's packages: %.0f s; of those, waiting for downloads: %.0f s (%d MB, of "+
		"which %d MB came from Debian's archive now)",
		took(out, "Install the server", "Install HAProxy", "Install Prometheus", "Refresh the package lists"),
		o.packages.waited().Seconds(),
		o.packages.served.Load()>>20, o.packages.fetched.Load()>>20)

	o.chapter("a second time, nothing changes")
	unchanged(t, o.play(ctx, "site", append([]string{"--diff"}, first...)...))
	part := os.Getenv(Env) == "part"
	if !part {
		unchanged(t, o.play(ctx, "site", append([]string{"--check", "--diff"}, first...)...))
	}

	o.chapter("one leader, the API, the metrics")
	o.sound(ctx)
	o.monitored(ctx)

	o.chapter("people declare things")
	o.do(ctx, "daemon2", "orchestrator-client tag 10.79.0.17:3306 dc=west")
	o.do(ctx, "daemon2", "orchestrator-client rule set 10.79.0.17:3306 prefer")
	o.do(ctx, "daemon2", "orchestrator-client alias 10.79.0.16:3306 shop")
	o.do(ctx, "daemon3",
		`printf '%s' '{"downtimes":[{"server":"10.79.0.99:3306","owner":"ann","reason":"new disk","until":"`+
			time.Now().Add(24*time.Hour).UTC().Format(time.RFC3339)+
			`"}],"forgotten":["10.79.0.98:3306"]}' | orchestrator-client import -`)
	backup := filepath.Join(o.dir, "declared.json")
	o.play(ctx, "backup", "-e", "file="+backup)
	declared := o.read(backup)
	for _, want := range []string{`"dc"`, `"prefer"`, `"shop"`, `"new disk"`, `"10.79.0.98:3306"`} {
		if !strings.Contains(declared, want) {
			t.Errorf("the backup lacks %s:\n%s", want, declared)
		}
	}

	o.chapter("the active member of the backend dies")
	active := o.backend(ctx, "daemon1").Serves.Host
	dead, other := o.at(active), "10.79.0.11"
	if active == other {
		other = "10.79.0.12"
	}
	died := time.Now()
	if err := dead.Kill(); err != nil {
		t.Fatal(err)
	}
	o.await(time.Minute, "all daemons use the other member", func() error {
		for _, name := range names[2:5] {
			if b := o.backend(ctx, name); b.Serves.Host != other || b.Identity == "" {
				return fmt.Errorf("%s: %+v", name, b)
			}
		}
		return nil
	})
	o.note("the host of the active member was switched off; all daemons used the other one %.1f s later",
		time.Since(died).Seconds())
	would := o.play(ctx, "promote-backend", "--check", "-e", "to="+other+":3306")
	if !strings.Contains(would, other+":3306") || strings.Contains(would, "TASK [Promote]") {
		t.Errorf("promote-backend.yml --check says:\n%s", would)
	}
	asks := press{"Make " + other + ":3306 the member that serves?", "\x03"}
	if out, well := o.answer(ctx, []press{asks, {"'A' to abort", "a"}}, "promote-backend", "-e", "to="+other+
		":3306"); well || strings.Contains(out, "TASK [Promote]") {
		t.Errorf("promote-backend.yml was told not to do it, and says:\n%s", out)
	}
	asks.key = "\r"
	if out, well := o.answer(ctx, []press{asks}, "promote-backend", "-e", "to="+other+":3306"); !well ||
		!strings.Contains(out, other+":3306 serves all daemons") {
		t.Errorf("promote-backend.yml was told to do it, and says:\n%s", out)
	}
	o.holds(ctx, declared)
	if err := dead.Start(ctx); err != nil {
		t.Fatal(err)
	}
	o.play(ctx, "rejoin-backend", "-e", "member="+active+":3306", "-e", "yes=true")
	o.sound(ctx)
	o.play(ctx, "rejoin-backend", "-e", "member="+active+":3306", "-e", "yes=true", "-e", "seed=true")
	o.sound(ctx)

	o.chapter("the primary of the managed cluster dies")
	o.do(ctx, "db1",
		`mysql -e "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY); INSERT INTO shop.orders VALUES (7)"`)
	leads := o.leader(ctx)
	died = time.Now()
	if err := o.hosts["db1"].Kill(); err != nil {
		t.Fatal(err)
	}
	o.await(2*time.Minute, "a replica is promoted, and the other one follows it", func() error {
		drawn, err := o.ask(ctx, "daemon1", "/api/v1/clusters/10.79.0.18:3306/drawing")
		if err == nil &&
			!regexp.MustCompile(
				`(?m)^10\.79\.0\.17:3306 +writable.*\n +10\.79\.0\.18:3306 +read-only.* replicating`).MatchString(
				drawn) {
			err = errors.New(drawn)
		}
		return err
	})
	o.note("the host of the primary was switched off; another was the primary, and followed, %.1f s later",
		time.Since(died).Seconds())
	o.hooksWereTold(ctx, chat, leads)
	if err := o.hosts["db1"].Start(ctx); err != nil {
		t.Fatal(err)
	}
	o.readOnly(ctx, "db1")
	o.do(ctx, "daemon1", "orchestrator-client downtime begin 10.79.0.16:3306 --reason 'a new start' --for 1h && "+
		"orchestrator-client downtime end 10.79.0.16:3306")

	if part {
		o.sound(ctx)
		secrets.found(t, o.said.String())
		return
	}
	o.chapter("a new build")
	before := o.programs(ctx)
	leaders.reset()
	o.play(ctx, "rolling-upgrade", append([]string{"--check"}, second...)...)
	if after := o.programs(ctx); leaders.changes() > 0 || !slices.Equal(before, after) {
		t.Errorf("after a check the leader has changed %d times, and the programs %q are %q", leaders.changes(), before,
			after)
	}
	led := leaders.last()
	leaders.reset()
	o.play(ctx, "rolling-upgrade", second...)
	gap := leaders.gap()
	o.note("rolling-upgrade.yml: without a leader for %.1f s at most, %d changes of it", gap.Seconds(),
		leaders.changes())
	if gap > 3*time.Second {
		t.Errorf("without a leader for %v: it was not left to another, who waits for a tick (1 s) at most; what "+
			"waits for the TTL (5 s) is a takeover", gap)
	}
	o.steppedDown(ctx, led)
	after := o.programs(ctx)
	if len(before) != 1 || len(after) != 1 || before[0] == after[0] {
		t.Errorf("programs that ran before: %q, after: %q", before, after)
	}
	o.play(ctx, "rolling-upgrade", second...)
	if n := leaders.changes(); n != 1 {
		t.Errorf("the leader changed %d times: it was not the last to be upgraded, or it left the lead although "+
			"nothing was new", n)
	}
	o.sound(ctx)

	o.chapter("new passwords")
	leaders.reset()
	old, oldServers := o.secret("backend"), o.secret("servers")
	users := o.sendChanges(ctx)
	o.noHooks()
	waits := press{"Give the new one (" + filepath.Join(o.dir, "inventory", ".secrets", "token.next"), "\r"}
	if out, well := o.answer(ctx, []press{waits}, "rotate-credentials",
		append([]string{"-e", "wait=true"}, second...)...); !well {
		t.Fatalf("rotate-credentials.yml:\n%s", out)
	}
	o.note("rotate-credentials.yml: without a leader for %.1f s at most", leaders.gap().Seconds())
	for _, host := range []string{"backend1", "backend2"} {
		o.opens(ctx, false, host, "orchestrator_backend", old)
		o.opens(ctx, true, host, "orchestrator_backend", o.secret("backend"))
	}
	for _, host := range []string{"db1", "db2", "db3"} {
		o.opens(ctx, false, host, "orchestrator", oldServers)
		o.opens(ctx, true, host, "orchestrator", o.secret("servers"))
	}
	o.readOnly(ctx, "db1")
	o.readOnly(ctx, "db3")
	users.changed(ctx, t, o)
	o.unhooked(ctx)
	o.sound(ctx)

	o.chapter("the other member of the backend is to serve, and the API is asked for that")
	if active, other = o.backend(ctx, "daemon1").Serves.Host, "10.79.0.11"; active == other {
		other = "10.79.0.12"
	}
	o.do(ctx, "daemon2", "orchestrator-client backend promote --to "+other+":3306")
	o.await(time.Minute, "all daemons use it", func() error {
		for _, name := range names[2:5] {
			if b := o.backend(ctx, name); b.Serves.Host != other || b.Identity == "" {
				return fmt.Errorf("%s: %+v", name, b)
			}
		}
		return nil
	})
	o.sound(ctx)

	o.chapter("a drill, and a restore")
	out = o.play(ctx, "drill", "-e", "yes=true")
	o.note("%s", drilled(out))
	o.note("%s", drilled(o.play(ctx, "drill", "-e", "drill=leader", "-e", "yes=true")))
	o.holds(ctx, declared)
	o.do(ctx, "daemon1", "orchestrator-client untag 10.79.0.17:3306 dc && orchestrator-client rule set "+
		"10.79.0.17:3306 neutral")
	if out := o.play(ctx, "restore", "-e", "file="+backup); !strings.Contains(out, "2 declared, 3 unchanged") {
		t.Errorf("restore.yml says:\n%s", out)
	}
	o.holds(ctx, declared)

	o.chapter("hosts are lost for good, and bare ones take their places")
	passive := "backend1"
	if o.backend(ctx, "daemon1").Serves.Host == o.hosts[passive].Address {
		passive = "backend2"
	}
	o.replace(ctx, passive)
	o.play(ctx, "site", append([]string{"--limit", passive}, second...)...)
	o.play(ctx, "rejoin-backend", "-e", "member="+o.hosts[passive].Address+":3306", "-e", "yes=true", "-e", "seed=true")
	o.sound(ctx)
	o.holds(ctx, declared)
	o.replace(ctx, "db1") // which was the first primary; db2 is that by now
	o.refused(ctx, "db1 is new, and the inventory has it as a primary; but not each of those that are to replicate "+
		"from it (db2, db3) says", "site",
		append([]string{"--limit", "db1"}, second...)...)
	o.readOnly(ctx, "db1")
	o.play(ctx, "site", append([]string{"--limit", "db1", "-e", "monitored_source=" + o.hosts["db2"].Address},
		second...)...)
	o.await(time.Minute, "the new db1 follows db2", func() error {
		drawn, err := o.ask(ctx, "daemon1", "/api/v1/clusters/10.79.0.17:3306/drawing")
		if err == nil &&
			!regexp.MustCompile(
				`(?m)^10\.79\.0\.17:3306 +writable.*\n +10\.79\.0\.16:3306 +read-only.* replicating`).MatchString(
				drawn) {
			err = errors.New(drawn)
		}
		return err
	})
	o.await(time.Minute, "the new db1 has what the old one wrote", func() error {
		if got := o.do(ctx, "db1", "mysql -BN -e 'SELECT id FROM shop.orders' 2>&1 || :"); got != "7" {
			return errors.New(got)
		}
		return nil
	})
	unchanged(t, o.play(ctx, "site", second...))

	secrets.found(t, o.said.String())
	o.note("all of it: %.0f s", time.Since(o.began).Seconds())
}

// builds makes two builds of the programs, and returns how a playbook is told of each: packages, where the repository
// makes them.
func (o *operator) builds(ctx context.Context) (first, second []string) {
	o.Helper()
	if script, err := filepath.Abs(filepath.Join(repo, "cmd", "package", "build")); err == nil && exists(script) {
		return o.pack(ctx, script, "1.0.0"), o.pack(ctx, script, "1.1.0")
	}
	var out [2][]string
	for i, flags := range []string{"", "-s -w"} { // the same program, in other bytes
		dir := filepath.Join(o.dir, "build"+strconv.Itoa(i))
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags="+flags, "-o", dir+"/",
			"./cmd/orchestrator", "./cmd/orchestrator-client")
		cmd.Dir = repo
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			o.Fatalf("build: %v\n%s", err, text)
		}
		out[i] = []string{"-e", "orchestrator_binaries=" + dir}
	}
	return out[0], out[1]
}

func exists(file string) bool { _, err := os.Stat(file); return err == nil }

func (o *operator) pack(ctx context.Context, script, version string) []string {
	o.Helper()
	dir := filepath.Join(o.dir, "packages-"+version)
	cmd := exec.CommandContext(ctx, script)
	cmd.Env = append(os.Environ(), "VERSION="+version, "OUT="+dir, "ARCHS=amd64")
	out, err := cmd.CombinedOutput()
	files, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(files) != 1 {
		o.Fatalf("make the package: %v, %q\n%s", err, files, out)
	}
	return []string{"-e", "orchestrator_package_file=" + files[0]}
}

// prepare installs the collection, copies the example inventory, and makes an ssh key.
func (o *operator) prepare(ctx context.Context) {
	o.Helper()
	collection, err := filepath.Abs(filepath.Join(repo, "ansible"))
	if err != nil {
		o.Fatal(err)
	}
	for _, args := range [][]string{
		{"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(o.dir, "key")},
		{"cp", "-r", filepath.Join(collection, "inventory", "example"), filepath.Join(o.dir, "inventory")},
		{"ansible-galaxy", "collection", "build", "--output-path", o.dir, collection},
		{"ansible-galaxy", "collection", "install", "--collections-path", filepath.Join(o.dir, "collections"),
			filepath.Join(o.dir, "orchestrator-fleet-1.0.0.tar.gz")},
	} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			o.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	o.choose("fleet_flavor", string(o.flavor))
	o.playbooks = filepath.Join(o.dir, "collections", "ansible_collections", "orchestrator", "fleet", "playbooks")
	if o.packages, err = servePackages(o.net, filepath.Join(cache(), "packages")); err != nil {
		o.Fatal(err)
	}
	o.Cleanup(func() { _ = o.packages.close() })
}

// choose changes a variable of the inventory, as somebody does who deploys a fleet.
func (o *operator) choose(variable, value string) {
	o.Helper()
	file := filepath.Join(o.dir, "inventory", "group_vars", "all.yml")
	line := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(variable) + `: .*$`)
	text := o.read(file)
	if !line.MatchString(text) {
		o.Fatalf("%s has no %s", file, variable)
	}
	if err := os.WriteFile(file, []byte(line.ReplaceAllString(text, variable+": "+value)), 0o644); err != nil {
		o.Fatal(err)
	}
}

// cache is where what is kept between runs is, as in package hosts.
func cache() string { return cmp.Or(os.Getenv(hosts.CacheEnv), "/var/cache/orchestrator") }

func (o *operator) boot(ctx context.Context) {
	o.Helper()
	for _, name := range names {
		h, err := o.net.Boot(ctx, name, o.root(ctx, name))
		if err != nil {
			o.Fatal(err)
		}
		o.hosts[name] = h
		o.admit(h)
	}
	o.booted = time.Now()
}

// replace puts a bare machine in the place of a host that is lost for good.
func (o *operator) replace(ctx context.Context, name string) {
	o.Helper()
	h := o.hosts[name]
	if err := h.Replace(ctx, o.root(ctx, name)); err != nil {
		o.Fatal(err)
	}
	o.admit(h)
}

func (o *operator) root(ctx context.Context, name string) string {
	o.Helper()
	root, err := hosts.RootOf(ctx, o.release(name), "openssh-server", "python3", "python3-apt")
	if err != nil {
		o.Fatal(err)
	}
	return root
}

// admit lets the operator into a host, and the host to packages.
func (o *operator) admit(h *hosts.Host) {
	o.Helper()
	err := errors.Join(h.Write("/root/.ssh/authorized_keys", o.read(filepath.Join(o.dir, "key.pub")), 0o600),
		h.Write("/etc/apt/apt.conf.d/90packages", fmt.Sprintf("Acquire::http::Proxy \"http://%s:%s\";\n", hosts.Gateway,
			packagesPort), 0o600))
	if err != nil {
		o.Fatal(err)
	}
	var known strings.Builder
	for _, h := range o.hosts {
		public, err := h.Read("/etc/ssh/ssh_host_ed25519_key.pub")
		if err != nil {
			o.Fatal(err)
		}
		fmt.Fprintf(&known, "%s %s", h.Address, public)
	}
	if err := os.WriteFile(filepath.Join(o.dir, "known_hosts"), []byte(known.String()), 0o600); err != nil {
		o.Fatal(err)
	}
}

// release is that of Debian for a host: 12, but for servers of MySQL, which it has no package of.
func (o *operator) release(name string) string {
	if o.flavor == topology.MySQL && !strings.HasPrefix(name, "daemon") {
		return hosts.Sid
	}
	return hosts.Bookworm
}

// play runs a playbook as an operator does, and returns what it said.
func (o *operator) play(ctx context.Context, playbook string, args ...string) string {
	o.Helper()
	began := time.Now()
	cmd := o.playing(ctx, playbook, args...)
	out, err := cmd.CombinedOutput()
	o.said.Write(out)
	o.Logf("%s %s: %.0f s", playbook, strings.Join(args, " "), time.Since(began).Seconds())
	if err != nil {
		o.Fatalf("%s.yml: %v\n%s", playbook, err, out)
	}
	return string(out)
}

// refused runs a playbook that is to fail, and to say why.
func (o *operator) refused(ctx context.Context, why, playbook string, args ...string) {
	o.Helper()
	out, err := o.playing(ctx, playbook, args...).CombinedOutput()
	o.said.Write(out)
	if text := strings.Join(strings.Fields(string(out)), " "); err == nil || !strings.Contains(text, why) {
		o.Errorf("%s.yml %s is to say %q, and to fail: %v\n%s", playbook, strings.Join(args, " "), why, err, out)
	}
}

// playing is the command of an operator who runs a playbook.
func (o *operator) playing(ctx context.Context, playbook string, args ...string) *exec.Cmd {
	cmd := o.net.Command(ctx, "ansible-playbook",
		append([]string{"-i", filepath.Join(o.dir, "inventory", "hosts.yml"),
			filepath.Join(o.playbooks, playbook+".yml")}, args...)...)
	cmd.Dir = o.dir
	cmd.Env = append(os.Environ(), "HOME="+o.dir, "ANSIBLE_CONFIG="+filepath.Join(o.playbooks, "..", "ansible.cfg"),
		"ANSIBLE_COLLECTIONS_PATH="+filepath.Join(o.dir, "collections")+":/usr/lib/python3/dist-packages",
		"ANSIBLE_PRIVATE_KEY_FILE="+filepath.Join(o.dir, "key"),
		"ANSIBLE_SSH_COMMON_ARGS=-o UserKnownHostsFile="+filepath.Join(o.dir, "known_hosts"), "ANSIBLE_FORKS=8",
		"ANSIBLE_NOCOLOR=1",
		"ANSIBLE_CALLBACKS_ENABLED=ansible.posix.profile_tasks", "ANSIBLE_SSH_CONTROL_PATH_DIR="+
			filepath.Join(o.dir, "ssh"))
	return cmd
}

func (o *operator) chapter(says string)             { o.Logf("%4.0f s  %s", time.Since(o.began).Seconds(), says) }
func (o *operator) note(format string, args ...any) { o.Helper(); o.Logf("        "+format, args...) }

func (o *operator) read(file string) string {
	o.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		o.Fatal(err)
	}
	return string(data)
}

// do runs a line of shell on a host, as root who has logged in.
func (o *operator) do(ctx context.Context, host, line string) string {
	o.Helper()
	out, err := o.hosts[host].Exec(ctx, "bash", "-lc", line)
	if err != nil {
		o.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func (o *operator) secret(name string) string {
	o.Helper()
	return strings.TrimSpace(o.read(filepath.Join(o.dir, "inventory", ".secrets", name)))
}

// opens wants a password to open a server on its host, or not to.
func (o *operator) opens(ctx context.Context, want bool, host, user, password string) {
	o.Helper()
	const file = "/root/login"
	if err := o.hosts[host].Write(file, "[client]\nuser="+user+"\npassword="+password+"\n", 0o600); err != nil {
		o.Fatal(err)
	}
	out, err := o.hosts[host].Exec(ctx, "mysql", "--defaults-extra-file="+file, "-e", "SELECT 1")
	if (err == nil) != want || !want && !strings.Contains(out, "1045") {
		o.Errorf("log in to %s as %s, want %v: %v", host, user, want, err)
	}
}

// readOnly wants a server not to take writes, on MySQL not even from root.
func (o *operator) readOnly(ctx context.Context, host string) {
	o.Helper()
	on := map[topology.Flavor]string{topology.MariaDB: "@@GLOBAL.read_only",
		topology.MySQL: "@@GLOBAL.read_only AND @@GLOBAL.super_read_only"}[o.flavor]
	if got := o.do(ctx, host, "mysql -BN -e 'SELECT "+on+"'"); got != "1" {
		o.Errorf("%s on %s: %s", on, host, got)
	}
}

func (o *operator) at(address string) *hosts.Host {
	for _, h := range o.hosts {
		if h.Address == address {
			return h
		}
	}
	o.Fatalf("no host has the address %s", address)
	return nil
}

func (o *operator) await(within time.Duration, what string, holds func() error) {
	o.Helper()
	var err error
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = holds(); err == nil {
			return
		}
	}
	o.Fatalf("not within %v: %s: %v", within, what, err)
}

// ask gets a page of a daemon, over TLS, from the operator's machine.
func (o *operator) ask(ctx context.Context, host, path string) (string, error) {
	if o.web == nil {
		var err error
		if o.web, err = o.client(); err != nil {
			return "", err
		}
	}
	return get(ctx, o.web, "https://"+o.hosts[host].Address+":3000"+path)
}

func get(ctx context.Context, web *http.Client, url string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	a, err := web.Do(r)
	if err != nil {
		return "", err
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err == nil && a.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", a.Status, body)
	}
	return string(body), err
}

func (o *operator) backend(ctx context.Context, host string) (b api.Backend) {
	o.Helper()
	text, err := o.ask(ctx, host, "/api/v1/backend")
	if err == nil {
		err = json.Unmarshal([]byte(text), &b)
	}
	if err != nil {
		o.Fatalf("%s: %v", host, err)
	}
	return b
}

// sound wants one leader whom all name, all daemons ready, a pair with which nothing is wrong, and the API behind each
// HAProxy.
func (o *operator) sound(ctx context.Context) {
	o.Helper()
	o.await(time.Minute, "one leader, and all daemons ready", func() error {
		var leaders []string
		for _, name := range names[2:5] {
			var s api.Status
			text, err := o.ask(ctx, name, "/api/v1/status")
			if err == nil {
				err = json.Unmarshal([]byte(text), &s)
			}
			if err != nil || s.NotReady != "" || s.Split != "" || len(s.SilentPeers) > 0 {
				return fmt.Errorf("%s: %v %s", name, err, text)
			}
			if s.Leading {
				leaders = append(leaders, name)
			}
		}
		if len(leaders) != 1 {
			return fmt.Errorf("%q lead", leaders)
		}
		for _, name := range names[2:5] {
			out, err := o.hosts[name].Exec(ctx, "orchestrator-client", "--api", "http://127.0.0.1:3080", "leader")
			if err != nil || !strings.HasPrefix(out, leaders[0]+":") {
				return fmt.Errorf("behind the HAProxy of %s, %s leads: %v", name, out, err)
			}
		}
		_, err := o.hosts["daemon1"].Exec(ctx, "orchestrator", "backend", "doctor", "--user", "orchestrator_admin",
			"--password-file", "/etc/orchestrator/admin.password")
		return err
	})
}

// monitored wants the cluster to be seen whole, the metrics of each daemon, and Prometheus to have them.
func (o *operator) monitored(ctx context.Context) {
	o.Helper()
	o.await(time.Minute, "the cluster is whole, and nothing is wrong with it", func() error {
		text, err := o.ask(ctx, "daemon2", "/api/v1/clusters")
		var clusters []api.ClusterSummary
		if err == nil {
			err = json.Unmarshal([]byte(text), &clusters)
		}
		if err == nil && (len(clusters) != 1 || clusters[0].Up != 3 || clusters[0].Servers != 3 ||
			len(clusters[0].Codes) != 0) {
			err = errors.New(text)
		}
		return err
	})
	var leaders float64
	for _, name := range names[2:5] {
		text, err := o.ask(ctx, name, "/metrics")
		if err != nil {
			o.Fatal(err)
		}
		m := regexp.MustCompile(`(?m)^orchestrator_leader (\d)$`).FindStringSubmatch(text)
		if m == nil || !strings.Contains(text, "\norchestrator_backend_available 1\n") {
			o.Fatalf("the metrics of %s: %.2000s", name, text)
		}
		n, _ := strconv.ParseFloat(m[1], 64)
		leaders += n
	}
	if leaders != 1 {
		o.Errorf("the metrics say that %v daemons lead", leaders)
	}
	web := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: o.net.Dial}}
	for query, want := range map[string]string{`sum(up{job="orchestrator"})`: "3", `sum(orchestrator_leader)`: "1"} {
		o.await(time.Minute, "Prometheus answers "+query, func() error {
			text, err := get(ctx, web, "http://"+o.hosts["daemon1"].Address+":9090/api/v1/query?query="+
				url.QueryEscape(query))
			if err == nil && !strings.Contains(text, `"`+want+`"]`) {
				err = errors.New(text)
			}
			return err
		})
	}
}

// holds wants the declared records to be what they were.
func (o *operator) holds(ctx context.Context, declared string) {
	o.Helper()
	for _, name := range names[2:5] {
		if got := o.do(ctx, name, "orchestrator-client --api https://"+o.hosts[name].Address+
			":3000 export"); got != strings.TrimSpace(declared) {
			o.Errorf("what was declared, as %s has it:\n%s\nit was:\n%s", name, got, declared)
		}
	}
}

// steppedDown wants that daemon to have left the lead because it was asked to, before it ended.
func (o *operator) steppedDown(ctx context.Context, name string) {
	o.Helper()
	log := o.do(ctx, name, "journalctl --unit orchestrator --output cat --no-pager")
	_, log, asked := strings.Cut(log, `msg="asked to step down" by=root reason="rolling upgrade"`)
	_, log, left := strings.Cut(log, `why="it was asked to step down"`)
	if _, _, ended := strings.Cut(log, "msg=stopping"); !asked || !left || !ended {
		o.Errorf("%s led, and was asked to step down: %v, did: %v, before it ended: %v", name, asked, left, ended)
	}
}

// programs are the digests of the programs that the daemons run, each once.
func (o *operator) programs(ctx context.Context) []string {
	o.Helper()
	var out []string
	for _, name := range names[2:5] {
		sum, _, _ := strings.Cut(o.do(ctx, name, "sha256sum /proc/$(systemctl show --property=MainPID --value "+
			"orchestrator)/exe"), " ")
		if !slices.Contains(out, sum) {
			out = append(out, sum)
		}
	}
	return out
}

// drilled is what drill.yml has to report.
func drilled(out string) string {
	return strings.Join(strings.Fields(regexp.MustCompile(`(?s)\w+ on \w+\d was killed.*?later`).FindString(out)), " ")
}

var recap = regexp.MustCompile(`(?m)^(\w+) +: ok=\d+ +changed=(\d+) `)

func unchanged(t *testing.T, out string) {
	t.Helper()
	hosts := recap.FindAllStringSubmatch(out, -1)
	if len(hosts) != len(names) {
		t.Fatalf("it ran on %d hosts, not on %d:\n%s", len(hosts), len(names), out)
	}
	for _, h := range hosts {
		if h[2] != "0" {
			t.Errorf("%s: %s changes:\n%s", h[1], h[2], out)
		}
	}
}

// took adds up the seconds of tasks, from the list at the end of a playbook's words.
func took(out string, tasks ...string) (sum float64) {
	for _, task := range tasks {
		for _, m := range regexp.MustCompile(`(?m)`+regexp.QuoteMeta(task)+` -+ ([0-9.]+)s$`).FindAllStringSubmatch(out,
			-1) {
			n, _ := strconv.ParseFloat(m[1], 64)
			sum += n
		}
	}
	return sum
}

// leaders watches who leads, as a client would that asks all daemons.
type leaders struct {
	mu      sync.Mutex
	at      time.Time // of the first leader
	seen    time.Time // somebody led
	who     string
	longest time.Duration
	turns   int
}

func (o *operator) watchLeaders(ctx context.Context) *leaders {
	l := &leaders{}
	var watches sync.WaitGroup
	ctx, stop := context.WithCancel(ctx)
	for _, name := range names[2:5] {
		watches.Go(func() {
			var web *http.Client // of its own: the test's may wait for another daemon
			for ctx.Err() == nil {
				if web == nil {
					web, _ = o.client() // there are no certificates yet
				}
				if web != nil && o.leads(ctx, web, name) {
					l.saw(name)
				}
				select {
				case <-ctx.Done():
				case <-time.After(100 * time.Millisecond):
				}
			}
		})
	}
	o.Cleanup(func() { stop(); watches.Wait() })
	return l
}

func (o *operator) leads(ctx context.Context, web *http.Client, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := get(ctx, web, "https://"+o.hosts[name].Address+":3000/health/leader")
	return err == nil
}

// client trusts the authority of the fleet.
func (o *operator) client() (*http.Client, error) {
	pem, err := os.ReadFile(filepath.Join(o.dir, "inventory", ".certificates", "ca.pem"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: o.net.Dial,
		TLSClientConfig: &tls.Config{RootCAs: pool}}}, nil
}

func (l *leaders) saw(who string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if l.at.IsZero() {
		l.at = now
	} else {
		l.longest = max(l.longest, now.Sub(l.seen))
	}
	if l.who != "" && l.who != who {
		l.turns++
	}
	l.seen, l.who = now, who
}

func (l *leaders) first(t *testing.T) time.Time {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at.IsZero() {
		t.Fatal("nobody ever led")
	}
	return l.at
}

func (l *leaders) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.longest, l.turns, l.seen = 0, 0, time.Now()
}

func (l *leaders) gap() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.longest, time.Since(l.seen))
}

// last is who led last.
func (l *leaders) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.who
}

func (l *leaders) changes() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.turns
}

// secrets watches the list of processes of all hosts, and the operator's, for secrets.
type secrets struct {
	dir  string
	mu   sync.Mutex
	seen map[string]bool
	all  map[string]string // of every secret that ever was, its name
	n    int
}

func (o *operator) watchSecrets(ctx context.Context) *secrets {
	s := &secrets{dir: filepath.Join(o.dir, "inventory", ".secrets"), seen: map[string]bool{}, all: map[string]string{}}
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			s.look()
			select {
			case <-ctx.Done():
			case <-time.After(400 * time.Millisecond):
			}
		}
	}()
	o.Cleanup(func() { stop(); <-done })
	return s
}

func (s *secrets) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	files, _ := filepath.Glob(filepath.Join(s.dir, "*"))
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil && len(bytes.TrimSpace(data)) > 16 {
			s.all[string(bytes.TrimSpace(data))] = filepath.Base(f)
		}
	}
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline") // those of the hosts are among them
	for _, p := range processes {
		line, err := os.ReadFile(p)
		if err != nil {
			continue
		}
		s.n++
		for secret, name := range s.all {
			if bytes.Contains(line, []byte(secret)) {
				s.seen[fmt.Sprintf("%s in the list of processes: %s", name,
					strings.ReplaceAll(string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})), secret, "***"))] = true
			}
		}
	}
}

func (s *secrets) found(t *testing.T, said string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) < 7 || s.n == 0 {
		t.Fatalf("only %d secrets were looked for, in %d command lines", len(s.all), s.n)
	}
	for where := range s.seen {
		t.Error(where)
	}
	for secret, name := range s.all {
		if strings.Contains(said, secret) {
			t.Errorf("playbooks print the secret %s", name)
		}
	}
}
