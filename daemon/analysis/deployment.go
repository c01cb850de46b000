package analysis

import (
	"fmt"

	"orchestrator/daemon/topology"
)

// Codes about the daemons themselves, and about the backend that they share. They belong to no cluster.
const (
	DaemonsSplit       Code = "DaemonsSplit"
	DaemonSilent       Code = "DaemonSilent"
	BackendUnavailable Code = "BackendUnavailable"
	BackendMemberUnfit Code = "BackendMemberUnfit"
	BackendDiffers     Code = "BackendDiffers"
	StoreFailing       Code = "StoreFailing"
)

// Deployment is what a daemon knows of the others, and of the backend.
type Deployment struct {
	Disagree    []string // how daemons disagree on who leads, or on the backend; a sentence each
	Silent      []string // the other daemons that did not answer, and why
	Unavailable string   // why the backend can't be used; "" when it can
	Unfit       []Unfit  // members of the backend
	Differ      []string // the records that the members hold in two ways, as they were compared last
	Store       []string // what this daemon can't store, or has lost; a sentence each
}

// Unfit is a member of the backend that could not serve.
type Unfit struct {
	Member topology.Key
	Why    string
}

// deploymentRules are the lines of the documentation, in its order.
var deploymentRules = []struct {
	code        Code
	at, explain string
}{
	{DaemonsSplit, "daemons", "Two daemons lead, or use different members of the backend. No step that can't be " +
		"undone is then done without locks on a majority of the replicas. Check the network between daemons and " +
		"members. When they agree again, the members are compared and merged, and `GET /api/v1/backend/comparisons` " +
		"shows what differed."},
	{DaemonSilent, "daemons", "Another daemon that the configuration names does not answer. Failovers then need " +
		"locks on a majority of the replicas. Start it, or remove it from `peers.daemons`."},
	{BackendUnavailable, "backend", "This daemon can't use the backend. It keeps watching, and acts while its lease " +
		"is confirmed. Declarations are refused."},
	{BackendMemberUnfit, "member", "A member of the backend could not take over: it is out of reach, read-only, " +
		"stale, or does not replicate. `orchestrator backend doctor` says how to fix it."},
	{BackendDiffers, "backend", "The members have different versions of some records, and merging them has failed. " +
		"`orchestrator backend verify --repair` tries again, and says why not."},
	{StoreFailing, "daemon", "This daemon can't use its file (`backend.path`), can't store some records, has lost " +
		"what it had stored, or has read records whose versions are too far ahead (`backend.clock_ahead`). The " +
		"evidence says which. What could not be stored is kept in memory and tried again."},
}

// Findings says what is wrong with a deployment.
func (d Deployment) Findings() (out []Finding) {
	if len(d.Disagree) > 0 {
		out = append(out, Finding{Code: DaemonsSplit, Says: "the daemons disagree: " + d.Disagree[0],
			Evidence: d.Disagree})
	}
	if len(d.Silent) > 0 {
		out = append(out, Finding{Code: DaemonSilent, Says: many(len(d.Silent), "other daemon") + " can't be heard",
			Evidence: d.Silent})
	}
	if d.Unavailable != "" {
		out = append(out, Finding{Code: BackendUnavailable, Says: "the backend is unavailable",
			Evidence: []string{d.Unavailable}})
	}
	for _, u := range d.Unfit {
		out = append(out, Finding{Code: BackendMemberUnfit, At: u.Member,
			Says: fmt.Sprintf("the backend's member %v could not serve", u.Member), Evidence: []string{u.Why}})
	}
	if len(d.Differ) > 0 {
		out = append(out, Finding{Code: BackendDiffers, Says: "the backend's members differ in " +
			many(len(d.Differ), "record"), Evidence: d.Differ})
	}
	if len(d.Store) > 0 {
		out = append(out, Finding{Code: StoreFailing, Says: "the store of this daemon fails", Evidence: d.Store})
	}
	return out
}
