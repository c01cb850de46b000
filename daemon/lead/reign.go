package lead

import (
	"context"
	"sync/atomic"
	"time"
)

// reign is one time of leading: fn in its goroutine, its context, and the timer that ends it unless it is extended. The
// timer does not depend on calls to the backend, so that a call that hangs cannot delay the end.
type reign struct {
	ctx    context.Context
	cancel context.CancelFunc
	timer  *time.Timer
	until  atomic.Pointer[time.Time] // when the timer ends it
	done   chan struct{}             // closed when fn has returned
}

func newReign(ctx context.Context, until time.Time, fn func(context.Context)) *reign {
	r := &reign{done: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(ctx)
	r.until.Store(&until)
	r.timer = time.AfterFunc(time.Until(until), r.cancel)
	go func() {
		defer close(r.done)
		fn(r.ctx)
	}()
	return r
}

// extend moves the end. A reign that has ended stays so.
func (r *reign) extend(until time.Time) {
	r.until.Store(&until)
	r.timer.Reset(time.Until(until))
}

// lasts says that it has not ended. A process that was frozen may get here before its timers have run, so the clock
// counts.
func (r *reign) lasts() bool { return r.ctx.Err() == nil && time.Now().Before(*r.until.Load()) }

func (r *reign) returned() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

func (r *reign) stop() {
	r.timer.Stop()
	r.cancel()
	<-r.done
}
