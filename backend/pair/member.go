package pair

import (
	"context"
	"fmt"
	"strings"
	"time"

	"orchestrator/backend"
	"orchestrator/daemon/gtid"
	"orchestrator/daemon/topology"
)

// LeaseName is the lease whose term shows the progress of the daemons.
const LeaseName = "leader"

// Member is the result of a look at one server of the pair.
type Member struct {
	Key topology.Key `json:"key"`
	Up  bool         `json:"up"`
	// Err says why it is not up; for people. Failure is how the look failed. Unreachable is how long every look has
	// failed.
	Err         string           `json:"error,omitempty"`
	Failure     topology.Failure `json:"failure,omitempty"`
	Unreachable time.Duration    `json:"unreachable_ns,omitempty"`

	// as sqlstore identifies it; of one that is not up: what it had when it was
	ID       string           `json:"identity,omitempty"`
	Flavor   topology.Flavor  `json:"flavor,omitempty"`
	Version  topology.Version `json:"version,omitzero"`
	ServerID uint32           `json:"server_id,omitempty"`
	ReadOnly bool             `json:"read_only"` // super_read_only, too
	LogBin   bool             `json:"log_bin"`
	Format   string           `json:"binlog_format,omitempty"`
	GTID     bool             `json:"gtid"`

	Tables bool         `json:"tables"` // record and lease are there
	Hold   backend.Hold `json:"lease"`
	Newest int64        `json:"newest"` // the highest version of a record, 0 when there is none

	Executed gtid.Set `json:"executed,omitzero"`
	Purged   gtid.Set `json:"purged,omitzero"` // MySQL: no longer in its binary logs
	// Channels are its sources; Blind says why they are not known.
	Channels []Channel `json:"channels,omitempty"`
	Blind    string    `json:"blind,omitempty"`

	written []string // MariaDB's gtid_binlog_state: the last of each domain and server
}

// Channel is a source, with facts that only a pair needs.
type Channel struct {
	topology.Channel
	ConnectRetry int64  `json:"connect_retry"` // seconds
	RetryCount   int64  `json:"retry_count"`   // 0: without end
	State        string `json:"state,omitempty"`
}

// From returns the channel from a source, or nil.
func (m Member) From(source topology.Key) *Channel {
	for i := range m.Channels {
		if m.Channels[i].Source == source {
			return &m.Channels[i]
		}
	}
	return nil
}

// Running says that both threads run.
func (c Channel) Running() bool { return c.IO == topology.Running && c.SQL == topology.Running }

// drained says whether everything that was received is applied. MariaDB counts a transaction when it starts to arrive,
// so one that was cut off when the source died would never be applied; there, the applier's own state counts as well.
func (c Channel) drained(m Member) bool {
	if c.Drained(m.Executed) {
		return true
	}
	return m.Flavor == topology.MariaDB && c.SQL == topology.Running &&
		strings.Contains(c.State, "has read all relay log")
}

// Trouble says what prevents a channel from running; "" if it runs.
func (c Channel) Trouble() string {
	switch {
	case c.SQL != topology.Running && c.SQLError != "":
		return fmt.Sprintf("its applier stopped with error %d: %s", c.SQLErrno, c.SQLError)
	case c.IO != topology.Running && c.IOError != "":
		return fmt.Sprintf("its receiver says (error %d): %s", c.IOErrno, c.IOError)
	case c.SQL != topology.Running:
		return "its applier is stopped"
	case c.IO == topology.Stopped:
		return "its receiver is stopped"
	case c.IO != topology.Running:
		return "its receiver is connecting"
	}
	return ""
}

// look asks the member, within LookTimeout.
func (s *site) look(ctx context.Context) (m Member) {
	began := time.Now()
	err := s.use(ctx, s.o.LookTimeout, func(ctx context.Context) error {
		var err error
		m, err = s.ask(ctx)
		return err
	})
	since := s.failed(began, err != nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		return Member{Key: s.key, ID: s.seen, Err: err.Error(), Failure: failure(err), Unreachable: since}
	}
	s.seen = m.ID
	return m
}

// ask reads everything that Choose rests on: three statements.
func (s *site) ask(ctx context.Context) (Member, error) {
	m := Member{Key: s.key, Up: true, ID: s.id, Flavor: s.flavor, Version: s.version, ServerID: s.server}
	r, err := s.one(ctx, s.dialect.now)
	if err != nil {
		return m, err
	}
	m.ReadOnly = r.on("read_only") || r.on("super_read_only")
	m.LogBin, m.Format = r.on("log_bin"), r["binlog_format"]
	m.GTID = s.flavor == topology.MariaDB || r["gtid_mode"] == "ON"
	var replicated gtid.Set
	for _, f := range []struct {
		name string
		into *gtid.Set
	}{{"executed", &m.Executed}, {"purged", &m.Purged}, {"slave_pos", &replicated}, {"binlog_pos", &m.Executed}} {
		if text, ok := r[f.name]; ok {
			if *f.into, err = gtid.Parse(text); err != nil {
				return m, fmt.Errorf("read %s: %w", f.name, err)
			}
		}
	}
	m.Executed = replicated.Union(m.Executed)
	if state := r["binlog_state"]; state != "" {
		m.written = strings.Split(state, ",")
	}
	if err := s.askRecords(ctx, &m); err != nil {
		return m, err
	}
	rows, err := s.query(ctx, s.dialect.channels)
	switch {
	case number(err) == privilegeDenied:
		m.Blind = err.Error()
		return m, nil
	case err != nil:
		return m, err
	}
	for _, r := range rows {
		if r.get("source_host", "master_host") == "" {
			continue
		}
		c, err := channel(r, m, replicated)
		if err != nil {
			return m, err
		}
		m.Channels = append(m.Channels, c)
	}
	return m, nil
}

// askRecords reads the progress of the records. Missing tables are a valid answer.
func (s *site) askRecords(ctx context.Context, m *Member) error {
	q := statement{text: fmt.Sprintf(`SELECT
	(SELECT MAX(version) FROM %[1]s.record) AS newest,
	(SELECT holder FROM %[1]s.lease WHERE name = ?) AS holder,
	(SELECT term FROM %[1]s.lease WHERE name = ?) AS term,
	(SELECT beat FROM %[1]s.lease WHERE name = ?) AS beat`, s.o.database()), needs: "SELECT ON " + s.o.database() + ".*"}
	r, err := s.one(ctx, q, LeaseName, LeaseName, LeaseName)
	switch number(err) {
	case noSuchTable, noSuchDatabase:
		return nil
	}
	if err != nil {
		return err
	}
	m.Tables = true
	m.Newest = r.int("newest")
	m.Hold = backend.Hold{Holder: r["holder"], Term: r.int("term"), Beat: r.int("beat")}
	return nil
}

// database is its name, quoted.
func (o *Options) database() string { return "`" + strings.ReplaceAll(o.Database, "`", "``") + "`" }

// channel reads a row of the replication status, in either vocabulary.
func channel(r row, m Member, replicated gtid.Set) (Channel, error) {
	c := Channel{
		Channel: topology.Channel{
			Name: r.get("channel_name", "connection_name"),
			Source: topology.Key{Host: strings.ToLower(r.get("source_host", "master_host")),
				Port: int(r.int("source_port", "master_port"))},
			IO:       topology.ParseThreadState(r.get("replica_io_running", "slave_io_running")),
			SQL:      topology.ParseThreadState(r.get("replica_sql_running", "slave_sql_running")),
			IOErrno:  int(r.int("last_io_errno")),
			IOError:  r["last_io_error"],
			SQLErrno: int(r.int("last_sql_errno")),
			SQLError: r["last_sql_error"],
			ReadFile: r.get("source_log_file", "master_log_file"),
			ReadPos:  uint64(r.int("read_source_log_pos", "read_master_log_pos")),
			ExecFile: r.get("relay_source_log_file", "relay_master_log_file"),
			ExecPos:  uint64(r.int("exec_source_log_pos", "exec_master_log_pos")),
			Delay:    r.int("sql_delay"),
			SSL:      r.on("source_ssl_allowed", "master_ssl_allowed"),
			User:     r.get("source_user", "master_user"),
		},
		ConnectRetry: r.int("connect_retry"),
		RetryCount:   r.int("source_retry_count", "master_retry_count"),
		State:        r.get("replica_sql_running_state", "slave_sql_running_state"),
	}
	if lag := r.get("seconds_behind_source", "seconds_behind_master"); lag != "" {
		n := r.int("seconds_behind_source", "seconds_behind_master")
		c.Lag = &n
	}
	for name, value := range r {
		if value != "" && strings.HasPrefix(name, "replicate_") {
			c.Filters = true
		}
	}
	received := r["retrieved_gtid_set"]
	c.AutoPosition = r.on("auto_position")
	if m.Flavor == topology.MariaDB {
		received = r["gtid_io_pos"]
		c.AutoPosition = r.on("using_gtid")
	}
	if !c.AutoPosition {
		return c, nil
	}
	set, err := gtid.Parse(received)
	if err != nil {
		return c, fmt.Errorf("read what channel %q received: %w", c.Name, err)
	}
	if m.Flavor == topology.MariaDB {
		c.Received = set.Union(replicated)
	} else {
		c.Received = set.Union(m.Executed)
	}
	return c, nil
}
