package client

import (
	"errors"
	"fmt"
	"net/http"

	"orchestrator/daemon/httpd"
)

// Unreachable is returned when no endpoint answered.
type Unreachable struct {
	Tried []error // a line an endpoint
}

func (u *Unreachable) Error() string {
	return fmt.Sprintf("no daemon answers: %v; check that one runs, and its address (ORCHESTRATOR_API)",
		errors.Join(u.Tried...))
}

func (u *Unreachable) Unwrap() []error { return u.Tried }

// Refused is returned when a daemon answered, and the answer was no.
type Refused struct {
	Endpoint string
	httpd.Problem
}

func (r *Refused) Error() string { return r.Detail }

// NotFound says that err is a daemon's word that something does not exist.
func NotFound(err error) bool {
	r := new(Refused)
	return errors.As(err, &r) && r.Status == http.StatusNotFound
}

// failures are the errors of the endpoints that were asked so far.
type failures struct {
	tried   []error
	refused *Refused
}

// add reports whether the error is final. What one daemon refuses, the others would refuse as well, unless it could not
// store it.
func (f *failures) add(err error) bool {
	r := new(Refused)
	if !errors.As(err, &r) {
		f.tried = append(f.tried, err)
		return false
	}
	f.refused = r
	return r.Status != http.StatusServiceUnavailable
}

func (f *failures) sum() error {
	if f.refused != nil {
		return f.refused
	}
	return &Unreachable{Tried: f.tried}
}
