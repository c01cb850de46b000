package chaos

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"orchestrator/daemon/api"
	"orchestrator/daemon/api/client"
	"orchestrator/tests/lab"
)

// front is one HAProxy before the API of all daemons, and somebody who reads through it all the time.
type front struct {
	name string
	*lab.HAProxy

	mu      sync.Mutex
	answers map[string]int // by the id of the daemon
	failed  []string
	slowest time.Duration
}

// fronts are the HAProxy of the first daemon, and one of a later version beside it.
func (d *deployment) fronts() []*front {
	out := []*front{{name: "2.6", HAProxy: d.proxies[0]}}
	root, ok := lab.HAProxyRoots()["3.1"]
	if !ok {
		return out
	}
	h, err := d.lab.NewHAProxy(root)
	d.must(err)
	config, err := os.ReadFile(d.daemons[0].ConfigFile)
	d.must(err)
	file := d.daemons[0].ConfigFile + ".sid"
	first := d.proxies[0]
	d.must(os.WriteFile(file, []byte(strings.NewReplacer(first.Database, h.Database, first.HTTP, h.HTTP, first.Socket,
		h.Socket).Replace(string(config))), 0o644))
	rendered, err := exec.CommandContext(d.ctx, binary, "haproxy", "config", "--config", file, "--version",
		"3.1").Output()
	d.must(err)
	d.must(h.Write(string(rendered)))
	d.must(h.Start(d.ctx))
	return append(out, &front{name: "3.1", HAProxy: h})
}

func (f *front) get(path string) (status int, text string) {
	c := http.Client{Timeout: 5 * time.Second}
	answer, err := c.Get("http://" + f.HTTP + path)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(body)
}

// read asks for the status until it is stopped.
func (f *front) read(end <-chan struct{}) {
	for {
		select {
		case <-end:
			return
		case <-time.After(5 * time.Millisecond):
		}
		at := time.Now()
		status, text := f.get("/api/v1/status")
		took := time.Since(at)
		var s api.Status
		err := json.Unmarshal([]byte(text), &s)
		f.mu.Lock()
		f.slowest = max(f.slowest, took)
		if status == http.StatusOK && err == nil {
			f.answers[s.Daemon]++
		} else {
			f.failed = append(f.failed, fmt.Sprintf("%d %.200s", status, text))
		}
		f.mu.Unlock()
	}
}

// take returns what was read since the last take.
func (f *front) take() (answers map[string]int, failed []string, slowest time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	answers, failed, slowest = f.answers, f.failed, f.slowest
	f.answers, f.failed, f.slowest = map[string]int{}, nil, 0
	return answers, failed, slowest
}

// A reader at the HTTP frontend gets an answer whatever becomes of the leader, and the leader's as soon as there is
// one.
func TestReadersFindTheLeader(t *testing.T) {
	t.Parallel()
	d := deploy(t, lab.Test(t), lab.MariaDB, 3)
	d.settled()
	fronts := d.fronts()
	end := make(chan struct{})
	var readers sync.WaitGroup
	for _, f := range fronts {
		f.take()
		readers.Go(func() { f.read(end) })
	}
	defer func() { close(end); readers.Wait() }()

	// follows waits until exactly one daemon leads, other than before, and its word comes out of every HAProxy.
	follows := func(what string, before *lab.Daemon) *lab.Daemon {
		t.Helper()
		begin := time.Now()
		var leader *lab.Daemon
		d.await(what+": a daemon leads", func() bool {
			ls := d.leaders()
			if len(ls) == 1 && ls[0] != before {
				leader = ls[0]
			}
			return leader != nil
		})
		led := time.Since(begin)
		s, err := leader.Status(d.ctx)
		d.must(err)
		for _, f := range fronts {
			d.await(what+": HAProxy "+f.name+" follows", func() bool {
				status, text := f.get("/health/leader")
				return status == http.StatusOK && strings.Contains(text, s.Daemon)
			})
			followed := time.Since(begin)
			answers, failed, slowest := f.take()
			t.Logf("%s, HAProxy %s: another leads after %v, requests come to it after %v; answers by daemon %v, "+
				"slowest %v, failed %d", what, f.name, led, followed, answers, slowest, len(failed))
			if len(failed) > 0 {
				t.Errorf("%s, HAProxy %s: %d reads failed, such as %s", what, f.name, len(failed), failed[0])
			}
			d.await("the leader answers reads", func() bool {
				a, _, _ := f.take()
				return len(a) == 1 && a[s.Daemon] > 3
			})
			// An old client asks the one address that it knows who leads, and changes something there.
			c, err := client.New(client.Options{Endpoints: []string{"http://" + f.HTTP}})
			d.must(err)
			if _, health, err := c.Leader(d.ctx); err != nil || health.Daemon != s.Daemon {
				t.Errorf("%s, HAProxy %s: the client finds leader %v, %v; want %s", what, f.name, health, err, s.Daemon)
			}
			if err := c.SetTag(d.ctx, d.replicas[0].Key.String(), "by", f.name); err != nil {
				t.Errorf("%s, HAProxy %s: a change: %v", what, f.name, err)
			}
		}
		return leader
	}

	first := follows("at first", nil)
	d.must(first.Kill())
	second := follows("the leader is killed", first)
	d.must(first.Restart(d.ctx))
	d.settled()
	d.must(second.Terminate()) // it steps away
	follows("the leader steps away", second)
	d.must(second.Restart(d.ctx))
	d.settled()

	// Without a backend nobody leads. Reads are answered, from memory.
	for _, m := range d.members {
		d.must(m.Kill())
	}
	d.await("nobody leads", func() bool { return len(d.leaders()) == 0 })
	for _, f := range fronts {
		d.await("HAProxy "+f.name+" says so", func() bool {
			status, text := f.get("/health/leader")
			return status == http.StatusServiceUnavailable && strings.Contains(text, "does not lead")
		})
		f.take()
		var clusters []api.ClusterSummary
		if status, text := f.get("/api/v1/clusters"); status != http.StatusOK ||
			json.Unmarshal([]byte(text), &clusters) != nil || len(clusters) != 1 || clusters[0].Servers != 3 {
			t.Errorf("HAProxy %s, nobody leads: %d %s", f.name, status, text)
		}
		c, err := client.New(client.Options{Endpoints: []string{"http://" + f.HTTP}})
		d.must(err)
		if err := c.SetTag(d.ctx, d.replicas[0].Key.String(), "by", "nobody"); err == nil ||
			strings.Contains(err.Error(), "HAProxy") {
			t.Errorf("HAProxy %s, nobody leads, a change: %v", f.name, err)
		} else {
			t.Logf("a change: %v", err)
		}
		d.await("reads go on", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return len(f.answers) > 0 })
		answers, failed, slowest := f.take()
		t.Logf("HAProxy %s, nobody leads: answers by daemon %v, slowest %v, failed %d", f.name, answers, slowest,
			len(failed))
		if len(failed) > 0 {
			t.Errorf("HAProxy %s, nobody leads: %d reads failed, such as %s", f.name, len(failed), failed[0])
		}
	}

	for _, o := range d.daemons {
		d.must(o.Kill())
	}
	for _, f := range fronts {
		status, text := f.get("/api/v1/clusters")
		if status != http.StatusServiceUnavailable || !strings.Contains(text, "HAProxy reaches none of the daemons") {
			t.Errorf("HAProxy %s, all daemons are dead: %d %s", f.name, status, text)
		}
	}
}
