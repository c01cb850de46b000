package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/api"
	"orchestrator/daemon/hook"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// A program that writes what it is told, a URL, and one that hangs and fails, in a failover of real servers: all are
// told, in order, and the failover does not wait for them.
func TestHooksAreToldOfARealFailover(t *testing.T) {
	l := lab.Test(t)
	c, dir := watched.NewChat(t), t.TempDir()
	script, told := filepath.Join(dir, "tell"), filepath.Join(dir, "told")
	for file, text := range map[string]string{
		script: "#!/bin/sh\necho \"$ORC_MOMENT $ORC_FAILED_HOST:$ORC_FAILED_PORT " +
			"$ORC_SUCCESSOR_HOST $ORC_TEST\" >> " + told + "\n",
		filepath.Join(dir, "hangs"): "#!/bin/sh\nsleep 30\n",
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
name = "hangs"
on = ["opened"]
command = ["%[1]s/hangs"]
timeout = "3s"
attempts = 1
`, dir) + c.Config(t)})
	f.Await("the hooks are known", func() bool {
		hooks, err := f.API.Hooks(f.Ctx)
		return err == nil && len(hooks) == 3
	})
	w := lab.Write(f.Ctx, 1, append(f.Replicas, f.Primary)...)
	f.Must(w.AwaitRows(f.Ctx, 50))
	at := time.Now()
	f.Must(f.Primary.Kill())
	e, primary := f.Promoted()
	f.Must(w.AwaitAnother(f.Ctx, f.Primary))
	w.Stop()
	outage := w.Outage(at).Length()
	t.Logf("outage %v, beside a hook that hangs for 3 s", outage)
	if outage > 2500*time.Millisecond {
		t.Errorf("the failover waited for the hook")
	}

	f.Must(f.Primary.Restart(f.Ctx, "--read-only=0"))
	f.Await("the hooks have heard of all of it",
		func() bool { return len(c.Heard()) >= 4 && strings.Count(read(told), "\n") >= 4 })
	from := f.Primary.Key.String()
	want := fmt.Sprintf("opened %[1]s  false\npromoted %[1]s %[2]s false\nrecovered %[1]s %[2]s false\nfenced %[1]s "+
		"%[2]s false\n", from, primary.Key.Host)
	if got := read(told); got != want {
		t.Errorf("the script was told\n%s\nwant\n%s", got, want)
	}
	if got := c.Heard(); !slices.Equal(got, []string{"opened", "promoted", "recovered", "fenced"}) {
		t.Errorf("the URL was told %v", got)
	}
	if m := c.Messages()[1]; m.Episode.Candidate != primary.Key || m.Position == "" || len(m.Replicas) != 2 {
		t.Errorf("the URL was told %+v", m)
	}

	var shown api.Episode
	f.Await("the episode shows what they were told", func() bool {
		var err error
		shown, err = f.API.Episode(f.Ctx, e.ID)
		return err == nil && len(shown.Hooks) == 9 &&
			!slices.ContainsFunc(shown.Hooks, func(r hook.Run) bool { return r.Ended.IsZero() })
	})
	for _, run := range shown.Hooks {
		if (run.Outcome == hook.OK) != (run.Hook != "hangs") || run.Hook == "hangs" && run.Outcome != hook.TimedOut {
			t.Errorf("%+v", run)
		}
	}
	if log := f.API.Log(); strings.Contains(log, "s3cret") || strings.Contains(log, "t0ken") ||
		!strings.Contains(log, "hook failed") {
		t.Errorf("the log:\n%s", log)
	}

	// Trials.
	trial, err := f.API.TryHook(f.Ctx, "script", api.HookTrialRequest{Moment: hook.Promoted, By: "ann"})
	if f.Must(err); trial.Outcome != hook.OK ||
		!strings.HasSuffix(read(told), "promoted db1.example:3306 db2.example true\n") {
		t.Errorf("%+v; told\n%s", trial, read(told))
	}
	if trial, err := f.API.TryHook(f.Ctx, "hangs", api.HookTrialRequest{Moment: hook.Opened, By: "ann"}); err != nil ||
		trial.Outcome != hook.TimedOut {
		t.Errorf("%+v, %v", trial, err)
	}
}

func read(file string) string {
	data, _ := os.ReadFile(file)
	return string(data)
}
