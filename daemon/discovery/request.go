package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"orchestrator/daemon/topology"
)

// ErrRefused is returned by DiscoverNow for a server that is ignored or forgotten.
var ErrRefused = errors.New("not looked at")

// Discover adds a server, to be probed at once; it is refused silently where it is ignored or forgotten.
func (f *Fleet) Discover(k topology.Key) {
	f.mu.Lock()
	defer f.unlock()
	f.discover(k)
}

func (f *Fleet) discover(k topology.Key) (s *server, added bool) {
	if s := f.at(k); s != nil {
		if s.seed = true; s.trial {
			s.trial = false
			f.stale(s)
		}
		if s.vetted, s.recalled = false, nil; s.is(topology.Unconfirmed, topology.Ahead) {
			f.trust(s, "a person named it")
		}
		return s, false
	}
	s = f.add(k, "request")
	if s != nil {
		s.seed = true
		f.dispatch(time.Now())
	}
	return s, s != nil
}

// DiscoverNow adds a server and probes it before it returns. One that does not answer, and that nobody else speaks
// of, is not kept.
func (f *Fleet) DiscoverNow(ctx context.Context, k topology.Key) (topology.Server, error) {
	f.mu.Lock()
	s, added := f.discover(k)
	f.unlock()
	if s == nil {
		return topology.Server{},
			fmt.Errorf("discover %v: %w: it matches the ignore list or is forgotten; take it off there first", k,
				ErrRefused)
	}
	f.Look(ctx, k)
	out, err := f.report(ctx, k, added)
	if err == nil {
		f.o.Declared(&out)
	}
	return out, err
}

// report says what came of discovering a server.
func (f *Fleet) report(ctx context.Context, k topology.Key, added bool) (topology.Server, error) {
	f.mu.Lock()
	defer f.unlock()
	s := f.at(k)
	switch {
	case s == nil:
		return topology.Server{}, fmt.Errorf("discover %v: it was forgotten meanwhile", k)
	case s.probe.Asked.IsZero():
		if err := ctx.Err(); err != nil {
			return topology.Server{}, fmt.Errorf("discover %v: no answer yet: %w", k, err)
		}
		return topology.Server{}, fmt.Errorf("discover %v: discovery has ended", k)
	case s.failing():
		err := fmt.Errorf("discover %v: %s: %s", k, s.probe.Failure, s.probe.Error)
		if added && s.instance == nil && len(f.replicas[s.key]) == 0 {
			f.remove(s)
			f.log(slog.LevelInfo, "server not kept", "server", s.key, "why", "it did not answer")
		}
		return topology.Server{}, err
	}
	return f.export(s), nil
}

// Forget drops a server with all its names. It comes back when somebody discovers it, or when a neighbour names it,
// unless Options.Forgotten says that it stays forgotten.
func (f *Fleet) Forget(k topology.Key) {
	f.mu.Lock()
	defer f.unlock()
	if s := f.at(k); s != nil {
		f.forget(s)
	}
}

func (f *Fleet) forget(s *server) {
	for _, n := range append([]topology.Key{s.key}, s.names...) {
		f.buried[n] = s.key
	}
	f.confirmed = slices.DeleteFunc(f.confirmed, func(c topology.Confirmation) bool { return c.Key == s.key })
	f.log(slog.LevelInfo, "server forgotten", "server", s.key)
	f.remove(s)
}

// StayClose says which servers are asked at every Poll, however long they have been dead, for the sake of a cluster; it
// replaces what was said for that cluster before.
func (f *Fleet) StayClose(cluster string, keys ...topology.Key) {
	f.mu.Lock()
	defer f.unlock()
	before := f.closeOf[cluster]
	if slices.Equal(before, keys) {
		return
	}
	for _, k := range before {
		if f.close[k]--; f.close[k] == 0 {
			delete(f.close, k)
		}
	}
	f.closeOf[cluster] = slices.Clone(keys)
	if len(keys) == 0 {
		delete(f.closeOf, cluster)
	}
	for _, k := range keys {
		f.close[k]++
		s := f.at(k)
		if s == nil || !s.failing() || s.index < 0 {
			continue
		}
		if soon := time.Now().Add(f.o.Poll); s.due.After(soon) {
			s.due = soon
			f.queue.put(s)
			f.rouse()
		}
	}
}

// isClose says whether StayClose has named a server, by any of its names.
func (f *Fleet) isClose(s *server) bool {
	return f.close[s.key] > 0 || len(f.close) > 0 &&
		slices.ContainsFunc(s.names, func(k topology.Key) bool { return f.close[k] > 0 })
}

// Look probes these servers now, side by side, and waits for the answers, until ctx ends or Run has; before Run it
// waits for that. A probe that was under way when Look was called is no answer: it is waited for, and another one
// follows.
func (f *Fleet) Look(ctx context.Context, keys ...topology.Key) {
	f.mu.Lock()
	if f.began && f.ctx == nil {
		f.unlock()
		return
	}
	var wait []chan struct{}
	var seen []*server
	for _, k := range keys {
		s := f.at(k)
		if s == nil || slices.Contains(seen, s) {
			continue
		}
		seen = append(seen, s)
		w := waiter{after: f.flights, done: make(chan struct{})}
		s.waiters = append(s.waiters, w)
		wait = append(wait, w.done)
		f.want(s)
	}
	f.dispatch(time.Now())
	f.unlock()
	for _, done := range wait {
		select {
		case <-done:
		case <-ctx.Done():
			return
		case <-f.over:
			return
		}
	}
}
