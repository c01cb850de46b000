package lab

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

// through is a server with a proxy before it that has cuts of its own, and a client of the proxy, which has not.
type through struct {
	*testing.T
	ctx    context.Context
	lab    *Lab
	server *Server
	proxy  *HAProxy
}

func newThrough(t *testing.T) *through {
	l := Test(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	w := &through{T: t, ctx: ctx, lab: l}
	var err error
	w.server, err = l.Start(ctx, Spec{Flavor: MariaDB})
	w.must(err)
	w.must(w.server.SetReadOnly(ctx, false))
	w.proxy, err = l.NewHAProxy("")
	w.must(err)
	w.must(w.proxy.Write(fmt.Sprintf("global\n  stats socket %s level admin\ndefaults\n  mode tcp\n  timeout connect "+
		"1s\n  timeout client 1h\n  timeout server 1h\n"+
		"frontend f\n  bind %s\n  default_backend b\nbackend b\n  server s %s\n", w.proxy.Socket, w.proxy.Database,
		w.server.Key)))
	w.must(w.proxy.Start(ctx))
	return w
}

func (w *through) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// connect opens a connection by the proxy.
func (w *through) connect() (*sql.DB, error) {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr, c.DBName = AppUser, AppPassword, "tcp", w.proxy.Database, "app"
	c.Timeout, c.ReadTimeout, c.InterpolateParams = time.Second, time.Second, true
	connector, err := mysql.NewConnector(c)
	w.must(err)
	db := sql.OpenDB(connector)
	w.Cleanup(func() { db.Close() })
	return db, db.PingContext(w.ctx)
}

func (w *through) sides() (Side, Side) {
	return Side{Proxies: []*HAProxy{w.proxy}}, Side{Servers: []*Server{w.server}}
}

// An edge is cut for connections that are open, and for new ones.
func TestNothingCrossesACutEdge(t *testing.T) {
	w := newThrough(t)
	db, err := w.connect()
	w.must(err)
	a, b := w.sides()
	w.must(w.lab.Sides(a, b))
	if _, err := db.ExecContext(w.ctx, "INSERT INTO written (id, writer, note) VALUES (1, 1, 'cut')"); err == nil {
		t.Error("a write went through")
	}
	if _, err := w.connect(); err == nil {
		t.Error("a new connection goes through")
	}
	if !answers(w.ctx, t, w.server) {
		t.Error("another client, which is on neither side, gets no answer")
	}
	w.must(w.lab.Heal())
	_, err = w.connect()
	w.must(err)
}

// What a process had still to send when it closed a connection the kernel tries on, in nobody's name.
func TestACutHoldsForClosedConnections(t *testing.T) {
	l := Test(t)
	number, err := l.number()
	if err != nil {
		t.Fatal(err)
	}
	host := l.address(number)
	listener, err := net.Listen("tcp", host+":3306")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	p := &process{lab: l, what: "a client", number: uint32(number)}
	t.Cleanup(func() { p.end() })
	if err := p.run("", nil, "/bin/bash", "-c", "exec 3<>/dev/tcp/"+host+
		"/3306; sleep 1; echo late >&3; exec 3>&-; sleep 20"); err != nil {
		t.Fatal(err)
	}
	c, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := l.sever(p.isolate(host)); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		within time.Duration
		want   int
		then   func() error
	}{{4 * time.Second, 0, l.Heal}, {10 * time.Second, 5, func() error { return nil }}} {
		if err := c.SetReadDeadline(time.Now().Add(step.within)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 10)); n != step.want {
			t.Errorf("%d bytes came, want %d (%v)", n, step.want, err)
		}
		if err := step.then(); err != nil {
			t.Fatal(err)
		}
	}
}

// Cut in one direction, a question arrives and its answer does not; in the other, nothing arrives. Neither lets a
// connection be opened.
func TestAMutedEdge(t *testing.T) {
	for _, c := range []struct {
		name    string
		arrives int
		mute    func(l *Lab, proxy, server Side) error
	}{
		{"the server is not heard", 1, func(l *Lab, proxy, server Side) error { return l.Mute(server, proxy) }},
		{"the server does not hear", 0, func(l *Lab, proxy, server Side) error { return l.Mute(proxy, server) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newThrough(t)
			db, err := w.connect()
			w.must(err)
			proxy, server := w.sides()
			w.must(c.mute(w.lab, proxy, server))
			if _, err := db.ExecContext(w.ctx, "INSERT INTO written (id, writer, note) VALUES (1, 1, "+
				"'muted')"); err == nil {
				t.Error("a write was acknowledged")
			}
			if n := count(w.ctx, t, w.server); n != c.arrives {
				t.Errorf("%d writes arrived, want %d", n, c.arrives)
			}
			if _, err := w.connect(); err == nil {
				t.Error("a new connection goes through")
			}
			w.must(w.lab.Heal())
			_, err = w.connect()
			w.must(err)
		})
	}
}
