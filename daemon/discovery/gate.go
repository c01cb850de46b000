package discovery

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"orchestrator/daemon/topology"
)

// ErrBarred is in the error of Gate.Admit.
var ErrBarred = errors.New("not admitted")

// Gate says to which servers a connection may be made. Anybody who may replicate can register any name, so without it a
// stranger could lead this daemon, and the password that it logs in with, to any address that it reaches. It is asked
// for each connection, with the address that the connection goes to: what a name resolves to may change.
type Gate struct {
	mu       sync.RWMutex
	only     []topology.Pattern
	networks bool // only has some
	named    map[topology.Key]bool
	loopback bool // a server that a person named is on this machine
	host     string
}

// NewGate makes a gate of a machine with that name.
func NewGate(host string) *Gate { return &Gate{host: host, named: map[topology.Key]bool{}} }

// Only replaces the patterns; none: what is found is admitted.
func (g *Gate) Only(patterns []topology.Pattern) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.only, g.networks = patterns, false
	for _, p := range patterns {
		g.networks = g.networks || p.IsNetwork()
	}
}

// Name says that people have named these servers: they may be at any address.
func (g *Gate) Name(keys ...topology.Key) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, k := range keys {
		g.named[k] = true
		if a, err := netip.ParseAddr(k.Host); err == nil && topology.Loopback(a) || k.Host == "localhost" {
			g.loopback = true
		}
	}
}

// Admit says why no connection may be made to a server at an address; nil where one may. The zero address is that of a
// name that was not looked up yet.
func (g *Gate) Admit(k topology.Key, a netip.Addr) error {
	literal, err := netip.ParseAddr(k.Host)
	named := err != nil
	if !named {
		a = literal
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	if len(g.only) > 0 {
		return g.listed(k, a, named)
	}
	if g.named[k] || !a.IsValid() {
		return nil
	}
	if kind := topology.Special(a); kind != "" {
		return fmt.Errorf("%w: %v is %s; discover %v by name, or name it in discovery.only", ErrBarred, a, kind, k)
	}
	if topology.Loopback(a) && !g.loopback && !(named && g.own(k.Host)) {
		return fmt.Errorf("%w: %v is an address of this machine, and no seed is; discover %v by name, or name it in "+
			"discovery.only", ErrBarred, a, k)
	}
	return nil
}

func (g *Gate) listed(k topology.Key, a netip.Addr, named bool) error {
	for _, p := range g.only {
		if p.Named(k) || p.Holds(a) {
			return nil
		}
	}
	if named && g.networks && !a.IsValid() {
		return nil // its address decides
	}
	return fmt.Errorf("%w: discovery.only has no pattern for %v", ErrBarred, k)
}

// own says that a name is that of this machine, which many systems give a loopback address.
func (g *Gate) own(host string) bool {
	short := func(name string) string {
		first, _, _ := strings.Cut(strings.ToLower(name), ".")
		return first
	}
	return short(host) == short(g.host)
}

// Reconsider has all servers asked again that were not admitted: the gate admits others now. Those that it admits no
// more are found when they are asked next.
func (f *Fleet) Reconsider() {
	f.mu.Lock()
	defer f.unlock()
	for _, s := range f.servers {
		if s.is(topology.NotAdmitted) {
			f.want(s)
		}
	}
}
