package plan

import (
	"fmt"
	"strings"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// Step is one idempotent act at one server.
type Step struct {
	Kind StepKind     `json:"kind"`
	At   topology.Key `json:"at"`
	// Parameters: what to do. Each kind takes some; see the table.
	From   topology.Key `json:"from,omitzero"`   // the channels that receive from this server; zero: all channels
	Source topology.Key `json:"source,omitzero"` // the server to replicate from
	Set    gtid.Set     `json:"set,omitzero"`    // what must be executed
	// SemiSync says whether commits wait for acknowledgements from now on.
	SemiSync Switch `json:"semi_sync,omitempty"`
	// Events turns the event scheduler on, which a fence turned off.
	Events bool   `json:"events,omitempty"`
	Table  string `json:"table,omitempty"` // "database.table", to write a row to
	// Expect is what must hold at the server just before.
	Expect Expect `json:"expect,omitzero"`
	Why    string `json:"why"`
}

// Expect is what must hold at the server. It is checked on the connection that acts, under its advisory lock. A zero
// field is not checked.
type Expect struct {
	UUID     string   `json:"uuid,omitempty"`    // the same server still stands behind the key
	Executed gtid.Set `json:"executed,omitzero"` // it has executed at least this
	Within   gtid.Set `json:"within,omitzero"`   // what it received is at most this
	// Kept is what it received and must not lose by the step: it has applied that, or keeps its relay logs.
	Kept    gtid.Set     `json:"kept,omitzero"`
	NotFrom topology.Key `json:"not_from,omitzero"` // it does not receive from this server
	Source  topology.Key `json:"source,omitzero"`   // its configured source is this, or none
}

// StepKind names an idempotent act at one server.
type StepKind string

const (
	// RestartReceiver stops and starts the IO thread, so that the replica finds out whether its source is alive.
	RestartReceiver StepKind = "restart_receiver"
	StopReceiver    StepKind = "stop_receiver"  // the IO thread; what was received stays, and goes on being applied
	StartReceiver   StepKind = "start_receiver" // takes StopReceiver back
	StartApplier    StepKind = "start_applier"
	AwaitApplied    StepKind = "await_applied" // wait, a second at most, until Set is executed
	Promote         StepKind = "promote"       // stop and forget replication, open for writes
	Repoint         StepKind = "repoint"       // replicate from Source from now on
	Fence           StepKind = "fence"         // read-only
	Detach          StepKind = "detach"        // reversibly: stop, and spoil the source's host name with "//"
	SemiSyncOn      StepKind = "semi_sync_on"  // commits wait for acknowledgements of replicas
	SemiSyncOff     StepKind = "semi_sync_off" // commits do not wait, also those that hang now
	TryWrite        StepKind = "try_write"     // commit a row of our own, where the operator has a table for it
)

// stepKind is a row of the table: all that is known of a kind of step.
type stepKind struct {
	name StepKind
	// irreversible steps need a permit, and every server is probed again before them.
	irreversible bool
	// lacks names a parameter or precondition without which the step must not be done; "" when it has all.
	lacks func(Step) string
	// does changes a server on paper, as one would that obeys at once.
	does func(paper, Step)
	// says is the step in words; {at}, {from} and {source} stand for the servers.
	says string
}

var stepKinds = []stepKind{
	{RestartReceiver, false, lacksFrom, paper.startReceivers, "restart the receiver of {at}"},
	{StopReceiver, false, lacksFrom, paper.stopReceivers, "stop the receiver of {at}"},
	{StartReceiver, false, lacksFrom, paper.startReceivers, "start the receiver of {at}"},
	{StartApplier, false, lacksNothing, paper.startAppliers, "start the applier of {at}"},
	{AwaitApplied, false, lacksSet, paper.apply, "wait until {at} has applied what it received"},
	{Promote, true, lacksNotFrom, paper.promote, "open {at} for writes"},
	{Repoint, true, lacksSource, paper.repoint, "have {at} replicate from {source}"},
	{Fence, false, lacksNothing, paper.fence, "make {at} read-only"},
	{Detach, true, lacksFrom, paper.detach, "detach {at} from {from}, so that it can be attached again"},
	{SemiSyncOn, false, lacksNothing, paper.semiSyncOn, "have commits at {at} wait for acknowledgements"},
	{SemiSyncOff, false, lacksNothing, paper.semiSyncOff, "have commits at {at} go on without acknowledgements"},
	{TryWrite, false, lacksTable, paper.commit, "commit a row at {at}, to see that it takes writes"},
}

func lacksNothing(Step) string { return "" }

func lacksFrom(s Step) string { return unless(!s.From.IsZero(), "the source of its channel") }

func lacksSet(s Step) string { return unless(!s.Set.Empty(), "what must be applied") }

func lacksTable(s Step) string { return unless(s.Table != "", "the table to write to") }

func lacksSource(s Step) string { return unless(!s.Source.IsZero(), "the new source") }

func lacksNotFrom(s Step) string {
	return unless(!s.Expect.NotFrom.IsZero(), "the server from which it must not receive")
}

func unless(there bool, what string) string {
	if there {
		return ""
	}
	return what
}

func (k StepKind) row() *stepKind {
	for i := range stepKinds {
		if stepKinds[i].name == k {
			return &stepKinds[i]
		}
	}
	return nil
}

// StepKinds are all kinds.
func StepKinds() []StepKind {
	var out []StepKind
	for _, k := range stepKinds {
		out = append(out, k.name)
	}
	return out
}

// Irreversible says that Permit must be called, and every server probed again, before the step. An unknown kind is
// irreversible.
func (k StepKind) Irreversible() bool {
	row := k.row()
	return row == nil || row.irreversible
}

// Check returns an error when the step can't be done, because its kind is unknown or a field is missing. It is called
// before every step.
func (s Step) Check() error {
	row := s.Kind.row()
	if row == nil {
		return fmt.Errorf("there is no step of kind %q", s.Kind)
	}
	if what := row.lacks(s); what != "" {
		return fmt.Errorf("the step %s at %v does not name %s", s.Kind, s.At, what)
	}
	return nil
}

// Says is the step in words.
func (s Step) Says() string {
	row := s.Kind.row()
	if row == nil {
		return fmt.Sprintf("%s at %v", s.Kind, s.At)
	}
	names := strings.NewReplacer("{at}", s.At.String(), "{from}", s.From.String(), "{source}", s.Source.String())
	return names.Replace(row.says)
}
