package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"orchestrator/daemon/api"
	"orchestrator/daemon/hook"
	"orchestrator/tests/lab"
)

// chat is a URL that remembers what it is told.
type chat struct {
	*httptest.Server
	mu   sync.Mutex
	said []hook.Message
}

func newChat(t *testing.T) *chat {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.34.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &chat{}
	c.Server = &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter,
		r *http.Request) {
		var m hook.Message
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil || r.Header.Get("Authorization") != "Bearer t0ken" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.said = append(c.said, m)
	})}}
	c.Start()
	t.Cleanup(c.Close)
	return c
}

// heard are the moments that it was told of, in order.
func (c *chat) heard() (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.said {
		out = append(out, string(m.Moment))
	}
	return out
}

// A program that writes what it is told, a URL, and one that hangs and fails, in a failover of real servers: all are
// told, in order, and the failover does not wait for them.
func TestHooksAreToldOfARealFailover(t *testing.T) {
	l := lab.Test(t)
	c, dir := newChat(t), t.TempDir()
	script, told := filepath.Join(dir, "tell"), filepath.Join(dir, "told")
	for file, text := range map[string]string{
		script: "#!/bin/sh\necho \"$ORC_MOMENT $ORC_FAILED_HOST:$ORC_FAILED_PORT " +
			"$ORC_SUCCESSOR_HOST $ORC_TEST\" >> " + told + "\n",
		filepath.Join(dir, "hangs"): "#!/bin/sh\nsleep 30\n",
		filepath.Join(dir, "url"):   c.URL + "/s3cret",
		filepath.Join(dir, "token"): "t0ken",
	} {
		if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	f := startWith(t, l, lab.Spec{Flavor: lab.MariaDB, Semisync: true}, 2, lab.DaemonSpec{Binary: binary, Config: fmt.Sprintf(`
[[hook]]
name = "script"
on = ["opened", "promoted", "recovered", "withdrawn", "fenced"]
command = ["%[1]s/tell"]
[[hook]]
name = "chat"
on = ["opened", "promoted", "recovered", "withdrawn", "fenced"]
url_file = "%[1]s/url"
token_file = "%[1]s/token"
[[hook]]
name = "hangs"
on = ["opened"]
command = ["%[1]s/hangs"]
timeout = "3s"
attempts = 1
`, dir)})
	f.await("the hooks are known", func() bool {
		hooks, err := f.api.Hooks(f.ctx)
		return err == nil && len(hooks) == 3
	})
	w := lab.Write(f.ctx, 1, append(f.replicas, f.primary)...)
	f.must(w.AwaitRows(f.ctx, 50))
	at := time.Now()
	f.must(f.primary.Kill())
	e, primary := f.promoted()
	f.must(w.AwaitAnother(f.ctx, f.primary))
	w.Stop()
	outage := w.Outage(at).Length()
	t.Logf("outage %v, beside a hook that hangs for 3 s", outage)
	if outage > 2500*time.Millisecond {
		t.Errorf("the failover waited for the hook")
	}

	f.must(f.primary.Restart(f.ctx, "--read-only=0"))
	f.await("the hooks have heard of all of it",
		func() bool { return len(c.heard()) >= 4 && strings.Count(read(told), "\n") >= 4 })
	from := f.primary.Key.String()
	want := fmt.Sprintf("opened %[1]s  false\npromoted %[1]s %[2]s false\nrecovered %[1]s %[2]s false\nfenced %[1]s "+
		"%[2]s false\n", from, primary.Key.Host)
	if got := read(told); got != want {
		t.Errorf("the script was told\n%s\nwant\n%s", got, want)
	}
	if got := c.heard(); !slices.Equal(got, []string{"opened", "promoted", "recovered", "fenced"}) {
		t.Errorf("the URL was told %v", got)
	}
	c.mu.Lock()
	if m := c.said[1]; m.Episode.Candidate != primary.Key || m.Position == "" || len(m.Replicas) != 2 {
		t.Errorf("the URL was told %+v", m)
	}
	c.mu.Unlock()

	var shown api.Episode
	f.await("the episode shows what they were told", func() bool {
		var err error
		shown, err = f.api.Episode(f.ctx, e.ID)
		return err == nil && len(shown.Hooks) == 9 &&
			!slices.ContainsFunc(shown.Hooks, func(r hook.Run) bool { return r.Ended.IsZero() })
	})
	for _, run := range shown.Hooks {
		if (run.Outcome == hook.OK) != (run.Hook != "hangs") || run.Hook == "hangs" && run.Outcome != hook.TimedOut {
			t.Errorf("%+v", run)
		}
	}
	if log := f.api.Log(); strings.Contains(log, "s3cret") || strings.Contains(log, "t0ken") ||
		!strings.Contains(log, "hook failed") {
		t.Errorf("the log:\n%s", log)
	}

	// Trials.
	trial, err := f.api.TryHook(f.ctx, "script", api.HookTrialRequest{Moment: hook.Promoted, By: "ann"})
	if f.must(err); trial.Outcome != hook.OK ||
		!strings.HasSuffix(read(told), "promoted db1.example:3306 db2.example true\n") {
		t.Errorf("%+v; told\n%s", trial, read(told))
	}
	if trial, err := f.api.TryHook(f.ctx, "hangs", api.HookTrialRequest{Moment: hook.Opened, By: "ann"}); err != nil ||
		trial.Outcome != hook.TimedOut {
		t.Errorf("%+v, %v", trial, err)
	}
}

func read(file string) string {
	data, _ := os.ReadFile(file)
	return string(data)
}
