package plan

import (
	"cmp"
	"slices"
	"strings"

	"orchestrator/daemon/topology"
)

// Kind of a work, and of its episode.
type Kind string

const (
	PrimaryFailover      Kind = "primary_failover"
	IntermediateFailover Kind = "intermediate_failover"
	// Aftercare is what an ended failover still needs. A former primary that comes back is fenced, a replica that comes
	// back is moved, a receiver that was left stopped is started. It has no episode of its own: its episode is the
	// ended one.
	Aftercare Kind = "aftercare"
)

// kind is a row of the table: all that the rest of the program must know of a kind of work.
type kind struct {
	name Kind
	says string // for people
	// promotes says that a work of the kind gives the cluster another primary.
	promotes bool
	// because is why a work of this kind goes before those below it.
	because string
}

// kinds is the table of precedence. A higher row goes first, and takes the servers that it claims from the rows below.
// A work that was pre-empted waits, and says for what. Then it is resumed, or closes when nothing is left to do.
var kinds = []kind{
	{PrimaryFailover, "failover of the primary", true,
		"nobody can write to the cluster until it is over, " +
			"and what its replicas have received must not change meanwhile"},
	{IntermediateFailover, "failover of the intermediate source", false,
		"the replicas below get no new data until it is over"},
	{Aftercare, "aftercare", false,
		"it sets right what an earlier failure has left, and nothing waits for it"},
}

// makers are the functions that make the works of each kind: open works first, then those that findings and requests
// call for.
var makers = map[Kind]func(*view) []work{
	PrimaryFailover:      primaryFailovers,
	IntermediateFailover: intermediateFailovers,
	Aftercare:            aftercares,
}

// work is one piece of work. Its type is that of its kind, in a file of its own.
type work interface {
	// failed is the server that it is about.
	failed() topology.Key
	// next says what to do now.
	next() Work
	// claims are the servers that no work after it may change meanwhile. It is asked after next.
	claims() []topology.Key
}

// Kinds are all kinds, in order of precedence.
func Kinds() []Kind {
	var out []Kind
	for _, k := range kinds {
		out = append(out, k.name)
	}
	return out
}

// EpisodeKinds are those whose works have episodes of their own.
func EpisodeKinds() []Kind {
	return slices.DeleteFunc(Kinds(), func(k Kind) bool { return k == Aftercare })
}

func (k Kind) row() *kind {
	for i := range kinds {
		if kinds[i].name == k {
			return &kinds[i]
		}
	}
	return nil
}

// Promotes says that a work of the kind gives the cluster another primary.
func (k Kind) Promotes() bool {
	row := k.row()
	return row != nil && row.promotes
}

// Says is the kind in words.
func (k Kind) Says() string {
	if row := k.row(); row != nil {
		return row.says
	}
	return strings.ReplaceAll(string(k), "_", " ")
}

// byAge puts episodes into the order in which works of one kind go: the oldest first.
func byAge(a, b Episode) int { return cmp.Or(a.Opened.Compare(b.Opened), cmp.Compare(a.ID, b.ID)) }

// open are the episodes of the kind that are not closed, the oldest first.
func (v *view) open(k Kind) []Episode {
	var out []Episode
	for _, e := range v.Episodes {
		if e.Kind == k && e.Closed.IsZero() {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, byAge)
	return out
}
