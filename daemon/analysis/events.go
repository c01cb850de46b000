package analysis

import (
	"fmt"
	"strings"
)

// eventsNotRunSays leaves out a primary that has a source: in a circle, the server that an event came from runs it.
func eventsNotRunSays(v *view) (string, []string) {
	if !writes(v.Server) || len(v.Instance.Channels) > 0 || len(v.Instance.Dormant) == 0 {
		return "", nil
	}
	var out []string
	for _, name := range v.Instance.Dormant {
		out = append(out, fmt.Sprintf("%v: %s came by replication, and is disabled here", v.Key, name))
	}
	if !v.Instance.Scheduler {
		out = append(out, fmt.Sprintf("%v: event_scheduler is off", v.Key))
	}
	return fmt.Sprintf("%s does not run scheduled events that came from a former primary: %s. "+
		"Enable those that should run here: ALTER EVENT … ENABLE.", v.is(), strings.Join(v.Instance.Dormant, ", ")), out
}
