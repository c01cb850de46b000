package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/backend/sqlstore"
	"orchestrator/daemon/config"
	"orchestrator/daemon/topology"
)

func TestWhatIsOpenedIsClosedInReverseOrderWhateverFails(t *testing.T) {
	var log bytes.Buffer
	o := opened{log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	var order []string
	for _, name := range []string{"file", "port", "loop"} {
		o.add(name, func() error {
			order = append(order, name)
			if name == "port" {
				return errors.New("it is stuck")
			}
			return nil
		})
	}
	err := o.close()
	if want := []string{"loop", "port", "file"}; !slices.Equal(order, want) {
		t.Errorf("closed in the order %v, want %v", order, want)
	}
	if err == nil || err.Error() != "close port: it is stuck" {
		t.Errorf("the error is %v", err)
	}
	for _, line := range []string{`msg=closed what=loop`, `msg="close failed" what=port err="it is stuck"`,
		`msg=closed what=file`} {
		if !strings.Contains(log.String(), line) {
			t.Errorf("the log lacks %s:\n%s", line, log.String())
		}
	}
	if err := o.close(); err != nil || len(order) != 3 {
		t.Errorf("closed twice: %v, %v", err, order)
	}
}

// A daemon that can't begin must leave nothing behind: its successor, in the same process or another, needs the same
// ports and files.
func TestNothingStaysOpenWhenNewFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.79.3:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte(certificate(t, time.Now().Add(time.Hour))), 0o600); err != nil {
		t.Fatal(err)
	}
	listenFails := func(c *config.Config) { c.HTTP.Listen = taken.Addr().String() }
	alone := func(*config.Config) {}
	shared := func(c *config.Config) {
		c.Backend.Kind, c.Backend.Address, c.Peers.Daemons = "mysql", "127.0.79.3:1", []string{"http://127.0.79.3:2"}
	}
	watched := func(c *config.Config) {
		shared(c)
		c.Backend.Members = []topology.Key{{Host: "127.0.79.3", Port: 3}}
	}
	pair := func(c *config.Config) {
		watched(c)
		c.Backend.Members = append(c.Backend.Members, topology.Key{Host: "127.0.79.3", Port: 4})
	}
	const (
		servers = "connections to servers"
		file    = "the file"
		journal = "the journal"
		backend = "the backend 127.0.79.3:1"
		members = "connections that look at the members of the backend"
		admin   = "connections of the backend's admin account"
		agent   = "the port for HAProxy's agent checks"
		work    = "work at the backend"
		port    = "the port of the API"
	)
	for _, c := range []struct {
		name  string
		mode  func(*config.Config)
		fails func(*config.Config)
		is    error // nil: no particular one
		// closed is what New closes before it fails, in this order. Most of it holds no file or port before Run, so
		// that nothing else tells.
		closed []string
	}{
		{"a certificate is gone", alone, func(c *config.Config) { c.Servers.TLS = "/nowhere" }, nil,
			nil},
		{"the file cannot be opened", alone, func(c *config.Config) { c.Backend.Path = "/nowhere/o.db" }, ErrBackend,
			nil},
		{"the file of one of several cannot be opened", pair,
			func(c *config.Config) { c.Backend.Path = "/nowhere/o.db" }, ErrBackend,
			[]string{members, admin}},
		{"the backend has no address", shared, func(c *config.Config) { c.Backend.Address = "nowhere" }, ErrBackend,
			[]string{file}},
		{"the backend of members has no address", pair, func(c *config.Config) { c.Backend.Address = "nowhere" },
			ErrBackend,
			[]string{file, members, admin}},
		{"the members are one", pair, func(c *config.Config) { c.Backend.Members[1] = c.Backend.Members[0] },
			ErrBackend,
			nil},
		{"the port for agent checks is taken", watched,
			func(c *config.Config) { c.HAProxy.Agent = taken.Addr().String() }, ErrListen,
			[]string{journal, backend, file, members}},
		{"the port for agent checks is taken, with a pair", pair,
			func(c *config.Config) { c.HAProxy.Agent = taken.Addr().String() }, ErrListen,
			[]string{journal, backend, file, members, admin}},
		{"the port of the API is taken, alone", alone, listenFails, ErrListen,
			[]string{servers, file}},
		{"the port of the API is taken, shared", shared, listenFails, ErrListen,
			[]string{servers, journal, backend, file}},
		{"the port of the API is taken, with a member", watched, listenFails, ErrListen,
			[]string{servers, agent, journal, backend, file, members}},
		{"the port of the API is taken, with a pair", pair, listenFails, ErrListen,
			[]string{servers, work, agent, journal, backend, file, members, admin}},
		{"the key of the API is none", pair, func(c *config.Config) {
			c.HTTP.TLSCert, c.HTTP.Certificate = text,
				"none"
		}, ErrListen,
			[]string{port, servers, work, agent, journal, backend, file, members, admin}},
	} {
		t.Run(c.name, func(t *testing.T) {
			good := config.Default()
			good.HTTP.Listen, good.HAProxy.Agent = free(t), free(t)
			good.Backend.Path = filepath.Join(t.TempDir(), "orchestrator.db")
			c.mode(&good)
			bad := good
			bad.Backend.Members = slices.Clone(good.Backend.Members)
			c.fails(&bad)

			files, goroutines := openFiles(t), runtime.NumGoroutine()
			var log bytes.Buffer
			logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			if _, err := New(bad, Options{Logger: logger}); err == nil || c.is != nil && !errors.Is(err, c.is) {
				t.Fatalf("New says %v, want %v", err, c.is)
			}
			if closed := closedThings(t, &log, good.Backend.Path); !slices.Equal(closed, c.closed) {
				t.Errorf("closed were %q\nwant        %q", closed, c.closed)
			}
			eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines })
			if now := openFiles(t); !maps.Equal(now, files) {
				t.Errorf("open before %v\nopen now    %v", files, now)
			}
			for _, address := range []string{good.HTTP.Listen, good.HAProxy.Agent} {
				l, err := net.Listen("tcp", address)
				if err != nil {
					t.Errorf("not free: %v", err)
					continue
				}
				l.Close()
			}
			s, err := sqlstore.OpenSQLite(good.Backend.Path)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := s.Purge(t.Context(), instanceKind, 1, true); err != nil { // takes the lock for writing
				t.Error(err)
			}
		})
	}
}

// closedThings are the names in the log of what was closed; the path of a file is left out.
func closedThings(t *testing.T, log io.Reader, path string) (out []string) {
	t.Helper()
	for lines := json.NewDecoder(log); lines.More(); {
		var line struct{ Msg, What string }
		if err := lines.Decode(&line); err != nil {
			t.Fatal(err)
		}
		if line.Msg == "closed" {
			out = append(out, strings.TrimSuffix(line.What, " "+path))
		}
	}
	return out
}

func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.79.3:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// openFiles counts the sockets and files that this process has open, by name.
func openFiles(t *testing.T) map[string]int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("needs Linux: ", err)
	}
	out := map[string]int{}
	for _, e := range entries {
		name, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && !strings.HasPrefix(name, "anon_inode:") && !strings.HasPrefix(name, "/proc/") {
			out[name]++
		}
	}
	return out
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 500 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("%s: not within 5 s:\n%s", what, stacks[:runtime.Stack(stacks, true)])
}
