package pair

import (
	"context"
	"fmt"
	"sync"
	"time"

	"orchestrator/daemon/topology"
)

// How often the members are looked at: while all is well, and while something is not.
const (
	calm  = 500 * time.Millisecond
	alert = 250 * time.Millisecond
)

// State is what the last look told, and what follows from it.
type State struct {
	At      time.Time `json:"at,omitzero"` // when the look began; zero: none has ended yet
	Members []Member  `json:"members"`
	Choice  Choice    `json:"choice"`
}

// Watch looks at the members again and again, and keeps what it saw. Safe for concurrent use.
type Watch struct {
	pair   *Pair
	known  func(context.Context) Known
	chosen func(topology.Key)
	back   func(topology.Key)

	mu    sync.Mutex
	state State
	serve topology.Key // the last that was chosen, also while nobody is
	away  bool         // nobody has been chosen since nobody looked for a while
}

// Watch makes one; Run runs it. known is asked before each look; its Previous counts until the first choice: what was chosen before a restart.
// chosen is told each member that is chosen instead of another, and back each that answers again; both at once, and both may be nil.
func (p *Pair) Watch(known func(context.Context) Known, chosen, back func(topology.Key)) *Watch {
	return &Watch{pair: p, known: known, chosen: chosen, back: back, away: true, state: State{Choice: Choice{Why: "nobody has looked at the members yet"}}}
}

// Run looks until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	for {
		every := calm
		if s := w.Turn(ctx); len(s.Choice.Unfit) > 0 || s.Choice.Serve.IsZero() {
			every = alert
		}
		if err := pause(ctx, every); err != nil {
			return err
		}
	}
}

// Turn looks once.
func (w *Watch) Turn(ctx context.Context) State {
	k := w.known(ctx)
	w.mu.Lock()
	if !w.serve.IsZero() {
		k.Previous = w.serve
	}
	last := w.state
	before := last.Choice
	s := State{At: time.Now()}
	w.away = w.away || s.At.Sub(last.At) > stale
	k.Away = w.away
	w.mu.Unlock()

	s.Members = w.pair.Look(ctx)
	s.Choice = Choose(s.Members, k)
	if ctx.Err() != nil { // whatever was seen last was seen through a closing door
		return w.State()
	}
	w.mu.Lock()
	if w.state = s; !s.Choice.Serve.IsZero() {
		w.serve, w.away = s.Choice.Serve, time.Since(s.At) > stale
	}
	w.mu.Unlock()
	for i, m := range s.Members {
		if w.back != nil && m.Up && i < len(last.Members) && !last.Members[i].Up {
			w.back(m.Key)
		}
	}
	if before.Serve != s.Choice.Serve {
		w.pair.o.Logger.Info("backend member chosen", "serves", s.Choice.Serve, "before", before.Serve, "why", s.Choice.Why)
		if w.chosen != nil && !s.Choice.Serve.IsZero() {
			w.chosen(s.Choice.Serve)
		}
	}
	return s
}

// stale is the age from which a state says nothing any more: the looks behind it hang.
const stale = 3 * time.Second

// State returns what the last look told. One that is too old chooses nobody.
func (w *Watch) State() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.state
	if !s.At.IsZero() && time.Since(s.At) > stale {
		s.Choice = Choice{Why: fmt.Sprintf("the members were looked at %v ago", time.Since(s.At).Round(time.Millisecond))}
	}
	return s
}

// Fit says whether a member is to be served, and why (not): what HAProxy's agent check is answered from.
func (w *Watch) Fit(k topology.Key) (bool, string) { return w.State().Choice.Fit(k) }

// Accept says whether the identity that a new connection of the store found is the one that serves; an error says why not. An identity that has not
// been seen at a member is refused: nothing is known of it.
func (w *Watch) Accept(identity string) error {
	s := w.State()
	for _, m := range s.Members {
		if !m.Up || m.ID != identity {
			continue
		}
		if fit, why := s.Choice.Fit(m.Key); !fit {
			return fmt.Errorf("backend member %v is not to serve: %s", m.Key, why)
		}
		return nil
	}
	return fmt.Errorf("the server behind the backend's address (%s) is none of the members that answer: %s", identity, s.Choice.Why)
}
