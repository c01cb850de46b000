package daemon

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"orchestrator/backend/report"
	"orchestrator/daemon/api"
)

// workWaits is how long a request waits for the work that it has begun; after that it is answered with how far the work
// is.
const workWaits = 25 * time.Second

// work is what operators have asked this daemon to do at the backend: what is under way, or was last.
type work struct {
	ctx    context.Context // ends when the daemon does, and not when a request does
	cancel context.CancelFunc
	all    sync.WaitGroup

	mu  sync.Mutex
	now *api.BackendWork
}

func newWork() *work {
	w := &work{}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

func (w *work) close() error {
	w.cancel()
	w.all.Wait()
	return nil
}

// run begins to do something, and returns how it ended, or how far it is when ctx ends or it takes long.
func (w *work) run(ctx context.Context, what, by string, most time.Duration,
	do func(context.Context, *api.BackendWork) error) (api.BackendWork, error) {
	now := &api.BackendWork{What: what, By: by, Began: time.Now().UTC()}
	w.mu.Lock()
	w.now = now
	w.mu.Unlock()
	ended := make(chan error, 1)
	w.all.Go(func() {
		long, cancel := context.WithTimeout(w.ctx, most)
		defer cancel()
		var result api.BackendWork
		err := do(long, &result)
		w.mu.Lock()
		defer w.mu.Unlock()
		now.Report, now.Comparison, now.Doctor = result.Report, result.Comparison, result.Doctor
		now.Ended = time.Now().UTC()
		if err != nil {
			now.Error = err.Error()
		}
		ended <- err
	})
	var err error
	wait := time.NewTimer(workWaits)
	defer wait.Stop()
	select {
	case err = <-ended:
	case <-wait.C:
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return *now, err
}

// progress takes down how far it is.
func (w *work) progress(says string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now != nil && w.now.Ended.IsZero() {
		w.now.Says = says
	}
}

// last is what is under way, or was last; nil before the first.
func (w *work) last() *api.BackendWork {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now == nil {
		return nil
	}
	now := *w.now
	return &now
}

// busy says what keeps the pair busy.
func (w *work) busy() string {
	if now := w.last(); now != nil && now.Ended.IsZero() {
		return fmt.Sprintf("%s asked for: %s, at %s (%s)", now.By, now.What, now.Began.Format(time.RFC3339), now.Says)
	}
	return "the members are being compared"
}

// done says what had been done when something failed.
func done(r *report.Report) string {
	if r == nil {
		return ""
	}
	var done []string
	for _, s := range r.Steps {
		if s.Done {
			done = append(done, s.Does)
		}
	}
	if len(done) == 0 {
		return " (nothing was changed)"
	}
	return " (done before that: " + strings.Join(done, "; ") + "; the command can be run again)"
}
