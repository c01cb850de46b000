package httpd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"orchestrator/daemon/crowd"
)

// open is a connection from an address that has asked once, and is idle since.
func open(t *testing.T, from string, to net.Addr, ask bool) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 30 * time.Second}
	c, err := d.DialContext(t.Context(), "tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if ask {
		asked(t, c)
	}
	return c
}

func asked(t *testing.T, c net.Conn) {
	t.Helper()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
}

func ended(c net.Conn, within time.Duration) bool {
	_ = c.SetReadDeadline(time.Now().Add(within))
	_, err := c.Read(make([]byte, 1))
	return err == io.EOF || err != nil && !isTimeout(err)
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

func crowded(t *testing.T, room int, h http.Handler) *crowd.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.31.2:0")
	if err != nil {
		t.Fatal(err)
	}
	c := crowd.New(l, room)
	ctx, end := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, c, h, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		end()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return c
}

var nothing = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })

// remaining are the connections that are still open once so many of them have ended. Which one ends is for the crowd to
// say, as it knows when a request has ended only a moment after the client does.
func remaining(t *testing.T, all []net.Conn, n int) []net.Conn {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); n > 0; {
		if time.Now().After(end) {
			t.Fatalf("%d of %d connections should have ended, and have not", n, len(all))
		}
		all = slices.DeleteFunc(all, func(c net.Conn) bool {
			gone := n > 0 && ended(c, time.Millisecond)
			if gone {
				n--
			}
			return gone
		})
	}
	for _, c := range all {
		if ended(c, time.Millisecond) {
			t.Error("one more connection has ended")
		}
		_ = c.SetReadDeadline(time.Time{})
	}
	return all
}

func TestConnectionsThatNobodyUsesKeepNobodyOut(t *testing.T) {
	c := crowded(t, 6, nothing)
	var idle []net.Conn
	for range 4 { // one client may have three
		idle = append(idle, open(t, "127.0.31.3", c.Addr(), true))
	}
	idle = remaining(t, idle, 1)
	for i, from := range []string{"127.0.31.4", "127.0.31.4", "127.0.31.5"} {
		open(t, from, c.Addr(), i == 0) // also those that never ask
	}
	open(t, "127.0.31.6", c.Addr(), true) // the room is full; who has most gives
	for _, left := range remaining(t, idle, 1) {
		asked(t, left)
	}
	if got := c.Turned(); got != 2 {
		t.Errorf("%d connections were turned away, want 2", got)
	}
}

func TestARequestUnderWayIsNotTurnedAway(t *testing.T) {
	begun, end := make(chan struct{}, 2), make(chan struct{})
	c := crowded(t, 4, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		begun <- struct{}{}
		<-end
		w.WriteHeader(http.StatusNoContent)
	}))
	answered := make(chan error, 2)
	for range 2 {
		busy := open(t, "127.0.31.3", c.Addr(), false)
		fmt.Fprint(busy, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		<-begun
		go func() {
			_, err := http.ReadResponse(bufio.NewReader(busy), nil)
			answered <- err
		}()
	}
	if third := open(t, "127.0.31.3", c.Addr(), false); !ended(third, 30*time.Second) {
		t.Error("a client has more than half of the room")
	}
	close(end)
	for range 2 {
		if err := <-answered; err != nil {
			t.Error(err)
		}
	}
}
