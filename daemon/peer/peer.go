// Package peer asks the other daemons of the configuration, and answers them: who leads, in which term, with which backend, whether they can
// reach a server now, and who of them stopped in order. It judges nothing: plan.Permit does.
//
// The one idea: a word counts only when it is fresh and from somebody who knows the secret. Each question carries a nonce, and the answer is
// signed together with it; the secret itself is never sent. A farewell, which outlives its question, carries a version, so that an old one
// can't be said again for a daemon that has come back.
package peer

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
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
	"orchestrator/daemon/secret"
	"orchestrator/daemon/topology"
)

// Options of Peers.
type Options struct {
	ID      string   // of this process, as the lease knows it
	Name    string   // of this daemon: the same at each start, unlike all others'
	Daemons []string // base URLs of the API of all others, as "http://host:port"
	Secret  string   // the same for all; see SetSecret
	TLS     *tls.Config
	// Timeout bounds a question with its answer; 0 is 300 ms. A probe that the other does for it gets two thirds.
	Timeout time.Duration
	// Tick is how often Run asks all; 0 is one second.
	Tick time.Duration
	// Standing is Leading, Leader, Term and Face, as this daemon knows them now; the rest is known here.
	Standing func() plan.Standing
	// Reach asks a server now, and says whether it answered, or failed in a way that proves life.
	Reach  func(ctx context.Context, k topology.Key) bool
	Store  backend.Store // farewells are records in it
	Clock  *backend.Clock
	Logger *slog.Logger // nil: silent
}

// Peers are the other daemons.
type Peers struct {
	o      Options
	client *http.Client
	busy   chan struct{}

	secrets atomic.Pointer[[]string]

	mu        sync.Mutex
	farewells map[string]farewell // on record here, by the name of who left
	excused   []string            // URLs of those that may have a farewell of our former life on record
	welcome   []string            // URLs of those that have not confirmed our return
	last      []plan.Peer         // the answers that Run had last
	ids       map[string]string   // of the processes, by the name of the daemon, as each answered last
	ended     map[string]string   // and of those before them
	asked     time.Time           // when it asked for them
}

// farewell is the document of a record: Name has stopped in order. URL is what it is called in the configuration of whoever keeps the record.
type farewell struct {
	Name string `json:"name"`
	ID   string `json:"id"`
	URL  string `json:"url,omitempty"`
}

// FarewellKind is the kind of these records. Each daemon has its own, for the question is whether every one of them has it: the key is
// "keeper/leaver", and keeper and leaver are the same where a daemon notes that it is about to say farewell.
const FarewellKind = "farewell"

// answering is how many questions are answered at the same time.
const answering = 16

// SetSecret takes another secret from now on. It may have several lines, each a secret: the first is asked with, and all are answered to. So it is
// changed without a moment in which daemons don't understand each other, as package secret says.
func (p *Peers) SetSecret(text string) {
	secrets := secret.Lines(text)
	if len(secrets) == 0 {
		secrets = []string{""}
	}
	p.secrets.Store(&secrets)
}

// Open reads the farewells on record. It asks nobody. That the store can't be read is no error: then this daemon counts as one whose former
// life has said farewell, until the others say otherwise.
func Open(ctx context.Context, o Options) *Peers {
	o.Timeout = cmp.Or(o.Timeout, 300*time.Millisecond)
	o.Tick = cmp.Or(o.Tick, time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Peers{o: o, farewells: map[string]farewell{}, ids: map[string]string{}, ended: map[string]string{}, busy: make(chan struct{}, answering)}
	p.SetSecret(o.Secret)
	p.o.Daemons = nil
	for _, d := range o.Daemons {
		p.o.Daemons = append(p.o.Daemons, strings.TrimRight(d, "/"))
	}
	p.client = &http.Client{
		Transport: &http.Transport{TLSClientConfig: o.TLS, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute, DisableCompression: true,
			DialContext: (&net.Dialer{Timeout: o.Timeout}).DialContext},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // to somebody who is not configured
	}
	p.welcome = slices.Clone(p.o.Daemons)
	records, err := o.Store.List(ctx, FarewellKind)
	if err != nil {
		o.Logger.Warn("the farewells on record can't be read: nobody is excused, and this daemon counts as one that has stopped until the others answer", "err", err)
		p.excused = slices.Clone(p.o.Daemons)
	}
	for _, r := range records {
		o.Clock.Observe(r.Version)
		f, err := backend.Decode[farewell](r)
		if err != nil {
			o.Logger.Error("skip an unreadable farewell", "key", r.Key, "err", err)
			continue
		}
		switch r.Key {
		case p.key(o.Name):
			p.excused = slices.Clone(p.o.Daemons)
		case p.key(f.Name):
			p.farewells[f.Name] = f
		}
	}
	return p
}

func (p *Peers) key(leaver string) string { return p.o.Name + "/" + leaver }

// Standing is where this daemon stands: what others are told, and what plan.Permit weighs.
func (p *Peers) Standing() plan.Standing {
	s := p.o.Standing()
	s.ID, s.Name = p.o.ID, p.o.Name
	p.mu.Lock()
	defer p.mu.Unlock()
	for name := range p.farewells {
		s.Farewells = append(s.Farewells, name)
	}
	slices.Sort(s.Farewells)
	for _, u := range p.excused {
		s.Excused = append(s.Excused, short(u))
	}
	return s
}

// short is how a daemon is called towards people.
func short(base string) string {
	_, host, _ := strings.Cut(base, "://")
	return host
}

// Run keeps in touch: it learns who is who, and takes the farewell of this daemon's former life back, until ctx ends.
func (p *Peers) Run(ctx context.Context) error {
	tick := time.NewTicker(p.o.Tick)
	defer tick.Stop()
	defer p.client.CloseIdleConnections()
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
	for i, a := range answers {
		if i >= len(before) && !a.Answered || i < len(before) && (a.Answered != before[i].Answered || a.Why != before[i].Why) {
			if a.Answered {
				p.o.Logger.Info("another daemon answers", "daemon", a.Name, "name", a.Standing.Name)
			} else {
				p.o.Logger.Warn("another daemon does not answer", "daemon", a.Name, "why", a.Why)
			}
		}
	}
	p.comeBack(ctx, answers)
}

// Last are the answers of the last turn of Run. They are a tick old, or a few where turns are late; what is older, because this daemon was
// frozen, is no answer any more: others may have taken the lead meanwhile, and the other member of the backend.
func (p *Peers) Last() []plan.Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := slices.Clone(p.last)
	if age := time.Since(p.asked); age > 3*p.o.Tick+p.o.Timeout {
		for i := range out {
			if out[i].Answered {
				out[i] = plan.Peer{Name: out[i].Name, Why: fmt.Sprintf("it was asked %v ago", age.Round(time.Millisecond))}
			}
		}
	}
	return out
}

// Gone says that the process with that ID is known to have ended: it answered once, and now its address refuses connections, or another process
// answers there. Of one that is only silent nothing is known.
func (p *Peers) Gone(id string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return id != "" && slices.ContainsFunc(p.last, func(a plan.Peer) bool {
		return a.Refused && p.ids[a.Name] == id || p.ended[a.Name] == id
	})
}

// Ask asks every daemon of the configuration, and with a key also whether it can reach that server now. It returns within Options.Timeout.
func (p *Peers) Ask(ctx context.Context, about topology.Key) []plan.Peer {
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	out := make([]plan.Peer, len(p.o.Daemons))
	var all sync.WaitGroup
	for i, base := range p.o.Daemons {
		all.Go(func() { out[i] = p.ask(ctx, base, about) })
	}
	all.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := map[string]string{p.o.ID: "this daemon itself", p.o.Name: "this daemon"}
	for i, base := range p.o.Daemons {
		a := &out[i]
		if a.Answered {
			if other, twice := seen[a.ID]; twice {
				*a = plan.Peer{Name: a.Name, Why: fmt.Sprintf("it is %s: correct peers.daemons", other)}
			} else if other, twice := seen[a.Standing.Name]; twice {
				*a = plan.Peer{Name: a.Name, Why: fmt.Sprintf("it goes by the same name as %s, %q", other, a.Standing.Name)}
			} else {
				seen[a.ID], seen[a.Standing.Name] = "the same as "+a.Name, a.Name
			}
		}
		if !a.Answered {
			for _, f := range p.farewells {
				if f.URL == base {
					a.Standing.Name = f.Name
				}
			}
		}
	}
	return out
}

func (p *Peers) ask(ctx context.Context, base string, about topology.Key) plan.Peer {
	target := pathStanding
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
			out.Answered, out.Standing, out.Reaches = true, a.Standing, a.Reaches
		}
	}
	if err != nil {
		out.Why, out.Refused = p.words(ctx, err), errors.Is(err, syscall.ECONNREFUSED)
	}
	return out
}

// errRefused is what another daemon answered in place of what it was asked.
type errRefused struct {
	status  int
	version int64
	says    string
}

func (e *errRefused) Error() string { return e.says }

// call sends a signed question, and returns the body of an answer whose signature is right.
func (p *Peers) call(ctx context.Context, method, base, target string, body []byte) ([]byte, error) {
	var random [16]byte
	rand.Read(random[:]) // never fails
	nonce := hex.EncodeToString(random[:])
	key := (*p.secrets.Load())[0]
	r, err := http.NewRequestWithContext(ctx, method, base+target, strings.NewReader(string(body)))
	if err != nil {
		return nil, err
	}
	r.Header.Set(headerNonce, nonce)
	r.Header.Set(headerMAC, sign(key, "question", method, target, nonce, string(body)))
	w, err := p.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer w.Body.Close()
	got, err := io.ReadAll(io.LimitReader(w.Body, longest+1))
	switch {
	case err != nil:
		return nil, err
	case len(got) > longest:
		return nil, fmt.Errorf("its answer is longer than %d bytes", longest)
	case w.StatusCode == http.StatusUnauthorized:
		return nil, errors.New("it refuses our signature: the secret (peers.secret_file) must be the same on all daemons")
	case w.Header.Get(headerMAC) == "":
		return nil, fmt.Errorf("what answers there (status %d) is no daemon that shares our secret", w.StatusCode)
	case !signed(w.Header.Get(headerMAC), key, "answer", method, target, nonce, fmt.Sprint(w.StatusCode), string(got)):
		return nil, errors.New("its answer is not signed with our secret: it (peers.secret_file) must be the same on all daemons")
	case w.StatusCode != http.StatusOK:
		var says refusal
		if err := json.Unmarshal(got, &says); err != nil {
			return nil, fmt.Errorf("it answers with status %d and no reason", w.StatusCode)
		}
		return nil, &errRefused{w.StatusCode, says.Version, says.Detail}
	}
	return got, nil
}

// words are the same for the same failure, so that they are logged and stored once: no ports of ours, no times.
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
		return "the question was given up"
	case errors.As(err, &number):
		return number.Error()
	case errors.As(err, &dns):
		return "there is no host " + dns.Name
	case errors.As(err, &verify):
		return fmt.Sprintf("its certificate is not trusted (%v); see peers.ca", verify.Err)
	case errors.As(err, &below):
		var op *net.OpError
		if errors.As(err, &op) && op.Err != nil {
			return op.Err.Error()
		}
		return below.Err.Error()
	}
	return err.Error()
}
