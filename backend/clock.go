package backend

import (
	"math"
	"sync"
	"time"
)

// Clock gives the versions of records: a hybrid logical clock in microseconds. What it gives is never behind the wall clock, so
// that versions of different daemons compare about as their times do; always above what it gave before and above what was observed,
// so that a change made after reading a record wins over that record although the wall clocks differ. Safe for concurrent use.
type Clock struct {
	now func() time.Time

	mu   sync.Mutex
	last int64
}

// NewClock returns a clock that follows now, which is time.Now outside tests.
func NewClock(now func() time.Time) *Clock { return &Clock{now: now} }

// Next returns the version for a write that happens now.
func (c *Clock) Next() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	// At the end of the numbers it stays there: a version that wrapped round would lose against everything.
	if c.last < math.MaxInt64 {
		c.last = max(c.now().UnixMicro(), c.last+1)
	}
	return c.last
}

// Observe tells the clock of a version that was read.
func (c *Clock) Observe(version int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last, version)
}
