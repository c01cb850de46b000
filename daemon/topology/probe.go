package topology

import (
	"time"
)

// Failure says how asking a server failed; the ways differ in what they prove.
type Failure string

const (
	OK       Failure = ""
	Refused  Failure = "refused"  // nothing listens there: the host is alive, the server is not
	Reset    Failure = "reset"    // the connection broke under us
	Timeout  Failure = "timeout"  // silence: a hang, a cut, or only slow
	Shutdown Failure = "shutdown" // 1053: it says that it is going down
	TooMany  Failure = "too_many_connections"
	Denied   Failure = "access_denied" // login or GRANT
	TLSError Failure = "tls"
	Alien    Failure = "not_mysql" // something answers, and it is no such server
	NoHost   Failure = "no_such_host"
	Barred   Failure = "not_admitted" // it was not asked: see NotAdmitted
	Other    Failure = "other"
)

// Alive says that the failure itself proves a living server behind it.
func (f Failure) Alive() bool {
	switch f {
	case OK, TooMany, Denied, TLSError, Other:
		return true
	}
	return false
}

// Dead says that the failure itself proves that no server process answers there: the host is alive and nothing listens,
// or the server said that it shuts down.
func (f Failure) Dead() bool { return f == Refused || f == Shutdown }

// Probe tells how asking a server went.
type Probe struct {
	Asked    time.Time `json:"asked,omitzero"`    // start of the last finished probe
	Answered time.Time `json:"answered,omitzero"` // start of the last probe that was answered whole
	Failure  Failure   `json:"failure,omitempty"`
	Error    string    `json:"error,omitempty"` // for people; never with a secret
	// FailingSince is the start of the first probe of the present unbroken row of failures; zero while it answers. What
	// replicas say counts as evidence only when they were asked after it.
	FailingSince time.Time `json:"failing_since,omitzero"`
	Failures     int       `json:"failures,omitempty"` // in that row
}
