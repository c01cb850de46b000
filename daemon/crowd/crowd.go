// Package crowd bounds how many connections a listener holds at the same time, in all and of each client.
//
// It knows no protocol, and nobody's identity. The one idea: who is turned away is not the one that comes, but the one
// that uses most and does least, so a crowd of idle connections keeps nobody out.
package crowd

import (
	"cmp"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Listener is a listener that has room for so many connections. When it is full, the client with the most connections
// loses the one that has been idle longest. So connections that nobody uses never keep anybody out, and never take the
// files that the daemon needs to act.
type Listener struct {
	net.Listener
	room int

	mu     sync.Mutex
	guests map[*guest]struct{}
	by     map[netip.Addr]int // how many of each client
	turned uint64
}

// guest is one connection.
type guest struct {
	net.Conn
	crowd *Listener
	from  netip.Addr
	idle  time.Time // since when; zero: a request is under way
	left  bool
}

// New bounds the connections that l accepts. TLS goes on top of it.
func New(l net.Listener, room int) *Listener {
	return &Listener{Listener: l, room: max(room, 2), guests: map[*guest]struct{}{}, by: map[netip.Addr]int{}}
}

// Accept returns the next connection that there is room for.
func (c *Listener) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		g := &guest{Conn: conn, crowd: c, from: Client(conn.RemoteAddr().String()), idle: time.Now()}
		leaves, enters := c.enter(g)
		if leaves != nil {
			_ = leaves.Close()
		}
		if enters {
			return g, nil
		}
		_ = conn.Close()
	}
}

// Turned is how many connections were closed because there was no room.
func (c *Listener) Turned() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.turned
}

// enter lets a connection in, and says which one has to leave for it. Where a client has half of the room, it is its
// own that leaves, or the new one.
func (c *Listener) enter(g *guest) (leaves *guest, enters bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	mine := c.by[g.from] >= max(c.room/2, 1)
	if mine || len(c.guests) >= c.room {
		c.turned++
		for other := range c.guests {
			if !other.idle.IsZero() && (!mine || other.from == g.from) && (leaves == nil || c.sooner(other, leaves)) {
				leaves = other
			}
		}
		if leaves == nil {
			return nil, false
		}
		c.forget(leaves)
	}
	c.guests[g] = struct{}{}
	c.by[g.from]++
	return leaves, true
}

// sooner says which of two idle connections has to leave.
func (c *Listener) sooner(a, b *guest) bool {
	return cmp.Or(cmp.Compare(c.by[b.from], c.by[a.from]), a.idle.Compare(b.idle)) < 0
}

func (c *Listener) forget(g *guest) {
	if g.left {
		return
	}
	g.left = true
	delete(c.guests, g)
	if c.by[g.from]--; c.by[g.from] == 0 {
		delete(c.by, g.from)
	}
}

// Busy notes whether a request is under way on a connection that a Listener accepted; it does not leave before the
// request has ended. A new connection is idle.
func Busy(conn net.Conn, busy bool) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	g, ok := conn.(*guest)
	if !ok {
		return
	}
	g.crowd.mu.Lock()
	defer g.crowd.mu.Unlock()
	if g.idle = time.Now(); busy {
		g.idle = time.Time{}
	}
}

// Close makes room.
func (g *guest) Close() error {
	g.crowd.mu.Lock()
	g.crowd.forget(g)
	g.crowd.mu.Unlock()
	return g.Conn.Close()
}

// Client is the address of a client, without its port; zero where it has none. Of IPv6, one client has a whole network
// of 64 bits.
func Client(remote string) netip.Addr {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	ip := a.Addr().Unmap().WithZone("")
	if ip.Is6() {
		net, _ := ip.Prefix(64) // fails for more bits than there are
		return net.Addr()
	}
	return ip
}
