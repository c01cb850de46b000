package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"orchestrator/backend"
	"orchestrator/daemon/server"
	"orchestrator/daemon/topology"
)

// Identity is what a server behind a connection reports about itself. Another server behind the same address has
// another identity: another copy of the records, perhaps a stale one.
type Identity struct {
	ID         string           `json:"id"` // server.UUID
	Flavor     topology.Flavor  `json:"flavor"`
	Version    topology.Version `json:"version"`
	ReadOnly   bool             `json:"read_only"`
	Format     string           `json:"format"` // @@binlog_format, as a new connection gets it
	LogBin     bool             `json:"log_bin"`
	Autocommit bool             `json:"autocommit"`
	Tables     bool             `json:"tables"` // record and lease are there
	Hold       backend.Hold     `json:"hold"`   // the lease "leader"
	Newest     int64            `json:"newest"` // the highest version of any record
	Packet     int64            `json:"packet"` // @@max_allowed_packet, in bytes
}

// Unfit says why no daemon may store anything there, or "".
func (f Identity) Unfit() string {
	switch {
	case f.ReadOnly:
		return "it is read-only: it is the passive member, or its promotion is not finished"
	case f.LogBin && f.Format != "STATEMENT":
		return fmt.Sprintf("its binlog_format is %s: the members of a pair only converge if they replicate "+
			"statements; SET GLOBAL binlog_format = 'STATEMENT', and write it into its configuration", f.Format)
	case !f.Autocommit:
		return "its autocommit is off: SET GLOBAL autocommit = ON, and write it into its configuration"
	}
	return ""
}

func (f Identity) dialect() dialect {
	d := mariadb
	if f.Flavor == topology.MySQL && f.Version.AtLeast(8, 0, 19) {
		d = mysql8
	}
	d.merge.most = f.Packet
	return d
}

// askVariables asks for those of the session: binlog_format and autocommit as a new connection gets them.
var askVariables = server.Statement{Text: "SHOW VARIABLES WHERE Variable_name IN (" + server.IdentityVariables + `,
	'autocommit', 'binlog_format', 'log_bin', 'max_allowed_packet', 'read_only', 'super_read_only', 'version'
)`}

var askTables = server.Statement{Text: `
SELECT
	(SELECT COALESCE(MAX(version), 0) FROM record) AS newest,
	COALESCE((SELECT holder FROM lease WHERE name = 'leader'), '') AS holder,
	COALESCE((SELECT term FROM lease WHERE name = 'leader'), 0) AS term,
	COALESCE((SELECT beat FROM lease WHERE name = 'leader'), 0) AS beat`}

// readIdentity asks on a connection that database/sql does not have yet, in two round trips.
func readIdentity(ctx context.Context, c *server.Conn) (f Identity, err error) {
	vars, err := c.Named(ctx, askVariables)
	if err != nil {
		return f, err
	}
	if f.Flavor, f.Version, err = topology.ParseVersion(vars.Get("version")); err != nil {
		return f, err
	}
	f.ID = server.UUID(vars)
	f.ReadOnly = vars.On("read_only") || vars.On("super_read_only")
	f.Format = strings.ToUpper(vars.Get("binlog_format"))
	f.LogBin, f.Autocommit = vars.On("log_bin"), vars.On("autocommit")
	f.Packet = vars.Int("max_allowed_packet")

	r, err := c.One(ctx, askTables)
	switch {
	case server.Means(err, server.NoTable):
		return f, nil
	case err != nil:
		return f, err
	}
	f.Tables = true
	f.Newest = r.Int("newest")
	f.Hold = backend.Hold{Holder: r.Get("holder"), Term: r.Int("term"), Beat: r.Int("beat")}
	return f, nil
}

// Facts asks the server in use.
func (s *Store) Facts(ctx context.Context) (f Identity, err error) {
	err = s.lend(ctx, s.read, func(c *sql.Conn, _ dialect) error {
		return c.Raw(func(raw any) error {
			session, ok := raw.(*session)
			if !ok {
				return errors.New("no server is behind it")
			}
			f, err = readIdentity(ctx, session.Conn)
			return err
		})
	})
	if err != nil {
		return Identity{}, fmt.Errorf("identify %s: %w", s.name, err)
	}
	return f, nil
}

// Create creates missing tables. This happens automatically at the first connection to a server that may have them.
func (s *Store) Create(ctx context.Context) error {
	err := s.lend(ctx, s.write, func(c *sql.Conn, _ dialect) error {
		if s.mysql == nil {
			return nil // a file always has them
		}
		for _, statement := range mysqlTables {
			if _, err := c.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("create the tables in %s: %w", s.name, err)
	}
	return nil
}

// Stale says what a server lacks that was seen in the backend before, or "": the highest term, and the newest version.
func Stale(offered Identity, term, newest int64) string {
	switch {
	case offered.Hold.Term < term:
		return fmt.Sprintf("it is stale: its lease has term %d, but the backend already had term %d", offered.Hold.Term,
			term)
	case offered.Newest < newest:
		return fmt.Sprintf("it is stale: it lacks the last %v of writes (its newest record is from %s, but the "+
			"backend already had one from %s)",
			time.Duration(newest-offered.Newest)*time.Microsecond, at(offered.Newest), at(newest))
	}
	return ""
}

func at(version int64) string {
	return time.UnixMicro(version).UTC().Format("2006-01-02 15:04:05.000000")
}
