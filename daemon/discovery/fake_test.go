package discovery

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"orchestrator/daemon/topology"
)

// fakeFleet is a Prober over servers that live in memory. A server has one true key and any number of other addresses.
type fakeFleet struct {
	mu        sync.Mutex
	latency   time.Duration
	servers   map[topology.Key]*fakeServer
	addresses map[topology.Key]topology.Key // to a key of servers
	asked     map[topology.Key][]time.Time  // starts of probes, by the address used
	forgot    map[topology.Key]int
	inflight  int
	most      int // probes at a time, ever
	twice     bool
	busy      map[topology.Key]bool
	watching  map[topology.Key]int
	watches   map[topology.Key]int // begun so far
}

type fakeServer struct {
	instance topology.Instance
	fails    topology.Failure
	hang     time.Duration // how long a probe of it takes instead of the latency
	closing  chan struct{}
}

func newFake() *fakeFleet {
	return &fakeFleet{latency: time.Millisecond, servers: map[topology.Key]*fakeServer{},
		addresses: map[topology.Key]topology.Key{},
		asked:     map[topology.Key][]time.Time{}, forgot: map[topology.Key]int{}, busy: map[topology.Key]bool{},
		watching: map[topology.Key]int{}, watches: map[topology.Key]int{}}
}

func key(text string) topology.Key {
	k, err := topology.ParseKey(text)
	if err != nil {
		panic(err)
	}
	return k
}

// server adds one; from "" is none.
func (p *fakeFleet) server(name, from string) *fakeServer {
	k := key(name)
	s := &fakeServer{closing: make(chan struct{})}
	s.instance = topology.Instance{UUID: "uuid-" + name, ServerID: uint32(len(p.servers) + 1), Hostname: k.Host,
		Port:   k.Port,
		Flavor: topology.MySQL, StartedAt: time.Now().Add(-time.Hour)}
	if from != "" {
		s.instance.ReadOnly = true
		s.instance.Channels = []topology.Channel{{Source: key(from), IO: topology.Running, SQL: topology.Running}}
	}
	p.servers[k] = s
	return s
}

// register has every server list its replicas.
func (p *fakeFleet) register() {
	for k, s := range p.servers {
		for n, c := range s.instance.Channels {
			if t := p.find(c.Source); t != nil {
				s.instance.Channels[n].SourceID = t.instance.ServerID
				t.instance.Registered = append(t.instance.Registered, k)
				t.instance.Registrations = append(t.instance.Registrations,
					topology.Registration{Key: k, ServerID: s.instance.ServerID, UUID: s.instance.UUID})
			}
		}
	}
}

func (p *fakeFleet) find(k topology.Key) *fakeServer {
	if a, ok := p.addresses[k]; ok {
		k = a
	}
	return p.servers[k]
}

// do changes the fleet.
func (p *fakeFleet) do(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// kill ends a server as SIGKILL does: refused from now on, and watched connections close.
func (p *fakeFleet) kill(name string) {
	p.do(func() {
		s := p.servers[key(name)]
		s.fails = topology.Refused
		close(s.closing)
		s.closing = make(chan struct{})
	})
}

func (p *fakeFleet) Probe(ctx context.Context, k topology.Key) (topology.Instance, topology.Failure, error) {
	p.mu.Lock()
	p.asked[k] = append(p.asked[k], time.Now())
	p.inflight++
	p.most = max(p.most, p.inflight)
	p.twice = p.twice || p.busy[k]
	p.busy[k] = true
	took := p.latency
	if s := p.find(k); s != nil && s.hang > 0 {
		took = s.hang
	}
	p.mu.Unlock()
	select {
	case <-time.After(took):
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inflight--
	p.busy[k] = false
	s := p.find(k)
	switch {
	case ctx.Err() != nil:
		return topology.Instance{}, topology.Timeout, ctx.Err()
	case s == nil:
		return topology.Instance{}, topology.NoHost, errors.New("no such host")
	case s.fails != topology.OK:
		return topology.Instance{}, s.fails, errors.New("it fails")
	}
	return copyInstance(s.instance), topology.OK, nil
}

// copyInstance shares nothing that a test may change; GTID sets are values.
func copyInstance(i topology.Instance) topology.Instance {
	i.Channels = slices.Clone(i.Channels)
	for n := range i.Channels {
		if lag := i.Channels[n].Lag; lag != nil {
			i.Channels[n].Lag = new(*lag)
		}
	}
	i.Registered, i.Registrations = slices.Clone(i.Registered), slices.Clone(i.Registrations)
	if i.Stalled != nil {
		i.Stalled = new(*i.Stalled)
	}
	return i
}

func (p *fakeFleet) Watch(ctx context.Context, k topology.Key) error {
	p.mu.Lock()
	p.watches[k]++
	s := p.find(k)
	if s == nil || s.fails != topology.OK {
		p.mu.Unlock()
		return errors.New("can't connect")
	}
	closing := s.closing
	p.watching[k]++
	p.mu.Unlock()
	defer p.do(func() { p.watching[k]-- })
	select {
	case <-closing:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *fakeFleet) Forget(k topology.Key) { p.do(func() { p.forgot[k]++ }) }

// probes are the starts of the probes of an address since a time, as durations after it.
func (p *fakeFleet) probes(name string, since time.Time) []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []time.Duration
	for _, t := range p.asked[key(name)] {
		if !t.Before(since) {
			out = append(out, t.Sub(since))
		}
	}
	return out
}

// crowd is how many probes there were at a time, at most, since the last call; twice says whether one server was ever
// asked twice at a time.
func (p *fakeFleet) crowd() (most int, twice bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	most, p.most = p.most, 0
	return most, p.twice
}

// count reads one of the counters.
func (p *fakeFleet) count(of map[topology.Key]int, name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return of[key(name)]
}
