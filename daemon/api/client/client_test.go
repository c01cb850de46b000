package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/api"
	"orchestrator/daemon/declared"
	"orchestrator/daemon/httpd"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
	"orchestrator/tests/paper"
)

const drawn = "db1\n  db2\n  [2001:db8::1]:3307"

// daemon is one that leads or does not.
func daemon(name string, leading bool) *paper.Daemon {
	d := paper.New(drawn)
	d.Self.Now.Daemon, d.Self.Now.Leading, d.Self.Now.Leader = name, leading, "?"
	return d
}

// serve starts a daemon on an address of these tests' own.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.32.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

func serveDaemon(t *testing.T, d *paper.Daemon, token string) string {
	t.Helper()
	return serve(t, handler(t, d, token))
}

func handler(t *testing.T, d *paper.Daemon, token string) http.Handler {
	t.Helper()
	a, err := api.New(d.Nouns(), api.Options{})
	if err != nil {
		t.Fatal(err)
	}
	root, err := httpd.New(httpd.Options{Credentials: httpd.Credentials{Token: token}, TokenForReads: token != ""},
		a.Mounts()...)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// dead is an address where nothing listens.
func dead(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.32.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

// hung takes connections and never answers.
func hung(t *testing.T) string {
	return serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
}

func dial(t *testing.T, endpoints ...string) *Client {
	t.Helper()
	c, err := New(Options{Endpoints: endpoints, Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAChangeGoesToTheLeader(t *testing.T) {
	follower, leader := daemon("d1", false), daemon("d2", true)
	c := dial(t, dead(t), hung(t), serveDaemon(t, follower, ""), serveDaemon(t, leader, ""))
	if err := c.SetTag(t.Context(), "db2", "dc", "west"); err != nil {
		t.Fatal(err)
	}
	if len(follower.Changes) != 0 || len(leader.Changes) != 1 || leader.Changes[0] != "tag db2:3306 dc=west" {
		t.Errorf("follower took %v, leader %v", follower.Changes, leader.Changes)
	}
}

func TestWithoutALeaderAnyDaemonTakesAChange(t *testing.T) {
	one := daemon("d1", false)
	c := dial(t, dead(t), serveDaemon(t, one, ""))
	if err := c.SetTag(t.Context(), "db2", "dc", "west"); err != nil || len(one.Changes) != 1 {
		t.Errorf("%v, took %v", err, one.Changes)
	}
	if _, _, err := c.Leader(t.Context()); !errors.Is(err, ErrNoLeader) {
		t.Errorf("leader: %v", err)
	}
}

func TestWhatTheLeaderCannotStoreAnotherMay(t *testing.T) {
	leader, other := daemon("d1", true), daemon("d2", false)
	leader.Fails = errors.New("store: disk full")
	c := dial(t, serveDaemon(t, leader, ""), serveDaemon(t, other, ""))
	if err := c.SetTag(t.Context(), "db2", "dc", "west"); err != nil || len(other.Changes) != 1 {
		t.Errorf("%v, took %v", err, other.Changes)
	}
	other.Fails = errors.New("store: disk full as well")
	var r *Refused
	if err := c.SetTag(t.Context(), "db2", "dc", "west"); !errors.As(err, &r) || r.Status != 503 ||
		!strings.Contains(err.Error(), "disk full") {
		t.Errorf("got %v", err)
	}
}

func TestAReadIsAnsweredByWhoeverCan(t *testing.T) {
	c := dial(t, dead(t), hung(t), serveDaemon(t, daemon("d1", false), ""))
	v, err := c.Instance(t.Context(), "[2001:db8::1]:3307")
	if err != nil || v.Key.String() != "[2001:db8::1]:3307" {
		t.Fatalf("%v %v", v.Key, err)
	}
	began := time.Now()
	if _, err := c.Instance(t.Context(), "db2"); err != nil || time.Since(began) > 200*time.Millisecond {
		t.Errorf("the second read asked the hung daemon again: %v, %v", time.Since(began), err)
	}
}

// With a patient client too, a daemon that hangs costs half a second and not the whole timeout.
func TestAHungDaemonDoesNotHoldUpARead(t *testing.T) {
	c, err := New(Options{Endpoints: []string{hung(t), serveDaemon(t, daemon("d1", false), "")}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := c.Instance(t.Context(), "db2"); err != nil || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

func TestErrors(t *testing.T) {
	live := serveDaemon(t, daemon("d1", false), "")
	locked := serveDaemon(t, daemon("d1", false), "sesame")
	other := serve(t, http.NotFoundHandler())
	hello := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>hello") }))
	for _, c := range []struct {
		name     string
		endpoint string
		is       func(error) bool
		says     string
	}{
		{"nothing listens", dead(t), unreachable, "connection refused"},
		{"it hangs", hung(t), unreachable, "deadline exceeded"},
		{"another program's 404 is no word of ours", other, unreachable, "is the address that of a daemon?"},
		{"another program's page", hello, unreachable, "and not JSON"},
		{"no such server", live, NotFound, "near are db1:3306"},
		{"the token is missing", locked, refused(401), "token"},
	} {
		_, err := dial(t, c.endpoint).Instance(t.Context(), "db9")
		if err == nil || !c.is(err) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func unreachable(err error) bool { u := new(Unreachable); return errors.As(err, &u) }

func refused(status int) func(error) bool {
	return func(err error) bool { r := new(Refused); return errors.As(err, &r) && r.Status == status }
}

func TestTheTokenOpens(t *testing.T) {
	c, err := New(Options{Endpoints: []string{serveDaemon(t, daemon("d1", false), "sesame")}, Token: "sesame"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Instance(t.Context(), "db2"); err != nil {
		t.Error(err)
	}
}

func TestEndpoints(t *testing.T) {
	for given, want := range map[string]string{
		"db1:3000":                     "http://db1:3000",
		"https://o.example/":           "https://o.example",
		"http://h:3000/api/v1/":        "http://h:3000",
		"https://o.example/orc/api/v1": "https://o.example/orc",
		"http://ann:secret@h:3000":     "error",
		"http://h:3000?x=1":            "error",
		"ftp://h":                      "error",
		"http://":                      "error",
		"http://h:port:secret@[":       "error",
	} {
		got, err := Endpoint(given)
		if err != nil {
			got = "error"
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: the error shows the password: %v", given, err)
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s", given, got, want)
		}
	}
	if got := Split(" a:1, b:2\tc:3,,"); len(got) != 3 {
		t.Errorf("split: %q", got)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("no endpoints, no error")
	}
}

func TestACancelledCallEndsAtOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c, err := New(Options{Endpoints: []string{hung(t), hung(t)}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Clusters(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// What is asked over and over is sent once: the daemon answers "not modified" while nothing has changed.
func TestWhatIsAwaitedIsSentOnce(t *testing.T) {
	d := daemon("d1", true)
	q := plan.Request{ID: "r1", Server: topology.Key{Host: "db1", Port: 3306}}
	d.Requests.All = []declared.Request{{Request: q, Cluster: "db1:3306"}}
	var statuses []int
	inner := handler(t, d, "")
	c := dial(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(statuses) == 3 {
			outcome := "db2:3306 replaces db1:3306"
			d.Episodes.All = []plan.Episode{{ID: "e1", Cluster: "db1:3306", Request: &q, Outcome: outcome}}
		}
		recorded := httptest.NewRecorder()
		inner.ServeHTTP(recorded, r)
		statuses = append(statuses, recorded.Code)
		maps.Copy(w.Header(), recorded.Header())
		w.WriteHeader(recorded.Code)
		_, _ = w.Write(recorded.Body.Bytes())
	})))
	got, err := c.AwaitRequest(t.Context(), "r1")
	if err != nil || got.Episode != "e1" || !slices.Equal(statuses, []int{200, 304, 304, 200}) {
		t.Errorf("%+v, %v, after %v", got, err, statuses)
	}
}
