package mysql

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// How seldom the rest is read. A new connection reads all of it at once, and only a new connection can find another server, or another
// start of the same: what a connection knows of its server's identity holds as long as it.
const (
	readAllEvery    = 30 * time.Second
	lookForStallsAt = 5 * time.Second
)

// known is what is kept of a server between probes.
type known struct {
	dialect  dialect
	account  string
	instance topology.Instance // what rarely changes
	readAt   time.Time         // when it was read
	channels bool              // it had a source at the last probe
	stallsAt time.Time
	dumps    int // binary log dump threads, at stallsAt
}

// ask is one probe: two round trips, more when a connection or what rarely changes is due.
func (s *Servers) ask(ctx context.Context, k topology.Key, v *server) (topology.Instance, error) {
	if v.conn == nil {
		c, err := s.connect(ctx, k)
		if err != nil {
			return topology.Instance{}, err
		}
		v.conn, v.known = c, known{}
	}
	i, err := v.ask(ctx)
	var r *refusal
	if errors.As(err, &r) {
		r.account = v.known.account
	}
	return i, err
}

func (v *server) ask(ctx context.Context) (topology.Instance, error) {
	c, n := v.conn, &v.known
	now := time.Now()
	if n.readAt.IsZero() {
		if err := n.recognise(ctx, c); err != nil {
			return topology.Instance{}, err
		}
	}
	if now.Sub(n.readAt) >= readAllEvery {
		if err := n.readSeldom(ctx, c, now); err != nil {
			return topology.Instance{}, err
		}
	}

	q := n.dialect.poll
	threads := !n.channels && now.Sub(n.stallsAt) >= lookForStallsAt
	if threads {
		q = n.dialect.pollWithThreads
	}
	rows, err := c.query(ctx, q)
	if err != nil {
		return topology.Instance{}, err
	}
	if len(rows) == 0 {
		return topology.Instance{}, fmt.Errorf("%s: %w: it returned no row", q.text, errAlien)
	}
	i := n.instance
	i.ReadOnly = rows[0].on("read_only") || rows[0].on("super_read_only")
	i.SuperReadOnly = rows[0].on("super_read_only")
	slavePos, err := positions(&i, rows[0])
	if err != nil {
		return topology.Instance{}, err
	}
	if threads {
		dumps := 0
		i.Stalled, dumps = stall(rows)
		n.nameDiskFull(ctx, c, i.Stalled)
		n.instance.Stalled = i.Stalled
		if dumps != n.dumps && !n.stallsAt.IsZero() {
			n.readAt = now.Add(-readAllEvery) // replicas came or went: ask for them at the next probe
		}
		n.stallsAt, n.dumps = now, dumps
	}

	rows, err = c.query(ctx, n.dialect.channels)
	if err != nil {
		return topology.Instance{}, err
	}
	i.Channels, err = channels(rows, i, slavePos)
	if err != nil {
		return topology.Instance{}, err
	}
	n.channels = len(i.Channels) > 0
	if n.channels {
		i.Stalled, n.instance.Stalled = nil, nil
	}
	i.Registered = slices.Clone(i.Registered)
	return i, nil
}

// recognise finds out which dialect the server speaks.
func (n *known) recognise(ctx context.Context, c *conn) error {
	who, err := c.one(ctx, askWho)
	if err != nil {
		return err
	}
	n.account = who.get("account")
	n.instance.Flavor, n.instance.Version, err = topology.ParseVersion(who.get("version"))
	if err != nil {
		return fmt.Errorf("%w: %w", errAlien, err)
	}
	n.dialect = speak(n.instance.Flavor, n.instance.Version, false)
	n.readAt = time.Unix(0, 0)
	return nil
}

// readSeldom reads what rarely changes. SHOW VARIABLES never fails on a name that a version lacks, as SELECT @@name would.
func (n *known) readSeldom(ctx context.Context, c *conn, now time.Time) error {
	vars, err := c.named(ctx, askVariables)
	if err != nil {
		return err
	}
	i := &n.instance
	n.dialect = speak(i.Flavor, i.Version, vars.on("performance_schema"))
	status, err := c.named(ctx, askStatus)
	if err != nil {
		return err
	}
	if i.StartedAt.IsZero() { // a connection outlives no server, so this is read once: its rounding must not look like restarts, nor our clock when it is set
		i.StartedAt = now.Add(-time.Duration(status.uint("uptime")) * time.Second)
	}
	i.ServerID = uint32(vars.uint("server_id"))
	i.Hostname, i.ReportHost, i.Port = vars.get("hostname"), vars.get("report_host"), int(vars.uint("port"))
	i.LogBin = vars.on("log_bin")
	i.LogReplicaUpdates = vars.on("log_replica_updates", "log_slave_updates")
	i.BinlogFormat = vars.get("binlog_format")
	i.GTID = i.Flavor == topology.MariaDB || vars.get("gtid_mode") == "ON"
	i.UUID = strings.ToLower(vars.get("server_uuid"))
	if i.UUID == "" {
		i.UUID = madeUUID(vars)
	}
	i.SemiSync = topology.SemiSync{
		SourceEnabled:  vars.on("rpl_semi_sync_source_enabled", "rpl_semi_sync_master_enabled"),
		ReplicaEnabled: vars.on("rpl_semi_sync_replica_enabled", "rpl_semi_sync_slave_enabled"),
		WaitCount:      int(vars.uint("rpl_semi_sync_source_wait_for_replica_count", "rpl_semi_sync_master_wait_for_slave_count")),
		TimeoutMillis:  vars.uint("rpl_semi_sync_source_timeout", "rpl_semi_sync_master_timeout"),
		SourceActive:   status.on("rpl_semi_sync_source_status", "rpl_semi_sync_master_status"),
		ReplicaActive:  status.on("rpl_semi_sync_replica_status", "rpl_semi_sync_slave_status"),
		Clients:        int(status.uint("rpl_semi_sync_source_clients", "rpl_semi_sync_master_clients")),
	}
	if i.SemiSync.SourceEnabled && i.SemiSync.WaitCount == 0 {
		i.SemiSync.WaitCount = 1 // MariaDB waits for one, and has no variable for it
	}
	if n.dialect.more.text != "" {
		more, err := c.one(ctx, n.dialect.more)
		if err != nil {
			return err
		}
		if i.Purged, err = gtid.Parse(more.get("purged")); err != nil {
			return fmt.Errorf("read gtid_purged: %w", err)
		}
	}
	i.BinlogFile, i.BinlogPos, i.Registered = "", 0, nil
	if i.LogBin {
		// Only where nothing else tells how far the server is: while its disk is full, this one question hangs, and a primary
		// that answers all others would look dead.
		if !i.GTID {
			at, err := c.one(ctx, n.dialect.binlog)
			if err != nil {
				return err
			}
			i.BinlogFile, i.BinlogPos = at.get("file"), at.uint("position")
		}
		var err error
		if i.Registered, err = n.registered(ctx, c); err != nil {
			return err
		}
	}
	n.readAt = now
	return nil
}

// named reads a list of Variable_name and Value as one row.
func (c *conn) named(ctx context.Context, q statement) (row, error) {
	rows, err := c.query(ctx, q)
	if err != nil {
		return nil, err
	}
	all := row{}
	for _, r := range rows {
		all[strings.ToLower(r.get("variable_name"))] = r.get("value")
	}
	return all, nil
}

func madeUUID(vars row) string {
	return topology.MadeUUID(vars.get("server_id"), vars.get("hostname"), vars.get("port"), vars.get("datadir"))
}

// registered lists the replicas at the addresses that they report. One that reports only its port is looked for where the binary log dump
// threads' clients come from, where that leaves no doubt.
func (n *known) registered(ctx context.Context, c *conn) ([]topology.Key, error) {
	rows, err := c.query(ctx, n.dialect.replicas)
	if err != nil {
		return nil, err
	}
	found, ports := map[topology.Key]bool{}, map[int]bool{}
	for _, r := range rows {
		port := int(r.uint("port"))
		switch host := r.get("host"); {
		case port == 0: // a reader of binary logs that is no server
		case host == "":
			ports[port] = true
		default:
			found[topology.Key{Host: strings.ToLower(host), Port: port}] = true
		}
	}
	if len(ports) > 0 {
		rows, err := c.query(ctx, n.dialect.dumps)
		if err != nil {
			return nil, err
		}
		hosts := map[string]bool{}
		for _, r := range rows {
			host, _, err := net.SplitHostPort(r.get("host"))
			if err != nil {
				host = r.get("host")
			}
			if host != "" {
				hosts[strings.ToLower(host)] = true
			}
		}
		if len(ports) == 1 || len(hosts) == 1 {
			for port := range ports {
				for host := range hosts {
					found[topology.Key{Host: host, Port: port}] = true
				}
			}
		}
	}
	return slices.SortedFunc(maps.Keys(found), topology.Key.Compare), nil
}

// positions reads what is executed; on MariaDB it returns gtid_slave_pos too.
func positions(i *topology.Instance, r row) (slavePos gtid.Set, err error) {
	if i.Flavor == topology.MySQL {
		i.Executed, err = gtid.Parse(r.get("executed"))
		if err != nil {
			return gtid.Set{}, fmt.Errorf("read gtid_executed: %w", err)
		}
		return gtid.Set{}, nil
	}
	if slavePos, err = gtid.Parse(r.get("slave_pos")); err != nil {
		return gtid.Set{}, fmt.Errorf("read gtid_slave_pos: %w", err)
	}
	if i.BinlogWritten, err = gtid.Parse(r.get("binlog_pos")); err != nil {
		return gtid.Set{}, fmt.Errorf("read gtid_binlog_pos: %w", err)
	}
	i.Executed = slavePos.Union(i.BinlogWritten)
	return slavePos, nil
}

// stall picks the worst of the hanging commits, and counts the binary log dump threads.
func stall(rows []row) (*topology.Stall, int) {
	var worst *topology.Stall
	dumps, count := 0, 0
	for _, r := range rows {
		command, state := r.get("command"), r.get("state")
		if command == "" {
			continue
		}
		if strings.HasPrefix(command, "Binlog Dump") {
			dumps++
			continue
		}
		one := topology.Stall{State: state, Seconds: int64(r.uint("seconds")), Cause: "commit"}
		lower := strings.ToLower(state)
		switch {
		case strings.Contains(lower, "free space"):
			one.Cause = "disk_full"
		case strings.Contains(lower, "semi-sync ack"):
			one.Cause = "semi_sync"
		}
		count++
		if worst == nil || rank(one.Cause) > rank(worst.Cause) || rank(one.Cause) == rank(worst.Cause) && one.Seconds > worst.Seconds {
			worst = &one
		}
	}
	if worst != nil {
		worst.Count = count
	}
	return worst, dumps
}

// nameDiskFull finds the reason that MySQL 8 and later keep out of the thread's state ("waiting for handler commit"): the error that the first of the
// waiting commits logged. Servers without performance_schema, and accounts that may not read it, leave it a commit that hangs.
func (n *known) nameDiskFull(ctx context.Context, c *conn, s *topology.Stall) {
	if s == nil || s.Cause != "commit" || n.dialect.diskFull.text == "" {
		return
	}
	r, err := c.one(ctx, n.dialect.diskFull, s.Seconds+5)
	if err == nil && r.uint("complaints") > 0 {
		s.Cause = "disk_full"
	}
}

// rank: a full disk is why the others wait.
func rank(cause string) int { return slices.Index([]string{"commit", "semi_sync", "disk_full"}, cause) }

// channels reads the replication status in either vocabulary.
func channels(rows []row, i topology.Instance, slavePos gtid.Set) ([]topology.Channel, error) {
	var out []topology.Channel
	for _, r := range rows {
		host := r.get("source_host", "master_host")
		if host == "" { // such as group replication's own channels
			continue
		}
		c := topology.Channel{
			Name:          r.get("channel_name", "connection_name"),
			Source:        topology.Key{Host: strings.ToLower(host), Port: int(r.uint("source_port", "master_port"))},
			SourceUUID:    strings.ToLower(r.get("source_uuid", "master_uuid")),
			SourceID:      uint32(r.uint("source_server_id", "master_server_id")),
			IO:            topology.ParseThreadState(r.get("replica_io_running", "slave_io_running")),
			SQL:           topology.ParseThreadState(r.get("replica_sql_running", "slave_sql_running")),
			IOErrno:       int(r.uint("last_io_errno")),
			IOError:       r.get("last_io_error"),
			SQLErrno:      int(r.uint("last_sql_errno")),
			SQLError:      r.get("last_sql_error"),
			Delay:         int64(r.uint("sql_delay")),
			ReadFile:      r.get("source_log_file", "master_log_file"),
			ReadPos:       r.uint("read_source_log_pos", "read_master_log_pos"),
			ExecFile:      r.get("relay_source_log_file", "relay_master_log_file"),
			ExecPos:       r.uint("exec_source_log_pos", "exec_master_log_pos"),
			Heartbeats:    r.uint("slave_received_heartbeats"),
			SSL:           r.on("source_ssl_allowed", "master_ssl_allowed"),
			User:          r.get("source_user", "master_user"),
			HeartbeatSecs: seconds(r.get("slave_heartbeat_period")),
		}
		if lag := r.get("seconds_behind_source", "seconds_behind_master"); lag != "" {
			n := int64(r.uint("seconds_behind_source", "seconds_behind_master"))
			c.Lag = &n
		}
		for name, value := range r {
			if value != "" && strings.HasPrefix(name, "replicate_") {
				c.Filters = true
			}
		}
		if i.Flavor == topology.MariaDB {
			using := r.get("using_gtid")
			c.AutoPosition = using != "" && !strings.EqualFold(using, "no")
			if c.AutoPosition {
				received, err := gtid.Parse(r.get("gtid_io_pos"))
				if err != nil {
					return nil, fmt.Errorf("read Gtid_IO_Pos of channel %q: %w", c.Name, err)
				}
				// A receiver that has just started stands where the applier stood when it was stopped, or nowhere.
				c.Received = received.Union(slavePos)
			}
		} else {
			c.AutoPosition = r.on("auto_position")
			received, err := gtid.Parse(r.get("retrieved_gtid_set"))
			if err != nil {
				return nil, fmt.Errorf("read Retrieved_Gtid_Set of channel %q: %w", c.Name, err)
			}
			if !received.Empty() || c.AutoPosition {
				c.Received = received.Union(i.Executed)
			}
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b topology.Channel) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func seconds(text string) float64 {
	var f float64
	if _, err := fmt.Sscan(text, &f); err != nil {
		return 0
	}
	return f
}
