package analysis

import (
	"fmt"
	"strings"

	"orchestrator/daemon/topology"
)

func deadSays(v *view) string {
	who := fmt.Sprintf("%d of its %s", v.count(witnesses), many(len(v.replicas), "replica"))
	if single(v) {
		who = "its only replica"
	}
	text := fmt.Sprintf("%s is dead: it does not answer us, and %s can't reach it either", v.is(), who)
	if n := v.count(gone); n > 0 {
		text += fmt.Sprintf("; %d more can't be asked", n)
	}
	if n := v.count(cannotTell); n > 0 {
		text += fmt.Sprintf("; %d can't tell", n)
	}
	return text + "."
}

func desertedSays(v *view) string {
	cause := "the cause may be our own network"
	if o := v.anotherAnswers(); o != nil {
		cause = fmt.Sprintf("%v answers, so our own network is not all down", o.Key)
	}
	if single(v) {
		return fmt.Sprintf("%s does not answer, and neither does its only replica: there is no witness, and %s.",
			v.is(), cause)
	}
	return fmt.Sprintf("%s does not answer, and neither does any of its %s: there is no witness, and %s.",
		v.is(), many(len(v.replicas), "replica"), cause)
}

// anotherAnswers is the first other server of the cluster that answers; nil when there is none.
func (v *view) anotherAnswers() *topology.Server {
	for _, o := range v.f.members[v.Cluster] {
		if o.Key != v.Key && o.Up() {
			return &o
		}
	}
	return nil
}

func aloneSays(v *view) string {
	return fmt.Sprintf("%s does not answer, and it has no replica that could be promoted.", v.is())
}

func untestedSays(v *view) string {
	return fmt.Sprintf("%s does not answer, and its only replica can't tell whether it lives.", v.is())
}

// unreachableSays holds for what no more precise code says of a server that does not answer.
func unreachableSays(late bool) func(*view) (string, []string) {
	return func(v *view) (string, []string) {
		switch v.verdict {
		case unreachable:
		case unwitnessed:
			if v.role == intermediate && single(v) { // DeadIntermediateWithSingleReplica
				return "", nil
			}
		default:
			return "", nil
		}
		if v.receiversLate() != late {
			return "", nil
		}
		return unreachableText(v), v.unreachableEvidence()
	}
}

func unreachableText(v *view) string {
	var why []string
	if n := v.count(receives); n > 0 {
		text, lag := fmt.Sprintf("%d of its %s still receive from it", n, many(len(v.replicas), "replica")), "lag"
		if n == 1 {
			text, lag = fmt.Sprintf("1 of its %s still receives from it", many(len(v.replicas), "replica")), "lags"
		}
		if v.receiversLate() {
			text += ", and " + lag
		}
		why = append(why, text)
	}
	if n := v.count(pending); n > 0 {
		why = append(why, fmt.Sprintf("%s must be asked again", many(n, "replica")))
	}
	if v.verdict == unwitnessed {
		text := fmt.Sprintf("none of its %s can tell", many(len(v.replicas), "replica"))
		if single(v) {
			text = "its only replica can't tell"
		}
		why = append(why, text)
	}
	if v.verdict == unreachable && v.count(witnesses) > 0 && len(why) == 0 && v.minority() {
		why = append(why, v.minoritySays())
	}
	if unresolved(v.Server) {
		why = append(why, "this daemon can't resolve its name, which says nothing of the server: have it resolve on "+
			"the host of this daemon")
	} else if silence := v.silence(); !v.Probe.Failure.Dead() && silence < v.f.t.Verdict() {
		why = append(why, fmt.Sprintf("it has been silent for %s of %s only", span(silence), span(v.f.t.Verdict())))
	}
	return fmt.Sprintf("%s does not answer us, and is not proved dead: %s.", v.is(), strings.Join(why, "; "))
}

// unreachableEvidence has all testimonies, and what else is missing for a verdict.
func (v *view) unreachableEvidence() []string {
	out := v.testimonies()
	for _, line := range v.missing {
		known := false
		for _, r := range v.replicas {
			known = known || r.says == line
		}
		if !known {
			out = append(out, line)
		}
	}
	return out
}

func formerSays(v *view) (string, []string) {
	switch {
	case v.verdict == unreachable, v.verdict == unwitnessed:
		return unreachableText(v), v.unreachableEvidence()
	case v.verdict == deserted:
		return desertedSays(v), v.testimonies()
	case v.verdict == dead && !primaryLives(v):
		return fmt.Sprintf("%s is dead, and so, it seems, is %v, the primary that its replicas could be moved to.",
				v.is(), v.primary.Key),
			append(v.testimonies(), fmt.Sprintf("%v: %s", v.primary.Key, howFailed(v.primary, v.f.at)))
	}
	return "", nil
}

func refusesSays(v *view) (string, []string) {
	if v.verdict != refuses {
		return "", nil
	}
	return fmt.Sprintf("%s is alive, and does not accept our connection: %s.", v.is(), howFailed(v.Server, v.f.at)),
		[]string{v.asked()}
}

func idleSays(fits func(replicas, up int) bool) func(*view) (string, []string) {
	return func(v *view) (string, []string) {
		up, idle := v.idle(1)
		if !v.Up() || !idle || !fits(len(v.replicas), up) {
			return "", nil
		}
		if single(v) && up == 0 {
			return fmt.Sprintf("%s answers, and its only replica %v does not.", v.is(), v.replicas[0].Key),
				v.standings()
		}
		if single(v) {
			return fmt.Sprintf("%s answers, but its only replica %v does not replicate.", v.is(), v.replicas[0].Key),
				v.standings()
		}
		return fmt.Sprintf("%s answers, but none of its %s replicates; %d of them answer.", v.is(),
			many(len(v.replicas), "replica"), up), v.standings()
	}
}

func intermediateIdleSays(v *view) (string, []string) {
	if v.allFail() {
		return "", nil
	}
	return idleSays(func(int, int) bool { return true })(v)
}

func allFailSays(v *view) (string, []string) {
	if !v.Up() || !v.allFail() {
		return "", nil
	}
	return fmt.Sprintf("%s answers us, but none of its %s can connect to it.", v.is(),
		many(len(v.replicas), "replica")), v.standings()
}
