package pair

import (
	"fmt"
	"time"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

func (d *doctor) channel(e *Exam, c Channel) {
	if t := c.Trouble(); t != "" {
		say := Complaint{At: e.Key, Code: "replication", Says: fmt.Sprintf("it does not replicate from %v: %s",
			c.Source, t), Needs: e.dialect().Say(server.Start).Needs}
		switch {
		case c.SQLErrno != 0:
			say.Do = fmt.Sprintf("fix the cause; then: orchestrator backend rejoin %v, which merges what differs",
				e.Key)
			say.Statements = []string{e.toChannel(server.Start, c)}
		case server.MeansNumber(c.IOErrno, server.PositionPurged):
			say.Do = "one of the two has changed: orchestrator backend rejoin MEMBER, for the one that does not " +
				"serve; with --seed if that fails"
		case c.IO == topology.Connecting:
			say.Do = fmt.Sprintf("check %v, the network, and the account %q there", c.Source, c.User)
		default:
			say.Statements, say.Safe = []string{e.toChannel(server.Start, c)}, true
			say.Drain = e.maria() && c.SQL == topology.Running
		}
		d.say(say)
	}
	if c.ConnectRetry > 10 || c.RetryCount > 0 && c.RetryCount < 3600 {
		d.say(Complaint{At: e.Key, Code: "connect_retry", Safe: true, Drain: true,
			Needs: e.dialect().Change(server.RetryForLong).Needs,
			Says: fmt.Sprintf("after %v was away, it reconnects only every %d s%s", c.Source, c.ConnectRetry,
				givesUp(c)),
			Statements: []string{
				e.toChannel(e.restart(server.Stop, server.StopReceiver), c),
				e.dialect().Change(server.RetryForLong).ForChannel(c.Name).Text,
				e.toChannel(e.restart(server.Start, server.StartReceiver), c),
			}})
	}
	if !c.AutoPosition {
		d.say(Complaint{At: e.Key, Code: "auto_position",
			Says: fmt.Sprintf("it replicates from %v by file and position: after a crash, it may continue at the "+
				"wrong place", c.Source),
			Do: "orchestrator backend rejoin " + e.Key.String() + " sets it up by GTID"})
	}
	if c.Filters {
		d.say(Complaint{At: e.Key, Code: "filters", Says: "its replication is filtered: statements may be skipped " +
			"because of their current database", Do: "remove the replicate-… options"})
	}
	if c.Delay > 0 {
		d.say(Complaint{At: e.Key, Code: "delay",
			Says: fmt.Sprintf("its replication has a delay of %d s: it is never up to date enough to take over",
				c.Delay), Do: "set it to 0"})
	}
}

// toChannel writes a word about a channel out.
func (e *Exam) toChannel(w server.Word, c Channel) string {
	return e.dialect().Say(w).ForChannel(c.Name).Text
}

// restart returns the statements that are enough on MySQL, where a receiver can be changed while the applier runs.
func (e *Exam) restart(whole, receiver server.Word) server.Word {
	if e.maria() {
		return whole
	}
	return receiver
}

func givesUp(c Channel) string {
	if c.RetryCount > 0 && c.RetryCount < 3600 {
		return fmt.Sprintf(", and gives up after %d attempts (%v)", c.RetryCount,
			time.Duration(c.RetryCount*c.ConnectRetry)*time.Second)
	}
	return ""
}
