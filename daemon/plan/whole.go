package plan

import (
	"fmt"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

const (
	// connectWithin is how long a replica that was moved may take to receive from its new source before it is named as
	// lost.
	connectWithin = 10 * time.Second
	// receivesFor is how long its receiver must have been seen running: a source says at once that it lacks what the
	// replica asks for, but only after the receiver has connected.
	receivesFor = 100 * time.Millisecond
)

// refusals are the errors with which replication under a new source ends for good, or until a person acts, and what
// that person can do.
var refusals = map[int]string{
	1045:  "its replication account is refused there: create the account on its new source",
	1129:  "its new source has blocked its host after many failures: TRUNCATE performance_schema.host_cache there",
	1130:  "its new source does not let its host in: create the replication account for that host there",
	2061:  "its account must connect with TLS, or with the public key of its new source: set one of the two",
	1236:  "its new source can't send what it lacks: rebuild it",
	13114: "its new source can't send what it lacks: rebuild it",
	1593:  "a setting of the two servers forbids it, such as equal server ids: change it, and start its receiver",
	13117: "it has the server id of its new source: give it another, and start its receiver",
	1666:  "its new source logs by row, and it logs by statement: set its binlog_format to ROW, and start its applier",
}

// passing are errors of a connection that go away by themselves: too many connections, a server that shuts down.
var passing = map[int]bool{1040: true, 1053: true, 1203: true, 1226: true}

// arrived says whether a server that this work has moved replicates from its new source: what it waits for, or why it
// is lost. A failover that ends before all have arrived would call a cluster whole that is not.
func (v *view) arrived(r, source *topology.Server, e Episode) moved {
	c := r.ChannelFrom(source.Key)
	if c == nil || !e.touched(r.Key) {
		return moved{}
	}
	since := r.Probe.Answered.Sub(e.movedAt(c))
	if since < 0 { // it was moved by a clock that was ahead, or this one was set back since
		since = r.Probe.Answered.Sub(c.IOSince)
	}
	switch {
	case c.SQL == topology.Stopped && c.SQLErrno != 0:
		return moved{lost: "its applier stopped with " + failed(c.SQLErrno, c.SQLError)}
	case c.IO == topology.Running:
		if seen := r.Probe.Answered.Sub(c.IOSince); !c.IOSince.IsZero() && seen < receivesFor && since < connectWithin {
			return moved{wait: fmt.Sprintf("%v has just connected to %v", r.Key, source.Key)}
		}
		return moved{}
	case c.IOErrno != 0 && !topology.ConnectionError(c.IOErrno) && !passing[c.IOErrno]:
		how := "its receiver stopped with "
		if c.IO == topology.Connecting {
			how = "it can't connect: "
		}
		return moved{lost: how + failed(c.IOErrno, c.IOError)}
	case since < connectWithin:
		return moved{wait: fmt.Sprintf("%v connects to %v", r.Key, source.Key)}
	case c.IOErrno != 0:
		return moved{lost: fmt.Sprintf("it has not connected to %v within %s: %s",
			source.Key, connectWithin, failed(c.IOErrno, c.IOError))}
	}
	return moved{lost: fmt.Sprintf("it has not connected to %v within %s", source.Key, connectWithin)}
}

// movedAt is since when a server that was moved can have connected to its new source at the earliest.
func (e Episode) movedAt(c *topology.Channel) time.Time {
	switch {
	case e.Kind.Promotes():
		return e.Promoted
	case c.IOSince.After(e.Opened):
		return c.IOSince
	}
	return e.Opened
}

// failed is an error of a replication thread, with what to do about it where that is known.
func failed(errno int, text string) string {
	said := fmt.Sprintf("error %d", errno)
	if text = strings.Join(strings.Fields(text), " "); text != "" {
		said += " (" + text + ")"
	}
	if help := refusals[errno]; help != "" {
		said += ": " + help
	}
	return said
}
