package httpd

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// quiet is a logger for what strangers can cause: a burst of lines, then one a second, which says how many are missing.
type quiet struct {
	logger  *slog.Logger
	allowed *rate.Limiter
	missing atomic.Uint64
}

const burst = 20

func newQuiet(l *slog.Logger) *quiet {
	return &quiet{logger: l, allowed: rate.NewLimiter(rate.Every(time.Second), burst)}
}

func (q *quiet) log(ctx context.Context, now time.Time, level slog.Level, message string, args ...any) {
	if !q.logger.Enabled(ctx, level) {
		return
	}
	if !q.allowed.AllowN(now, 1) {
		q.missing.Add(1)
		return
	}
	if n := q.missing.Swap(0); n > 0 {
		args = append(args, "not_logged", n)
	}
	q.logger.Log(ctx, level, message, args...)
}
