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
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
