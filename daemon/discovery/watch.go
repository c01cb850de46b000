package discovery

import (
	"context"
	"time"

	"orchestrator/daemon/topology"
)

// A watch that ended is begun again after firstRewatch, then after twice as long each time, up to lastRewatch: a
// server that closes idle connections costs a probe each time.
const (
	firstRewatch = 50 * time.Millisecond
	lastRewatch  = 5 * time.Second
)

// watch starts or ends the watching of a server: those are watched that have replicas, from their first answer on.
func (f *Fleet) watch(s *server) {
	if f.ctx == nil || f.servers[s.key] != s || s.trial || len(f.replicas[s.key]) == 0 {
		if s.unwatch != nil {
			s.unwatch()
			s.unwatch = nil
		}
		return
	}
	if s.unwatch != nil || !s.up() {
		return
	}
	ctx, cancel := context.WithCancel(f.ctx)
	s.unwatch = cancel
	k := s.key
	f.wg.Go(func() { f.keepWatch(ctx, s, k) })
}

// keepWatch watches until ctx ends. While the server fails, a watch that stands is left alone (a hung server may yet
// die), and none is begun.
func (f *Fleet) keepWatch(ctx context.Context, s *server, k topology.Key) {
	wait := firstRewatch
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		began := time.Now()
		err := f.prober.Watch(ctx, k)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			f.metrics.closed.Inc()
		}
		if time.Since(began) > patience {
			wait = firstRewatch
		}
		f.mu.Lock()
		if f.servers[k] == s && (err == nil || s.up()) {
			f.want(s)
			f.dispatch(time.Now())
		}
		f.unlock()
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		wait = min(2*wait, lastRewatch)
		for !f.isUp(s) {
			select {
			case <-ctx.Done():
				return
			case <-s.revived:
				wait = firstRewatch
			}
		}
	}
}

func (f *Fleet) isUp(s *server) bool {
	f.mu.Lock()
	defer f.unlock()
	return s.up()
}
