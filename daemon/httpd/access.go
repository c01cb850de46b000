package httpd

// Access is what a request needs before a handler sees it: the least role, or nothing.
type Access int

const (
	// Administer is the zero value, so a mount that states no access is protected best.
	Administer Access = iota
	Operate
	Read // needs a role only where Options.TokenForReads says so
	Open // needs nothing: health checks, and handlers that check signatures of their own
)

// Changes says whether requests of this kind may change something. Pages of other sites can't send them.
func (a Access) Changes() bool { return a == Administer || a == Operate }

// Role is the least one that may send such requests; "" where none is needed.
func (a Access) Role() Role {
	switch a {
	case Open:
		return ""
	case Read:
		return ReadOnly
	case Operate:
		return Operator
	}
	return Admin
}

// Role is what somebody may do. Each includes the ones before it; "" allows nothing.
type Role string

const (
	ReadOnly Role = "read"
	Operator Role = "operate"
	Admin    Role = "admin"
)

// May says whether somebody with this role may send such requests.
func (r Role) May(a Access) bool {
	switch r {
	case Admin:
		return true
	case Operator:
		return a != Administer
	case ReadOnly:
		return !a.Changes()
	}
	return a == Open
}
