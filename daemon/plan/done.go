package plan

import (
	"errors"
	"slices"
	"time"
)

// Done is a step that was tried, as the journal of its episode keeps it.
type Done struct {
	Step
	Episode string        `json:"episode"` // id of the episode
	Started time.Time     `json:"started"`
	Took    time.Duration `json:"took"` // nanoseconds
	Error   string        `json:"error,omitempty"`
}

// Elsewhere is an error of a step that says nothing against its server: what it waits for comes with time, or another
// daemon is at work there.
type Elsewhere interface {
	error
	Elsewhere() bool
}

// Certain is an error of a step that leaves no doubt: another server, if there is one, is taken at once.
type Certain interface {
	error
	Certain() bool
}

func certain(err error) bool {
	sure := Certain(nil)
	return errors.As(err, &sure) && sure.Certain()
}

// slow is from when a step that failed has taken so long that it is not tried again where another server will do.
const slow = 2 * time.Second

// Tried is the episode after one of its steps, which failed so, or did not.
func (e Episode) Tried(d Done, err error) Episode {
	if other := Elsewhere(nil); errors.As(err, &other) && other.Elsewhere() {
		return e
	}
	before := e.failing(d.At)
	e.Failing = slices.DeleteFunc(slices.Clone(e.Failing), func(f Failing) bool { return f.Key == d.At })
	if len(e.Failing) == 0 {
		e.Failing = nil
	}
	if err == nil {
		return e
	}
	now := Failing{Key: d.At, Times: 1, Why: d.Error}
	if d.Took >= slow || certain(err) {
		now.Times = failsAfter
	}
	if before != nil {
		now.Times += before.Times
	}
	e.Failing = append(e.Failing, now)
	return e
}
