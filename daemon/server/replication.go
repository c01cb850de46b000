package server

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// Positions are how far a server is.
type Positions struct {
	Executed gtid.Set   // committed, whoever wrote it; on MariaDB per domain the further of the two below
	Purged   gtid.Set   // MySQL: no longer in its binary logs
	Replayed gtid.Set   // MariaDB's gtid_slave_pos: applied as a replica
	Written  gtid.Set   // MariaDB's gtid_binlog_pos
	State    gtid.State // MariaDB's gtid_binlog_state
}

// ReadPositions reads those that the row has, from the columns executed and purged, or slave_pos and binlog_pos. The
// memo is that of the server, nil where it is asked once.
func ReadPositions(r Row, memo *gtid.Memo) (p Positions, err error) {
	for _, f := range []struct {
		name string
		into *gtid.Set
	}{{"executed", &p.Executed}, {"purged", &p.Purged}, {"slave_pos", &p.Replayed}, {"binlog_pos", &p.Written}} {
		text, err := positionIn(r, f.name)
		if err != nil {
			return p, err
		}
		if text == "" {
			continue
		}
		if *f.into, err = memo.Parse(text); err != nil {
			return p, fmt.Errorf("read %s: %w", f.name, err)
		}
	}
	state, err := positionIn(r, "binlog_state")
	if err != nil {
		return p, err
	}
	if p.State, err = memo.ParseState(state); err != nil {
		return p, fmt.Errorf("read binlog_state: %w", err)
	}
	if p.Executed.Empty() {
		p.Executed = p.Replayed.Union(p.Written)
	}
	return p, nil
}

// longestPosition is how long the text of a position may be: each byte of it takes up to ten when it is read. It is
// that of 25,000 servers.
const longestPosition = 1 << 20

func positionIn(r Row, column string) (string, error) {
	text := r.Long(column)
	if len(text) > longestPosition {
		return "", fmt.Errorf("read %s: %w: %d bytes, more than %d", column, ErrTooMuch, len(text), longestPosition)
	}
	return text, nil
}

// mostChannels is how many sources a server has at most: MySQL allows 256.
const mostChannels = 256

// ReadChannels reads what ReplicaStatus has returned, in either vocabulary, sorted by name. The rows of channels that
// come from no server, such as those of group replication, are left out.
func ReadChannels(rows []Row, d Dialect, p Positions, memo *gtid.Memo) ([]topology.Channel, error) {
	if len(rows) > mostChannels {
		return nil, fmt.Errorf("%w: it replicates from %d sources, more than %d", ErrTooMuch, len(rows), mostChannels)
	}
	var out []topology.Channel
	for _, r := range rows {
		if c, err := ReadChannel(r, d, p, memo); err != nil {
			return nil, err
		} else if r.Get("source_host", "master_host") != "" {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b topology.Channel) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// source is the server that a row says to be the source; zero where what it says is no name.
func source(r Row) topology.Key {
	host, detached := strings.CutPrefix(r.Get("source_host", "master_host"), detachedMark)
	k, err := topology.MakeKey(host, int(r.Uint("source_port", "master_port")))
	if err == nil && detached {
		k = k.Detach()
	}
	return k
}

// detachedMark is what topology.Key.Detach writes in front of a host.
const detachedMark = "//"

// UnusableSources are what the rows of ReplicaStatus say in the place of a source, and that can't be one.
func UnusableSources(rows []Row) (out []string) {
	for _, r := range rows {
		host, port := r.Get("source_host", "master_host"), r.Get("source_port", "master_port")
		if host != "" && source(r).IsZero() {
			out = append(out, fmt.Sprintf("source %q, port %s", host, port))
		}
	}
	return out
}

// ReadChannel reads one of its rows. A source that is no name is left out: see UnusableSources.
func ReadChannel(r Row, d Dialect, p Positions, memo *gtid.Memo) (topology.Channel, error) {
	c := topology.Channel{
		Name:          r.Get("channel_name", "connection_name"),
		Source:        source(r),
		SourceUUID:    strings.ToLower(r.Get("source_uuid", "master_uuid")),
		SourceID:      uint32(r.Uint("source_server_id", "master_server_id")),
		IO:            topology.ParseThreadState(r.Get("replica_io_running", "slave_io_running")),
		SQL:           topology.ParseThreadState(r.Get("replica_sql_running", "slave_sql_running")),
		Full:          strings.Contains(r.Get("replica_io_state", "slave_io_state"), "relay log space"),
		IOErrno:       int(r.Uint("last_io_errno")),
		IOError:       r.Get("last_io_error"),
		SQLErrno:      int(r.Uint("last_sql_errno")),
		SQLError:      r.Get("last_sql_error"),
		Delay:         r.Int("sql_delay"),
		ReadFile:      r.Get("source_log_file", "master_log_file"),
		ReadPos:       r.Uint("read_source_log_pos", "read_master_log_pos"),
		ExecFile:      r.Get("relay_source_log_file", "relay_master_log_file"),
		ExecPos:       r.Uint("exec_source_log_pos", "exec_master_log_pos"),
		Heartbeats:    r.Uint("slave_received_heartbeats"),
		SSL:           r.On("source_ssl_allowed", "master_ssl_allowed"),
		User:          r.Get("source_user", "master_user"),
		HeartbeatSecs: seconds(r.Get("slave_heartbeat_period")),
		Filters:       filtered(r),
	}
	if lag, err := strconv.ParseInt(r.Get("seconds_behind_source", "seconds_behind_master"), 10, 64); err == nil {
		c.Lag = &lag
	}
	return c, received(&c, r, d, p, memo)
}

// received reads how far the receiver is, where that is told by GTID.
func received(c *topology.Channel, r Row, d Dialect, p Positions, memo *gtid.Memo) error {
	column, besides := "retrieved_gtid_set", p.Executed
	c.AutoPosition = r.On("auto_position")
	if d.MariaDB() {
		// A receiver that has just started is where the applier was when it was stopped, or nowhere.
		column, besides = "gtid_io_pos", p.Replayed
		if c.AutoPosition = r.On("using_gtid"); !c.AutoPosition {
			return nil
		}
	}
	text, err := positionIn(r, column)
	if err != nil {
		return err
	}
	set, err := memo.Parse(text)
	if err != nil {
		return fmt.Errorf("read %s of channel %q: %w", column, c.Name, err)
	}
	if !set.Empty() || c.AutoPosition {
		c.Received = set.Union(besides)
	}
	return nil
}

func filtered(r Row) bool {
	const prefix = "replicate_"
	for name, value := range r.All() {
		if value != "" && len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
			return true
		}
	}
	return false
}

func seconds(text string) float64 {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return f
}
