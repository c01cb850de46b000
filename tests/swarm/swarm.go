// Package swarm simulates a fleet of MySQL and MariaDB servers, thousands in one process, that speak the wire protocol
// and have state: they replicate from each other, lose their source, and obey what the daemon tells them. Tests and
// benchmarks use it where real servers would take too much memory.
//
// It knows the statements that the daemon sends, and no others: an unknown one is logged, counted and refused, and a
// test must fail on it (see Unknown). What the servers say was copied from real ones, and
// TestTheSwarmAnswersLikeRealServers compares the two. The one idea: what a server has executed is computed when
// somebody asks (see settle), so that a fleet to which nothing happens costs nothing.
package swarm

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"

	"orchestrator/daemon/topology"
)

// User and Password log in everywhere.
const User, Password = "orchestrator", "orchestrator-secret"

// Spec says what a swarm consists of.
type Spec struct {
	Clusters int
	// Size is the number of servers of a cluster: a primary, and replicas of it.
	Size int
	// Flavors are those of the clusters, in turn; none: MariaDB and MySQL.
	Flavors []topology.Flavor
	// Writing is the part of the clusters, from 0 to 1, to which a client writes, and Rate how many transactions a
	// second.
	Writing, Rate float64
	// NetTimeout is replica_net_timeout, after which a receiver gives up on a silent source; 0 is 60 s.
	NetTimeout time.Duration
	// Retry is how long a receiver waits after it could not connect; 0 is 1 s.
	Retry time.Duration
}

// Swarm is all servers. One lock guards the state of all of them: replication reaches across servers.
type Swarm struct {
	spec     Spec
	logger   *slog.Logger
	subnet   int
	lock     net.Listener // owns the subnet
	clusters []*Cluster
	accepts  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	servers map[topology.Key]*Server
	unknown map[string]int
}

// Cluster is a primary with its replicas, as the swarm made them.
type Cluster struct {
	Servers []*Server // the first is the primary in the beginning
	rate    float64   // transactions a second
	writer  *Server   // where they are written: the server that was opened last
}

const (
	port = 3306
	// lockPort of the last address of a subnet 127.S.0.0/16 is held by the swarm that uses it.
	lockPort                 = 3399
	firstSubnet, lastSubnet  = 20, 99
	addressesOf, inOneOctet  = 250 * 250, 250
	defaultTimeout           = 60 * time.Second
	defaultRetry             = time.Second
	filesOfServer, filesOver = 4, 200
)

// New starts a swarm. It takes the first free subnet 127.S.0.0/16. The logger, which may be nil, hears of statements
// that the swarm does not know.
func New(spec Spec, logger *slog.Logger) (*Swarm, error) {
	if spec.Size < 1 || spec.Clusters < 1 || spec.Clusters*spec.Size > addressesOf {
		return nil, fmt.Errorf("make a swarm: %d clusters of %d servers", spec.Clusters, spec.Size)
	}
	if len(spec.Flavors) == 0 {
		spec.Flavors = []topology.Flavor{topology.MariaDB, topology.MySQL}
	}
	if spec.NetTimeout <= 0 {
		spec.NetTimeout = defaultTimeout
	}
	if spec.Retry <= 0 {
		spec.Retry = defaultRetry
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if err := allowFiles(uint64(spec.Clusters*spec.Size*filesOfServer + filesOver)); err != nil {
		return nil, err
	}
	s := &Swarm{spec: spec, logger: logger, servers: map[topology.Key]*Server{}, unknown: map[string]int{}}
	if err := s.takeSubnet(); err != nil {
		return nil, err
	}
	for i := range spec.Clusters {
		if err := s.addCluster(i); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// allowFiles raises the number of files that this process may open to what is needed, as far as it may be raised.
func allowFiles(n uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	if limit.Cur >= n || limit.Cur >= limit.Max {
		return nil
	}
	limit.Cur = min(n, limit.Max)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raise the limit of open files to %d: %w", n, err)
	}
	return nil
}

func (s *Swarm) takeSubnet() error {
	for n := firstSubnet; n <= lastSubnet; n++ {
		lock, err := net.Listen("tcp", fmt.Sprintf("127.%d.255.254:%d", n, lockPort))
		if err == nil {
			s.subnet, s.lock = n, lock
			return nil
		}
	}
	return fmt.Errorf("take a subnet of 127.%d.0.0/16 to 127.%d.0.0/16: all are in use", firstSubnet, lastSubnet)
}

func (s *Swarm) addCluster(number int) error {
	c := &Cluster{}
	if float64(number+1)*s.spec.Writing >= float64(s.writers()+1) {
		c.rate = s.spec.Rate
	}
	s.clusters = append(s.clusters, c)
	flavor := s.spec.Flavors[number%len(s.spec.Flavors)]
	for i := range s.spec.Size {
		v, err := s.addServer(number*s.spec.Size+i, flavor, c)
		if err != nil {
			return err
		}
		c.Servers = append(c.Servers, v)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	primary := c.Servers[0]
	primary.readOnly, c.writer = false, primary
	primary.executed = primary.executed.wrote(primary, 1)
	for _, v := range c.Servers[1:] {
		v.readOnly = true
		v.channels = []*channel{{at: v, source: primary.Key, user: "replicator", auto: true, sql: true,
			ssl: v.Flavor == topology.MySQL}}
		v.channels[0].attempt(0)
	}
	return nil
}

// writers is the number of clusters that are written to.
func (s *Swarm) writers() (n int) {
	for _, c := range s.clusters {
		if c.rate > 0 {
			n++
		}
	}
	return n
}

func (s *Swarm) addServer(number int, flavor topology.Flavor, c *Cluster) (*Server, error) {
	host := fmt.Sprintf("127.%d.%d.%d", s.subnet, number/inOneOctet, 1+number%inOneOctet)
	v := &Server{
		Key: topology.Key{Host: host, Port: port}, Flavor: flavor, swarm: s, cluster: c,
		id:      uint32(s.subnet*addressesOf + number + 1),
		uuid:    fmt.Sprintf("5a4a0000-%04x-11f1-9253-%012x", s.subnet, number+1),
		started: time.Now(), sessions: map[uint64]*session{}, locks: map[string]*session{},
		followers: map[*channel]struct{}{}, scheduler: flavor == topology.MySQL,
	}
	if err := v.listen(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.servers[v.Key] = v
	return v, nil
}

// Clusters are all, in the order of their numbers.
func (s *Swarm) Clusters() []*Cluster { return s.clusters }

// Seeds are the primaries, as they were in the beginning.
func (s *Swarm) Seeds() []topology.Key {
	var out []topology.Key
	for _, c := range s.clusters {
		out = append(out, c.Servers[0].Key)
	}
	return out
}

// Unknown are the statements that were refused because the swarm does not know them, with how often each came.
func (s *Swarm) Unknown() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.unknown)
}

// Close kills all servers.
func (s *Swarm) Close() error {
	s.mu.Lock()
	s.closed = true
	for _, v := range s.servers {
		v.halt()
	}
	s.mu.Unlock()
	s.accepts.Wait()
	return s.lock.Close()
}

// after runs do with the lock held, unless the swarm is closed by then.
func (s *Swarm) after(wait time.Duration, do func()) {
	time.AfterFunc(wait, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.closed {
			do()
		}
	})
}

// between is a random duration.
func between(from, to time.Duration) time.Duration { return from + rand.N(to-from) }
