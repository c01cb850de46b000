// Package peer asks the other daemons of the configuration, and answers them: who leads, in which term, with which
// backend, whether they can reach a server now, and which of them have left gracefully. It decides nothing: plan.Permit
// does.
//
// The one idea: an answer counts only if it is fresh, and from a daemon that knows the secret, or shows a certificate
// of the right authority and name (Trust). Each question has a nonce, and the answer is signed together with it; the
// secret is never sent. A question is for one process, at one time by that one's clock, and is answered once; without a
// right signature it costs next to nothing. The notice of a graceful leave outlives its question. It has a version, so
// that an old one cannot be replayed against a daemon that has come back.
package peer

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"orchestrator/backend"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// Options of Peers.
type Options struct {
	ID      string   // of this process, as the lease knows it
	Name    string   // of this daemon: the same at each start, unlike all others'
	Daemons []string // base URLs of the API of all others, as "http://host:port"
	Trust   Trust    // see SetTrust
	// Timeout bounds a question and its answer; 0 is 300 ms. A probe that the other daemon makes for it gets two
	// thirds.
	Timeout time.Duration
	// Tick is how often Run asks all; 0 is one second.
	Tick time.Duration
	// Status is Leading, Leader, Term and the backend, as this daemon knows them now; the rest is known here.
	Status func() plan.PeerStatus
	// Reach asks a server now, and says whether it answered, or failed in a way that shows that it is alive.
	Reach  func(ctx context.Context, k topology.Key) bool
	Store  backend.Store // keeps the notices of graceful leaves
	Clock  *backend.Clock
	Logger *slog.Logger // nil: silent
}

// Peers are the other daemons.
type Peers struct {
	o      Options
	busy   chan struct{}
	ears   ears
	clocks clocks
	trust  atomic.Pointer[trust]
	// refused are questions without a right certificate.
	refused refusals
	unsaid  []refusals // of the return of this daemon, as Options.Daemons

	mu        sync.Mutex
	left      map[string]leave  // on record here, by the name of the daemon that left
	excused   []string          // URLs of those that may still list this daemon as stopped
	unnoticed []string          // URLs of those that have not confirmed the return of this daemon
	last      []plan.Peer       // the last answers
	ids       map[string]string // of the processes, by the name of the daemon, as each answered last
	ended     map[string]string // of the processes before those
	asked     time.Time         // when Run asked for last
}

// leave is the document of a record: the daemon Name has left gracefully. URL is its address in the configuration of
// the daemon that keeps the record.
type leave struct {
	Name string `json:"name"`
	ID   string `json:"id"`
	URL  string `json:"url,omitempty"`
}

// LeaveKind is the kind of these records; the word is that of earlier versions. Each daemon keeps its own, because
// every one of them must have it. The key is "keeper/leaver". The two are the same where a daemon notes that it is
// about to leave.
const LeaveKind = "farewell"

// answering is how many questions are answered at the same time.
const answering = 16

// Open reads which daemons have left gracefully. It asks nobody. A store that cannot be read is no error: then this
// daemon assumes that the others list it as stopped, until they confirm that they do not.
func Open(ctx context.Context, o Options) *Peers {
	o.Timeout = cmp.Or(o.Timeout, 300*time.Millisecond)
	o.Tick = cmp.Or(o.Tick, time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Peers{o: o, left: map[string]leave{}, ids: map[string]string{}, ended: map[string]string{},
		busy:   make(chan struct{}, answering),
		ears:   ears{id: o.ID, began: time.Now(), heard: map[string]time.Time{}},
		clocks: clocks{of: map[string]told{}}}
	p.SetTrust(o.Trust)
	p.o.Daemons = nil
	for _, d := range o.Daemons {
		p.o.Daemons = append(p.o.Daemons, strings.TrimRight(d, "/"))
	}
	p.unnoticed, p.unsaid = slices.Clone(p.o.Daemons), make([]refusals, len(p.o.Daemons))
	records, err := o.Store.List(ctx, LeaveKind)
	if err != nil {
		o.Logger.Warn("it cannot be read which daemons have left: none is excused, and this daemon counts as "+
			"stopped until the others answer", "err", err)
		p.excused = slices.Clone(p.o.Daemons)
	}
	for _, r := range records {
		_ = o.Clock.See(r)
		f, err := backend.Decode[leave](r)
		if err != nil {
			o.Logger.Error("skip an unreadable record of a daemon that left", "key", r.Key, "err", err)
			continue
		}
		switch r.Key {
		case p.key(o.Name):
			p.excused = slices.Clone(p.o.Daemons)
		case p.key(f.Name):
			p.left[f.Name] = f
		}
	}
	return p
}

func (p *Peers) key(leaver string) string { return p.o.Name + "/" + leaver }

// Status is the status of this daemon: what the others are told, and what plan.Permit weighs.
func (p *Peers) Status() plan.PeerStatus {
	s := p.o.Status()
	s.ID, s.Name = p.o.ID, p.o.Name
	p.mu.Lock()
	defer p.mu.Unlock()
	for name := range p.left {
		s.Left = append(s.Left, name)
	}
	slices.Sort(s.Left)
	for _, u := range p.excused {
		s.Excused = append(s.Excused, short(u))
	}
	return s
}

// short is how people read the address of a daemon.
func short(base string) string {
	_, host, _ := strings.Cut(base, "://")
	return host
}

// Run asks the others again and again, and reports the return of this daemon to those that list it as stopped, until
// ctx ends.
func (p *Peers) Run(ctx context.Context) error {
	tick := time.NewTicker(p.o.Tick)
	defer tick.Stop()
	defer func() { p.trust.Load().client.CloseIdleConnections() }()
	for {
		p.Turn(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Turn is one round of Run.
func (p *Peers) Turn(ctx context.Context) {
	asked := time.Now()
	answers := p.Ask(ctx, topology.Key{})
	if ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	before := p.last
	p.last, p.asked = answers, asked
	for _, a := range answers {
		if before := p.ids[a.Name]; a.Answered && before != a.ID {
			p.ids[a.Name], p.ended[a.Name] = a.ID, before
		}
	}
	p.mu.Unlock()
	p.logChanges(before, answers)
	p.report(ctx, answers)
}

// logChanges logs which daemons answer now, and which no longer do. before is empty in the first turn.
func (p *Peers) logChanges(before, now []plan.Peer) {
	for i, a := range now {
		changed := !a.Answered
		if i < len(before) {
			changed = a.Answered != before[i].Answered || a.Why != before[i].Why
		}
		switch {
		case changed && a.Answered:
			p.o.Logger.Info("another daemon answers", "daemon", a.Name, "name", a.PeerStatus.Name)
		case changed:
			p.o.Logger.Warn("another daemon does not answer", "daemon", a.Name, "why", a.Why)
		}
	}
}

// Last are the answers of the last turn of Run. They are one tick old, or a few when turns are late. Older answers, of
// a daemon that was frozen, do not count any more: meanwhile another daemon may lead, and use the other member of the
// backend.
func (p *Peers) Last() []plan.Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := slices.Clone(p.last)
	if age := time.Since(p.asked); age > 3*p.o.Tick+p.o.Timeout {
		for i := range out {
			if out[i].Answered {
				out[i] = plan.Peer{Name: out[i].Name, Why: fmt.Sprintf("it was asked %v ago",
					age.Round(time.Millisecond))}
			}
		}
	}
	return out
}

// Gone says that the process with that ID is known to have ended: it answered once, and now its address refuses
// connections, or another process answers there. Nothing is known of a silent one.
func (p *Peers) Gone(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return id != "" && slices.ContainsFunc(p.last, func(a plan.Peer) bool {
		return a.Refused && p.ids[a.Name] == id || p.ended[a.Name] == id
	})
}

// Ask asks every daemon of the configuration, and with a key also whether it can reach that server now. It returns
// within Options.Timeout.
func (p *Peers) Ask(ctx context.Context, about topology.Key) []plan.Peer {
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	out := make([]plan.Peer, len(p.o.Daemons))
	var all sync.WaitGroup
	for i, base := range p.o.Daemons {
		all.Go(func() { out[i] = p.ask(ctx, base, about) })
	}
	all.Wait()
	seen := map[string]string{p.o.ID: "this daemon itself", p.o.Name: "this daemon"}
	for i := range out {
		if a := &out[i]; a.Answered {
			refuseTwice(a, seen)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, base := range p.o.Daemons {
		for _, l := range p.left {
			if !out[i].Answered && l.URL == base {
				out[i].PeerStatus.Name = l.Name
			}
		}
	}
	return out
}

// refuseTwice refuses the answer of a daemon that was seen before, by its ID or its name.
func refuseTwice(a *plan.Peer, seen map[string]string) {
	if other, twice := seen[a.ID]; twice {
		*a = plan.Peer{Name: a.Name, Why: fmt.Sprintf("it is %s: correct peers.daemons", other)}
	} else if other, twice := seen[a.PeerStatus.Name]; twice {
		*a = plan.Peer{Name: a.Name, Why: fmt.Sprintf("it has the same name as %s, %q", other, a.PeerStatus.Name)}
	} else {
		seen[a.ID], seen[a.PeerStatus.Name] = "the same as "+a.Name, a.Name
	}
}

func (p *Peers) ask(ctx context.Context, base string, about topology.Key) plan.Peer {
	target := pathStatus
	if !about.IsZero() {
		target += "?about=" + url.QueryEscape(about.String())
	}
	out := plan.Peer{Name: short(base)}
	body, err := p.call(ctx, http.MethodGet, base, target, nil)
	if err == nil {
		var a answer
		if a, err = decodeAnswer(body); err == nil && a.About != about {
			err = fmt.Errorf("it was asked about %v, and answers about %v", about, a.About)
		}
		if err == nil {
			out.Answered, out.PeerStatus, out.Reaches = true, a.PeerStatus, a.Reaches
		}
	}
	if err != nil {
		out.Why, out.Refused = p.words(ctx, err), errors.Is(err, syscall.ECONNREFUSED)
	}
	return out
}

// errRefused is an answer of another daemon that refuses.
type errRefused struct {
	status  int
	version int64
	says    string
	again   bool
}

func (e *errRefused) Error() string { return e.says }

// call asks, and returns the body of an answer whose signature is right. A process that was not asked before, or that
// believes the question to be old, first says who it is and what time it is there. And what failed while the secret or
// the certificate was replaced here is asked with the new one.
func (p *Peers) call(ctx context.Context, method, base, target string, body []byte) ([]byte, error) {
	t := p.trust.Load()
	got, err := p.send(ctx, t, method, base, target, body)
	now := p.trust.Load()
	if e := (*errRefused)(nil); errors.As(err, &e) && e.again || err != nil && now != t {
		got, err = p.send(ctx, now, method, base, target, body)
	}
	return got, err
}

// send sends one signed question.
func (p *Peers) send(ctx context.Context, t *trust, method, base, target string, body []byte) ([]byte, error) {
	if len(t.secrets) == 0 {
		return nil, errors.New("this daemon has neither a secret (peers.secret_file) nor a certificate (peers.cert)")
	}
	if t.Certificate != nil && !strings.HasPrefix(base, "https://") {
		return nil, errors.New("certificates need TLS: write https:// in peers.daemons")
	}
	var random [16]byte
	rand.Read(random[:]) // never fails
	key := t.secrets[0]
	q := question{method: method, target: target, nonce: hex.EncodeToString(random[:]), to: p.clocks.to(base),
		length: int64(len(body)), digest: digestOf(body)}
	r, err := http.NewRequestWithContext(ctx, method, base+target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]string{headerNonce: q.nonce, headerTo: q.to, headerDigest: q.digest,
		headerMAC: sign(key, q.parts()...)} {
		r.Header.Set(name, value)
	}
	asked := time.Now()
	w, err := t.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer w.Body.Close()
	got, err := io.ReadAll(io.LimitReader(w.Body, longest+1))
	from, doubt := w.Header.Get(headerFrom), t.doubt(w.TLS, x509.ExtKeyUsageServerAuth, hostOf(base))
	switch {
	case err != nil:
		return nil, err
	case len(got) > longest:
		return nil, fmt.Errorf("its answer is longer than %d bytes", longest)
	case doubt != "": // it may have expired since TLS began
		return nil, errors.New(doubt)
	case w.StatusCode == http.StatusForbidden && reasonOf(got) != "":
		return nil, fmt.Errorf("it refuses the question: %s", reasonOf(got))
	case w.StatusCode == http.StatusUnauthorized:
		return nil, errors.New("it refuses our signature: the secret (peers.secret_file) must be the same on all " +
			"daemons, and so must the version of the program")
	case w.Header.Get(headerMAC) == "":
		return nil, fmt.Errorf("what answers there (status %d) is not a daemon that has our secret", w.StatusCode)
	case !signed(w.Header.Get(headerMAC), key, answerParts(q, w.StatusCode, from, got)...):
		return nil, errors.New("its answer is not signed with our secret: it (peers.secret_file) must be the same " +
			"on all daemons")
	}
	p.clocks.learn(base, from, asked)
	if w.StatusCode != http.StatusOK {
		var says refusal
		if err := json.Unmarshal(got, &says); err != nil {
			return nil, fmt.Errorf("it answers with status %d and no reason", w.StatusCode)
		}
		return nil, &errRefused{w.StatusCode, says.Version, says.Detail, says.Again}
	}
	return got, nil
}

// words are the same for the same failure, so that it is logged and stored once: without local ports and times.
func (p *Peers) words(ctx context.Context, err error) string {
	var (
		number syscall.Errno
		dns    *net.DNSError
		verify *tls.CertificateVerificationError
		below  *url.Error
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil && !errors.Is(err, context.Canceled):
		return fmt.Sprintf("not within %s", p.o.Timeout)
	case errors.Is(err, context.Canceled):
		return "the question was cancelled"
	case errors.As(err, &number):
		return number.Error()
	case errors.As(err, &dns):
		return "there is no host " + dns.Name
	case errors.As(err, &verify):
		if len(verify.UnverifiedCertificates) > 0 {
			return untrusted(verify.UnverifiedCertificates[0], verify.Err)
		}
		return verify.Error()
	case errors.As(err, &below):
		var op *net.OpError
		if errors.As(err, &op) && op.Err != nil {
			return op.Err.Error()
		}
		return below.Err.Error()
	}
	return err.Error()
}
