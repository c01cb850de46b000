package analysis

import (
	"fmt"
	"slices"

	"orchestrator/daemon/topology"
)

// manyTransactions is how many a replica must lack of what its source had before, to be called behind by them. Below
// that they may be under way.
const manyTransactions = 10000

// incompleteSourceSays holds for a source whose replicas get only a part of what it has.
func incompleteSourceSays(v *view) (string, []string) {
	if !v.Up() || len(v.replicas) == 0 {
		return "", nil
	}
	i, why := v.Instance, ""
	switch {
	case !i.LogBin:
		why = "has no binary log"
	case len(i.Channels) > 0 && !i.LogReplicaUpdates:
		why = "does not log what it replicates (log_replica_updates is off)"
	case i.BinlogFilters:
		why = "logs only a part of its databases (binlog_do_db, binlog_ignore_db)"
	case slices.ContainsFunc(i.Channels, func(c topology.Channel) bool { return c.Filters }):
		why = "filters what it replicates"
	default:
		return "", nil
	}
	return fmt.Sprintf("%s %s, so its %s only a part of the data.", v.is(), why, manyGet(len(v.replicas))),
		[]string{fmt.Sprintf("%v: log_bin is %s, log_replica_updates is %s", v.Key, onOff(i.LogBin),
			onOff(i.LogReplicaUpdates))}
}

func manyGet(n int) string {
	if n == 1 {
		return "replica gets"
	}
	return fmt.Sprintf("%d replicas get", n)
}

// replicaBehindSays compares what a replica has received with what its source had when that was asked, no later. The
// clock that a replica tells its lag by stands still while its receiver does.
func replicaBehindSays(v *view) (string, []string) {
	if !v.Up() || v.late() != nil {
		return "", nil
	}
	for _, c := range v.Instance.Channels {
		source := v.f.servers[c.Source]
		if n := v.Instance.Executed.Missing(c.Received); n >= manyTransactions && c.SQL == topology.Running &&
			c.Lag != nil && *c.Lag == 0 && c.Delay == 0 {
			return fmt.Sprintf("%s has not applied %d transactions that it received from %v, although it says that it "+
					"is 0 s behind. Check its applier.", v.is(), n, c.Source),
				[]string{fmt.Sprintf("%v: has not applied %s", v.channel(c),
					c.Received.Subtract(v.Instance.Executed).Text())}
		}
		if source == nil || !source.Up() || source.Probe.Answered.After(v.Probe.Answered) || !c.AutoPosition ||
			c.IO != topology.Running || c.Lag == nil {
			continue
		}
		if n := v.Received().Missing(source.Instance.Executed); n >= manyTransactions {
			return fmt.Sprintf("%s lacks %d transactions of %v, although it says that it is %d s behind.", v.is(), n,
					c.Source, *c.Lag),
				[]string{fmt.Sprintf("%v: its receiver runs, and has not received %s", v.channel(c),
					source.Instance.Executed.Subtract(v.Received()).Text())}
		}
	}
	return "", nil
}
