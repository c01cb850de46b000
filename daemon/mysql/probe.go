package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

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
	readAt    time.Time         // when it was read
	granted   bool              // our privileges were checked
	channels  bool              // it had a source at the last probe
	stallsAt  time.Time
	dumps     int // binary log dump threads, at stallsAt
	fewest    int // of them since readAt: one whose replica has gone stays for a while
}

// ask takes two round trips, and more when the connection is new or what rarely changes is due.
func (v *kept) ask(ctx context.Context) (topology.Instance, error) {
	c, n := v.conn, &v.known
	now := time.Now()
	fresh := n.readAt.IsZero()
	if fresh {
		if err := n.recognise(ctx, c); err != nil {
			return topology.Instance{}, err
		}
	}
	if v.changed.Swap(false) || now.Sub(n.readAt) >= readAllEvery {
		if err := n.readSeldom(ctx, c, now); err != nil {
			return topology.Instance{}, err
		}
	}
	p, err := n.poll(ctx, c, now)
	if err != nil {
		return topology.Instance{}, err
	}
	i := n.instance
	i.Registered = slices.Clone(i.Registered)
	i.ReadOnly, i.SuperReadOnly, i.Scheduler = p.readOnly, p.superReadOnly, p.scheduler
	i.Executed, i.BinlogWritten, i.BinlogState = p.Executed, p.Written, p.State
	var unusable []string
	if i.Channels, unusable, err = readChannels(ctx, c, p.Positions); err != nil {
		return topology.Instance{}, err
	}
	i.Unusable = slices.Concat(n.instance.Unusable, unusable)
	if n.channels = len(i.Channels) > 0; n.channels {
		i.Stalled, n.instance.Stalled, i.Dormant = nil, nil, nil
	}
	return i, v.logs.read(ctx, c, &i, fresh, now)
}

// polled is what each poll asks first.
type polled struct {
	readOnly, superReadOnly, scheduler bool
	server.Positions
}

func readPolled(rows []server.Row, q server.Statement) (p polled, err error) {
	if len(rows) == 0 {
		return p, fmt.Errorf("%s: %w: it returned no row", q.Text, server.ErrAlien)
	}
	p.superReadOnly = rows[0].On("super_read_only")
	p.readOnly = p.superReadOnly || rows[0].On("read_only")
	p.scheduler = rows[0].On("event_scheduler")
	p.Positions, err = server.ReadPositions(rows[0])
	return p, err
}

// poll looks for stalled commits as well where that is due: on servers without a source.
func (n *known) poll(ctx context.Context, c *server.Conn, now time.Time) (polled, error) {
	q := n.questions.poll
	threads := !n.channels && now.Sub(n.stallsAt) >= lookForStallsAt
	if threads {
		q = n.questions.pollWithThreads
	}
	rows, err := c.Query(ctx, q)
	if err != nil {
		return polled{}, err
	}
	if threads {
		if n.instance.SemiSync.SourceEnabled {
			if err := n.readSemiSync(ctx, c); err != nil {
				return polled{}, err
			}
		}
		stalled, dumps := stall(readThreads(rows))
		n.nameDiskFull(ctx, c, stalled)
		n.instance.Stalled = stalled
		if dumps != n.dumps && !n.stallsAt.IsZero() {
			n.readAt = now.Add(-readAllEvery) // replicas came or went: ask for them at the next probe
		}
		n.stallsAt, n.dumps, n.fewest = now, dumps, min(n.fewest, dumps)
	}
	return readPolled(rows, q)
}

// readChannels also returns what is no name of a source.
func readChannels(ctx context.Context, c *server.Conn, p server.Positions) (
	channels []topology.Channel, unusable []string, err error,
) {
	rows, err := c.Query(ctx, c.Dialect.Say(server.ReplicaStatus))
	if err != nil {
		return nil, nil, err
	}
	channels, err = server.ReadChannels(rows, c.Dialect, p)
	return channels, server.UnusableSources(rows), err
}

// recognise finds out what the server is to be asked.
func (n *known) recognise(ctx context.Context, c *server.Conn) error {
	if err := c.Recognise(ctx); err != nil {
		return err
	}
	n.instance.Flavor, n.instance.Version = c.Dialect.Flavor, c.Dialect.Version
	n.questions = questionsFor(c.Dialect, false)
	n.readAt = time.Unix(0, 0)
	return nil
}

// readSeldom reads what rarely changes. SHOW VARIABLES never fails on a name that a version lacks, as SELECT @@name
// would.
func (n *known) readSeldom(ctx context.Context, c *server.Conn, now time.Time) error {
	vars, err := c.Named(ctx, askVariables)
	if err != nil {
		return err
	}
	status, err := c.Named(ctx, askStatus)
	if err != nil {
		return err
	}
	n.questions = questionsFor(c.Dialect, vars.On("performance_schema"))
	i := &n.instance
	if i.StartedAt.IsZero() {
		// A connection outlives no server, so this is read once. Its rounding must not look like restarts, nor our
		// clock when that is set.
		i.StartedAt = now.Add(-time.Duration(status.Uint("uptime")) * time.Second)
	}
	i.UUID, i.ServerID = server.UUID(vars), uint32(vars.Uint("server_id"))
	i.Unusable = nil
	i.Hostname, i.ReportHost, i.Port = vars.Get("hostname"), vars.Get("report_host"), int(vars.Uint("port"))
	if _, err := topology.MakeKey(i.ReportHost, i.Port); err != nil && i.ReportHost != "" {
		i.Unusable = append(i.Unusable, fmt.Sprintf("report_host %q", i.ReportHost))
	}
	i.LogBin = vars.On("log_bin")
	i.LogReplicaUpdates = vars.On("log_replica_updates", "log_slave_updates")
	i.BinlogFormat = vars.Get("binlog_format")
	i.GTID = c.Dialect.MariaDB() || vars.Get("gtid_mode") == "ON"
	i.SemiSync = semiSync(vars, status)
	if err := n.readBinlog(ctx, c); err != nil {
		return err
	}
	if err := n.readEvents(ctx, c); err != nil {
		return err
	}
	n.readAt, n.fewest = now, n.dumps
	return nil
}

// readSemiSync reads what changes of semi-synchronous replication while a source waits for its replicas.
func (n *known) readSemiSync(ctx context.Context, c *server.Conn) error {
	status, err := c.Named(ctx, askStatus)
	if err != nil {
		return err
	}
	now, s := semiSync(server.Row{}, status), &n.instance.SemiSync
	s.SourceActive, s.ReplicaActive, s.Clients = now.SourceActive, now.ReplicaActive, now.Clients
	return nil
}

// readEvents reads which scheduled events a server that follows nobody leaves to the one that they came from. No
// decision rests on them, so a server that refuses to say is asked nothing more.
func (n *known) readEvents(ctx context.Context, c *server.Conn) error {
	n.instance.Dormant = nil
	if n.channels {
		return nil
	}
	rows, err := c.Query(ctx, dormantEvents)
	if err != nil && server.Number(err) == 0 {
		return err
	}
	for _, r := range rows {
		n.instance.Dormant = append(n.instance.Dormant, r.Get("event_schema")+"."+r.Get("event_name"))
	}
	return nil
}

func semiSync(vars, status server.Row) topology.SemiSync {
	s := topology.SemiSync{
		SourceEnabled:  vars.On("rpl_semi_sync_source_enabled", "rpl_semi_sync_master_enabled"),
		ReplicaEnabled: vars.On("rpl_semi_sync_replica_enabled", "rpl_semi_sync_slave_enabled"),
		WaitCount: int(vars.Uint("rpl_semi_sync_source_wait_for_replica_count",
			"rpl_semi_sync_master_wait_for_slave_count")),
		TimeoutMillis: vars.Uint("rpl_semi_sync_source_timeout", "rpl_semi_sync_master_timeout"),
		SourceActive:  status.On("rpl_semi_sync_source_status", "rpl_semi_sync_master_status"),
		ReplicaActive: status.On("rpl_semi_sync_replica_status", "rpl_semi_sync_slave_status"),
		Clients:       int(status.Uint("rpl_semi_sync_source_clients", "rpl_semi_sync_master_clients")),
	}
	if s.SourceEnabled && s.WaitCount == 0 {
		s.WaitCount = 1 // MariaDB waits for one, and has no variable for it
	}
	return s
}

// readBinlog reads what the binary log no longer holds, where it ends, and who reads it.
func (n *known) readBinlog(ctx context.Context, c *server.Conn) error {
	i := &n.instance
	if n.questions.purged.Text != "" {
		r, err := c.One(ctx, n.questions.purged)
		if err != nil {
			return err
		}
		p, err := server.ReadPositions(r)
		if err != nil {
			return err
		}
		i.Purged = p.Purged
	}
	i.BinlogFile, i.BinlogPos, i.Registered = "", 0, nil
	if !i.LogBin {
		return nil
	}
	// Only where nothing else tells how far the server is: while its disk is full, this one question hangs, and a
	// primary that answers all others would look dead.
	if !i.GTID {
		at, err := c.One(ctx, c.Dialect.Say(server.BinlogStatus))
		if err != nil {
			return err
		}
		i.BinlogFile, i.BinlogPos = at.Get("file"), at.Uint("position")
	}
	return n.readRegistered(ctx, c)
}

// thread is one that a stalled commit or a replica shows in.
type thread struct {
	command, state string
	seconds        int64
}

func readThreads(rows []server.Row) (out []thread) {
	for _, r := range rows {
		if command := r.Get("command"); command != "" { // else there is none, and the row is there for the rest
			out = append(out, thread{command, r.Get("state"), r.Int("seconds")})
		}
	}
	return out
}

// stall picks the worst of the hanging commits, and counts the binary log dump threads.
func stall(threads []thread) (worst *topology.Stall, dumps int) {
	count := 0
	for _, t := range threads {
		if strings.HasPrefix(t.command, "Binlog Dump") {
			dumps++
			continue
		}
		one := topology.Stall{State: t.state, Seconds: t.seconds, Cause: "commit"}
		lower := strings.ToLower(t.state)
		switch {
		case strings.Contains(lower, "free space"):
			one.Cause = "disk_full"
		case strings.Contains(lower, "semi-sync ack"):
			one.Cause = "semi_sync"
		case strings.Contains(lower, "read lock"), strings.Contains(lower, "backup lock"),
			strings.Contains(lower, "commit lock"):
			one.Cause = "lock"
		}
		count++
		if worst == nil || worse(one, *worst) {
			worst = &one
		}
	}
	if worst != nil {
		worst.Count = count
	}
	return worst, dumps
}

func worse(a, b topology.Stall) bool {
	return rank(a.Cause) > rank(b.Cause) || rank(a.Cause) == rank(b.Cause) && a.Seconds > b.Seconds
}

// rank: a full disk is why the others wait; those that wait for a lock may do so because its holder waits itself.
func rank(cause string) int {
	return slices.Index([]string{"lock", "commit", "semi_sync", "disk_full"}, cause)
}

// nameDiskFull finds the reason that MySQL 8 and later keep out of the thread's state ("waiting for handler commit"):
// the error that the first of the waiting commits logged. Where it can't be asked for, it stays a commit that hangs.
func (n *known) nameDiskFull(ctx context.Context, c *server.Conn, s *topology.Stall) {
	if s == nil || s.Cause != "commit" || n.questions.diskFull.Text == "" {
		return
	}
	r, err := c.One(ctx, n.questions.diskFull, s.Seconds+5)
	if err == nil && r.Uint("complaints") > 0 {
		s.Cause = "disk_full"
	}
}
