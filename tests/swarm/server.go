package swarm

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"orchestrator/daemon/topology"
)

// Server is one simulated server. What is not exported belongs to Swarm.mu.
type Server struct {
	Key    topology.Key
	Flavor topology.Flavor

	swarm    *Swarm
	cluster  *Cluster
	id       uint32
	uuid     string
	started  time.Time
	listener net.Listener  // nil: it is dead
	asleep   chan struct{} // not nil: it is silent, until this is closed
	sessions map[uint64]*session
	lastID   uint64 // of a session

	readOnly, superReadOnly bool
	scheduler               bool     // of events
	executed                position // on MariaDB gtid_binlog_pos
	slavePos                position // MariaDB only: what came from a source
	wroteAt                 time.Time
	settling                bool
	channels                []*channel
	followers               map[*channel]struct{} // receivers that are connected here
	locks                   map[string]*session
	released                chan struct{} // closed when a lock is released; nil while nobody waits
	registered              func() []topology.Key

	polled  time.Time // when the daemon asked last for its state
	longest time.Duration
	opened  time.Time // when it began to take writes
	fault   time.Time // when it was killed or fell silent last
}

var versions = map[topology.Flavor]string{topology.MariaDB: "10.11.19-MariaDB-log", topology.MySQL: "9.7.4"}

func (v *Server) up() bool { return v.listener != nil && v.asleep == nil }

// primary says that it takes writes, and from no source.
func (v *Server) primary() bool { return len(v.channels) == 0 && !v.readOnly && !v.superReadOnly }

// listen makes a server live.
func (v *Server) listen() error {
	l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", v.Key.Host, v.Key.Port))
	if err != nil {
		return fmt.Errorf("start server %v: %w", v.Key, err)
	}
	v.listener = l
	v.swarm.accepts.Go(func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // such as too many open files
				v.swarm.logger.Error("accept", "at", v.Key, "err", err)
				time.Sleep(10 * time.Millisecond)
				continue
			}
			v.swarm.accepts.Go(func() { v.serve(c) })
		}
	})
	return nil
}

// halt closes all that a process would close by dying.
func (v *Server) halt() {
	if v.listener != nil {
		_ = v.listener.Close()
		v.listener = nil
	}
	v.wake()
	for _, s := range v.sessions {
		s.reset()
	}
	clear(v.locks)
}

func (v *Server) wake() {
	if v.asleep != nil {
		close(v.asleep)
		v.asleep = nil
	}
}

// Kill ends a server as kill -9 does: connections are reset, new ones refused, and its replicas notice within some
// milliseconds.
func (v *Server) Kill() {
	v.swarm.mu.Lock()
	defer v.swarm.mu.Unlock()
	if v.listener == nil {
		return
	}
	v.fault = time.Now()
	v.sent(v.fault)
	v.halt()
	v.opened = time.Time{}
	for c := range v.followers {
		v.swarm.after(between(time.Millisecond, 8*time.Millisecond), func() { c.lost(v) })
	}
	for _, c := range v.channels {
		c.cut()
	}
}

// Register has a server list further replicas at the names that are given whenever it is asked.
func (v *Server) Register(names func() []topology.Key) {
	v.swarm.mu.Lock()
	defer v.swarm.mu.Unlock()
	v.registered = names
}

// Silence stops a server as SIGSTOP or a network that drops its packets does: connections stay open, and nobody
// answers.
func (v *Server) Silence() {
	v.swarm.mu.Lock()
	defer v.swarm.mu.Unlock()
	if !v.up() {
		return
	}
	v.fault = time.Now()
	v.sent(v.fault)
	v.asleep = make(chan struct{})
	v.opened = time.Time{}
	for c := range v.followers {
		v.swarm.after(v.swarm.spec.NetTimeout, func() {
			if v.asleep != nil {
				c.lost(v)
			}
		})
	}
}

// Return brings a server back, as it was.
func (v *Server) Return() error {
	v.swarm.mu.Lock()
	defer v.swarm.mu.Unlock()
	v.wroteAt = time.Now()
	if v.listener != nil {
		v.wake()
		return nil
	}
	if err := v.listen(); err != nil {
		return err
	}
	v.started = time.Now()
	for _, c := range v.channels {
		if c.io != stopped {
			c.attempt(between(time.Millisecond, 4*time.Millisecond))
		}
	}
	return nil
}

// sent settles what each replica has received from v until now: none has the last of it at the same moment.
func (v *Server) sent(now time.Time) {
	var moments []time.Time
	for range v.followers {
		moments = append(moments, now.Add(-between(0, 20*time.Millisecond)))
	}
	slices.SortFunc(moments, time.Time.Compare)
	for c := range v.followers { // in random order
		c.at.settle(moments[0])
		moments = moments[1:]
	}
	v.settle(now)
}

// settle computes what a server has executed until a moment: what clients wrote to it, and what it got from its
// sources.
func (v *Server) settle(now time.Time) {
	if !v.up() || v.settling { // the second in a ring of servers
		return
	}
	v.settling = true
	defer func() { v.settling = false }()
	if v.cluster.rate > 0 && v.cluster.writer == v && v.primary() {
		if n := int64(now.Sub(v.wroteAt).Seconds() * v.cluster.rate); !v.wroteAt.IsZero() && n > 0 {
			v.executed = v.executed.wrote(v, uint64(n))
			v.wroteAt = v.wroteAt.Add(time.Duration(float64(n) / v.cluster.rate * float64(time.Second)))
		} else if v.wroteAt.IsZero() {
			v.wroteAt = now
		}
	}
	for _, c := range v.channels {
		if c.link != nil && c.link.up() { // from one that has gone nothing comes any more
			c.link.settle(now)
			c.received = c.received.with(c.link.executed)
		}
		c.apply()
	}
}

// changed is called after each statement that may open a server for writes, or close it.
func (v *Server) changed() {
	switch {
	case !v.primary():
		v.opened = time.Time{}
	case v.opened.IsZero():
		v.opened, v.wroteAt = time.Now(), time.Now()
		v.cluster.writer = v
	}
}
