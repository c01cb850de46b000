package backend

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// Clock gives the versions of records: a hybrid logical clock in microseconds. A version is never behind the wall
// clock, so versions of different daemons compare roughly as their times do. It is always above previous versions and
// above what was observed, so a change made after reading a record wins over that record although the wall clocks
// differ. Safe for concurrent use.
//
// It is bounded: it follows neither a record that is further ahead than MaxAhead, nor a wall clock that is set further
// ahead while the program runs. Otherwise one wrong version would carry all daemons to the end of all numbers, where no
// write can win any more.
type Clock struct {
	now    func() time.Time
	began  time.Time            // of the program
	passed func() time.Duration // since then; right, however the wall clock is set

	mu      sync.Mutex
	ahead   time.Duration
	last    int64
	floor   int64 // see Resume
	age     int64 // see ResumeAge; 0: not known
	runaway map[name]Record
}

// MaxAhead is the default of how far ahead of this daemon's clock a version may be.
const MaxAhead = time.Hour

// mostRunaway is how many records that are too far ahead are remembered by name.
const mostRunaway = 100

// NewClock returns a clock that follows now, which is time.Now outside tests.
func NewClock(now func() time.Time) *Clock {
	began := now()
	return &Clock{now: now, began: began, passed: func() time.Duration { return now().Sub(began) }, ahead: MaxAhead,
		runaway: map[name]Record{}}
}

// Bound replaces MaxAhead.
func (c *Clock) Bound(ahead time.Duration) *Clock {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ahead > 0 {
		c.ahead = ahead
	}
	return c
}

// wall is the time in microseconds; mu is held. A clock that is set far ahead while the program runs is not followed.
func (c *Clock) wall() int64 {
	passed := c.began.Add(c.passed()).UnixMicro()
	if w := c.now().UnixMicro(); w <= passed+c.ahead.Microseconds() {
		return w
	}
	return passed
}

// limit is the highest version that is not too far ahead; mu is held. A wall clock that is behind, by a step or from
// the start, does not make what others have written wrong.
func (c *Clock) limit() int64 {
	passed := c.began.Add(c.passed()).UnixMicro()
	return max(c.wall(), passed, c.floor) + c.ahead.Microseconds()
}

// Next returns the version for a write that happens now.
func (c *Clock) Next() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	// At the highest number it stays there: a version that overflowed would lose against everything.
	if c.last < math.MaxInt64 {
		c.last = max(c.wall(), c.last+1)
	}
	return c.last
}

// Resume goes on from a version that this daemon itself has kept as its latest, whatever the wall clock says now.
func (c *Clock) Resume(version int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last, c.floor = max(c.last, version), max(c.floor, version)
}

// Now is the time, by the wall clock as long as that is followed.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.UnixMicro(c.wall())
}

// ResumeAge goes on from what Age was when this daemon kept it last. Unlike a version, it never was ahead because a
// wall clock was: not even if that is ahead at every start.
func (c *Clock) ResumeAge(age int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.age = max(c.age, age)
}

// Age is the time from which age is counted, as a version. A wall clock that is set ahead makes nothing older. The same
// if it was ahead when the program began: the time goes on from where this daemon has kept it, so what was written
// before it stopped is kept longer by as long as it was stopped.
func (c *Clock) Age() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, since := c.wall(), c.floor
	if c.age > 0 {
		since = c.age
	}
	if since > 0 {
		now = min(now, since+c.passed().Microseconds())
	}
	return now
}

// Before is the version of what is older than kept, and may be removed for it.
func (c *Clock) Before(kept time.Duration) int64 { return c.Age() - kept.Microseconds() }

// Latest is the highest version given or observed.
func (c *Clock) Latest() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// Observe takes a version that was read into account. It refuses one that is too far ahead.
func (c *Clock) Observe(version int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.observe(version)
}

func (c *Clock) observe(version int64) error {
	if limit := c.limit(); version > limit {
		return &RunawayError{Version: version, Limit: limit, Ahead: c.ahead}
	}
	c.last = max(c.last, version)
	return nil
}

// See observes the version of a record, and remembers it by name while it is too far ahead.
func (c *Clock) See(r Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := name{r.Kind, r.Key}
	err := c.observe(r.Version)
	if err == nil {
		delete(c.runaway, n)
	} else if _, known := c.runaway[n]; known || len(c.runaway) < mostRunaway {
		r.Document = nil
		c.runaway[n] = r
	}
	return err
}

// Runaway names the records that were read and whose versions are too far ahead.
func (c *Clock) Runaway() (says []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	limit := c.limit()
	for n, r := range c.runaway {
		if r.Version <= limit { // time has passed
			delete(c.runaway, n)
			continue
		}
		says = append(says, fmt.Sprintf("%s %.80q, written by %.80q, has version %d (%s)", r.Kind, r.Key, r.Writer,
			r.Version, dated(r.Version)))
	}
	slices.Sort(says)
	return says
}

// RunawayError says that a version is too far ahead.
type RunawayError struct {
	Version, Limit int64
	Ahead          time.Duration
}

func (e *RunawayError) Error() string {
	return fmt.Sprintf("version %d (%s) is more than %v ahead of this daemon's clock (%s): compare the clocks of the "+
		"daemons; see backend.clock_ahead", e.Version, dated(e.Version), e.Ahead,
		dated(e.Limit-e.Ahead.Microseconds()))
}

func dated(version int64) string { return time.UnixMicro(version).UTC().Format("2006-01-02 15:04:05") }
