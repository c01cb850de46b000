package mysql

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

const (
	// rarely is how often what hardly ever changes is read again; a new connection reads it at once, so a restart is seen.
	rarely = 30 * time.Second
	// stallEvery is how often a primary is asked for commits that hang, and stallAfter how long such a one must have hung.
	stallEvery = 5 * time.Second
	stallAfter = 5
)

// Probe asks the server what is true of it now. A steady probe is two questions on a connection that is kept. The failure says how it
// failed; the error says it in words, with what to do. A kept connection that turns out to be broken is replaced, once, within the same deadline.
func (s *Servers) Probe(ctx context.Context, k topology.Key) (topology.Instance, topology.Failure, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.ProbeTimeout)
	defer cancel()
	l := s.link(k)
	l.Lock()
	defer l.Unlock()
	kept := l.conn != nil
	i, err := s.ask(ctx, k, l)
	if err != nil && kept && ctx.Err() == nil && broken(err) {
		i, err = s.ask(ctx, k, l)
	}
	if err == nil {
		return i, topology.OK, nil
	}
	failure := failureOf(err)
	if ctx.Err() != nil {
		failure = topology.Timeout
	}
	return topology.Instance{}, failure, s.explain(k, failure, err)
}

// ask reads over the kept connection, or opens one. After any error the connection is gone: what state it is in nobody knows.
func (s *Servers) ask(ctx context.Context, k topology.Key, l *link) (i topology.Instance, err error) {
	if l.conn == nil {
		if l.conn, err = s.dial(ctx, k); err != nil {
			l.conn = nil
			return i, err
		}
		l.fixedAt, l.stallAt = time.Time{}, time.Time{}
	}
	// The driver gives up on a context in its own time; a socket that is closed under it, at once.
	stop := context.AfterFunc(ctx, func() { l.conn.socket.Close() })
	defer func() {
		stop()
		if err != nil {
			l.drop()
		}
	}()
	now := time.Now()
	if now.Sub(l.fixedAt) > rarely {
		if l.fixed, l.dialect, err = readFixed(ctx, l.conn); err != nil {
			return i, err
		}
		l.fixedAt = now
	}
	i = l.fixed
	if err = readPositions(ctx, l.conn, l.dialect, &i); err != nil {
		return i, err
	}
	if i.Channels, err = readChannels(ctx, l.conn, l.dialect, i); err != nil {
		return i, err
	}
	if len(i.Channels) > 0 {
		return i, nil
	}
	if now.Sub(l.stallAt) > stallEvery {
		if l.stalled, err = readStall(ctx, l.conn, l.dialect); err != nil {
			return i, err
		}
		l.stallAt = now
	}
	i.Stalled = l.stalled
	return i, nil
}

// readFixed reads what rarely changes.
func readFixed(ctx context.Context, c *conn) (topology.Instance, dialect, error) {
	var i topology.Instance
	vars, err := named(ctx, c, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'server_uuid', 'server_id', 'hostname', 'report_host', 'report_port', 'port', "+
		"'datadir', 'log_bin', 'log_slave_updates', 'log_replica_updates', 'binlog_format', 'gtid_mode', "+
		"'rpl_semi_sync_master_enabled', 'rpl_semi_sync_source_enabled', 'rpl_semi_sync_slave_enabled', 'rpl_semi_sync_replica_enabled', "+
		"'rpl_semi_sync_master_wait_for_slave_count', 'rpl_semi_sync_source_wait_for_replica_count', 'rpl_semi_sync_master_timeout', 'rpl_semi_sync_source_timeout')")
	if err != nil {
		return i, dialect{}, err
	}
	if i.Flavor, i.Version, err = topology.ParseVersion(vars["version"]); err != nil {
		return i, dialect{}, err
	}
	d, err := dialectOf(i.Flavor, i.Version)
	if err != nil {
		return i, d, err
	}
	status, err := named(ctx, c, "SHOW GLOBAL STATUS WHERE Variable_name IN ('Uptime', 'Rpl_semi_sync_master_status', 'Rpl_semi_sync_source_status', "+
		"'Rpl_semi_sync_slave_status', 'Rpl_semi_sync_replica_status', 'Rpl_semi_sync_master_clients', 'Rpl_semi_sync_source_clients')")
	if err != nil {
		return i, d, err
	}
	either := func(from row, names ...string) string { return from.first(names...) }
	on := func(text string) bool { return text == "ON" || text == "1" || text == "YES" }
	i.UUID = vars["server_uuid"]
	i.ServerID = uint32(number(vars["server_id"]))
	i.Hostname, i.ReportHost, i.Port = vars["hostname"], vars["report_host"], int(number(vars["port"]))
	i.StartedAt = time.Now().Add(-time.Duration(number(status["Uptime"])) * time.Second).Truncate(time.Second)
	i.LogBin, i.LogReplicaUpdates = on(vars["log_bin"]), on(either(vars, "log_replica_updates", "log_slave_updates"))
	i.BinlogFormat = vars["binlog_format"]
	i.GTID = i.Flavor == topology.MariaDB || vars["gtid_mode"] == "ON"
	if i.Flavor == topology.MariaDB {
		i.UUID = synthetic(vars)
	}
	i.SemiSync = topology.SemiSync{
		SourceEnabled:  on(either(vars, "rpl_semi_sync_source_enabled", "rpl_semi_sync_master_enabled")),
		SourceActive:   on(either(status, "Rpl_semi_sync_source_status", "Rpl_semi_sync_master_status")),
		ReplicaEnabled: on(either(vars, "rpl_semi_sync_replica_enabled", "rpl_semi_sync_slave_enabled")),
		ReplicaActive:  on(either(status, "Rpl_semi_sync_replica_status", "Rpl_semi_sync_slave_status")),
		WaitCount:      int(number(either(vars, "rpl_semi_sync_source_wait_for_replica_count", "rpl_semi_sync_master_wait_for_slave_count"))),
		Clients:        int(number(either(status, "Rpl_semi_sync_source_clients", "Rpl_semi_sync_master_clients"))),
		TimeoutMillis:  number(either(vars, "rpl_semi_sync_source_timeout", "rpl_semi_sync_master_timeout")),
	}
	hosts, err := rows(ctx, c, d.registered)
	if err != nil {
		return i, d, err
	}
	for _, h := range hosts {
		if k, err := topology.ParseKey(h["Host"]); err == nil && h["Host"] != "" {
			k.Port = int(number(h["Port"]))
			i.Registered = append(i.Registered, k)
		}
	}
	if i.LogBin {
		if at, err := rows(ctx, c, d.binlog); err == nil && len(at) > 0 { // needs a grant of its own on MariaDB, and is for people only
			i.BinlogFile, i.BinlogPos = at[0]["File"], number(at[0]["Position"])
		}
	}
	return i, d, nil
}

// synthetic is an identity for servers that have none of their own (MariaDB): what no two servers of a fleet should share. It changes when the
// host is renamed or the server is moved to another port or directory; discovery also compares when the servers were started.
func synthetic(vars row) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{vars["server_id"], vars["hostname"], vars["port"], vars["datadir"], vars["report_host"]}, "\x00")))
	h := hex.EncodeToString(sum[:16])
	return fmt.Sprintf("%s-%s-%s-%s-%s", h[:8], h[8:12], h[12:16], h[16:20], h[20:])
}

func named(ctx context.Context, c *conn, query string) (row, error) {
	all, err := rows(ctx, c, query)
	out := row{}
	for _, r := range all {
		out[r["Variable_name"]] = r["Value"]
	}
	return out, err
}

func number(text string) uint64 {
	n, _ := strconv.ParseUint(text, 10, 64) // what servers print where a number is due, or nothing
	return n
}

func readPositions(ctx context.Context, c *conn, d dialect, i *topology.Instance) error {
	var readOnly, super, executed, written, purged string
	if err := c.sql.QueryRowContext(ctx, d.positions).Scan(&readOnly, &super, &executed, &written, &purged); err != nil {
		return err
	}
	// MariaDB 12 says more than 0 and 1 of read_only: each of it refuses writes.
	off := func(text string) bool { return text == "0" || text == "OFF" }
	i.SuperReadOnly = !off(super)
	i.ReadOnly = !off(readOnly) || i.SuperReadOnly
	var err error
	if i.Executed, err = gtid.Parse(executed); err != nil {
		return err
	}
	if i.Purged, err = gtid.Parse(purged); err != nil {
		return err
	}
	if i.BinlogWritten, err = gtid.Parse(written); err != nil {
		return err
	}
	i.Executed = i.Executed.Union(i.BinlogWritten)
	return nil
}

func readChannels(ctx context.Context, c *conn, d dialect, i topology.Instance) ([]topology.Channel, error) {
	all, err := rows(ctx, c, d.status)
	if err != nil {
		return nil, err
	}
	var out []topology.Channel
	for _, r := range all {
		ch, err := channelOf(r, i)
		if err != nil {
			return nil, err
		}
		out = append(out, ch)
	}
	return out, nil
}

// channelOf reads one row of the replication status, in either vocabulary.
func channelOf(r row, i topology.Instance) (topology.Channel, error) {
	c := topology.Channel{
		Name:       r.first("Channel_Name", "Connection_name"),
		SourceUUID: r.first("Source_UUID", "Master_UUID"),
		SourceID:   uint32(number(r.first("Source_Server_Id", "Master_Server_Id"))),
		IO:         threadState(r.first("Replica_IO_Running", "Slave_IO_Running")),
		SQL:        threadState(r.first("Replica_SQL_Running", "Slave_SQL_Running")),
		IOErrno:    int(number(r["Last_IO_Errno"])), IOError: r["Last_IO_Error"],
		SQLErrno: int(number(r["Last_SQL_Errno"])), SQLError: r["Last_SQL_Error"],
		Delay:    int64(number(r["SQL_Delay"])),
		ReadFile: r.first("Source_Log_File", "Master_Log_File"), ReadPos: number(r.first("Read_Source_Log_Pos", "Read_Master_Log_Pos")),
		ExecFile: r.first("Relay_Source_Log_File", "Relay_Master_Log_File"), ExecPos: number(r.first("Exec_Source_Log_Pos", "Exec_Master_Log_Pos")),
		User: r.first("Source_User", "Master_User"), SSL: r.first("Source_SSL_Allowed", "Master_SSL_Allowed") == "Yes",
		Heartbeats: number(r["Slave_received_heartbeats"]),
	}
	c.HeartbeatSecs, _ = strconv.ParseFloat(r["Slave_heartbeat_period"], 64)
	c.Source = topology.Key{Host: strings.ToLower(r.first("Source_Host", "Master_Host")), Port: int(number(r.first("Source_Port", "Master_Port")))}
	if lag, err := strconv.ParseInt(r.first("Seconds_Behind_Source", "Seconds_Behind_Master"), 10, 64); err == nil {
		c.Lag = &lag
	}
	for _, f := range []string{"Replicate_Do_DB", "Replicate_Ignore_DB", "Replicate_Do_Table", "Replicate_Ignore_Table",
		"Replicate_Wild_Do_Table", "Replicate_Wild_Ignore_Table", "Replicate_Rewrite_DB"} {
		c.Filters = c.Filters || r[f] != ""
	}
	received := r["Retrieved_Gtid_Set"]
	if i.Flavor == topology.MariaDB {
		using := r["Using_Gtid"]
		c.AutoPosition = using != "" && using != "No"
		received = r["Gtid_IO_Pos"]
	} else {
		c.AutoPosition = r["Auto_Position"] == "1"
	}
	if !c.AutoPosition {
		return c, nil
	}
	set, err := gtid.Parse(received)
	if err != nil {
		return c, fmt.Errorf("read what was received from %v: %w", c.Source, err)
	}
	c.Received = set.Union(i.Executed)
	return c, nil
}

func threadState(text string) topology.ThreadState {
	switch text {
	case "Yes":
		return topology.Running
	case "No":
		return topology.Stopped
	}
	return topology.Connecting // also MariaDB's Preparing
}

// readStall looks for commits that do not end although the server answers.
func readStall(ctx context.Context, c *conn, d dialect) (*topology.Stall, error) {
	all, err := rows(ctx, c, d.threads)
	if err != nil {
		return nil, err
	}
	return stallOf(all), nil
}

// causes are what servers say of a thread whose commit hangs, and what that means.
var causes = []struct{ says, cause string }{
	{"free space", "disk_full"},
	{"semi-sync ack", "semi_sync"},
	{"waiting for handler commit", "commit"},
	{"commit", "commit"},
}

func stallOf(threads []row) *topology.Stall {
	var out *topology.Stall
	for _, t := range threads {
		state, seconds := strings.ToLower(t.first("STATE", "State")), int64(number(t.first("TIME", "Time")))
		for rank, c := range causes {
			if !strings.Contains(state, c.says) || rank > 0 && seconds < stallAfter {
				continue
			}
			if out == nil {
				out = &topology.Stall{State: t.first("STATE", "State"), Cause: c.cause}
			}
			if c.cause == "disk_full" {
				out.State, out.Cause = t.first("STATE", "State"), c.cause
			}
			out.Count++
			out.Seconds = max(out.Seconds, seconds)
			break
		}
	}
	return out
}
