package mysql

import (
	"context"
	"fmt"
	"slices"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/printable"
	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// How seldom the rest is read. A new connection reads all of it at once, and only a new connection can find another
// server, or another start of the same: what a connection knows of its server's identity holds as long as it.
const (
	readAllEvery    = 30 * time.Second
	lookForStallsAt = 5 * time.Second
)

// known is what is kept of a server between probes.
type known struct {
	questions *questions
	instance  topology.Instance // what rarely changes
	readAt    time.Time         // when it was read; zero: the connection is new
	channels  bool              // it had a source at the last probe
	stallsAt  time.Time
	dumps     []int // binary log dump threads, at the last looks, the latest first
	noServers int   // of those that registered, at listedAt
	listedAt  time.Time
	endless   bool // more have registered than are read
	memo      gtid.Memo
	locks     server.Row // the answer to askHolder, until strangers were looked for
}

// looks is how many looks in a row must have seen a binary log dump thread, so that it counts as a reader: a replica
// that is new becomes known meanwhile, and one that connects again is counted twice for a moment.
const looks = 2

// ask takes one round trip. A new connection takes one more, and so do the binary logs where they are due.
func (v *kept) ask(ctx context.Context) (topology.Instance, error) {
	c, n := v.conn, &v.known
	p := poll{now: time.Now(), known: n, conn: c, fresh: n.readAt.IsZero()}
	p.crowded = v.isCrowded(p.now)
	p.seldom = v.changed.Swap(false) || p.now.Sub(n.readAt) >= readAllEvery
	p.threads = !n.channels && p.now.Sub(n.stallsAt) >= lookForStallsAt
	if p.fresh {
		who := question{Statement: server.Who, read: c.Meet}
		if err := ask(ctx, c, append([]question{who}, p.settings()...)); err != nil {
			return topology.Instance{}, err
		}
	}
	err := ask(ctx, c, p.questions(ctx))
	if n.noTable(err) {
		p.listed = true
		err = ask(ctx, c, p.questions(ctx))
	}
	if err != nil {
		return topology.Instance{}, err
	}
	if p.seldom {
		n.readAt = p.now
	}
	i := p.instance()
	return i, v.logs.read(ctx, c, &i, p.fresh, p.now)
}

// question is a statement, and what takes in its answer.
type question struct {
	server.Statement
	read func([]server.Row) error
	// mayFail says that the server may refuse. Such questions are the last of their round trip: after one that fails
	// none is answered.
	mayFail bool
}

// ask asks all in one round trip.
func ask(ctx context.Context, c *server.Conn, all []question) error {
	statements := make([]server.Statement, len(all))
	for n, q := range all {
		statements[n] = q.Statement
	}
	answers, err := c.QueryAll(ctx, statements...)
	if err != nil && server.Number(err) == 0 {
		return err
	}
	for n, rows := range answers {
		if err := all[n].read(rows); err != nil {
			return err
		}
	}
	if err != nil && all[len(answers)].mayFail {
		return nil
	}
	return err
}

// poll is one probe.
type poll struct {
	now   time.Time
	known *known
	conn  *server.Conn
	// What is due besides.
	fresh   bool // the connection is new
	seldom  bool // what rarely changes
	threads bool // stalled commits, on servers without a source
	listed  bool // the server can't make a table of its threads: list them
	crowded bool // those that have registered are not asked for: there are too many

	polled
	channels []topology.Channel
	unusable []string // what is no name of a source
}

// questions are all that is due.
func (p *poll) questions(ctx context.Context) []question {
	q := p.known.questions.poll
	table := p.threads && !p.listed
	if table {
		q = p.known.questions.pollWithThreads
	}
	all := []question{{Statement: q, read: func(rows []server.Row) (err error) {
		if table {
			p.known.readThreads(ctx, p.conn, rows, p.now)
		}
		p.polled, err = readPolled(rows, q, &p.known.memo)
		return err
	}}}
	if p.listed {
		all = append(all, question{Statement: listThreads, read: func(rows []server.Row) error {
			p.known.readThreads(ctx, p.conn, filter(rows, isOfInterest), p.now)
			return nil
		}})
	}
	all = append(all, question{Statement: p.conn.Dialect.Say(server.ReplicaStatus), read: p.readChannels})
	switch {
	case p.fresh: // the settings are known already
	case p.seldom:
		all = append(all, p.settings()...)
	case p.threads && p.known.instance.SemiSync.SourceEnabled:
		all = append(all, question{Statement: askStatus, read: p.known.readSemiSync})
	}
	if p.seldom {
		all = append(all, p.surroundings(ctx)...)
	}
	if p.seldom && !p.fresh { // when the daemon starts it has more to do
		all = append(all, question{Statement: server.AskGrants, read: p.readGrants, mayFail: true})
	}
	return all
}

// instance is what the answers say together.
func (p *poll) instance() topology.Instance {
	n := p.known
	n.channels = len(p.channels) > 0
	if n.channels {
		n.instance.Stalled, n.instance.Dormant = nil, nil
	}
	i := n.instance
	i.ReadOnly, i.SuperReadOnly, i.Scheduler = p.readOnly, p.superReadOnly, p.scheduler
	i.Executed, i.BinlogWritten, i.BinlogState = p.Executed, p.Written, p.State
	if p.crowded {
		p.unusable = append(p.unusable, "a list of registered replicas that is too long to be read")
	}
	i.Channels, i.Unusable = p.channels, some(slices.Concat(i.Unusable, p.unusable))
	return i
}

// mostUnusable is how many of the texts that can't be names are shown, each with mostOfText bytes: a server tells of
// anybody who registers, whatever they call themselves.
const (
	mostUnusable = 10
	mostOfText   = 200
)

func some(texts []string) (out []string) {
	for _, t := range texts[:min(len(texts), mostUnusable)] {
		out = append(out, printable.Clip(t, mostOfText))
	}
	if more := len(texts) - len(out); more > 0 {
		out = append(out, fmt.Sprintf("%d more", more))
	}
	return out
}

// polled is what each poll asks first.
type polled struct {
	readOnly, superReadOnly, scheduler bool
	server.Positions
}

func readPolled(rows []server.Row, q server.Statement, memo *gtid.Memo) (p polled, err error) {
	if len(rows) == 0 {
		return p, fmt.Errorf("%s: %w: it returned no row", q.Text, server.ErrAlien)
	}
	p.superReadOnly = rows[0].On("super_read_only")
	p.readOnly = p.superReadOnly || rows[0].On("read_only")
	p.scheduler = rows[0].On("event_scheduler")
	p.Positions, err = server.ReadPositions(rows[0], memo)
	return p, err
}

// readChannels comes after the positions.
func (p *poll) readChannels(rows []server.Row) (err error) {
	p.channels, err = server.ReadChannels(rows, p.conn.Dialect, p.Positions, &p.known.memo)
	p.unusable = server.UnusableSources(rows)
	return err
}
