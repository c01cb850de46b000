package discovery

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"orchestrator/daemon/topology"
)

// deaf is a Prober whose probes of some servers end with the test only, whatever their deadline.
type deaf struct {
	*fakeFleet
	to  string // beginning of their hosts
	end chan struct{}
}

func (d deaf) Probe(ctx context.Context, k topology.Key) (topology.Instance, topology.Failure, error) {
	if strings.HasPrefix(k.Host, d.to) {
		<-d.end
	}
	return d.fakeFleet.Probe(ctx, k)
}

func TestProbesThatNeverEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := deaf{tree(), "x", make(chan struct{})}
		defer close(p.end)
		f := New(p, Options{Seeds: keys("x1", "x2", "x3", "x4", "db1"), Concurrency: 4, ProbeTimeout: time.Second})
		ctx, stop := context.WithCancel(t.Context())
		go func() { _ = f.Run(ctx) }()
		defer stop()
		time.Sleep(time.Minute)
		if v := f.Snapshot().Server(key("x1")); v == nil || v.Probe.Failure != topology.Timeout ||
			!strings.Contains(v.Probe.Error, "did not end in time") {
			t.Errorf("a probe that never ends: %+v", v)
		}
		if v := f.Snapshot().Server(key("db1")); time.Since(v.Probe.Answered) > 2*time.Second {
			t.Errorf("beside it db1 was asked %v ago", time.Since(v.Probe.Answered))
		}
		if why := f.Blind(); !strings.Contains(why, "probes of servers have not ended") {
			t.Errorf("blind: %q", why)
		}
	})
}

func TestASilentServerBlindsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := tree()
		p.server("silent", "").hang = time.Second
		p.servers[key("silent")].fails = topology.Timeout
		run(t, p, Options{Seeds: keys("db1", "silent"), Concurrency: 2}, func(f *Fleet) {
			pass(time.Minute)
			if why := f.Blind(); why != "" {
				t.Error(why)
			}
		})
	})
}
