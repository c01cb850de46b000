package peer

import (
	"context"
	"crypto/x509"
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

// Leave tells all others that this daemon stops, so that they can act without asking it. It is for a daemon that no
// longer leads, and whose API is still served, because the others check who tells them. If another daemon does not
// answer, nobody is told: the notice would excuse nobody, and would have to be taken back. An error is no reason to go
// on running: the others then need the locks of a majority.
func (p *Peers) Leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*p.o.Timeout)
	defer cancel()
	to, err := p.listeners(ctx)
	if err != nil || len(to) == 0 {
		return err
	}
	// Noted first, so that the next process of this daemon knows that it has to report its return.
	version, err := p.put(ctx, leave{Name: p.o.Name, ID: p.o.ID}, 0, false)
	if err != nil {
		return fmt.Errorf("leave: note that this daemon is about to: %w", err)
	}
	errs := make([]error, len(to))
	var all sync.WaitGroup
	for i, base := range to {
		all.Go(func() {
			if err := p.notify(ctx, base, pathLeave, version); err != nil {
				errs[i] = fmt.Errorf("leave: tell %s: %w", short(base), err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// listeners are the daemons to tell that this one leaves. It is an error if one is silent that has not left itself.
func (p *Peers) listeners(ctx context.Context) (to []string, err error) {
	c := plan.Claim{Self: p.Status(), Peers: p.Ask(ctx, topology.Key{})}
	c.Self.Excused = nil // what the process before this one left behind is replaced now
	for i, a := range c.Peers {
		if a.Answered {
			to = append(to, p.o.Daemons[i])
		} else if !plan.Excused(c, a) {
			return nil, fmt.Errorf("leave: %s does not answer (%s), so the others could not be excused from asking "+
				"this daemon", a.Name, a.Why)
		}
	}
	return to, nil
}

// notify tells one daemon something about this one. If the version is older than what that daemon has on record, it is
// raised once.
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
		if err := p.o.Clock.Observe(refused.version); err != nil {
			return fmt.Errorf("what it has on record can't be followed: %w", err)
		}
		version = p.o.Clock.Next()
	}
}

// report tells all that answer, and have not confirmed it yet, that this daemon is back.
func (p *Peers) report(ctx context.Context, answers []plan.Peer) {
	p.mu.Lock()
	open := slices.Clone(p.unnoticed)
	p.mu.Unlock()
	if len(open) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout*2)
	defer cancel()
	confirmed := make([]bool, len(open))
	var all sync.WaitGroup
	for i, base := range open {
		at := slices.Index(p.o.Daemons, base)
		if !answers[at].Answered {
			continue
		}
		all.Go(func() {
			if err := p.notify(ctx, base, pathReturn, p.o.Clock.Next()); err != nil {
				if p.unsaid[at].news(err.Error()) {
					p.o.Logger.Warn("another daemon does not take note that this one is back", "daemon", short(base),
						"err", err)
				}
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
			p.unnoticed, p.excused = slices.DeleteFunc(p.unnoticed, is), slices.DeleteFunc(p.excused, is)
		}
	}
	done := len(p.unnoticed) == 0
	p.mu.Unlock()
	if !done {
		return
	}
	// Only now: a daemon that is restarted before this has to go on reporting.
	if _, err := p.put(ctx, leave{Name: p.o.Name, ID: p.o.ID}, 0, true); err != nil {
		p.o.Logger.Warn("the note that this daemon left cannot be removed; it reports its return again after the "+
			"next restart", "err", err)
	}
}

// put stores that a daemon has left, or (back) that it has not, and returns the version that is in force. 0 takes one
// from the clock.
func (p *Peers) put(ctx context.Context, l leave, version int64, back bool) (int64, error) {
	r, err := backend.Encode(LeaveKind, p.key(l.Name), l)
	if err != nil {
		return 0, err
	}
	r.Version, r.Writer, r.Deleted = version, p.o.ID, back
	if back {
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
	case errors.Is(err, backend.ErrNotFound) && back:
		return version, nil
	case errors.Is(err, backend.ErrNotFound):
		// The store does not tell the version of what was deleted. Only this daemon writes here, and its clock is ahead
		// of all that.
		return 0, &errRefused{status: http.StatusConflict, version: p.o.Clock.Next(),
			says: "a later return is on record"}
	case err != nil:
		return 0, err
	case now.Version > version:
		return now.Version, &errRefused{status: http.StatusConflict, version: now.Version,
			says: "a later leave is on record"}
	}
	return version, nil
}

// recordLeave records that another daemon has left.
func (p *Peers) recordLeave(r *http.Request, body []byte) (any, error) {
	n, err := decodeNotice(body)
	if err != nil {
		return nil, err
	}
	if err := p.follow(n); err != nil {
		return nil, err
	}
	base, err := p.identify(r.Context(), n)
	if err != nil {
		return nil, err
	}
	if why := p.trust.Load().doubt(r.TLS, x509.ExtKeyUsageClientAuth, hostOf(base)); why != "" {
		return nil, &errRefused{status: http.StatusConflict, says: "it speaks for another daemon: " + why}
	}
	l := leave{Name: n.Name, ID: n.ID, URL: base}
	if _, err := p.put(r.Context(), l, n.Version, false); err != nil {
		return nil, failed(err)
	}
	p.mu.Lock()
	p.left[n.Name] = l
	p.mu.Unlock()
	p.o.Logger.Info("another daemon leaves gracefully", "daemon", short(base), "name", n.Name)
	return struct{}{}, nil
}

// follow lets the clock follow the version of a notice. One that is too far ahead is refused: the record of it could
// never be changed again.
func (p *Peers) follow(n notice) error {
	err := p.o.Clock.Observe(n.Version)
	if err == nil {
		return nil
	}
	p.o.Logger.Warn("a notice of another daemon is refused", "name", n.Name, "err", err)
	return &errRefused{status: http.StatusUnprocessableEntity, says: err.Error()}
}

// identify finds the daemon of the configuration that sends a notice. It answers questions while it leaves.
func (p *Peers) identify(ctx context.Context, n notice) (string, error) {
	for i, a := range p.Ask(ctx, topology.Key{}) {
		if a.Answered && a.ID == n.ID && a.PeerStatus.Name == n.Name {
			return p.o.Daemons[i], nil
		}
	}
	return "", &errRefused{status: http.StatusConflict,
		says: fmt.Sprintf("none of peers.daemons here (%s) answers as %q", strings.Join(p.o.Daemons, ", "), n.Name)}
}

// recordReturn forgets that a daemon has left, which is running again.
func (p *Peers) recordReturn(r *http.Request, body []byte) (any, error) {
	n, err := decodeNotice(body)
	if err != nil {
		return nil, err
	}
	if err := p.follow(n); err != nil {
		return nil, err
	}
	if _, err := p.put(r.Context(), leave{Name: n.Name, ID: n.ID}, n.Version, true); err != nil {
		return nil, failed(err)
	}
	p.mu.Lock()
	_, known := p.left[n.Name]
	delete(p.left, n.Name)
	p.mu.Unlock()
	if known {
		p.o.Logger.Info("another daemon is back", "name", n.Name)
	}
	return struct{}{}, nil
}

// failed keeps the reason of a refusal. Everything else is a failure of the store.
func failed(err error) error {
	if e := (*errRefused)(nil); errors.As(err, &e) {
		return e
	}
	return &errRefused{status: http.StatusServiceUnavailable, says: fmt.Sprintf("it could not be stored: %v", err)}
}
