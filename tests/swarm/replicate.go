package swarm

import (
	"fmt"
	"time"

	"orchestrator/daemon/topology"
)

// channel is one source of a server.
type channel struct {
	at       *Server
	name     string
	source   topology.Key
	user     string
	ssl      bool
	auto     bool // by GTID
	io       receiver
	sql      bool // the applier runs
	link     *Server
	received position
	errno    int
	problem  string
	// sourceID and sourceUUID are those of the server that it connected to last.
	sourceID   uint32
	sourceUUID string
	tries      int // a timer that was set for an earlier try does nothing
	since      time.Time
}

// receiver is the state of an IO thread.
type receiver string

const (
	stopped    receiver = "No"
	connecting receiver = "Connecting"
	running    receiver = "Yes"
)

// stopConnecting is how long MySQL takes to stop a receiver that is waiting for a silent source.
const stopConnecting = 2 * time.Second

const (
	errConnect   = 2003
	errLost      = 2013
	errFatalRead = 1236
)

// attempt has the receiver connect after a while.
func (c *channel) attempt(wait time.Duration) {
	c.cut()
	c.io = connecting
	c.tries++
	try := c.tries
	c.at.swarm.after(wait, func() {
		if c.tries == try {
			c.connect()
		}
	})
}

// connect is one try of a receiver to connect to its source.
func (c *channel) connect() {
	s := c.at.swarm
	source := s.servers[c.source]
	switch {
	case c.at.listener == nil: // Return starts it again
	case c.at.asleep != nil:
		c.attempt(s.spec.Retry)
	case source == nil:
		c.errno, c.problem = errConnect, c.problemOf("Unknown server host")
	case source.listener == nil:
		c.attempt(s.spec.Retry)
		c.errno, c.problem = errConnect, c.problemOf("Can't connect to server (111)")
	case source.asleep != nil:
		try := c.tries
		s.after(s.spec.NetTimeout, func() {
			if c.tries == try {
				c.attempt(s.spec.Retry)
				c.errno, c.problem = errLost, c.problemOf("Lost connection to server at 'reading initial "+
					"communication packet'")
			}
		})
	default:
		c.join(source)
	}
}

func (c *channel) problemOf(why string) string {
	return fmt.Sprintf("error reconnecting to source '%s@%v' - retry-time: 1 message: %s", c.user, c.source, why)
}

// join begins to receive. A MariaDB source refuses a replica that asks for a transaction which it does not have.
func (c *channel) join(source *Server) {
	source.settle(time.Now())
	if c.at.Flavor == topology.MariaDB {
		if pos := c.at.slavePos; !source.serves(pos) {
			c.io, c.errno = stopped, errFatalRead
			c.problem = fmt.Sprintf("Got fatal error 1236 from master: connecting slave requested to start from "+
				"GTID %v, "+
				"which is not in the master's binlog", pos)
			return
		}
	}
	c.io, c.errno, c.problem = running, 0, ""
	c.link, c.since = source, time.Now()
	c.sourceID, c.sourceUUID = source.id, source.uuid
	source.followers[c] = struct{}{}
}

// serves says whether a MariaDB server has the transaction at which a replica stands.
func (v *Server) serves(pos position) bool {
	if len(pos) == 0 {
		return true
	}
	have := v.executed
	return len(have) > 0 && (have[0].number > pos[0].number || have[0] == pos[0])
}

// lost is what happens at a replica when its source has gone.
func (c *channel) lost(source *Server) {
	if c.link == source {
		c.attempt(between(0, 2*time.Millisecond))
	}
}

// cut ends the connection to the source, if there is one.
func (c *channel) cut() {
	if c.link != nil {
		delete(c.link.followers, c)
		c.link = nil
	}
}

func (c *channel) stopReceiver() {
	c.cut()
	c.tries++
	c.io = stopped
}

// startReceiver connects. MariaDB throws away what was received and not applied, and asks for it again.
func (c *channel) startReceiver() {
	if c.io != stopped {
		return
	}
	c.errno, c.problem = 0, ""
	if c.at.Flavor == topology.MariaDB && c.auto {
		c.received = c.at.slavePos
	}
	c.attempt(between(time.Millisecond, 4*time.Millisecond))
}

// follow points a stopped receiver at another source.
func (c *channel) follow(source topology.Key, auto bool) {
	c.source, c.errno, c.problem = source, 0, ""
	c.auto = c.auto || auto
	maria := c.at.Flavor == topology.MariaDB
	if !maria { // MariaDB goes on showing that of the former source
		c.sourceID, c.sourceUUID = 0, ""
	}
	if !c.sql || maria { // relay logs are purged
		c.received = nil
	}
}

// apply executes what was received.
func (c *channel) apply() {
	if !c.sql || len(c.received) == 0 {
		return
	}
	c.at.executed = c.at.executed.with(c.received)
	if c.at.Flavor == topology.MariaDB {
		c.at.slavePos = c.at.slavePos.with(c.received)
	}
}

// stopping is how long the receiver takes to stop.
func (c *channel) stopping() time.Duration {
	source := c.at.swarm.servers[c.source]
	if c.at.Flavor == topology.MySQL && c.io == connecting && source != nil && source.asleep != nil {
		return stopConnecting
	}
	return 0
}
