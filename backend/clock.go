package backend

import (
	"math"
	"sync"
	"time"
)

// Clock gives the versions of records: a hybrid logical clock in microseconds. A version is never behind the wall
// clock, so versions of different daemons compare roughly as their times do. It is always above previous versions and
// above what was observed, so a change made after reading a record wins over that record although the wall clocks
// differ. Safe for concurrent use.
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
	// At the highest number it stays there: a version that overflowed would lose against everything.
	if c.last < math.MaxInt64 {
		c.last = max(c.now().UnixMicro(), c.last+1)
	}
	return c.last
}

// Observe takes a version that was read into account.
func (c *Clock) Observe(version int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = max(c.last, version)
}
