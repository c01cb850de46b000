package topology

import (
	"slices"
	"time"
)

// Stranger says why no decision may rest on a server. It is shown, and it is never a candidate, a donor or a witness,
// never has a vote, and no step is done there.
type Stranger struct {
	Kind StrangerKind `json:"kind"`
	// Since is when that was found; zero where nobody counted.
	Since time.Time `json:"since,omitzero"`
	Why   string    `json:"why,omitempty"` // for people
}

// StrangerKind is a reason.
type StrangerKind string

const (
	// Unconfirmed servers were found by a registration alone: anybody with an account for replication can register any
	// address. It ends once the server and its source have confirmed each other.
	Unconfirmed StrangerKind = "unconfirmed"
	// NotAdmitted servers are never asked: the configuration leaves them out, or the address is one where no managed
	// server is.
	NotAdmitted StrangerKind = "not_admitted"
	// Ahead servers were found by a registration, and have transactions that their living source, asked later, has not.
	Ahead StrangerKind = "ahead"
)

// StrangerKinds are all kinds.
func StrangerKinds() []StrangerKind { return []StrangerKind{Unconfirmed, NotAdmitted, Ahead} }

// Says is the kind in words, for people.
func (k StrangerKind) Says() string {
	switch k {
	case Unconfirmed:
		return "registered, not confirmed"
	case NotAdmitted:
		return "registered, not admitted"
	case Ahead:
		return "registered, has more than its source"
	}
	return ""
}

// Registration is a replica as its source lists it. The replica says all of it itself.
type Registration struct {
	Key      Key
	ServerID uint32
	UUID     string // MySQL
}

// Confirmation is as whom a server was confirmed that was found by its registration. Once its source is dead, nobody
// can confirm it again: so it is stored, and holds for the same server at the same address.
type Confirmation struct {
	Key      Key    `json:"server"`
	ServerID uint32 `json:"server_id"`
	UUID     string `json:"uuid,omitempty"`
}

// Confirms says that it is the same server.
func (c Confirmation) Confirms(i *Instance) bool { return i.ServerID == c.ServerID && i.UUID == c.UUID }

// Admitted is the part of the snapshot that decisions may rest on: without strangers. Whoever decides anything reads
// this.
func (s Snapshot) Admitted() Snapshot {
	strange := func(v Server) bool { return v.Stranger != nil }
	if slices.ContainsFunc(s.Servers, strange) {
		s.Servers = slices.DeleteFunc(slices.Clone(s.Servers), strange)
	}
	return s
}

// Strangers are the others, in the order of the snapshot.
func (s Snapshot) Strangers() []Server {
	var out []Server
	for _, v := range s.Servers {
		if v.Stranger != nil {
			out = append(out, v)
		}
	}
	return out
}
