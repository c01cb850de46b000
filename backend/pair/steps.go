package pair

import (
	"context"
	"errors"
	"fmt"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/plural"
	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// walk does the steps, one after the other.
func (p *Pair) walk(ctx context.Context, r *Report) error {
	for i := range r.Steps {
		s := &r.Steps[i]
		p.o.Progress(s.String())
		began := time.Now()
		if err := s.Run(ctx); err != nil {
			return fmt.Errorf("step %d of %d, %v: %w", i+1, len(r.Steps), s, err)
		}
		s.Done, s.Took = true, time.Since(began).Round(time.Millisecond).String()
		p.o.Logger.Info("backend step", "at", s.At, "does", s.Does, "took", s.Took)
	}
	return nil
}

// say makes a step of statements that take no arguments.
func (s *site) say(does string, qs ...server.Statement) Step {
	step := Step{At: s.key, Does: does}
	for _, q := range qs {
		step.Statements = append(step.Statements, q.Text)
	}
	step.Run = func(ctx context.Context) error {
		for _, q := range qs {
			if err := s.exec(ctx, q); err != nil {
				return err
			}
		}
		return nil
	}
	return step
}

// see looks until it answers, for a few attempts: one failed look must not stop an operation.
func (s *site) see(ctx context.Context) (Member, error) {
	var m Member
	for range 3 {
		if m = s.look(ctx); m.Up {
			return m, nil
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return m, err
		}
	}
	return m, fmt.Errorf("look at %v: %s", s.key, m.Err)
}

// drain waits until everything received from a source (zero: from all) is applied, and starts an applier that is only
// stopped.
func (s *site) drain(ctx context.Context, source topology.Key, within time.Duration, progress func(string)) error {
	within = max(within, time.Second)
	patience, cancel := context.WithTimeout(ctx, within) // only for the waits: the last look shows what is left
	defer cancel()
	started := false
	said := time.Now()
	for {
		m, err := s.see(ctx)
		if err != nil {
			return err
		}
		left := ""
		for _, c := range m.Channels {
			if !source.IsZero() && c.Source != source || c.drained(m) {
				continue
			}
			switch {
			case c.SQLErrno != 0 && c.SQL != topology.Running:
				return fmt.Errorf("%v can't apply what it received from %v (error %d: %s): fix that, and start its "+
					"applier; or discard what is not applied with --allow-loss", s.key, c.Source, c.SQLErrno,
					c.SQLError)
			case c.SQL != topology.Running && !started:
				if err := s.tell(ctx, server.StartApplier, c.Name); err != nil {
					return err
				}
				started = true
			}
			left = plural.Count(m.Executed.Missing(c.Received), "transaction") + " received and not applied"
			if c.Received.Empty() {
				left = fmt.Sprintf("received up to %s:%d, applied up to %s:%d", c.ReadFile, c.ReadPos, c.ExecFile,
					c.ExecPos)
			}
		}
		if left == "" {
			return nil
		}
		if time.Since(said) > time.Second {
			said = time.Now()
			progress(fmt.Sprintf("%v: %s", s.key, left))
		}
		if pause(patience, 50*time.Millisecond) != nil {
			return fmt.Errorf("%v did not apply everything within %v (%s): run it again, with a longer --drain-timeout",
				s.key, within, left)
		}
	}
}

// catchUp waits until a member has applied everything that the other had committed at the last look.
func (s *site) catchUp(ctx context.Context, other *site, within time.Duration, progress func(string)) error {
	patience, cancel := context.WithTimeout(ctx, max(within, time.Second)) // as in drain
	defer cancel()
	from, err := other.see(ctx)
	if err != nil {
		return err
	}
	var before uint64
	said := time.Now()
	for {
		m, err := s.see(ctx)
		if err != nil {
			return err
		}
		missing := m.Executed.Missing(from.Executed)
		if missing == 0 {
			return nil
		}
		c := m.From(other.key)
		switch {
		case c == nil:
			return fmt.Errorf("%v does not replicate from %v, which has %s that it lacks: orchestrator backend "+
				"rejoin %v", s.key, other.key, plural.Count(missing, "transaction"), s.key)
		case c.SQL != topology.Running && c.SQLErrno != 0, c.IO == topology.Stopped && c.IOErrno != 0,
			c.IO != topology.Running && server.MeansNumber(c.IOErrno, server.KeyMissing): // it tries again, in vain
			return &brokenError{s.key, other.key, *c, missing}
		}
		if since := time.Since(said); since > time.Second {
			rate := ""
			if before > missing {
				rate = fmt.Sprintf(", %.0f a second", float64(before-missing)/since.Seconds())
			}
			progress(fmt.Sprintf("%v: %s of %v to apply%s", s.key, plural.Count(missing, "transaction"), other.key,
				rate))
			said, before = time.Now(), missing
		}
		if pause(patience, 30*time.Millisecond) != nil {
			return fmt.Errorf("%v did not catch up with %v within %v: %s left (%s); run it again, with a longer "+
				"--drain-timeout",
				s.key, other.key, max(within, time.Second), plural.Count(missing, "transaction"), c.Trouble())
		}
	}
}

// brokenError means that replication will not continue by itself.
type brokenError struct {
	at, from topology.Key
	channel  Channel
	missing  uint64
}

func (e *brokenError) Error() string {
	return fmt.Sprintf("%v lacks %s of %v, and %s", e.at, plural.Count(e.missing, "transaction"), e.from,
		e.channel.Trouble())
}

// common is what both have, in the form of MariaDB's gtid_slave_pos: per domain, the last transaction that both have
// in their binary logs. A former primary wrote more in its own domain than the other one received; from there, its new
// source would refuse.
func common(a, b Member) (gtid.Set, error) {
	parse := func(text string) (domain, server, seq uint64, err error) {
		_, err = fmt.Sscanf(text, "%d-%d-%d", &domain, &server, &seq)
		return domain, server, seq, err
	}
	type writer struct{ domain, server uint64 }
	last := map[writer]uint64{}
	for _, text := range a.written {
		d, s, n, err := parse(text)
		if err != nil {
			return gtid.Set{}, fmt.Errorf("read gtid_binlog_state of %v: %q: %w", a.Key, text, err)
		}
		last[writer{d, s}] = n
	}
	best := map[uint64]uint64{}
	named := map[uint64]string{}
	for _, text := range b.written {
		d, s, n, err := parse(text)
		if err != nil {
			return gtid.Set{}, fmt.Errorf("read gtid_binlog_state of %v: %q: %w", b.Key, text, err)
		}
		m, both := last[writer{d, s}]
		if n = min(n, m); both && n > best[d] {
			best[d], named[d] = n, fmt.Sprintf("%d-%d-%d", d, s, n)
		}
	}
	out := gtid.Set{}
	for _, text := range named {
		one, err := gtid.Parse(text)
		if err != nil {
			return gtid.Set{}, err
		}
		out = out.Union(one)
	}
	return out, nil
}

var errNoGTID = errors.New("gtid_mode is off, so the position is not known; set gtid_mode = ON on both members " +
	"(orchestrator backend doctor says how)")
