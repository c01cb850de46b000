package analysis

import (
	"fmt"
	"time"

	"orchestrator/daemon/topology"
)

// introduction is how long a server and its source may take to confirm each other before it is reported.
const introduction = 10 * time.Second

// strangerSays is silent about those that never answered: see UnknownReader; and about those that the configuration
// leaves out: people know of them.
func strangerSays(v *view) (string, []string) {
	s := v.Stranger
	switch {
	case s == nil || v.Instance == nil || s.Kind == topology.NotAdmitted:
		return "", nil
	case s.Kind == topology.Unconfirmed && v.f.at.Sub(s.Since) < introduction:
		return "", nil
	}
	text := fmt.Sprintf("%v registered as a replica, and no decision rests on it: %s.", v.Key, s.Kind.Says())
	out := []string{fmt.Sprintf("%v: %s", v.Key, s.Kind.Says())}
	if s.Why != "" {
		text += " " + s.Why + "."
		out = append(out, s.Why)
	}
	return text + " If it is yours, discover it by name.", out
}

func tooManySays(v *view) (string, []string) {
	if v.LeftOut == 0 {
		return "", nil
	}
	return fmt.Sprintf("%s has more registered replicas than this daemon looks at: %d are left out.", v.is(),
			v.LeftOut),
		[]string{fmt.Sprintf("%v: %s not looked at", v.Key, many(v.LeftOut, "registered name"))}
}
