package hook

import (
	"fmt"
	"strconv"
	"strings"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// Environment is what a command is told besides its standard input, under the names that scripts of the old tool read, so that those go on working;
// ORC_MOMENT, ORC_HOOK, ORC_ATTEMPT, ORC_TEST and ORC_EPISODE are new.
func Environment(m Message) []string {
	e := m.Episode
	primary := e.Kind == plan.PrimaryFailover
	of := "intermediate-primary"
	if primary {
		of = "primary"
	}
	done := m.Moment == Promoted || m.Moment == Recovered || m.Moment == Fenced
	var lost []topology.Key
	for _, l := range e.Lost {
		lost = append(lost, l.Key)
	}
	vars := []struct{ name, value string }{
		{"MOMENT", string(m.Moment)}, {"HOOK", m.Hook}, {"ATTEMPT", strconv.Itoa(m.Attempt)}, {"TEST", strconv.FormatBool(m.Test)}, {"EPISODE", e.ID},
		{"FAILURE_TYPE", classic(e.Code)}, {"INSTANCE_TYPE", old.Replace(of)}, {"IS_MASTER", strconv.FormatBool(primary)},
		{"IS_CO_MASTER", "false"}, {"FAILURE_DESCRIPTION", strings.Join(e.Evidence, "; ")}, {"COMMAND", ""},
		{"FAILED_HOST", e.Failed.Host}, {"FAILED_PORT", port(e.Failed)}, {"FAILURE_CLUSTER", m.Cluster}, {"FAILURE_CLUSTER_ALIAS", m.Alias},
		{"COUNT_REPLICAS", strconv.Itoa(len(m.Replicas))}, {"REPLICA_HOSTS", list(m.Replicas)}, {"LOST_REPLICAS", list(lost)},
		{"IS_SUCCESSFUL", strconv.FormatBool(done)}, {"ORCHESTRATOR_HOST", m.Daemon}, {"RECOVERY_UID", e.ID},
	}
	if done && !e.Candidate.IsZero() {
		vars = append(vars, []struct{ name, value string }{
			{"SUCCESSOR_HOST", e.Candidate.Host}, {"SUCCESSOR_PORT", port(e.Candidate)}, {"SUCCESSOR_BINLOG_COORDINATES", m.Position},
			{"SUCCESSOR_ALIAS", m.Alias}}...)
	}
	var out []string
	for _, v := range vars {
		out = append(out, fmt.Sprintf("ORC_%s=%s", v.name, strings.ReplaceAll(v.value, "\x00", "")))
	}
	return out
}

// old turns our words into those that the scripts know.
var old = strings.NewReplacer("primary", "master", "Primary", "Master")

func classic(c analysis.Code) string {
	s := old.Replace(string(c))
	if strings.Contains(s, "Intermediate") {
		s = strings.ReplaceAll(s, "Intermediate", old.Replace("IntermediatePrimary"))
	}
	return s
}

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
