package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/topology"
)

func message(m Moment) Message {
	e, _ := events("promoted@2")
	e.Failed, e.Code, e.Evidence = topology.Key{Host: "db1", Port: 3306}, analysis.DeadPrimary,
		[]string{"$(touch /never)", "two"}
	return Message{Hook: "h", Moment: m, Attempt: 1, Daemon: "orc1", Cluster: "shop", Episode: e,
		Replicas: []topology.Key{{Host: "db2", Port: 3306}, {Host: "db3", Port: 3307}}, Position: "0-1-5"}
}

func sh(script string) Hook {
	return Hook{Name: "h", Command: []string{"/bin/sh", "-c", script}, Timeout: 20 * time.Second, Attempts: 1}
}

func TestACommandIsTold(t *testing.T) {
	t.Setenv("ORCHESTRATOR_SERVERS_PASSWORD", "hunter2")
	r := sh("env; echo; cat").Do(t.Context(), message(Promoted))
	if r.Outcome != OK {
		t.Fatalf("%+v", r)
	}
	env, body, _ := strings.Cut(r.Output, "\n\n")
	vars := strings.Split(env, "\n")
	for _, want := range []string{"ORC_FAILURE_TYPE=DeadMaster", "ORC_FAILED_HOST=db1", "ORC_FAILED_PORT=3306",
		"ORC_SUCCESSOR_HOST=db2", "ORC_COUNT_REPLICAS=2",
		"ORC_REPLICA_HOSTS=db2:3306,db3:3307", "ORC_IS_SUCCESSFUL=true", "ORC_FAILURE_DESCRIPTION=$(touch /never); two",
		"ORC_MOMENT=promoted"} {
		if !slices.Contains(vars, want) {
			t.Errorf("no %s in\n%s", want, env)
		}
	}
	if strings.Contains(r.Output, "hunter2") {
		t.Error("it was given the daemon's own secrets")
	}
	var m Message
	if err := json.Unmarshal([]byte(body), &m); err != nil || m.Episode.Failed.Host != "db1" || m.Position != "0-1-5" {
		t.Errorf("on its input: %v\n%s", err, body)
	}
}

func TestClassicNamesOfFailures(t *testing.T) {
	for code, want := range map[analysis.Code]string{analysis.DeadPrimary: "DeadMaster",
		analysis.DeadPrimaryAndSomeReplicas:        "DeadMasterAndSomeReplicas",
		analysis.DeadIntermediate:                  "DeadIntermediateMaster",
		analysis.DeadIntermediateWithSingleReplica: "DeadIntermediateMasterWithSingleReplica"} {
		if got := old.Replace(string(code)); got != want {
			t.Errorf("%s is %s, want %s", code, got, want)
		}
	}
}

func TestNoSuccessorBeforeThePromotion(t *testing.T) {
	if env := strings.Join(Environment(message(Opened)), "\n"); strings.Contains(env, "SUCCESSOR") ||
		!strings.Contains(env, "ORC_IS_SUCCESSFUL=false") {
		t.Error(env)
	}
}

func TestACommandFails(t *testing.T) {
	for says, c := range map[string]struct {
		hook Hook
		want string
	}{
		"by its code":     {sh("echo broken; exit 3"), "exit status 3"},
		"by a signal":     {sh("kill -9 $$"), "signal: killed"},
		"it is not there": {Hook{Name: "h", Command: []string{"/nowhere"}, Timeout: time.Second}, "no such file"},
		"it may not": {Hook{Name: "h", Command: []string{"/etc/passwd"}, Timeout: time.Second},
			"permission denied"},
		"it reads nothing": {sh("exec <&-; exit 4"), "exit status 4"},
	} {
		t.Run(says, func(t *testing.T) {
			if r := c.hook.Do(t.Context(), message(Opened)); r.Outcome != Failed || !strings.Contains(r.Says, c.want) {
				t.Errorf("%+v, want failed: %s", r, c.want)
			}
		})
	}
	if r := sh("echo broken; exit 3").Do(t.Context(), message(Opened)); r.Output != "broken" {
		t.Errorf("output %q", r.Output)
	}
}

// What a hook started must not go on when its time is over: it would move an address for a daemon that leads no more.
func TestTheEndOfAHookIsTheEndOfAllItStarted(t *testing.T) {
	for says, c := range map[string]struct {
		timeout time.Duration
		cancel  bool
		trap    string
		want    Outcome
	}{
		"by its timeout":               {300 * time.Millisecond, false, "", TimedOut},
		"when the lead is lost":        {20 * time.Second, true, "", Interrupted},
		"although it will not hear of": {300 * time.Millisecond, false, "trap '' TERM;", TimedOut},
		"nor when the lead is lost":    {20 * time.Second, true, "trap '' TERM;", Interrupted},
	} {
		t.Run(says, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pid")
			h := sh(c.trap + " sleep 300 & echo $! > " + file + ".new; mv " + file + ".new " + file +
				"; wait; wait; sleep 300")
			h.Timeout = c.timeout
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan Result, 1)
			go func() { ended <- h.Do(ctx, message(Opened)) }()
			var pid int
			for began := time.Now(); pid == 0 && time.Since(began) < 10*time.Second; time.Sleep(5 * time.Millisecond) {
				if text, err := os.ReadFile(file); err == nil {
					pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
				}
			}
			if pid == 0 && !c.cancel {
				t.Skip("this machine was too slow to start it before its timeout")
			}
			if c.cancel {
				cancel()
			}
			r := <-ended
			if r.Outcome != c.want {
				t.Errorf("%+v, want %s", r, c.want)
			}
			for began := time.Now(); time.Since(began) < 5*time.Second; time.Sleep(5 * time.Millisecond) {
				if text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); syscall.Kill(pid, 0) != nil ||
					err != nil || bytes.Contains(text, []byte(") Z ")) {
					return
				}
			}
			t.Errorf("process %d, which the hook had started, still runs", pid)
		})
	}
}

// started runs a hook until its script does STARTED; end ends the context that it runs in.
func started(t *testing.T, h Hook) (end context.CancelFunc, result <-chan Result) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "started")
	h.Command[2] = strings.ReplaceAll(h.Command[2], "STARTED", "touch "+file)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	ended := make(chan Result, 1)
	go func() { ended <- h.Do(ctx, message(Opened)) }()
	for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(2 * time.Millisecond) {
		if _, err := os.Stat(file); err == nil {
			return cancel, ended
		}
	}
	t.Fatal("it did not start")
	return nil, nil
}

// Another daemon waits for the lead as long as a hook of this one runs on.
func TestAHandOverHardlyWaitsForAHook(t *testing.T) {
	for says, script := range map[string]string{
		"that ignores SIGTERM":                                 "trap '' TERM; STARTED; sleep 300",
		"whose offspring has left, and holds its output":       "trap '' TERM; setsid sleep 3 & STARTED; sleep 300",
		"that is being ended already, because it took so long": "trap 'STARTED' TERM; while :; do sleep 0.02; done",
	} {
		t.Run(says, func(t *testing.T) {
			h := sh(script)
			if strings.Contains(says, "already") {
				h.Timeout = 200 * time.Millisecond
			}
			end, result := started(t, h)
			began := time.Now()
			end()
			if r := <-result; r.Outcome != Interrupted || time.Since(began) > 1500*time.Millisecond {
				t.Errorf("%+v after %v", r, time.Since(began))
			}
		})
	}
}

// No leadership has ended when somebody tires of waiting for a trial.
func TestATrialEndsWithWhoAskedForIt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := sh("sleep 300").Do(ctx, Trial("h", Opened, "d1", noon)); r.Outcome != Interrupted ||
		!strings.Contains(r.Says, "nobody waits") || strings.Contains(r.Says, "leads") {
		t.Errorf("%+v", r)
	}
}

func TestAHookMayEndInOrderWhenTheLeadIsLost(t *testing.T) {
	end, result := started(t, sh("trap 'echo undone; exit 0' TERM; STARTED; while :; do sleep 0.01; done"))
	end()
	if r := <-result; r.Outcome != Interrupted || !strings.HasSuffix(r.Output, "undone") {
		t.Errorf("%+v", r)
	}
}

func TestWhatIsLeftRunningOnPurposeHoldsUpNothing(t *testing.T) {
	began := time.Now()
	if r := sh("echo told; sleep 3 &").Do(t.Context(), message(Opened)); r.Outcome != OK || r.Output != "told" ||
		time.Since(began) > 2*time.Second {
		t.Errorf("%+v after %v", r, time.Since(began))
	}
}

func TestMuchOutputIsCut(t *testing.T) {
	r := sh("yes 0123456789 | head -c 10000000; echo end").Do(t.Context(), message(Opened))
	if r.Outcome != OK || len(r.Output) > outputKept+10 || !strings.HasSuffix(r.Output, "end") ||
		!strings.HasPrefix(r.Output, "…") {
		t.Errorf("%s: %d bytes", r.Outcome, len(r.Output))
	}
}

func TestAURLIsPostedTo(t *testing.T) {
	var asked *http.Request
	var body []byte
	code := 200
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(code)
		io.WriteString(w, "said")
	}))
	defer server.Close()
	h := Hook{Name: "h", URL: server.URL + "/T0/secretpart", Token: "t0ken", Timeout: 5 * time.Second}
	if r := h.Do(t.Context(), message(Promoted)); r.Outcome != OK || r.Output != "said" {
		t.Fatalf("%+v", r)
	}
	var m Message
	if err := json.Unmarshal(body, &m); err != nil || m.Cluster != "shop" ||
		asked.Header.Get("Authorization") != "Bearer t0ken" ||
		asked.Header.Get("Idempotency-Key") != "e1/promoted/h" ||
		asked.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%v: %v\n%s", err, asked.Header, body)
	}
	for _, code = range []int{302, 403, 500} {
		if r := h.Do(t.Context(), message(Promoted)); r.Outcome != Failed ||
			!strings.Contains(r.Says, strconv.Itoa(code)) {
			t.Errorf("%d: %+v", code, r)
		}
		if asked.URL.Path != "/T0/secretpart" {
			t.Errorf("%d led it to %s", code, asked.URL.Path)
		}
	}
	server.Close()
	if r := h.Do(t.Context(), message(Promoted)); r.Outcome != Failed || !strings.Contains(r.Says, "refused") ||
		strings.Contains(r.Says, "secretpart") {
		t.Errorf("%+v", r)
	}
}

func TestASlowURLTimesOut(t *testing.T) {
	free := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-free }))
	defer server.Close()
	defer close(free)
	if r := (Hook{Name: "h", URL: server.URL, Timeout: 50 * time.Millisecond}).Do(t.Context(),
		message(Opened)); r.Outcome != TimedOut {
		t.Errorf("%+v", r)
	}
}

func TestPlaceholdersOfTheOldTool(t *testing.T) {
	for placeholder, want := range map[string]string{"failedHost": "ORC_FAILED_HOST",
		"countSlaves": "ORC_COUNT_REPLICAS", "slaveHosts": "ORC_REPLICA_HOSTS",
		"recoveryUID": "ORC_RECOVERY_UID", "successorBinlogCoordinates": "ORC_SUCCESSOR_BINLOG_COORDINATES",
		"isMaster": "ORC_IS_MASTER", "a": "", "failed": "", "failedhost": "", "FAILEDHOST": "", "moment": "",
		"hook": "", "test": "", "episode": ""} {
		if got := Variable(placeholder); got != want {
			t.Errorf("{%s}: %q, want %q", placeholder, got, want)
		}
	}
	known := Environment(Trial("", Fenced, "", time.Now()))
	for _, placeholder := range replaced {
		if name := Variable(placeholder); !slices.ContainsFunc(known,
			func(pair string) bool { return strings.HasPrefix(pair, name+"=") }) {
			t.Errorf("{%s} is said to be in $%s, which no command is given", placeholder, name)
		}
	}
}
