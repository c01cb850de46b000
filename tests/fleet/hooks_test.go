package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"orchestrator/daemon/api"
	"orchestrator/daemon/hook"
	"orchestrator/tests/hosts"
)

// told is where the script of the fleet's first hook writes what it hears.
const told = "/var/lib/orchestrator/told"

const scribe = `#!/bin/sh
echo "$ORC_TEST $ORC_MOMENT $ORC_FAILED_HOST $ORC_SUCCESSOR_HOST" | sed 's/ *$//' >> ` + told + "\n"

// What the inventory of the fleet says of hooks; the secrets are files of the kind that the test looks for in outputs
// and lists of processes.
const hooked = `---
orchestrator_hook_scripts: ["{{ inventory_dir }}/scribe"]
orchestrator_hooks:
  - {name: scribe, moments: [opened, promoted, recovered], command: [/etc/orchestrator/hooks/scribe]}
  - name: chat
    moments: [opened, promoted, recovered]
    clusters: ["*"]
    url_secret: "{{ lookup('ansible.builtin.file', fleet_secrets ~ '/chat-url') }}"
    token_secret: "{{ lookup('ansible.builtin.file', fleet_secrets ~ '/chat-token') }}"
    timeout: 10s
    attempts: 5
`

const (
	chatPort  = "3143"
	chatPath  = "/rooms/9d1f6f8a2b7c4e05"
	chatToken = "the-token-that-the-chat-asks-for"
)

// chat is the receiver of the second hook, on the operator's machine.
type chat struct {
	mu    sync.Mutex
	heard []string // "DAEMON MOMENT FAILED CANDIDATE"
}

func (c *chat) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var m hook.Message
	switch err := json.NewDecoder(r.Body).Decode(&m); {
	case r.Method != http.MethodPost || r.URL.Path != chatPath || r.Header.Get("Authorization") != "Bearer "+chatToken:
		http.Error(w, "who are you?", http.StatusUnauthorized)
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	default:
		c.mu.Lock()
		defer c.mu.Unlock()
		name, _, _ := strings.Cut(m.Daemon, ":")
		if m.Moment == hook.Opened { // there may be a candidate by now, or not yet
			m.Episode.Candidate.Host = ""
		}
		c.heard = append(c.heard, strings.TrimSuffix(fmt.Sprintf("%s %s %s %s", name, m.Moment, m.Episode.Failed.Host,
			m.Episode.Candidate.Host), " "))
	}
}

func (c *chat) all() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.heard, "\n")
}

// hooks gives the fleet its hooks, before it is deployed.
func (o *operator) hooks() *chat {
	o.Helper()
	c := &chat{}
	l, err := o.net.Listen(hosts.Gateway + ":" + chatPort)
	if err != nil {
		o.Fatal(err)
	}
	server := &http.Server{Handler: c, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	o.Cleanup(func() { _ = server.Close() })
	for file, text := range map[string]string{"scribe": scribe, "group_vars/daemons.yml": hooked,
		".secrets/chat-token": chatToken + "\n",
		".secrets/chat-url":   "http://" + hosts.Gateway + ":" + chatPort + chatPath + "\n"} {
		path := filepath.Join(o.dir, "inventory", file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			o.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			o.Fatal(err)
		}
	}
	return c
}

// leader is the daemon that says that it leads.
func (o *operator) leader(ctx context.Context) string {
	o.Helper()
	for _, name := range names[2:5] {
		var s api.Status
		if text, err := o.ask(ctx, name, "/api/v1/status"); err == nil && json.Unmarshal([]byte(text), &s) == nil &&
			s.Leading {
			return name
		}
	}
	o.Fatal("nobody leads")
	return ""
}

// hooksWereTold wants both hooks to have been told of the failover, once, by the daemon that led, and neither by
// another; and trials to work.
func (o *operator) hooksWereTold(ctx context.Context, c *chat, leader string) {
	o.Helper()
	const opened, promoted, recovered = "opened 10.79.0.16", "promoted 10.79.0.16 10.79.0.17",
		"recovered 10.79.0.16 10.79.0.17"
	written := strings.Join([]string{"false " + opened, "false " + promoted, "false " + recovered}, "\n")
	posted := strings.Join([]string{leader + " " + opened, leader + " " + promoted, leader + " " + recovered}, "\n")
	o.await(30*time.Second, "hooks are told", func() error {
		if got, err := o.hosts[leader].Read(told); err != nil || strings.TrimSpace(got) != written {
			return fmt.Errorf("%s: %q, want %q (%v)", leader, got, written, err)
		}
		if got := c.all(); got != posted {
			return fmt.Errorf("the chat has heard %q, want %q", got, posted)
		}
		return nil
	})
	for _, name := range names[2:5] {
		if text, err := o.hosts[name].Read(told); name != leader && err == nil {
			o.Errorf("%s has told, too: %s", name, text)
		}
		for file, want := range map[string]string{"hook.chat.url": "640 root:orchestrator",
			"hook.chat.token": "640 root:orchestrator", "hooks/scribe": "755 root:root"} {
			if got := o.do(ctx, name, "stat -c '%a %U:%G' /etc/orchestrator/"+file); got != want {
				o.Errorf("%s of %s: %s, want %s", file, name, got, want)
			}
		}
		if text := o.do(ctx, name, "cat /etc/orchestrator/orchestrator.toml; journalctl -u orchestrator "+
			"--no-pager"); strings.Contains(text, chatPath) || strings.Contains(text, chatToken) {
			o.Errorf("a secret of the hook is in the configuration of %s, or in its log", name)
		}
	}
	for _, name := range []string{"scribe", "chat"} { // from another host: the daemon that leads does it
		if out := o.do(ctx, "daemon2", "orchestrator-client hook try "+name+" promoted --yes"); !strings.Contains(out,
			"outcome  ok") {
			o.Errorf("the trial of %s says\n%s", name, out)
		}
	}
	if got, _ := o.hosts[leader].Read(told); !strings.Contains(got, "true promoted db1.example db2.example") {
		o.Errorf("after the trial %s was told\n%s", leader, got)
	}
	o.note("hooks were told of it by %s alone: %s", leader, strings.ReplaceAll(posted, "\n", ", "))
}

// noHooks takes the hooks out of the inventory; what is deployed then leaves none of their secrets, see unhooked.
func (o *operator) noHooks() {
	o.Helper()
	if err := os.Remove(filepath.Join(o.dir, "inventory", "group_vars", "daemons.yml")); err != nil {
		o.Fatal(err)
	}
}

func (o *operator) unhooked(ctx context.Context) {
	o.Helper()
	for _, name := range names[2:5] {
		if left := o.do(ctx, name, "ls /etc/orchestrator | grep '^hook\\.' || :; orchestrator-client --api https://"+
			o.hosts[name].Address+":3000 hooks"); left != "no hook is configured" {
			o.Errorf("without hooks in the inventory, %s has %s", name, left)
		}
	}
}
