package pair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// Exam is everything that Doctor needs to know about a member.
type Exam struct {
	Member
	Vars map[string]string // SHOW GLOBAL VARIABLES, lower case
	// Ahead is by how much its clock is ahead of ours, the way there and back taken into account by halves.
	Ahead time.Duration
	// Accounts are "user@host"; AccountsErr says why they are not known.
	Accounts    []string
	AccountsErr string
	// Grants are those of the account of the daemons, in the server's words; GrantsErr says why they are not known.
	Grants    []string
	GrantsErr string
}

// Examine looks at both members closely, and at the proxy.
func (p *Pair) Examine(ctx context.Context) Facts {
	f := Facts{Members: make([]Exam, len(p.sites)), Database: p.o.Database, Backend: p.o.Backend.User,
		Proxied: p.o.Proxy != nil}
	var all sync.WaitGroup
	for i, s := range p.sites {
		all.Go(func() {
			e := &f.Members[i]
			if e.Member = s.look(ctx); !e.Up {
				return
			}
			err := s.use(ctx, s.o.StatementTimeout, func(ctx context.Context) error { return s.examine(ctx, e) })
			if err != nil {
				e.Member = Member{Key: s.key, Err: err.Error(), Failure: server.Failure(err)}
				return
			}
			e.Grants, err = s.grants(ctx)
			if err != nil {
				e.GrantsErr = err.Error()
			}
		})
	}
	if p.o.Proxy != nil {
		var err error
		if f.Proxy, err = p.o.Proxy.Servers(ctx); err != nil {
			f.ProxyErr = err.Error()
		}
	}
	all.Wait()
	return f
}

func (s *site) examine(ctx context.Context, e *Exam) error {
	rows, err := s.query(ctx, askAll)
	if err != nil {
		return err
	}
	e.Vars = map[string]string{}
	for _, r := range rows {
		e.Vars[strings.ToLower(r.Get("variable_name"))] = r.Long("value")
	}
	began := time.Now()
	r, err := s.one(ctx, askClock)
	if err != nil {
		return err
	}
	middle := began.Add(time.Since(began) / 2)
	clock, err := time.Parse("2006-01-02 15:04:05.999999", r.Get("clock"))
	if err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	e.Ahead = clock.Sub(middle)
	e.Accounts = nil
	rows, err = s.query(ctx, askUsers)
	switch {
	case server.Means(err, server.PrivilegeMissing):
		e.AccountsErr = err.Error()
	case err != nil:
		return err
	}
	for _, r := range rows {
		e.Accounts = append(e.Accounts, r.Get("user")+"@"+r.Get("host"))
	}
	slices.Sort(e.Accounts)
	return nil
}

// grants logs in as the account of the daemons, so that no other account needs the privilege.
func (s *site) grants(ctx context.Context) ([]string, error) {
	if s.o.Backend.User == "" {
		return nil, errors.New("the account is not known")
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.StatementTimeout)
	defer cancel()
	c, err := s.dial(ctx, s.o.Backend)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Grants(ctx)
}

// Fix runs the statements of the complaints that are safe to fix automatically, and returns those that it fixed. A
// failure does not stop the others.
func (p *Pair) Fix(ctx context.Context, complaints []Complaint) (mended []Complaint, err error) {
	for _, c := range complaints {
		if !c.Safe || len(c.Statements) == 0 {
			continue
		}
		s, _, e := p.site(c.At)
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		if c.Drain {
			p.o.Progress(fmt.Sprintf("%v: wait until everything received is applied", c.At))
			e = s.drain(ctx, topology.Key{}, settleWithin, p.o.Progress)
		}
		for _, text := range c.Statements {
			if e != nil {
				break
			}
			p.o.Progress(fmt.Sprintf("%v: %s", c.At, text))
			e = s.exec(ctx, server.Statement{Text: text, Needs: c.Needs})
		}
		if e != nil {
			err = errors.Join(err, fmt.Errorf("fix %s: %w", c.Code, e))
			continue
		}
		p.o.Logger.Info("backend member fixed", "at", c.At, "what", c.Code)
		mended = append(mended, c)
	}
	if len(mended) > 0 {
		p.awaitConnected(ctx)
	}
	return mended, err
}

// awaitConnected gives receivers that have just started, or wait for their next attempt, time to connect.
func (p *Pair) awaitConnected(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for {
		connecting := false
		for _, m := range p.Look(ctx) {
			for _, c := range m.Channels {
				connecting = connecting || c.IO == topology.Connecting
			}
		}
		if !connecting || pause(ctx, 50*time.Millisecond) != nil {
			return
		}
	}
}
