package mysql

import (
	"context"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// avoidLogsFor is how long the binary log is not asked about after a question about it was not answered in time.
const avoidLogsFor = 10 * time.Minute

// logs is what is known of a server's binary logs. The questions wait for the log's lock, and a server whose disk is
// full holds that: so they come after all else, never while commits hang, and a connection that one of them has cost is
// remembered here, across connections. Otherwise a server that answers all else would look dead.
type logs struct {
	asked   time.Time // the question that is not answered yet
	readAt  time.Time
	filters bool
	known   bool     // filters is; a server must be restarted to change it
	first   string   // MariaDB: the oldest log
	purged  gtid.Set // MariaDB: all that the oldest log comes after
}

// read reads what is due. An error that the server reports leaves the facts unknown: it is no reason to call a
// server silent.
func (l *logs) read(ctx context.Context, c *server.Conn, i *topology.Instance, fresh bool, now time.Time) error {
	if fresh {
		l.known, l.readAt, l.first = false, time.Time{}, ""
	}
	due := !l.known || c.Dialect.MariaDB() && now.Sub(l.readAt) >= readAllEvery
	if i.LogBin && i.Stalled == nil && due && now.Sub(l.asked) >= avoidLogsFor {
		l.asked = now
		if err := l.ask(ctx, c); err != nil && server.Number(err) == 0 {
			return err
		}
		l.asked, l.readAt, l.known = time.Time{}, now, true
	}
	if i.BinlogFilters = l.filters && i.LogBin; c.Dialect.MariaDB() {
		i.Purged = l.purged
	}
	return nil
}

func (l *logs) ask(ctx context.Context, c *server.Conn) error {
	var all []question
	if !l.known {
		all = append(all, question{Statement: c.Dialect.Say(server.BinlogStatus), read: l.readFilters})
	}
	first := l.first
	if c.Dialect.MariaDB() {
		all = append(all, question{Statement: c.Dialect.Say(server.BinaryLogs), read: func(files []server.Row) error {
			if len(files) > 0 {
				first = files[0].Get("log_name")
			}
			return nil
		}})
	}
	if err := ask(ctx, c, all); err != nil || first == l.first {
		return err
	}
	r, err := c.One(ctx, c.Dialect.Say(server.BinlogStart), first)
	if err != nil {
		return err
	}
	if l.purged, err = gtid.Parse(r.Long("position")); err == nil {
		l.first = first
	}
	return err
}

func (l *logs) readFilters(rows []server.Row) error {
	l.filters = false
	for _, at := range rows {
		l.filters = at.Get("binlog_do_db") != "" || at.Get("binlog_ignore_db") != ""
	}
	return nil
}
