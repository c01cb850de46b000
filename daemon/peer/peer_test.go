package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"orchestrator/backend"
	"orchestrator/backend/storetest"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

const shared = "0123456789abcdef-the-secret"

var db1 = topology.Key{Host: "db1", Port: 3306}

// node is one daemon, as far as the others see it: an address that outlives its processes, and a disk.
type node struct {
	*Peers
	t      *testing.T
	name   string
	url    string
	others []string
	store  backend.Store
	server *httptest.Server

	mu       sync.Mutex
	handler  http.Handler // of the process; nil while none runs
	life     int
	ahead    time.Duration // its wall clock
	standing plan.PeerStatus
	reach    func(context.Context, topology.Key) bool
	secret   string
	wire     bytes.Buffer // all that came in
}

func (n *node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	h := n.handler
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintln(&n.wire, r.Method, r.URL, r.Header, string(body))
	n.mu.Unlock()
	if h == nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	h.ServeHTTP(w, r)
}

// nodes are daemons that know each other, named a, b, c, …; a leads.
func nodes(t *testing.T, count int) []*node {
	var out []*node
	for i := range count {
		n := &node{t: t, name: string(rune('a' + i)), secret: shared,
			reach: func(context.Context, topology.Key) bool { return false }}
		n.standing = plan.PeerStatus{Leader: "a#1", Term: 5, Identity: "x", Leading: i == 0}
		n.server = httptest.NewServer(n)
		t.Cleanup(n.server.Close)
		n.url = n.server.URL
		n.store = &storetest.Memory{}
		out = append(out, n)
	}
	for _, n := range out {
		for _, o := range out {
			if o != n {
				n.others = append(n.others, o.url)
			}
		}
		n.start()
	}
	return out
}

// start begins another life of the daemon.
func (n *node) start() {
	n.life++
	n.Peers = Open(n.t.Context(), Options{ID: fmt.Sprintf("%s#%d", n.name, n.life), Name: n.name, Daemons: n.others,
		Trust: Trust{Secret: n.secret}, Store: n.store,
		Clock:  backend.NewClock(func() time.Time { return time.Now().Add(n.ahead) }),
		Status: func() plan.PeerStatus { n.mu.Lock(); defer n.mu.Unlock(); return n.standing },
		Reach:  func(ctx context.Context, k topology.Key) bool { return n.reach(ctx, k) }})
	n.mu.Lock()
	defer n.mu.Unlock()
	n.handler = n.Handler()
}

func (n *node) stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.handler = nil
	n.server.CloseClientConnections()
}

func (n *node) permit() (bool, string) {
	return plan.Permit(plan.Claim{Failed: db1, Self: n.Status(), Peers: n.Ask(n.t.Context(), db1)})
}

func TestAsk(t *testing.T) {
	ns := nodes(t, 3)
	a, b, c := ns[0], ns[1], ns[2]
	b.reach = func(_ context.Context, k topology.Key) bool { return k == db1 }
	c.standing = plan.PeerStatus{Leading: true, Leader: "c#1", Term: 7, Identity: "y"}
	start := time.Now()
	got := a.Ask(t.Context(), db1)
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v", took)
	}
	want := []plan.Peer{
		{Name: short(b.url), Answered: true, Reaches: true, PeerStatus: plan.PeerStatus{ID: "b#1", Name: "b",
			Leader: "a#1",
			Term:   5, Identity: "x"}},
		{Name: short(c.url), Answered: true, PeerStatus: plan.PeerStatus{ID: "c#1", Name: "c", Leading: true,
			Leader: "c#1",
			Term:   7, Identity: "y"}},
	}
	for i := range want {
		if fmt.Sprint(got[i]) != fmt.Sprint(want[i]) {
			t.Errorf("got  %+v\nwant %+v", got[i], want[i])
		}
	}
	for _, n := range ns {
		if strings.Contains(n.wire.String(), shared) {
			t.Error("the secret was sent")
		}
	}

	// The steady case: nothing is slow when everybody answers.
	c.standing = b.standing
	b.reach = c.reach
	start = time.Now()
	for range 20 {
		if ok, why := a.permit(); !ok {
			t.Fatal(why)
		}
	}
	if each := time.Since(start) / 20; each > 50*time.Millisecond {
		t.Errorf("a permit costs %v", each)
	} else {
		t.Logf("a permit costs %v", each)
	}
}

// A new secret is made known everywhere, then used, then alone: at no moment do two daemons not understand each other.
func TestTheSecretIsChangedWithoutAGap(t *testing.T) {
	const other = "fedcba9876543210-another"
	ns := nodes(t, 3)
	understand := func(after string, want bool) {
		t.Helper()
		for _, n := range ns {
			for _, p := range n.Ask(t.Context(), db1) {
				if p.Answered != want {
					t.Errorf("after %s, %s asks %s: %+v", after, n.name, p.Name, p)
				}
			}
		}
	}
	for _, text := range []string{shared + "\n" + other, other + "\n" + shared, other} {
		for _, n := range ns {
			n.SetTrust(Trust{Secret: text})
			understand(fmt.Sprintf("%s has %d lines", n.name, 1+strings.Count(text, "\n")), true)
		}
	}
	for i, n := range ns {
		n.SetTrust(Trust{Secret: fmt.Sprintf("%s-%d", shared, i)})
	}
	understand("each has its own", false)
}

func TestSilence(t *testing.T) {
	ns := nodes(t, 4)
	a, b, c, d := ns[0], ns[1], ns[2], ns[3]
	b.stop() // hangs up
	c.mu.Lock()
	c.handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c.mu.Unlock()
	// a server that hangs costs the probe's time only
	d.reach = func(ctx context.Context, _ topology.Key) bool { <-ctx.Done(); return false }
	start := time.Now()
	got := a.Ask(t.Context(), db1)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
	if got[0].Answered || got[0].Why != "EOF" || got[1].Answered || got[1].Why != "not within 300ms" ||
		!got[2].Answered || got[2].Reaches {
		t.Errorf("%+v", got)
	}
	b.server.Close()
	if got := a.Ask(t.Context(), db1)[0]; got.Why != "connection refused" {
		t.Errorf("%+v", got)
	}
	if ok, why := a.permit(); ok || !strings.Contains(why, "connection refused") {
		t.Errorf("permitted: %v %s", ok, why)
	}
}

func TestWhoIsNoPeer(t *testing.T) {
	ns := nodes(t, 2)
	a, b := ns[0], ns[1]
	answer := func(h http.HandlerFunc) string {
		b.mu.Lock()
		b.handler = h
		b.mu.Unlock()
		got := a.Ask(t.Context(), db1)[0]
		if got.Answered || got.ID != "" || got.Reaches {
			t.Errorf("it counts: %+v", got)
		}
		return got.Why
	}
	genuine := b.handler
	record := func(r *http.Request) *httptest.ResponseRecorder {
		recorded := httptest.NewRecorder()
		genuine.ServeHTTP(recorded, r)
		return recorded
	}
	var first atomic.Pointer[httptest.ResponseRecorder]
	answer(func(_ http.ResponseWriter, r *http.Request) {
		first.CompareAndSwap(nil, record(r)) // a client may ask twice
		panic(http.ErrAbortHandler)
	})
	play := func(w http.ResponseWriter, recorded *httptest.ResponseRecorder, change func(string) string) {
		for k, v := range recorded.Header() {
			w.Header()[k] = v
		}
		_, _ = io.WriteString(w, change(recorded.Body.String()))
	}
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		want string
	}{
		"an answer said again": {func(w http.ResponseWriter, _ *http.Request) { play(w, first.Load(), strings.Clone) },
			"not signed with our secret"},
		"a changed answer": {func(w http.ResponseWriter, r *http.Request) {
			play(w, record(r), func(s string) string { return strings.Replace(s, `"term":5`, `"term":4`, 1) })
		}, "not signed with our secret"},
		"another service": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") },
			"not a daemon that has our secret"},
		"an older daemon": {http.NotFound, "status 404"},
		"a redirection": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, a.url+r.RequestURI, http.StatusFound)
		}, "status 302"},
		"a flood": {func(w http.ResponseWriter, _ *http.Request) {
			_,
				_ = w.Write(make([]byte, longest+10))
		}, "longer than"},
		"our own question": {func(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) },
			"this daemon itself"},
		"an answer about db2": {func(w http.ResponseWriter,
			r *http.Request) {
			r.URL.RawQuery = "about=db2"
			genuine.ServeHTTP(w, r)
		}, "refuses our signature"},
	} {
		if why := answer(c.h); !strings.Contains(why, c.want) {
			t.Errorf("%s: %q, want %q", name, why, c.want)
		}
	}
	b.secret = "another-secret-of-16"
	b.start()
	if got := a.Ask(t.Context(), db1)[0]; got.Answered || !strings.Contains(got.Why,
		"the secret (peers.secret_file) must be the same") {
		t.Errorf("another secret: %+v", got)
	}
}

func TestTheSameTwice(t *testing.T) {
	ns := nodes(t, 3)
	a, b, c := ns[0], ns[1], ns[2]
	a.others = []string{b.url, b.url + "/", c.url}
	c.name = "b"
	c.life = 5
	c.start()
	a.start()
	got := a.Ask(t.Context(), topology.Key{})
	if !got[0].Answered || got[1].Answered || !strings.Contains(got[1].Why, "the same as "+short(b.url)) ||
		got[2].Answered || !strings.Contains(got[2].Why, "has the same name") {
		t.Errorf("%+v", got)
	}
}

func TestLeaving(t *testing.T) {
	ns := nodes(t, 3)
	a, b, c := ns[0], ns[1], ns[2]
	for _, n := range ns {
		n.Turn(t.Context()) // what each does when it has started
	}
	if err := c.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.stop()
	for _, n := range []*node{a, b} {
		n.start() // what is on record survives
		if s := n.Status(); !slices.Equal(s.Left, []string{"c"}) || len(s.Excused) != 0 {
			t.Errorf("%s: %+v", n.name, s)
		}
	}
	a.standing.Leader, b.standing.Leader = "a#2", "a#2"
	if ok, why := a.permit(); !ok {
		t.Errorf("c stopped in order, and it is not excused: %s", why)
	}

	// The next life of c counts as stopped until all have heard of it.
	b.stop()
	c.start()
	c.Turn(t.Context())
	if s := c.Status(); !slices.Equal(s.Excused, []string{short(b.url)}) {
		t.Errorf("excused by %v, want b", s.Excused)
	}
	c.standing = plan.PeerStatus{Leading: true, Leader: "c#2", Term: 9, Identity: "x"}
	locks := plan.Locks{Held: []topology.Key{db1}, Alive: []topology.Key{db1}}
	if ok, why := plan.Permit(plan.Claim{Self: c.Status(), Peers: c.Ask(t.Context(), db1), Locks: locks}); ok ||
		!strings.Contains(why, "may still list this daemon as stopped") {
		t.Errorf("permitted: %v %s", ok, why)
	}
	c.start() // and so does the one after
	if s := c.Status(); len(s.Excused) != 2 {
		t.Errorf("excused by %v, want both", s.Excused)
	}
	b.start()
	c.Turn(t.Context())
	for _, n := range ns {
		if s := n.Status(); len(s.Left)+len(s.Excused) != 0 {
			t.Errorf("after the return of c, %s: %+v", n.name, s)
		}
	}
	c.start()
	if s := c.Status(); len(s.Excused) != 0 {
		t.Errorf("it has nothing to take back: %v", s.Excused)
	}

	// An old notice that is replayed does not count: neither that of a former process, nor one with an old version.
	for id, want := range map[string]string{"c#1": "none of peers.daemons", c.o.ID: "a later return is on record"} {
		body, err := json.Marshal(notice{"c", id, 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.call(t.Context(), "POST", a.url, pathLeave, body); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("an old notice, replayed: %v, want %s", err, want)
		}
	}
}

// A daemon whose clock was ahead has left and come back. In its next process its clock is right, and it can still
// leave.
func TestLeavingAfterAClockThatWasAhead(t *testing.T) {
	ns := nodes(t, 3)
	a, b, c := ns[0], ns[1], ns[2]
	c.ahead = time.Hour
	c.start()
	for range 2 {
		if err := c.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.start()
		c.Turn(t.Context())
		c.ahead = 0
	}
	c.start() // it was killed: only what is deleted tells of it
	if err := c.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*node{a, b} {
		if s := n.Status(); !slices.Equal(s.Left, []string{"c"}) {
			t.Errorf("%s: %+v", n.name, s)
		}
	}
}

func TestNobodyLeavesWhereSomebodyIsSilent(t *testing.T) {
	ns := nodes(t, 3)
	a, b, c := ns[0], ns[1], ns[2]
	b.stop()
	if err := c.Leave(t.Context()); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("%v", err)
	}
	if s := a.Status(); len(s.Left) != 0 {
		t.Errorf("on record: %v", s.Left)
	}
	c.start()
	if s := c.Status(); len(s.Excused) != 0 {
		t.Errorf("it did not leave, and counts as stopped to %v", s.Excused)
	}
	// One after the other can leave, and the last needs nobody.
	b.start()
	for _, n := range []*node{b, c, a} {
		if err := n.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		n.stop()
	}
}

// failing is a store that cannot be written or read.
type failing struct{ backend.Store }

func (failing) Put(context.Context, ...backend.Record) error { return fmt.Errorf("the disk is full") }
func (failing) List(context.Context, string) ([]backend.Record, error) {
	return nil, fmt.Errorf("gone")
}

func TestALeaveThatIsNotStoredIsNone(t *testing.T) {
	ns := nodes(t, 2)
	a, b := ns[0], ns[1]
	a.store = failing{a.store}
	a.start()
	if s := a.Status(); len(s.Excused) != 1 {
		t.Errorf("what can't be known: %+v", s)
	}
	if err := b.Leave(t.Context()); err == nil || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("%v", err)
	}
	if s := a.Status(); len(s.Left) != 0 {
		t.Errorf("on record: %v", s.Left)
	}
	b.stop()
	if err := a.Leave(t.Context()); err == nil {
		t.Error("a leaves, and nobody was told")
	}
	b.store = failing{b.store}
	b.start()
	if err := b.Leave(t.Context()); err == nil || !strings.Contains(err.Error(), "note that this daemon is about to") {
		t.Errorf("%v", err)
	}
}

// direct is a network on which every address is a handler in this process, so that a test in a bubble waits for no
// socket.
type direct struct{ handlers sync.Map } // http.Handler by base URL

func (d *direct) RoundTrip(r *http.Request) (*http.Response, error) {
	h, _ := d.handlers.Load("http://" + r.URL.Host)
	w := httptest.NewRecorder()
	h.(http.Handler).ServeHTTP(w, r)
	return w.Result(), nil
}

func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &direct{}
		open := func(name, other string) *Peers {
			p := Open(t.Context(), Options{
				ID: name + "#1", Name: name, Daemons: []string{"http://" + other}, Trust: Trust{Secret: shared},
				Store: &storetest.Memory{}, Clock: backend.NewClock(time.Now),
				Status: func() plan.PeerStatus { return plan.PeerStatus{Leader: "a#1", Term: 5, Leading: name == "a"} },
			})
			p.trust.Load().client.Transport = network
			network.handlers.Store("http://"+name, p.Handler())
			return p
		}
		a, b := open("a", "b"), open("b", "a")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- b.Run(ctx) }()
		synctest.Wait()
		if last := b.Last(); len(last) != 1 || !last[0].Answered || !last[0].Leading {
			t.Errorf("after the first turn: %+v", last)
		}
		network.handlers.Store("http://a", http.NotFoundHandler())
		time.Sleep(b.o.Tick)
		synctest.Wait()
		if last := b.Last(); len(last) != 1 || last[0].Answered {
			t.Errorf("after a tick: %+v", last)
		}
		network.handlers.Store("http://a", a.Handler())
		time.Sleep(b.o.Tick)
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		time.Sleep(3*b.o.Tick + b.o.Timeout) // as if the daemon were frozen
		if last := b.Last(); len(last) != 1 || !last[0].Answered {
			t.Errorf("an answer of some ticks ago: %+v", last)
		}
		time.Sleep(time.Nanosecond)
		if last := b.Last(); len(last) != 1 || last[0].Answered || last[0].Leading ||
			!strings.Contains(last[0].Why, "it was asked") {
			t.Errorf("nobody has asked for a while: %+v", last)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	for _, s := range []string{`{"id":"a#1","name":"a","leading":true,"leader":"a#1","term":5,"face":"x",` +
		`"farewells":["c"],"about":"db1:3306","reaches":true}`,
		`{"id":"a","name":"b","term":-1}`, `{"name":"\u0000"}`, `{"about":"//db1:3306"}`, `[]`, `{"farewells":[[]]}`,
		"\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := decodeAnswer(body)
		if err != nil {
			return
		}
		again, err := json.Marshal(a)
		if err != nil {
			t.Fatalf("%+v can't be written: %v", a, err)
		}
		if b, err := decodeAnswer(again); err != nil || fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("%s read again is %+v, %v", again, b, err)
		}
		if a.ID == "" || a.PeerStatus.Name == "" || a.Term < 0 {
			t.Errorf("accepted: %+v", a)
		}
	})
}

// Whatever is sent without the secret, nothing is done; and with it, nothing breaks.
func FuzzQuestion(f *testing.F) {
	for _, s := range []string{`{"name":"c","id":"c#1","version":7}`, `{"name":"","version":-1}`, `{}`, `[`, ``} {
		f.Add("POST", pathLeave, []byte(s), true)
		f.Add("POST", pathReturn, []byte(s), true)
		f.Add("POST", pathLeave, []byte(s), false)
	}
	f.Add("GET", pathStatus+"?about=db1", []byte{}, true)
	f.Add("GET", pathStatus+"?about=%00", []byte{}, true)
	p := Open(f.Context(), Options{ID: "a#1", Name: "a", Trust: Trust{Secret: shared}, Store: &storetest.Memory{},
		Clock:  backend.NewClock(time.Now),
		Status: func() plan.PeerStatus { return plan.PeerStatus{} },
		Reach:  func(context.Context, topology.Key) bool { return true }})
	h := p.Handler()
	var nonces atomic.Int64
	f.Fuzz(func(t *testing.T, method, target string, body []byte, knows bool) {
		if method != "GET" && method != "POST" || !strings.HasPrefix(target, "/") ||
			strings.ContainsAny(target, " #\r\n\t\\") {
			t.Skip()
		}
		u, err := http.NewRequest(method, "http://x"+target, bytes.NewReader(body))
		if err != nil {
			t.Skip()
		}
		key := "no-secret"
		if knows {
			key = shared
		}
		path := u.URL.Path
		if u.URL.RawQuery != "" {
			path += "?" + u.URL.RawQuery
		}
		u.ContentLength = int64(len(body))
		ask(u, key, question{method: method, target: path, nonce: fmt.Sprintf("%016d", nonces.Add(1)),
			to: p.ears.now(), length: int64(len(body)), digest: digestOf(body)})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, u)
		if !knows && w.Code == http.StatusOK {
			t.Errorf("%s %s was answered without the secret", method, target)
		}
		if w.Code >= 500 {
			t.Errorf("%s %s %q: %d %s", method, target, body, w.Code, w.Body)
		}
		if s := p.Status(); len(s.Left) > 0 {
			t.Errorf("a farewell of nobody is on record: %v", s.Left)
		}
	})
}

func TestGone(t *testing.T) {
	ns := nodes(t, 3)
	a, b, c := ns[0], ns[1], ns[2]
	gone := func(id string, want bool) {
		t.Helper()
		a.Turn(t.Context())
		if got := a.Gone(id); got != want {
			t.Errorf("gone: %s: %v", id, got)
		}
	}
	gone("b#1", false)
	b.stop()
	gone("b#1", false) // its address answers something still
	b.start()
	gone("b#1", true) // another process is there
	gone("b#2", false)
	c.server.Close()
	gone("c#1", true)
	gone("c#2", false)
	gone("", false)
}

// One signed message with the highest version there is neither stops the clock nor makes a record unchangeable.
func TestANoticeFromTheFutureIsRefused(t *testing.T) {
	ns := nodes(t, 2)
	a, b := ns[0], ns[1]
	for _, version := range []int64{math.MaxInt64, time.Now().Add(2 * time.Hour).UnixMicro()} {
		for _, path := range []string{pathLeave, pathReturn} {
			body, err := json.Marshal(notice{"b", b.o.ID, version})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.call(t.Context(), "POST", a.url, path, body); err == nil ||
				!strings.Contains(err.Error(), "ahead of this daemon's clock") {
				t.Errorf("%s with version %d: %v", path, version, err)
			}
		}
	}
	if v := a.o.Clock.Next(); v > time.Now().Add(time.Minute).UnixMicro() {
		t.Errorf("the clock follows it to %d", v)
	}
	if err := b.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	if s := a.Status(); !slices.Equal(s.Left, []string{"b"}) {
		t.Errorf("what it says later does not count: %v", s.Left)
	}
}

// ask makes r a signed question.
func ask(r *http.Request, secret string, q question) {
	for name, value := range map[string]string{headerNonce: q.nonce, headerTo: q.to, headerDigest: q.digest,
		headerMAC: sign(secret, q.parts()...)} {
		r.Header.Set(name, value)
	}
}

// A question that somebody has recorded is not answered again: not by the process that has answered it, not by
// another, not later.
func TestAQuestionIsAnsweredOnce(t *testing.T) {
	ns := nodes(t, 2)
	a, b := ns[0], ns[1]
	asked := 0
	b.reach = func(context.Context, topology.Key) bool { asked++; return true }
	play := func(q question, secret string) (int, string) {
		r, err := http.NewRequest(q.method, b.url+q.target, nil)
		if err != nil {
			t.Fatal(err)
		}
		ask(r, secret, q)
		w, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Body.Close()
		body, _ := io.ReadAll(w.Body)
		return w.StatusCode, string(body)
	}
	q := question{method: "GET", target: pathStatus + "?about=db1", nonce: "0123456789abcdef", to: b.ears.now(),
		digest: digestOf(nil)}
	if code, says := play(q, shared); code != http.StatusOK || asked != 1 {
		t.Fatalf("a question: %d %s", code, says)
	}
	old, elsewhere, first := q, q, q
	old.nonce, old.to = "0123456789abcde0", b.o.ID+" -6000"
	elsewhere.nonce, elsewhere.to = "0123456789abcde1", a.ears.now()
	first.nonce, first.to = "0123456789abcde2", ""
	for what, c := range map[string]struct {
		q    question
		want string
	}{
		"again":       {q, "it was answered before"},
		"later":       {old, "it was asked"},
		"for another": {elsewhere, "not for this process"},
		"for nobody":  {first, "not for this process"},
	} {
		if code, says := play(c.q, shared); code != http.StatusConflict || !strings.Contains(says, c.want) {
			t.Errorf("%s: %d %s", what, code, says)
		}
	}
	b.start()
	if code, says := play(q, shared); code != http.StatusConflict {
		t.Errorf("to the next process: %d %s", code, says)
	}
	if asked != 1 {
		t.Errorf("a server was probed %d times for one question", asked)
	}
	if got := a.Ask(t.Context(), db1); !got[0].Answered { // a has asked the process before
		t.Errorf("%+v", got)
	}
}

// Connections of those who don't know the secret, however many questions they begin and never end, keep no other
// daemon from being answered, and in time.
func TestWhoDoesNotKnowTheSecretSilencesNobody(t *testing.T) {
	ns := nodes(t, 2)
	a, b := ns[0], ns[1]
	b.server.Close()
	b.server = httptest.NewServer(b.Handler()) // which reads no body beforehand
	t.Cleanup(b.server.Close)
	a.others = []string{b.server.URL}
	a.start()
	for i := range 200 {
		c, err := net.Dial("tcp", b.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n%s: 0123456789abcdef\r\n"+
			"%s: %064d\r\n\r\n{", pathLeave, headerNonce, headerMAC, i)
		if _, err := io.WriteString(c, head[:len(head)-i%3*2]); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		if got := a.Ask(t.Context(), db1)[0]; !got.Answered {
			t.Errorf("%+v", got)
		}
	}
}
