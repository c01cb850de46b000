package hook

import "time"

// Tenure is how long the configuration has had a moment of a hook. Daemons are reloaded one after the other, and each
// follows its own configuration while it leads: what one of them lacks may only be new to it.
type Tenure struct {
	Since time.Time `json:"since"`
	Gone  time.Time `json:"gone,omitzero"` // when a leader first lacked it; zero: the last leader has it
}

// Rollout is how long a change of the configuration may take. What comes back within that time was never gone, so that
// nothing is lost when a daemon leads that was not reloaded yet. What comes back later is new: otherwise it would be
// notified of what happened in between.
const Rollout = time.Hour

// Has is the tenure after a leader had the moment of the hook in its configuration. A tenure that is yet to begin was
// noted by a clock that was ahead, or this one was set back since: what happens now would be before it. What is under
// way is not left out.
func (t Tenure) Has(now time.Time) Tenure {
	if t.Since.After(now) {
		return Tenure{Since: now.Add(-Rollout)}
	}
	if t.Since.IsZero() || !t.Gone.IsZero() && now.Sub(t.Gone) > Rollout {
		return Tenure{Since: now}
	}
	return Tenure{Since: t.Since}
}

// Lacks is the tenure after it had not.
func (t Tenure) Lacks(now time.Time) Tenure {
	if t.Gone.IsZero() {
		t.Gone = now
	}
	return t
}

// TenureKey is the key of the record of a tenure.
func TenureKey(hook string, m Moment) string { return hook + "/" + string(m) }
