package mysql

import (
	"context"
	"fmt"
	"time"

	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// settings are how the server is set up. SHOW VARIABLES never fails on a name that a version lacks, as SELECT @@name
// would.
func (p *poll) settings() []question {
	var vars server.Row
	return []question{
		{Statement: askVariables, read: func(rows []server.Row) error {
			vars = server.Named(rows)
			return nil
		}},
		{Statement: askStatus, read: func(rows []server.Row) error {
			p.known.readSettings(vars, server.Named(rows), p.conn.Dialect, p.now)
			return nil
		}},
	}
}

func (n *known) readSettings(vars, status server.Row, d server.Dialect, now time.Time) {
	n.questions = questionsFor(d, vars.On("performance_schema"))
	i := &n.instance
	i.Flavor, i.Version = d.Flavor, d.Version
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
	i.GTID = d.MariaDB() || vars.Get("gtid_mode") == "ON"
	i.SemiSync = semiSync(vars, status)
}

// readSemiSync reads what changes of semi-synchronous replication while a source waits for its replicas.
func (n *known) readSemiSync(rows []server.Row) error {
	now, s := semiSync(server.Row{}, server.Named(rows)), &n.instance.SemiSync
	s.SourceActive, s.ReplicaActive, s.Clients = now.SourceActive, now.ReplicaActive, now.Clients
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

// surroundings are what the binary log no longer holds, where it ends and who reads it, who holds the daemons' locks,
// and the events that do not run.
func (p *poll) surroundings(ctx context.Context) (all []question) {
	n, i := p.known, &p.known.instance
	if n.questions.purged.Text != "" {
		all = append(all, question{Statement: n.questions.purged, read: n.readPurged})
	}
	i.BinlogFile, i.BinlogPos = "", 0
	all = append(all, p.registered(ctx)...)
	// Only where nothing else tells how far the server is: while its disk is full, this one question hangs, and a
	// primary that answers all others would look dead.
	if i.LogBin && !i.GTID {
		all = append(all, question{Statement: p.conn.Dialect.Say(server.BinlogStatus), read: n.readBinlogEnd})
	}
	all = append(all, question{Statement: askHolder, read: func(rows []server.Row) error {
		if len(rows) > 0 {
			n.locks = rows[0]
		}
		return nil
	}, mayFail: true})
	// No decision rests on the events. At first it is not known who has a source.
	if i.Dormant = nil; !n.channels && !p.fresh {
		all = append(all, question{Statement: n.questions.dormant, read: n.readEvents, mayFail: true})
	}
	return all
}

func (n *known) readPurged(rows []server.Row) error {
	if len(rows) == 0 {
		return nil
	}
	p, err := server.ReadPositions(rows[0], &n.memo)
	n.instance.Purged = p.Purged
	return err
}

func (n *known) readBinlogEnd(rows []server.Row) error {
	for _, at := range rows {
		n.instance.BinlogFile, n.instance.BinlogPos = at.Get("file"), at.Uint("position")
	}
	return nil
}

// readEvents reads which scheduled events a server that follows nobody leaves to the one that they came from.
func (n *known) readEvents(rows []server.Row) error {
	for _, r := range rows {
		n.instance.Dormant = append(n.instance.Dormant, r.Get("event_schema")+"."+r.Get("event_name"))
	}
	return nil
}
