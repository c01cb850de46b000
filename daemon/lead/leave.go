package lead

import (
	"context"
	"fmt"
	"time"

	"orchestrator/backend"
)

// StepDown ends the leadership in order: what runs under it ends first, then the lease is released, and left to others
// for a TTL. It returns when the lease is free. It fails for a daemon that does not lead, or that cannot reach the
// lease: then it no longer leads, and the others wait for the TTL.
func (l *Lease) StepDown(ctx context.Context) error {
	done, err := l.ask(ctx)
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("step down: what runs under the leadership has not ended yet: %w", context.Cause(ctx))
	}
}

// Transfer begins what StepDown does, and does not wait for it. It is for what runs under the leadership, which must
// end first.
func (l *Lease) Transfer(ctx context.Context) error {
	_, err := l.ask(ctx)
	return err
}

func (l *Lease) ask(ctx context.Context) (done chan error, err error) {
	done = make(chan error, 1)
	select {
	case l.asked <- done:
		return done, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("step down: %w", context.Cause(ctx))
	}
}

func (l *Lease) stepDown(ctx context.Context) error {
	if s := l.Status(); !s.Leading {
		leader := s.Holder
		if leader == "" {
			leader = "nobody, as far as it knows,"
		}
		return fmt.Errorf("step down: this daemon does not lead; %s does", leader)
	}
	err := l.leave(ctx, "it was asked to step down")
	l.aside = time.Now().Add(l.ttl)
	if err != nil {
		return fmt.Errorf("step down: this daemon no longer leads, and could not release the lease, which others "+
			"take after %s: %w", l.ttl, err)
	}
	return nil
}

// over returns what is closed when fn has returned; nil while it is not running.
func (l *Lease) over() <-chan struct{} {
	if l.reign == nil {
		return nil
	}
	return l.reign.done
}

// end waits until fn has returned.
func (l *Lease) end(why string) {
	l.reign.stop()
	l.mu.Lock()
	l.reign = nil
	l.mu.Unlock()
	l.logger.Info("no longer leading", "term", l.row.Term, "why", why)
}

// leave ends the reign and releases the row, so that the next leader need not wait. ctx may have ended.
func (l *Lease) leave(ctx context.Context, why string) error {
	if l.reign == nil {
		return nil
	}
	term := l.row.Term
	l.end(why)
	// It is higher than any beat of this daemon that may still be under way, which must not bring the lease back.
	free := l.next(term)
	free.Holder = ""
	row, err := l.call(context.WithoutCancel(ctx), func(ctx context.Context) (backend.Hold, error) {
		return l.lease.Beat(ctx, free)
	})
	if err == nil {
		l.see(row)
	}
	return err
}
