package hook

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"orchestrator/daemon/topology"
)

// Environment is what a command gets besides its standard input, by the names that the predecessor of this program
// used, so that scripts go on working. ORC_MOMENT, ORC_HOOK, ORC_ATTEMPT, ORC_TEST and ORC_EPISODE are new.
func Environment(m Message) []string {
	e := m.Episode
	primary := e.Kind.Promotes()
	of := "intermediate-master"
	if primary {
		of = "master"
	}
	done := m.Moment == Promoted || m.Moment == Recovered || m.Moment == Fenced
	var lost []topology.Key
	for _, l := range e.Lost {
		lost = append(lost, l.Key)
	}
	type pair struct{ name, value string }
	vars := []pair{
		{"MOMENT", string(m.Moment)}, {"HOOK", m.Hook}, {"ATTEMPT", strconv.Itoa(m.Attempt)},
		{"TEST", strconv.FormatBool(m.Test)}, {"EPISODE", e.ID},
		{"FAILURE_TYPE", old.Replace(string(e.Code))}, {"INSTANCE_TYPE", of},
		{"IS_MASTER", strconv.FormatBool(primary)},
		{"IS_CO_MASTER", "false"}, {"FAILURE_DESCRIPTION", strings.Join(e.Evidence, "; ")}, {"COMMAND", ""},
		{"FAILED_HOST", e.Failed.Host}, {"FAILED_PORT", port(e.Failed)}, {"FAILURE_CLUSTER", m.Cluster},
		{"FAILURE_CLUSTER_ALIAS", m.Alias},
		{"COUNT_REPLICAS", strconv.Itoa(len(m.Replicas))}, {"REPLICA_HOSTS", list(m.Replicas)},
		{"LOST_REPLICAS", list(lost)},
		{"IS_SUCCESSFUL", strconv.FormatBool(done)}, {"ORCHESTRATOR_HOST", m.Daemon}, {"RECOVERY_UID", e.ID},
	}
	if done && !e.Candidate.IsZero() {
		vars = append(vars, pair{"SUCCESSOR_HOST", e.Candidate.Host}, pair{"SUCCESSOR_PORT", port(e.Candidate)},
			pair{"SUCCESSOR_BINLOG_COORDINATES", m.Position}, pair{"SUCCESSOR_ALIAS", m.Alias})
	}
	var out []string
	for _, v := range vars {
		out = append(out, fmt.Sprintf("ORC_%s=%s", v.name, strings.ReplaceAll(v.value, "\x00", "")))
	}
	return out
}

// replaced are the placeholders of the predecessor for which there is a variable.
var replaced = strings.Fields(`failureType instanceType isMaster isCoMaster failureDescription command failedHost failedPort failureCluster failureClusterAlias
	countSlaves countReplicas slaveHosts replicaHosts lostSlaves lostReplicas isSuccessful orchestratorHost recoveryUID
	successorHost successorPort successorBinlogCoordinates successorAlias`)

// Variable is the environment variable in place of {placeholder} of the predecessor; "" if it had no such placeholder.
func Variable(placeholder string) string {
	if !slices.Contains(replaced, placeholder) {
		return ""
	}
	words := strings.ToUpper(hump.ReplaceAllString(placeholder, "${1}_$2"))
	return "ORC_" + strings.ReplaceAll(words, "SLAVE", "REPLICA")
}

var hump = regexp.MustCompile(`([a-z])([A-Z])`)

// old translates the codes of findings into those that scripts know.
var old = strings.NewReplacer("Primary", "Master", "Intermediate", "IntermediateMaster")

func port(k topology.Key) string {
	if k.IsZero() {
		return ""
	}
	return strconv.Itoa(int(k.Port))
}

func list(keys []topology.Key) string {
	texts := make([]string, len(keys))
	for i, k := range keys {
		texts[i] = k.String()
	}
	return strings.Join(texts, ",")
}
