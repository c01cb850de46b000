package daemon

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"orchestrator/daemon/config"
	"orchestrator/daemon/topology"
)

func TestALoopThatHangsIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Daemon{}
		c := config.Default()
		d.config.Store(&c)
		says := func(want string) {
			t.Helper()
			err := d.Alive()
			switch {
			case want == "" && err != nil:
				t.Errorf("it says %v", err)
			case want != "" && (err == nil || !strings.HasSuffix(err.Error(), want)):
				t.Errorf("it says %v, want %q", err, want)
			}
		}
		says("") // nothing has begun
		d.pulse.turned("discovery")
		d.pulse.turned("recovery")
		time.Sleep(c.Lease.TTL + turnTime)
		says("")
		d.pulse.turned("discovery")
		time.Sleep(time.Second)
		says("the daemon hangs: the loop of recovery has not turned for 26s")
		d.pulse.ended("recovery") // it leads no more
		says("")
	})
}

func TestEveryMainLoopTurns(t *testing.T) {
	c := config.Default()
	c.HTTP.Listen = "127.0.79.2:0"
	c.Backend.Path = filepath.Join(t.TempDir(), "orchestrator.db")
	c.Discovery.Seeds = []topology.Key{{Host: "127.0.79.2", Port: 1}}
	c.Lease.Tick = 50 * time.Millisecond
	d, err := New(c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	defer func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	began := time.Now().Add(time.Second) // what is told when a loop begins is no turn yet
	turned := func(loop string) bool {
		d.pulse.mu.Lock()
		defer d.pulse.mu.Unlock()
		return d.pulse.last[loop].After(began)
	}
	for _, loop := range []string{"discovery", "the lease", "recovery", "storing"} {
		for range 200 {
			if turned(loop) {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if !turned(loop) {
			t.Errorf("the loop of %s does not turn", loop)
		}
	}
	if err := d.Alive(); err != nil {
		t.Error(err)
	}
}
