package pair

import (
	"context"
	"fmt"
	"strings"
	"time"

	"orchestrator/backend"
	"orchestrator/daemon/gtid"
	"orchestrator/daemon/server"
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
		return Member{Key: s.key, ID: s.seen, Err: err.Error(), Failure: server.Failure(err), Unreachable: since}
	}
	s.seen = m.ID
	return m
}

// ask reads everything that Choose rests on: three statements.
func (s *site) ask(ctx context.Context) (Member, error) {
	m := Member{Key: s.key, Up: true, ID: s.id, Flavor: s.dialect.Flavor, Version: s.dialect.Version,
		ServerID: s.serverID}
	r, err := s.one(ctx, askNow(s.dialect))
	if err != nil {
		return m, err
	}
	m.ReadOnly = r.On("read_only") || r.On("super_read_only")
	m.LogBin, m.Format = r.On("log_bin"), r.Get("binlog_format")
	m.GTID = s.dialect.MariaDB() || r.Get("gtid_mode") == "ON"
	positions, err := server.ReadPositions(r, nil)
	if err != nil {
		return m, err
	}
	m.Executed, m.Purged = positions.Executed, positions.Purged
	if state := r.Long("binlog_state"); state != "" {
		m.written = strings.Split(state, ",")
	}
	if err := s.askRecords(ctx, &m); err != nil {
		return m, err
	}
	rows, err := s.query(ctx, s.dialect.Say(server.ReplicaStatus))
	switch {
	case server.Means(err, server.PrivilegeMissing):
		m.Blind = err.Error()
		return m, nil
	case err != nil:
		return m, err
	}
	m.Channels, err = readChannels(rows, s.dialect, positions)
	return m, err
}

func readChannels(rows []server.Row, d server.Dialect, p server.Positions) (out []Channel, err error) {
	for _, r := range rows {
		c, err := server.ReadChannel(r, d, p, nil)
		if err != nil {
			return nil, err
		}
		if c.Source.Host == "" { // such as group replication's own
			continue
		}
		out = append(out, Channel{
			Channel:      c,
			ConnectRetry: r.Int("connect_retry"),
			RetryCount:   r.Int("source_retry_count", "master_retry_count"),
			State:        r.Get("replica_sql_running_state", "slave_sql_running_state"),
		})
	}
	return out, nil
}

// askRecords reads the progress of the records. Missing tables are a valid answer.
func (s *site) askRecords(ctx context.Context, m *Member) error {
	q := server.Statement{Text: fmt.Sprintf(`SELECT
	(SELECT MAX(version) FROM %[1]s.record) AS newest,
	(SELECT holder FROM %[1]s.lease WHERE name = ?) AS holder,
	(SELECT term FROM %[1]s.lease WHERE name = ?) AS term,
	(SELECT beat FROM %[1]s.lease WHERE name = ?) AS beat`, s.o.database()),
		Needs: "SELECT ON " + s.o.database() + ".*"}
	r, err := s.one(ctx, q, LeaseName, LeaseName, LeaseName)
	switch {
	case server.Means(err, server.NoTable, server.NoDatabase):
		return nil
	case err != nil:
		return err
	}
	m.Tables = true
	m.Newest = r.Int("newest")
	m.Hold = backend.Hold{Holder: r.Get("holder"), Term: r.Int("term"), Beat: r.Int("beat")}
	return nil
}

// database is its name, quoted.
func (o *Options) database() string { return server.QuoteName(o.Database) }
