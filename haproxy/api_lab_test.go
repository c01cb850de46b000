package haproxy_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"orchestrator/haproxy"
	"orchestrator/tests/lab"
)

// daemon is an HTTP server that says whether it lives and leads, and its address to whatever else it is asked.
type daemon struct {
	address     string
	leads, hung atomic.Bool
	server      *http.Server
	shows       *tls.Certificate         // nil: plain HTTP
	users       atomic.Pointer[[]string] // that the last request has named
}

func (d *daemon) start(t *testing.T) {
	t.Helper()
	l, err := listen(d.address)
	if err != nil {
		t.Fatal(err)
	}
	d.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.hung.Load() {
			<-r.Context().Done()
			return
		}
		if !strings.HasPrefix(r.URL.Path, "/health/") {
			named := r.Header.Values(identity)
			d.users.Store(&named)
		}
		if r.URL.Path == "/health/leader" && !d.leads.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		io.WriteString(w, d.address)
	})}
	if d.shows != nil {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{*d.shows}})
	}
	d.server.ErrorLog = log.New(io.Discard, "", 0)
	go d.server.Serve(l)
}

// api is three daemons and an HAProxy before them.
func (w *world) api(change func(*haproxy.Values), shows ...*tls.Certificate) (daemons []*daemon) {
	v := haproxy.Values{Version: w.version, Socket: w.h.Socket, Database: w.h.Database, HTTP: w.h.HTTP,
		Agent: w.h.Host + ":3001", Members: []string{w.h.Host + ":3306"}}
	for i := range 3 {
		d := &daemon{address: address(w.T, w.lab) + ":3000"}
		if shows != nil {
			d.shows = shows[i]
		}
		d.start(w.T)
		w.Cleanup(func() { d.server.Close() })
		daemons = append(daemons, d)
		v.Daemons = append(v.Daemons, haproxy.Daemon{Address: d.address})
	}
	if change != nil {
		change(&v)
	}
	var err error
	w.config, err = haproxy.Render(v)
	w.must(err)
	w.must(w.h.Write(w.config))
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
			w.Fatalf("after %v the answer is %d %q; want one of %s; log: %s", time.Since(begin), status, text,
				d.address, w.h.Log())
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
		w.reaches(ds[1], ds[0], ds[2]) // at first each counts as leading, until it has been asked
		w.stays(ds[1])
		if status, text := w.get("/health/leader", false); status != http.StatusOK || text != ds[1].address {
			w.Errorf("%d %q", status, text)
		}
		ds[1].server.Close() // it dies: any living daemon answers, and no request fails
		w.reaches(ds[0], ds[2])
		w.stays(ds[0])
		// the daemon's own word
		if status, _ := w.get("/health/leader", false); status != http.StatusServiceUnavailable {
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
		if status, text := w.get("/", false); status != http.StatusServiceUnavailable ||
			!strings.HasPrefix(text, `{"title":"Service Unavailable","status":503,"detail":"HAProxy reaches none`) {
			w.Errorf("all are dead: %d %q", status, text)
		}
	})
}

// identity is the header in which the daemons believe a proxy.
const identity = "X-Remote-User"

// What a client says of itself does not reach a daemon; what HAProxy itself says does.
func TestNobodyNamesAUserThroughHAProxy(t *testing.T) {
	everyVersion(t, func(w *world) {
		ds := w.api(func(v *haproxy.Values) { v.Identity = identity })
		ds[1].leads.Store(true)
		w.reaches(ds[1], ds[0], ds[2])
		users := func(lines ...string) []string {
			c, err := net.Dial("tcp", w.h.HTTP)
			w.must(err)
			defer c.Close()
			_, err = fmt.Fprintf(c, "GET /api/v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n\r\n",
				strings.Join(lines, "\r\n"))
			w.must(err)
			answer, err := http.ReadResponse(bufio.NewReader(c), nil)
			w.must(err)
			if answer.Body.Close(); answer.StatusCode != http.StatusOK {
				w.Fatalf("%q: %s", lines, answer.Status)
			}
			return *ds[1].users.Load()
		}
		for _, lines := range [][]string{{identity + ": admin"}, {"x-remote-user:admin"},
			{identity + ": admin", "X-REMOTE-USER: root"}, {"A: b", identity + ": admin", "Connection: " + identity}} {
			if got := users(lines...); len(got) > 0 {
				w.Errorf("%q names %q", lines, got)
			}
		}
		const removed = "    http-request del-header " + identity + "\n"
		named := removed + "    http-request set-header " + identity + " ann\n"
		w.must(w.h.Write(strings.Replace(w.config, removed, named, 1)))
		w.must(w.h.Reload(w.Context()))
		w.reaches(ds[1], ds[0], ds[2])
		if got := users(identity + ": admin"); !slices.Equal(got, []string{"ann"}) {
			w.Errorf("HAProxy names ann, and the daemon hears %q", got)
		}
	})
}

// shown is a certificate for a host by this authority, and the same with its key as HAProxy reads it.
func (w *world) shown(by *lab.Authority, host string) (*tls.Certificate, []byte) {
	w.Helper()
	cert, key, err := by.Issue(nil, host)
	w.must(err)
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	w.must(err)
	return &pair, []byte(cert + key)
}

// All say that they lead. Only the one is believed that shows a certificate of its own name, by an authority that is
// trusted.
func TestADaemonMustShowACertificateOfItsName(t *testing.T) {
	everyVersion(t, func(w *world) {
		trusted, err := lab.NewAuthority("trusted")
		w.must(err)
		unknown, err := lab.NewAuthority("unknown")
		w.must(err)
		ca, err := w.h.File("ca.pem", []byte(trusted.PEM))
		w.must(err)
		_, own := w.shown(trusted, "api.example.com")
		cert, err := w.h.File("api.pem", own)
		w.must(err)
		another, _ := w.shown(trusted, "another.example.com")
		right, _ := w.shown(trusted, "d1.example.com")
		stranger, _ := w.shown(unknown, "d2.example.com")
		ds := w.api(func(v *haproxy.Values) {
			v.CA, v.Cert = ca, cert
			for i := range v.Daemons {
				v.Daemons[i].TLS, v.Daemons[i].Name = true, fmt.Sprintf("d%d.example.com", i)
			}
		}, another, right, stranger)
		for _, d := range ds {
			d.leads.Store(true)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(trusted.PEM))
		c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "api.example.com"}}}
		get := func() string {
			answer, err := c.Get("https://" + w.h.HTTP)
			if err != nil {
				return err.Error()
			}
			defer answer.Body.Close()
			body, _ := io.ReadAll(answer.Body)
			return string(body)
		}
		for range 150 { // while the checks find out, too
			if got := get(); got != ds[1].address && !strings.Contains(got, `"status":503`) {
				w.Fatalf("it answers %q; want %s; log: %s", got, ds[1].address, w.h.Log())
			}
		}
		if got := get(); got != ds[1].address {
			w.Errorf("it answers %q; want %s", got, ds[1].address)
		}
		servers, err := w.h.Runtime().Servers(w.Context(), "")
		w.must(err)
		for _, s := range servers {
			if s.Backend != haproxy.Backend && s.Serves() != (s.Address == ds[1].address) {
				w.Errorf("%s/%s is %s: %s", s.Backend, s.Name, s.Status, s.Check)
			}
		}
		ds[1].server.Close()
		ds[1].shows = another
		ds[1].start(w.T)
		for range 30 {
			if got := get(); !strings.Contains(got, "HAProxy reaches none") {
				w.Fatalf("it answers %q, and no certificate is good", got)
			}
		}
	})
}
