package crowd

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// queue is a listener with one connection from each of these addresses.
type queue []string

type from struct {
	net.Conn
	client string
}

func (f from) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(f.client), Port: 1} }

func (q *queue) Accept() (net.Conn, error) {
	if len(*q) == 0 {
		return nil, net.ErrClosed
	}
	c, _ := net.Pipe()
	client := (*q)[0]
	*q = (*q)[1:]
	return from{c, client}, nil
}

func (*queue) Addr() net.Addr { return &net.TCPAddr{} }
func (*queue) Close() error   { return nil }

// The client with the most connections loses the one that has been idle longest, and none with a request under way.
func TestWhoLeaves(t *testing.T) {
	for _, c := range []struct {
		name    string
		room    int
		clients queue
		busy    []int // connections with a request under way
		worked  []int // those that had one since, in this order
		next    string
		leaves  int // -1: the new one
	}{
		{"there is room", 4, queue{"10.0.0.1", "10.0.0.2"}, nil, nil, "10.0.0.3", -2},
		{"the oldest", 2, queue{"10.0.0.1", "10.0.0.2"}, nil, nil, "10.0.0.3", 0},
		{"the one that worked longest ago", 4, queue{"10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.3"}, nil, []int{0, 2},
			"10.0.0.4", 1},
		{"who has most", 4, queue{"10.0.0.2", "10.0.0.1", "10.0.0.1", "10.0.0.3"}, nil, []int{1, 2}, "10.0.0.4", 1},
		{"one that has half gives its own", 6, queue{"10.0.0.2", "10.0.0.1", "10.0.0.1", "10.0.0.1"}, nil, nil,
			"10.0.0.1", 1},
		{"all of its own are busy", 4, queue{"10.0.0.2", "10.0.0.1", "10.0.0.1"}, []int{1, 2}, nil, "10.0.0.1", -1},
		{"who has most is busy", 4, queue{"10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.3"}, []int{0, 1}, nil,
			"10.0.0.4", 2},
		{"a network of IPv6 is one client", 4, queue{"10.0.0.2", "2001:db8::1", "2001:db8::2"}, nil, nil,
			"2001:db8::3", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				whoLeaves(t, c.room, append(c.clients, c.next), c.busy, c.worked, c.leaves)
			})
		})
	}
}

func whoLeaves(t *testing.T, room int, clients queue, busy, worked []int, leaves int) {
	l := New(&clients, room)
	var all []net.Conn
	for range len(clients) - 1 {
		time.Sleep(time.Second)
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, conn)
	}
	for _, n := range busy {
		Busy(all[n], true)
	}
	for _, n := range worked {
		time.Sleep(time.Second)
		Busy(all[n], true)
		Busy(all[n], false)
	}
	if _, err := l.Accept(); (err != nil) != (leaves == -1) {
		t.Errorf("the new one: %v", err)
	}
	for n, conn := range all {
		if gone := conn.(*guest).left; gone != (n == leaves) {
			t.Errorf("connection %d left: %v, want %d to leave", n, gone, leaves)
		}
	}
	if want := uint64(min(leaves+2, 1)); l.Turned() != want {
		t.Errorf("%d turned away, want %d", l.Turned(), want)
	}
}
