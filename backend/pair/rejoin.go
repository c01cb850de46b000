package pair

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"orchestrator/daemon/plural"
	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// RejoinOptions are the options of Rejoin.
type RejoinOptions struct {
	DryRun bool
	// DrainTimeout bounds the wait until it has caught up; ten minutes by default.
	DrainTimeout time.Duration
	// Mutual: the active one also replicates from it, and it becomes writable in the end, so that either can serve.
	// This is always so if the active one already replicates from it.
	Mutual bool
	// Seed starts with a copy of the records instead of the active one's binary logs: for a new server, and for one
	// that was away for longer than binary logs are kept.
	Seed bool
	// Replication is the account for replication; needed if the server has none yet.
	Replication Account
	// GetPublicKey lets the member ask its source for the public key that the password of that account is encrypted
	// with: MySQL without TLS needs it. Anyone who answers at the address of the source gets the password, so it is
	// never set unasked, and stays where it is set.
	GetPublicKey bool
}

// Rejoin makes a returning or new member follow the other one, merges what only that member had, and verifies that the
// two are equal. It may be repeated at any time.
func (p *Pair) Rejoin(ctx context.Context, member topology.Key, o RejoinOptions) (Report, error) {
	if o.DrainTimeout <= 0 {
		o.DrainTimeout = 10 * time.Minute
	}
	r := Report{DryRun: o.DryRun, Steps: []Step{}}
	s, err := p.situate(ctx, member)
	if err == nil {
		err = s.mayRejoin(o)
	}
	if err == nil {
		err = p.notInUse(ctx, s)
	}
	if err == nil {
		r.Steps = p.planRejoin(s, o, &r)
		if !o.DryRun {
			err = p.walk(ctx, &r)
		}
	}
	if err != nil {
		return r, fmt.Errorf("rejoin %v: %w", member, err)
	}
	return r, nil
}

// mayRejoin returns what forbids it. Here the target is the returning member, and the other one is the active one.
func (s situation) mayRejoin(o RejoinOptions) error {
	back, active := s.to, s.from
	switch {
	case !active.Up:
		return fmt.Errorf("the other member, %v, is out of reach: %s; there is no source: to make %v the active one: "+
			"orchestrator backend promote --to %v",
			active.Key, active.Err, back.Key, back.Key)
	case active.Blind != "":
		return fmt.Errorf("the replication status of %v can't be read: %s", active.Key, active.Blind)
	case active.Flavor != back.Flavor:
		return fmt.Errorf("it is %s, and %v is %s", back.Flavor, active.Key, active.Flavor)
	case active.ReadOnly:
		return fmt.Errorf("the other member, %v, is read-only, so it is not the active one; first promote one of "+
			"them: orchestrator backend promote --to MEMBER", active.Key)
	case !active.LogBin:
		return fmt.Errorf("the active one, %v, writes no binary log: there is nothing to replicate", active.Key)
	case !back.GTID || !active.GTID:
		return errNoGTID
	case active.ServerID == back.ServerID:
		return fmt.Errorf("both members have server_id %d: give one of them another server_id", active.ServerID)
	case !active.Tables:
		return fmt.Errorf("the active one, %v, has no tables: in a new pair, start a daemon first; if the data of "+
			"both are lost: orchestrator backend promote --to %v --force", active.Key, active.Key)
	}
	for _, v := range s.proxy {
		if v.Key == back.Key && v.Up {
			return fmt.Errorf("HAProxy serves %v: it is the active one; first move the service: orchestrator backend "+
				"promote --to %v", back.Key, active.Key)
		}
	}
	channel := back.From(active.Key)
	if channel == nil && len(back.Channels) > 1 {
		return fmt.Errorf("it replicates from %d other servers: stop that first", len(back.Channels))
	}
	if o.Replication.User == "" {
		for _, pair := range [][2]Member{{back, active}, {active, back}} {
			if (pair[0].Key == back.Key || o.Mutual) && len(pair[0].Channels) == 0 {
				return fmt.Errorf("%v has no account to replicate from %v: name one with --replication-user and "+
					"--replication-password-file; there: CREATE USER …; GRANT REPLICATION SLAVE ON *.* TO …",
					pair[0].Key, pair[1].Key)
			}
		}
	}
	if !back.Tables && !o.Seed { // by replication alone, it would not get what a former server with its server_id wrote
		return fmt.Errorf("it has no tables, and %v has: --seed copies the records", active.Key)
	}
	if purged := active.Purged.Subtract(back.Executed); !purged.Empty() && !o.Seed {
		return fmt.Errorf("%v has %s no longer in its binary logs that %v lacks: --seed copies the records instead",
			active.Key, plural.Count(purged.Count(), "transaction"), back.Key)
	}
	return nil
}

// notInUse refuses to take the active member out of use by mistake.
func (p *Pair) notInUse(ctx context.Context, s situation) error {
	here, err := p.clients(ctx, s.target)
	if err != nil || here == 0 {
		return err
	}
	there, err := p.clients(ctx, s.other)
	if err == nil && there == 0 {
		err = fmt.Errorf("%d connections of the daemons use it, and none uses %v: it is the active one; first move "+
			"the service: orchestrator backend promote --to %v",
			here, s.other.key, s.other.key)
	}
	return err
}

func (p *Pair) planRejoin(s situation, o RejoinOptions, r *Report) []Step {
	back, active := s.target, s.other
	mutual := o.Mutual || s.from.From(back.key) != nil
	var steps []Step
	if !s.to.ReadOnly {
		steps = append(steps, back.say("refuse writes until it has caught up",
			back.dialect.SayAll(server.RefuseWrites)...))
	}
	if o.Seed {
		steps = append(steps, Step{At: back.key,
			Does: fmt.Sprintf("copy the records of %v, and take over its executed GTIDs", active.key),
			Run:  func(ctx context.Context) error { return p.seed(ctx, s) }})
	}
	if c := s.to.From(active.key); c == nil || !c.Running() || !c.AutoPosition || o.Seed {
		steps = append(steps, back.follow(active, o, o.Seed, fmt.Sprintf("replicate from %v by GTID", active.key),
			p.o.Progress))
	}
	steps = append(steps, Step{At: back.key, Does: fmt.Sprintf("wait until it has caught up with %v", active.key),
		Run: func(ctx context.Context) error {
			return p.catchUpAgain(ctx, s, o)
		}})
	if mutual {
		// A seed does not continue the previous binary logs, but a receiver may not have noticed.
		if c := s.from.From(back.key); o.Seed || c == nil || c.IO == topology.Stopped || c.SQL == topology.Stopped ||
			!c.AutoPosition {
			steps = append(steps, active.follow(back, o, false,
				fmt.Sprintf("replicate from %v by GTID, too", back.key), p.o.Progress))
		}
		steps = append(steps, back.say("take writes: it is ready to serve from now on",
			back.dialect.SayAll(server.TakeWrites)...))
	}
	steps = append(steps, Step{Does: "compare the members, and merge what only one of them has",
		Run: func(ctx context.Context) error {
			p.awaitConnected(ctx)
			v, err := p.Verify(ctx, true)
			r.Verification = &v
			if err != nil {
				return err
			}
			if !v.Equal {
				return fmt.Errorf("%d records still differ: orchestrator backend verify shows them", len(v.Differences))
			}
			r.Seen = append(r.Seen, fmt.Sprintf("%v and %v hold the same %s, %d of which were merged", active.key,
				back.key, plural.Count(uint64(v.Records), "record"), len(v.Merged)))
			return nil
		}})
	if p.o.Proxy != nil {
		r.Next = append(r.Next, "HAProxy serves "+back.key.String()+" when the agent checks of the daemons allow it; "+
			"without agent checks, end its maintenance with: set server … state ready")
	}
	return steps
}

// catchUpAgain is catchUp; if MariaDB was asked to start at a position that its source does not know, it starts again
// from what both have.
func (p *Pair) catchUpAgain(ctx context.Context, s situation, o RejoinOptions) error {
	back, active := s.target, s.other
	err := back.catchUp(ctx, active, o.DrainTimeout, p.o.Progress)
	var broken *brokenError
	if !errors.As(err, &broken) {
		return err
	}
	if broken.channel.SQLErrno != 0 && broken.channel.SQL != topology.Running {
		return fmt.Errorf("%w; fix that, or use --seed to copy the records and skip what can't be applied", err)
	}
	if server.MeansNumber(broken.channel.IOErrno, server.KeyMissing) {
		return fmt.Errorf("%w; let it replicate with TLS (CHANGE REPLICATION SOURCE TO SOURCE_SSL = 1), or use "+
			"--get-source-public-key, with which anyone who answers at %v gets the password of the account",
			err, active.key)
	}
	if server.MeansNumber(broken.channel.IOErrno, server.PositionPurged) && !o.Seed {
		again := back.follow(active, o, false, "", p.o.Progress)
		if s.to.Flavor == topology.MariaDB {
			p.o.Progress(fmt.Sprintf("%v: start again where the two diverged", back.key))
			if e := again.Run(ctx); e != nil {
				return errors.Join(err, e)
			}
			err = back.catchUp(ctx, active, o.DrainTimeout, p.o.Progress)
		}
		if errors.As(err, &broken) && server.MeansNumber(broken.channel.IOErrno, server.PositionPurged) {
			return fmt.Errorf("%w; --seed copies the records, and starts from there", err)
		}
	}
	return err
}

// follow makes a member replicate from the other one, from what both have in common. What it has received before is
// applied first: CHANGE discards it.
func (s *site) follow(source *site, o RejoinOptions, seeded bool, does string, progress func(string)) Step {
	a, words := o.Replication, slices.Clone(follow)
	if o.GetPublicKey {
		words = append(words, server.PublicKey)
	}
	if a.User != "" {
		words = append(words, server.SourceAccount)
	}
	q := s.dialect.Change(words...)
	step := Step{At: s.key, Does: does, Statements: []string{
		s.dialect.Say(server.Stop).ForChannel("").Text, q.Text, s.dialect.Say(server.Start).ForChannel("").Text,
	}}
	step.Run = func(ctx context.Context) error {
		m, err := s.see(ctx)
		if err != nil {
			return err
		}
		other, err := source.see(ctx)
		if err != nil {
			return err
		}
		channel := "" // its existing channel is changed: one more would be another source
		if len(m.Channels) > 0 {
			c := m.Channels[0]
			if own := m.From(source.key); own != nil {
				c = *own
			}
			channel = c.Name
			if err := s.leave(ctx, c, source.key, progress); err != nil {
				return err
			}
		}
		if s.dialect.MariaDB() && !seeded { // the seed has set it, and the binary logs have nothing in common
			position, err := common(m, other)
			if err != nil {
				return err
			}
			if err := s.exec(ctx, s.dialect.Say(server.SetReplayed), position.String()); err != nil {
				return err
			}
		}
		args := []any{source.key.Host, source.key.Port}
		if a.User != "" {
			args = append(args, a.User, a.Password)
		}
		if err := s.exec(ctx, q, s.dialect.OnChannel(channel, args...)...); err != nil {
			return err
		}
		return s.tell(ctx, server.Start, channel)
	}
	return step
}

// leave stops a channel when its relay logs are applied. What its applier can't apply would be lost, unless the next
// source is the one that it came from, which sends it again, by GTID.
func (s *site) leave(ctx context.Context, c Channel, next topology.Key, progress func(string)) error {
	if c.SQLErrno != 0 && c.SQL != topology.Running && c.Source != next {
		return fmt.Errorf("%v can't apply what it received from %v (error %d: %s), and would lose it with this change",
			s.key, c.Source, c.SQLErrno, c.SQLError)
	}
	if c.IO != topology.Stopped {
		if err := s.tell(ctx, server.StopReceiver, c.Name); err != nil {
			return err
		}
	}
	if c.SQLErrno == 0 || c.SQL == topology.Running {
		if err := s.drain(ctx, c.Source, settleWithin, progress); err != nil {
			return err
		}
	}
	return s.tell(ctx, server.Stop, c.Name)
}

// seed copies the records, and marks what they contain as executed. It reads the position first, so that writes during
// the copy arrive twice rather than never: records merge.
func (p *Pair) seed(ctx context.Context, s situation) (err error) {
	back, active := s.target, s.other
	for _, c := range s.to.Channels {
		if err := back.leave(ctx, c, active.key, p.o.Progress); err != nil {
			return err
		}
	}
	from, err := active.see(ctx)
	if err != nil {
		return err
	}
	if err := p.copyRecords(ctx, back, active); err != nil {
		return err
	}
	m, err := back.see(ctx)
	if err != nil {
		return err
	}
	if back.dialect.MariaDB() {
		return back.exec(ctx, back.dialect.Say(server.SetReplayed), from.Executed.String())
	}
	if missing := from.Executed.Subtract(m.Executed); !missing.Empty() {
		return back.exec(ctx, back.dialect.Say(server.SetExecuted), "+"+missing.String())
	}
	return nil
}

// copyRecords makes the member writable for the copy, and read-only again.
func (p *Pair) copyRecords(ctx context.Context, back, active *site) (err error) {
	source, err := p.store(active.key)
	if err != nil {
		return err
	}
	defer source.Close()
	all, err := source.Everything(ctx)
	if err != nil {
		return err
	}
	hold, err := source.Lease(LeaseName).Read(ctx)
	if err != nil {
		return err
	}
	if err := back.all(ctx, server.TakeWrites); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, back.all(context.WithoutCancel(ctx), server.RefuseWrites)) }()
	target, err := p.store(back.key)
	if err != nil {
		return err
	}
	defer target.Close()
	p.o.Progress(fmt.Sprintf("%v: %s to copy", back.key, plural.Count(uint64(len(all)), "record")))
	if _, err := target.Identity(ctx); err != nil { // makes the tables
		return err
	}
	if err := p.put(ctx, back.key, all); err != nil {
		return err
	}
	if hold.Term > 0 {
		_, err = target.Lease(LeaseName).Beat(ctx, hold)
	}
	return err
}
