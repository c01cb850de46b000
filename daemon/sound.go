package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"orchestrator/backend/sqlstore"
	"orchestrator/daemon/analysis"
)

// soundness is what this daemon knows of its own file: whether it can store something there now.
type soundness struct {
	file *sqlstore.Store

	mu    sync.Mutex
	began time.Time // of the check under way; zero: none is
	why   string    // why nothing can be stored; "" when it can
	said  []string  // the troubles that were logged last
}

const (
	// soundEvery is how often the file is checked.
	soundEvery = time.Second
	// soundTime bounds a check, and how long one may take before it counts as failed: a disk may hang.
	soundTime = 3 * time.Second
	// outboxTime is how long the store may take nothing before this daemon is not ready: less is a hiccup.
	outboxTime = 3 * time.Second
)

// check looks once.
func (s *soundness) check(ctx context.Context) {
	s.mu.Lock()
	s.began = time.Now()
	s.mu.Unlock()
	short, cancel := context.WithTimeout(ctx, soundTime)
	defer cancel()
	err := s.file.Check(short)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.began = time.Time{}
	if ctx.Err() != nil {
		return
	}
	if s.why = ""; err != nil {
		s.why = err.Error()
	}
}

// unusable says why nothing can be stored in the file.
func (s *soundness) unusable() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if took := time.Since(s.began); !s.began.IsZero() && took > soundTime+soundEvery {
		return fmt.Sprintf("the file of this daemon has not answered for %v", took.Round(time.Second))
	}
	return s.why
}

// changed says whether these troubles were not logged yet.
func (s *soundness) changed(says []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Equal(s.said, says) {
		return false
	}
	s.said = says
	return true
}

// watchFile checks the file of this daemon again and again.
func (d *Daemon) watchFile(ctx context.Context) {
	tick := time.NewTicker(soundEvery)
	defer tick.Stop()
	for {
		d.pulse.turned("checking the store")
		d.sound.check(ctx)
		if ctx.Err() != nil {
			return
		}
		says := d.troubles()
		if _, down := d.outbox.Down(); len(says) > 0 && (down == "" || d.sound.unusable() != "") {
			d.unstored.WithLabelValues(checking).Inc() // what the outbox fails to do is counted where it is done
		}
		if d.sound.changed(named(says)) && len(says) > 0 {
			d.options.Logger.Error("the store fails", "troubles", says)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// named are troubles without the numbers in them that change all the time.
func named(says []string) (out []string) {
	for _, text := range says {
		out = append(out, strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return -1
			}
			return r
		}, text))
	}
	return out
}

// troubles are what is wrong with what this daemon stores: now, or for good.
func (d *Daemon) troubles() (says []string) {
	if lost := d.sound.file.Lost(); lost != "" {
		says = append(says, lost)
	}
	if why := d.sound.unusable(); why != "" {
		says = append(says, why)
	}
	if since, why := d.outbox.Down(); why != "" && time.Since(since) > outboxTime {
		says = append(says, fmt.Sprintf("nothing could be stored since %s: %s", since.UTC().Format(time.TimeOnly), why))
	}
	for _, one := range d.outbox.Refused() {
		says = append(says, "refused: "+one)
	}
	says = append(says, d.sound.file.Unreadable()...)
	for _, one := range d.clock.Runaway() {
		says = append(says, fmt.Sprintf("too far ahead: %s", one))
	}
	return says
}

// unready says why this daemon could not do its work now: store, see, and if it leads, act.
func (d *Daemon) unready() string {
	if err := d.Alive(); err != nil {
		return err.Error()
	}
	if why := d.sound.unusable(); why != "" {
		return "this daemon can't store anything: " + why
	}
	if since, why := d.outbox.Down(); why != "" && time.Since(since) > outboxTime {
		return "this daemon can't store anything: " + why
	}
	if why := d.declarations.Unknown(); why != "" {
		return "this daemon does not act, because it does not know what was declared: " + why
	}
	return ""
}

// deployment is that of the mode, with what is wrong here.
type deployment struct{ *Daemon }

func (d deployment) Findings() []analysis.Finding {
	return append(d.mode.Findings(), analysis.Deployment{Store: d.troubles()}.Findings()...)
}
