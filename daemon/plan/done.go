package plan

import "time"

// Done is a step that was tried, as the journal of its episode keeps it.
type Done struct {
	Step
	Episode string        `json:"episode"` // id of the episode
	Started time.Time     `json:"started"`
	Took    time.Duration `json:"took"` // nanoseconds
	Error   string        `json:"error,omitempty"`
}
