package peer

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"orchestrator/backend"
	"orchestrator/backend/storetest"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/printable"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// shows is a certificate, and the authorities of the others.
func shows(t *testing.T, by *lab.Authority, change func(*x509.Certificate), host string, of ...*lab.Authority) Trust {
	t.Helper()
	cert, key, err := by.Issue(change, host)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	for _, a := range of {
		pool.AppendCertsFromPEM([]byte(a.PEM))
	}
	return Trust{Certificate: &pair, Authorities: pool}
}

func authority(t *testing.T, name string) *lab.Authority {
	t.Helper()
	a, err := lab.NewAuthority(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// member is a daemon that serves its API with TLS, at an address of its own.
type member struct {
	*Peers
	host string
	mu   sync.Mutex
	log  bytes.Buffer
}

func (m *member) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.log.Write(b)
}

// members are daemons at 127.0.0.1, 127.0.0.2, …, as the certificates of the test name them.
func members(t *testing.T, ours *lab.Authority, trust ...Trust) (out []*member) {
	var listeners []net.Listener
	var urls []string
	for i := range trust {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.%d:0", i+1))
		if err != nil {
			t.Fatal(err)
		}
		listeners, urls = append(listeners, l), append(urls, "https://"+l.Addr().String())
	}
	for i, l := range listeners {
		m := &member{host: fmt.Sprintf("127.0.0.%d", i+1)}
		others := append(append([]string(nil), urls[:i]...), urls[i+1:]...)
		name := string(rune('a' + i))
		m.Peers = Open(t.Context(), Options{ID: name + "#1", Name: name, Daemons: others, Trust: trust[i],
			Timeout: 5 * time.Second,
			Store:   &storetest.Memory{}, Clock: backend.NewClock(time.Now),
			Logger: slog.New(slog.NewTextHandler(m, nil)),
			Status: func() plan.PeerStatus { return plan.PeerStatus{Leader: "a#1", Term: 5, Leading: name == "a"} }})
		s := httptest.NewUnstartedServer(m.Handler())
		s.Listener.Close()
		api, _ := tls.X509KeyPair(served(t, ours, m.host))
		s.Listener = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{api},
			GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) { return m.Greet(h), nil }})
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
		s.Start()
		t.Cleanup(s.Close)
		out = append(out, m)
	}
	return out
}

// served is what the API shows others.
func served(t *testing.T, by *lab.Authority, host string) (cert, key []byte) {
	c, k, err := by.Issue(nil, host, "api.example.com")
	if err != nil {
		t.Fatal(err)
	}
	return []byte(c), []byte(k)
}

func (m *member) whyNot(t *testing.T) string {
	t.Helper()
	a := m.Ask(t.Context(), topology.Key{})[0]
	if !a.Answered && a.Why == "" {
		t.Error("refused without a reason")
	}
	return a.Why
}

func TestACertificateThatIsRefused(t *testing.T) {
	ours, stranger := authority(t, "ours"), authority(t, "another")
	right := func(host string) Trust { return shows(t, ours, nil, host, ours) }
	both := func(t Trust, secret string) Trust { t.Secret = secret; return t }
	for name, c := range map[string]struct {
		other           Trust
		asking, answers string // what a is told when it asks b, and b when it asks a
	}{
		"of the authority": {right("127.0.0.2"), "", ""},
		"of another authority": {shows(t, stranger, nil, "127.0.0.2", ours),
			`the certificate "daemon" is not signed by an authority in peers.ca`,
			`it refuses the question: the certificate "daemon" is not signed by an authority in peers.ca`},
		"a stranger": {shows(t, stranger, nil, "127.0.0.2", stranger),
			`the certificate "daemon" is not signed by an authority in peers.ca`,
			`the certificate "daemon" is not signed by an authority in peers.ca`},
		"expired": {shows(t, ours, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, "127.0.0.2",
			ours), `the certificate "daemon" expired at 20`, `the question: the certificate "daemon" expired at 20`},
		"not valid yet": {shows(t, ours, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
		}, "127.0.0.2", ours), `is not valid before 20`, `is not valid before 20`},
		"of another host": {right("127.0.0.9"), `is for "127.0.0.9", and not for 127.0.0.2`,
			`is for "127.0.0.9", and the daemons in peers.daemons are 127.0.0.2`},
		"for servers only": {shows(t, ours, func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] },
			"127.0.0.2", ours), "", "extended key usage"},
		"for clients only": {shows(t, ours, func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] },
			"127.0.0.2", ours), "extended key usage", ""},
		"a name that acts on a terminal": {shows(t, stranger, func(c *x509.Certificate) {
			c.Subject.CommonName = "\x1b[2J" + strings.Repeat("x", 5000)
		}, "127.0.0.2", ours), `the certificate "\\u001b[2Jxxx`, `the certificate "\\u001b[2Jxxx`},
		"none, and the secret": {Trust{Secret: shared, Authorities: right("127.0.0.2").Authorities},
			"refuses our signature", "refuses our signature"},
		"none, and no secret": {Trust{Authorities: right("127.0.0.2").Authorities}, "refuses our signature",
			"neither a secret"},
		"a secret that a has not": {both(right("127.0.0.2"), shared), "refuses our signature",
			"refuses our signature"},
		"an authority that it lacks": {shows(t, ours, nil, "127.0.0.2", stranger), "the question: the certificate",
			"is not signed"},
	} {
		t.Run(name, func(t *testing.T) {
			ms := members(t, ours, right("127.0.0.1"), c.other)
			for i, want := range []string{c.asking, c.answers} {
				if got := ms[i].whyNot(t); !strings.Contains(got, want) || want == "" != (got == "") {
					t.Errorf("%s is told %q, want %q", ms[i].host, got, want)
				} else if len(got) > 800 || strings.Contains(got, "\x1b") {
					t.Errorf("it is told %q", got)
				}
			}
			if strings.Contains(c.answers, "the question: the certificate") {
				if log := ms[0].log.String(); !strings.Contains(log, "is refused") {
					t.Errorf("who refuses logs %q", log)
				}
			}
		})
	}
}

func TestBothASecretAndACertificateAreNeeded(t *testing.T) {
	ours := authority(t, "ours")
	trust := func(host, secret string) Trust {
		t := shows(t, ours, nil, host, ours)
		t.Secret = secret
		return t
	}
	ms := members(t, ours, trust("127.0.0.1", shared), trust("127.0.0.2", shared))
	if why := ms[0].whyNot(t); why != "" {
		t.Error(why)
	}
	for name, c := range map[string]struct {
		other Trust
		want  string
	}{
		"only the secret": {Trust{Secret: shared, Authorities: trust("127.0.0.2", "").Authorities},
			"no certificate was shown"},
		"only the certificate": {trust("127.0.0.2", ""), "refuses our signature"},
		"another secret":       {trust("127.0.0.2", shared+"!"), "refuses our signature"},
	} {
		ms[1].SetTrust(c.other)
		if why := ms[1].whyNot(t); !strings.Contains(why, c.want) {
			t.Errorf("%s: %q, want %q", name, why, c.want)
		}
	}
}

// A certificate without a secret weakens nothing that is said of a question: it is for one process, at one time, once.
func TestAQuestionWithACertificateIsAnsweredOnce(t *testing.T) {
	ours := authority(t, "ours")
	ms := members(t, ours, shows(t, ours, nil, "127.0.0.1", ours), shows(t, ours, nil, "127.0.0.2", ours))
	if why := ms[0].whyNot(t); why != "" {
		t.Fatal(why)
	}
	client := ms[0].trust.Load().client
	base := ms[0].o.Daemons[0]
	for name, c := range map[string]struct {
		to   string
		want int
	}{
		"now":            {ms[1].ears.now(), http.StatusOK},
		"again":          {ms[1].ears.now(), http.StatusConflict},
		"a minute later": {fmt.Sprintf("b#1 %d", 60_000), http.StatusConflict},
		"of another":     {"c#1 0", http.StatusConflict},
	} {
		q := question{method: "GET", target: pathStatus, nonce: digestOf([]byte(name)), to: c.to,
			digest: digestOf(nil)}
		times := 1
		if name == "again" {
			times = 2
		}
		for range times {
			r, err := http.NewRequest("GET", base+pathStatus, nil)
			if err != nil {
				t.Fatal(err)
			}
			ask(r, "", q)
			w, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			w.Body.Close()
			if times--; times == 0 && w.StatusCode != c.want {
				t.Errorf("%s: status %d, want %d", name, w.StatusCode, c.want)
			}
		}
	}
}

// Each step is taken by one daemon after the other, while all ask each other without a pause.
func TestAnAuthorityIsReplacedWithoutALostQuestion(t *testing.T) {
	before, after := authority(t, "before"), authority(t, "after")
	host := func(i int) string { return fmt.Sprintf("127.0.0.%d", i+1) }
	var first []Trust
	for i := range 3 {
		first = append(first, shows(t, before, nil, host(i), before))
	}
	ms := members(t, before, first...)
	stop, asked := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	for _, m := range ms {
		all.Go(func() {
			for {
				for _, a := range m.Ask(t.Context(), topology.Key{}) {
					if !a.Answered {
						t.Errorf("%s asks %s: %s", m.host, a.Name, a.Why)
					}
				}
				select {
				case <-stop:
					return
				case asked <- struct{}{}:
				default:
				}
			}
		})
	}
	for _, step := range []struct {
		by *lab.Authority
		of []*lab.Authority
	}{
		{before, []*lab.Authority{before, after}},
		{after, []*lab.Authority{before, after}},
		{after, []*lab.Authority{after}},
	} {
		for i, m := range ms {
			m.SetTrust(shows(t, step.by, nil, host(i), step.of...))
			for range 5 {
				<-asked
			}
		}
	}
	close(stop)
	all.Wait()
	ms[0].SetTrust(first[0])
	if why := ms[1].whyNot(t); !strings.Contains(why, "not signed by an authority") {
		t.Errorf("a certificate of the old authority: %q", why)
	}
}

// A daemon speaks for itself only: with its own certificate it can't say that another one has left.
func TestADaemonSpeaksForItself(t *testing.T) {
	ours := authority(t, "ours")
	ms := members(t, ours, shows(t, ours, nil, "127.0.0.1", ours), shows(t, ours, nil, "127.0.0.2", ours),
		shows(t, ours, nil, "127.0.0.3", ours))
	a, b, c := ms[0], ms[1], ms[2]
	if why := b.whyNot(t); why != "" {
		t.Fatal(why)
	}
	body := fmt.Appendf(nil, `{"name":"c","id":"c#1","version":%d}`, b.o.Clock.Next())
	if _, err := b.call(t.Context(), "POST", b.o.Daemons[0], pathLeave, body); err == nil ||
		!strings.Contains(err.Error(), "it speaks for another daemon") {
		t.Errorf("b says that c leaves: %v", err)
	}
	if err := c.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	if s := a.Status(); len(s.Left) != 1 || s.Left[0] != "c" {
		t.Errorf("who has left: %v", s.Left)
	}
}

// Whoever is no daemon sees the certificate of the API, and is asked for none.
func TestOtherClientsAreAskedForNoCertificate(t *testing.T) {
	ours := authority(t, "ours")
	ms := members(t, ours, shows(t, ours, nil, "127.0.0.1", ours), shows(t, ours, nil, "127.0.0.2", ours))
	for offered, names := range map[string]int{"": 1, http1: 1, protocol: 0} {
		asked := false
		c := &tls.Config{InsecureSkipVerify: true}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked = true
			return &tls.Certificate{}, nil
		}
		if offered != "" {
			c.NextProtos = []string{offered, http1}
		}
		conn, err := tls.Dial("tcp", strings.TrimPrefix(ms[1].o.Daemons[0], "https://"), c)
		if err != nil {
			t.Fatal(err)
		}
		if shown := conn.ConnectionState().PeerCertificates[0]; len(shown.DNSNames) != names {
			t.Errorf("%q is offered, and the certificate shown is for %q", offered, shown.DNSNames)
		}
		if asked != (offered == protocol) {
			t.Errorf("%q is offered: asked for a certificate: %v", offered, asked)
		}
		conn.Close()
	}
}

// FuzzHead sends anything as the head of a question, and has anything in the name of a certificate. Without the secret
// nothing is answered, and what is said stays short and printable.
func FuzzHead(f *testing.F) {
	f.Add("0123456789abcdef", "a#1 5", strings.Repeat("0", 64), "mac", "daemon", "a#1 7")
	f.Add("", "a#1 -9223372036854775808", "", "\xff", "\x1b[2J", " ")
	p := Open(f.Context(), Options{ID: "a#1", Name: "a", Trust: Trust{Secret: shared}, Store: &storetest.Memory{},
		Clock:  backend.NewClock(time.Now),
		Status: func() plan.PeerStatus { return plan.PeerStatus{} }})
	h := p.Handler()
	f.Fuzz(func(t *testing.T, nonce, to, digest, mac, name, from string) {
		r := httptest.NewRequest("GET", pathStatus, nil)
		for header, value := range map[string]string{headerNonce: nonce, headerTo: to, headerDigest: digest,
			headerMAC: mac} {
			r.Header.Set(header, value)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code == http.StatusOK {
			t.Error("answered without the secret")
		}
		p.ears.listen(question{to: to, nonce: nonce}) // of somebody who knows it
		p.clocks.learn("http://b", from, time.Now())
		p.clocks.to("http://b")
		why := untrusted(&x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name, name}},
			x509.HostnameError{Certificate: &x509.Certificate{}, Host: name})
		if len(why) > 4096 || !printable.Is(why) {
			t.Errorf("%q", why)
		}
	})
}
