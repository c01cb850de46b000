package hook

import "time"

// Tenure is how long the configuration has had a moment of a hook. Daemons are reloaded one after the other, and each goes by its own configuration while
// it leads: what one of them lacks may be what it has not heard of yet.
type Tenure struct {
	Since time.Time `json:"since"`
	Gone  time.Time `json:"gone,omitzero"` // when a daemon that led was the first to lack it; zero: the last one that led has it
}

// Rollout is how long a change of the configuration may be under way: what comes back within it was never gone, so that nothing is lost where the lead
// passed to a daemon that was not reloaded yet. What comes back later is new: else it would be told what happened while nobody wanted it told.
const Rollout = time.Hour

// Has is the tenure when a daemon that leads has the moment of the hook in its configuration.
func (t Tenure) Has(now time.Time) Tenure {
	if t.Since.IsZero() || !t.Gone.IsZero() && now.Sub(t.Gone) > Rollout {
		return Tenure{Since: now}
	}
	return Tenure{Since: t.Since}
}

// Lacks is the tenure when it has not.
func (t Tenure) Lacks(now time.Time) Tenure {
	if t.Gone.IsZero() {
		t.Gone = now
	}
	return t
}

// TenureKey is that of the record of a tenure.
func TenureKey(hook string, m Moment) string { return hook + "/" + string(m) }
