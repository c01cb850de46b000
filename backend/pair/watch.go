package pair

import (
	"context"
	"fmt"
	"sync"
	"time"

	"orchestrator/daemon/topology"
)

// How often to look at the members: while all is well, and while something is not.
const (
	calm  = 500 * time.Millisecond
	alert = 250 * time.Millisecond
)

// State is the result of the last look, and the choice that follows from it.
type State struct {
	At      time.Time `json:"at,omitzero"` // when the look began; zero: none has ended yet
	Members []Member  `json:"members"`
	Choice  Choice    `json:"choice"`
}

// Watch looks at the members repeatedly, and keeps the result. Safe for concurrent use.
type Watch struct {
	pair   *Pair
	known  func(context.Context) Known
	chosen func(topology.Key)
	back   func(topology.Key)

	mu    sync.Mutex
	state State
	serve topology.Key // the last choice, also while there is none
	away  bool         // no choice since a pause in the looks
}

// Watch makes one; Run runs it. known is asked before each look; its Previous counts until the first choice: what was
// chosen before a restart. chosen is told each member that is chosen instead of another, and back each that answers
// again; both at once, and both may be nil.
func (p *Pair) Watch(known func(context.Context) Known, chosen, back func(topology.Key)) *Watch {
	return &Watch{pair: p, known: known, chosen: chosen, back: back, away: true,
		state: State{Choice: Choice{Why: "this daemon has not looked at the members yet"}}}
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
	if ctx.Err() != nil { // the last look was cut short
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
		w.pair.o.Logger.Info("backend member chosen", "serves", s.Choice.Serve, "before", before.Serve, "why",
			s.Choice.Why)
		if w.chosen != nil && !s.Choice.Serve.IsZero() {
			w.chosen(s.Choice.Serve)
		}
	}
	return s
}

// stale is the age from which a state no longer counts: the looks hang.
const stale = 3 * time.Second

// State returns the result of the last look. One that is too old chooses no member.
func (w *Watch) State() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.state
	if !s.At.IsZero() && time.Since(s.At) > stale {
		s.Choice = Choice{Why: fmt.Sprintf("the last look at the members was %v ago",
			time.Since(s.At).Round(time.Millisecond))}
	}
	return s
}

// Fit says whether a member should be served, and why or why not: the answer to HAProxy's agent check.
func (w *Watch) Fit(k topology.Key) (bool, string) { return w.State().Choice.Fit(k) }

// Accept says whether the identity behind a new connection of the store is that of the serving member; an error says
// why not. An identity that was not seen at a member is refused: nothing is known about it. So is a member whose tables
// have disappeared since the last look: the next look judges whether it may get new ones.
func (w *Watch) Accept(identity string, tables bool) error {
	s := w.State()
	for _, m := range s.Members {
		if !m.Up || m.ID != identity {
			continue
		}
		if fit, why := s.Choice.Fit(m.Key); !fit {
			return fmt.Errorf("backend member %v must not serve: %s", m.Key, why)
		}
		if m.Tables && !tables {
			return fmt.Errorf("the tables of backend member %v have disappeared", m.Key)
		}
		return nil
	}
	return fmt.Errorf("the server behind the backend's address (%s) is not one of the members that answer: %s",
		identity, s.Choice.Why)
}
