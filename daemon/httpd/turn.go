package httpd

import (
	"context"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// turns lets so many requests work at the same time. The others wait for their turn, for a bounded time. No client has
// more than half of them, so that one that asks too much slows down nobody but itself.
type turns struct {
	all     chan struct{}
	half    int
	patient time.Duration

	mu sync.Mutex
	by map[netip.Addr]*share
}

// share is what one client has of the turns.
type share struct {
	slots chan struct{}
	users int // requests that have one or wait for one
}

func newTurns(n int, patient time.Duration) *turns {
	return &turns{all: make(chan struct{}, n), half: max(n/2, 1), patient: patient, by: map[netip.Addr]*share{}}
}

// take waits for a turn, and returns what gives it back; or why there is none.
func (t *turns) take(ctx context.Context, client netip.Addr) (done func(), p *Problem) {
	wait := time.NewTimer(t.patient)
	defer wait.Stop()
	mine := t.share(client)
	if !await(ctx, mine.slots, wait.C) {
		t.leave(client, mine)
		p := NewProblem(http.StatusTooManyRequests, "%d requests of this client are under way, and none ended within "+
			"%v: send fewer at the same time", t.half, t.patient)
		return nil, &p
	}
	if !await(ctx, t.all, wait.C) {
		<-mine.slots
		t.leave(client, mine)
		p := NewProblem(http.StatusServiceUnavailable, "the daemon answers %d requests already, and none ended within "+
			"%v: ask again later", cap(t.all), t.patient)
		return nil, &p
	}
	return func() {
		<-t.all
		<-mine.slots
		t.leave(client, mine)
	}, nil
}

// await takes a slot, at once where one is free.
func await(ctx context.Context, slots chan struct{}, end <-chan time.Time) bool {
	select {
	case slots <- struct{}{}:
		return true
	default:
	}
	select {
	case slots <- struct{}{}:
		return true
	case <-end:
	case <-ctx.Done():
	}
	return false
}

func (t *turns) share(client netip.Addr) *share {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.by[client]
	if s == nil {
		s = &share{slots: make(chan struct{}, t.half)}
		t.by[client] = s
	}
	s.users++
	return s
}

func (t *turns) leave(client netip.Addr, s *share) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.users--; s.users == 0 {
		delete(t.by, client)
	}
}
