package haproxy_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"orchestrator/haproxy"
)

// daemon is an HTTP server that says whether it lives and leads, and its address to whatever else it is asked.
type daemon struct {
	address     string
	leads, hung atomic.Bool
	server      *http.Server
}

func (d *daemon) start(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", d.address)
	if err != nil {
		t.Fatal(err)
	}
	d.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.hung.Load() {
			<-r.Context().Done()
			return
		}
		if r.URL.Path == "/health/leader" && !d.leads.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		io.WriteString(w, d.address)
	})}
	go d.server.Serve(l)
}

// api is three daemons and an HAProxy before them.
func (w *world) api(change func(*haproxy.Values)) (daemons []*daemon) {
	v := haproxy.Values{Version: w.version, Socket: w.h.Socket, Database: w.h.Database, HTTP: w.h.HTTP, Agent: w.h.Host + ":3001", Members: []string{w.h.Host + ":3306"}}
	for range 3 {
		d := &daemon{address: address(w.T, w.lab) + ":3000"}
		d.start(w.T)
		w.Cleanup(func() { d.server.Close() })
		daemons = append(daemons, d)
		v.Daemons = append(v.Daemons, haproxy.Daemon{Address: d.address})
	}
	if change != nil {
		change(&v)
	}
	config, err := haproxy.Render(v)
	w.must(err)
	w.must(w.h.Write(config))
	w.must(w.h.Start(w.Context()))
	return daemons
}

// get asks through HAProxy, on a connection of its own or one that is kept.
func (w *world) get(path string, keep bool) (status int, text string) {
	c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	if keep {
		c.Transport = w.kept
	}
	answer, err := c.Get("http://" + w.h.HTTP + path)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, string(body)
}

// reaches asks until this daemon answers. On the way only the others named may, and no request may fail.
func (w *world) reaches(d *daemon, meanwhile ...*daemon) {
	w.Helper()
	begin, slowest := time.Now(), time.Duration(0)
	for n := 0; ; n++ {
		at := time.Now()
		status, text := w.get("/api/v1/status", n%2 == 0)
		slowest = max(slowest, time.Since(at))
		if text == d.address && status == http.StatusOK {
			w.Logf("it answers after %v, %d others before; slowest answer %v", time.Since(begin), n, slowest)
			return
		}
		known := false
		for _, m := range meanwhile {
			known = known || status == http.StatusOK && text == m.address
		}
		if !known || time.Since(begin) > 5*time.Second {
			w.Fatalf("after %v the answer is %d %q; want one of %s; log: %s", time.Since(begin), status, text, d.address, w.h.Log())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (w *world) stays(d *daemon) {
	w.Helper()
	for end := time.Now().Add(400 * time.Millisecond); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if status, text := w.get("/", false); status != http.StatusOK || text != d.address {
			w.Fatalf("the answer is %d %q; want one of %s; log: %s", status, text, d.address, w.h.Log())
		}
	}
}

func TestRequestsFollowTheLeader(t *testing.T) {
	everyVersion(t, func(w *world) {
		ds := w.api(nil)
		ds[1].leads.Store(true)
		w.reaches(ds[1], ds[0])
		w.stays(ds[1])
		if status, text := w.get("/health/leader", false); status != http.StatusOK || text != ds[1].address {
			w.Errorf("%d %q", status, text)
		}
		ds[1].server.Close() // it dies: whoever lives answers, and no request fails
		w.reaches(ds[0], ds[2])
		w.stays(ds[0])
		if status, _ := w.get("/health/leader", false); status != http.StatusServiceUnavailable { // the daemon's own word
			w.Errorf("nobody leads, and the leader check answers %d", status)
		}
		ds[2].leads.Store(true)
		w.reaches(ds[2], ds[0])
		ds[1].leads.Store(false)
		ds[1].start(w.T)
		w.stays(ds[2])
		ds[2].leads.Store(false) // it steps away, and another takes over
		ds[0].leads.Store(true)
		w.reaches(ds[0], ds[1], ds[2])
		w.stays(ds[0])
		ds[0].hung.Store(true)
		begin, impatient := time.Now(), &http.Client{Timeout: 300 * time.Millisecond}
		for {
			answer, err := impatient.Get("http://" + w.h.HTTP)
			if err == nil && answer.Body.Close() == nil && answer.StatusCode == http.StatusOK {
				break
			}
			if time.Since(begin) > 4*time.Second {
				w.Fatalf("no answer %v after the leader hung: %v", time.Since(begin), err)
			}
		}
		w.Logf("another answers %v after the leader hung", time.Since(begin))
		for _, d := range ds {
			d.server.Close()
		}
		if status, text := w.get("/", false); status != http.StatusServiceUnavailable || !strings.HasPrefix(text, `{"title":"Service Unavailable","status":503,"detail":"HAProxy reaches none`) {
			w.Errorf("all are dead: %d %q", status, text)
		}
	})
}
