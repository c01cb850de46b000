package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"orchestrator/backend"
	"orchestrator/daemon/plan"
	"orchestrator/daemon/topology"
)

// Leave says farewell to all others, so that they can act without the word of this daemon. It is for a daemon that stops in order: after it has
// ceased to lead, and while its API is still served (they look who it is). Where somebody is silent no farewell is said, because it would excuse
// nobody, and would have to be taken back. An error is no reason not to stop: the others then need the locks of a majority.
func (p *Peers) Leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*p.o.Timeout)
	defer cancel()
	c := plan.Claim{Self: p.Standing(), Peers: p.Ask(ctx, topology.Key{})}
	c.Self.Excused = nil // what a former life left behind is said anew
	var to []string
	for i, a := range c.Peers {
		if a.Answered {
			to = append(to, p.o.Daemons[i])
		} else if !plan.Excused(c, a) {
			return fmt.Errorf("say farewell: %s does not answer (%s), so the others would not be excused from asking this daemon", a.Name, a.Why)
		}
	}
	if len(to) == 0 {
		return nil
	}
	// Noted first, so that the next life knows that it has something to take back.
	mine := farewell{Name: p.o.Name, ID: p.o.ID}
	version, err := p.put(ctx, mine, 0, false)
	if err != nil {
		return fmt.Errorf("say farewell: note that it is about to be said: %w", err)
	}
	errs := make([]error, len(to))
	var all sync.WaitGroup
	for i, base := range to {
		all.Go(func() { errs[i] = p.notify(ctx, base, pathFarewell, version) })
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			errs[i] = fmt.Errorf("say farewell to %s: %w", short(to[i]), err)
		}
	}
	return errors.Join(errs...)
}

// notify tells one daemon something about this one; a version that is behind what that has on record is raised once.
func (p *Peers) notify(ctx context.Context, base, path string, version int64) error {
	for again := false; ; again = true {
		body, err := json.Marshal(notice{p.o.Name, p.o.ID, version})
		if err != nil {
			return err
		}
		_, err = p.call(ctx, http.MethodPost, base, path, body)
		var refused *errRefused
		if !errors.As(err, &refused) || refused.version == 0 || again {
			if err != nil {
				return errors.New(p.words(ctx, err))
			}
			return nil
		}
		p.o.Clock.Observe(refused.version)
		version = p.o.Clock.Next()
	}
}

// comeBack takes the farewell of a former life back, from all that answer and have not confirmed it yet.
func (p *Peers) comeBack(ctx context.Context, answers []plan.Peer) {
	p.mu.Lock()
	open := slices.Clone(p.welcome)
	p.mu.Unlock()
	if len(open) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout*2)
	defer cancel()
	confirmed := make([]bool, len(open))
	var all sync.WaitGroup
	for i, base := range open {
		if at := slices.Index(p.o.Daemons, base); !answers[at].Answered {
			continue
		}
		all.Go(func() {
			if err := p.notify(ctx, base, pathReturn, p.o.Clock.Next()); err != nil {
				p.o.Logger.Warn("another daemon does not take note that this one is back", "daemon", short(base), "err", err)
				return
			}
			confirmed[i] = true
		})
	}
	all.Wait()
	p.mu.Lock()
	for i, base := range open {
		if confirmed[i] {
			is := func(u string) bool { return u == base }
			p.welcome, p.excused = slices.DeleteFunc(p.welcome, is), slices.DeleteFunc(p.excused, is)
		}
	}
	done := len(p.welcome) == 0
	p.mu.Unlock()
	if !done {
		return
	}
	// Only now: should it be started again before, it has to go on.
	if _, err := p.put(ctx, farewell{Name: p.o.Name, ID: p.o.ID}, 0, true); err != nil {
		p.o.Logger.Warn("the note that this daemon said farewell can't be removed; its next life takes it back once more", "err", err)
	}
}

// put stores the farewell of a daemon, or that it is void, and returns the version that is in force. 0 takes one from the clock.
func (p *Peers) put(ctx context.Context, f farewell, version int64, void bool) (int64, error) {
	r, err := backend.Encode(FarewellKind, p.key(f.Name), f)
	if err != nil {
		return 0, err
	}
	r.Version, r.Writer, r.Deleted = version, p.o.ID, void
	if void {
		r.Document = nil
	}
	if version == 0 {
		r, err = backend.Write(ctx, p.o.Store, p.o.Clock, r)
		return r.Version, err
	}
	if err := p.o.Store.Put(ctx, r); err != nil {
		return 0, err
	}
	now, err := p.o.Store.Get(ctx, r.Kind, r.Key)
	switch {
	case errors.Is(err, backend.ErrNotFound) && void:
		return version, nil
	case errors.Is(err, backend.ErrNotFound):
		// Which one, the store does not tell; nobody but this daemon has written it, and its clock is ahead of all that it wrote.
		return 0, &errRefused{http.StatusConflict, p.o.Clock.Next(), "a later return is on record"}
	case err != nil:
		return 0, err
	case now.Version > version:
		return now.Version, &errRefused{http.StatusConflict, now.Version, "a later farewell is on record"}
	}
	return version, nil
}

// hear records the farewell of another daemon.
func (p *Peers) hear(r *http.Request, body []byte) (any, error) {
	n, err := decodeNotice(body)
	if err != nil {
		return nil, err
	}
	base, err := p.whois(r.Context(), n)
	if err != nil {
		return nil, err
	}
	f := farewell{Name: n.Name, ID: n.ID, URL: base}
	p.o.Clock.Observe(n.Version)
	if _, err := p.put(r.Context(), f, n.Version, false); err != nil {
		return nil, failed(err)
	}
	p.mu.Lock()
	p.farewells[n.Name] = f
	p.mu.Unlock()
	p.o.Logger.Info("another daemon stops in order", "daemon", short(base), "name", n.Name)
	return struct{}{}, nil
}

// whois finds the daemon of the configuration that speaks: it answers while it leaves.
func (p *Peers) whois(ctx context.Context, n notice) (string, error) {
	for i, a := range p.Ask(ctx, topology.Key{}) {
		if a.Answered && a.ID == n.ID && a.Standing.Name == n.Name {
			return p.o.Daemons[i], nil
		}
	}
	return "", &errRefused{http.StatusConflict, 0, fmt.Sprintf("none of peers.daemons here (%s) answers as %q", strings.Join(p.o.Daemons, ", "), n.Name)}
}

// welcomeBack forgets the farewell of a daemon that was started again.
func (p *Peers) welcomeBack(r *http.Request, body []byte) (any, error) {
	n, err := decodeNotice(body)
	if err != nil {
		return nil, err
	}
	p.o.Clock.Observe(n.Version)
	if _, err := p.put(r.Context(), farewell{Name: n.Name, ID: n.ID}, n.Version, true); err != nil {
		return nil, failed(err)
	}
	p.mu.Lock()
	_, known := p.farewells[n.Name]
	delete(p.farewells, n.Name)
	p.mu.Unlock()
	if known {
		p.o.Logger.Info("another daemon is back", "name", n.Name)
	}
	return struct{}{}, nil
}

// failed keeps the reason of a refusal, and says for all else that the store is to blame.
func failed(err error) error {
	if e := (*errRefused)(nil); errors.As(err, &e) {
		return e
	}
	return &errRefused{http.StatusServiceUnavailable, 0, fmt.Sprintf("it could not be stored: %v", err)}
}
