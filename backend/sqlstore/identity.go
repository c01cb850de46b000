package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"

	"orchestrator/backend"
	"orchestrator/daemon/topology"
)

// Identity is what a server behind a connection reports about itself. Another server behind the same address has
// another identity: another copy of the records, perhaps a stale one.
type Identity struct {
	ID         string           `json:"id"` // server_uuid; on MariaDB topology.MadeUUID
	Flavor     topology.Flavor  `json:"flavor"`
	Version    topology.Version `json:"version"`
	ReadOnly   bool             `json:"read_only"`
	Format     string           `json:"format"` // @@binlog_format, as a new connection gets it
	LogBin     bool             `json:"log_bin"`
	Autocommit bool             `json:"autocommit"`
	Tables     bool             `json:"tables"` // record and lease are there
	Hold       backend.Hold     `json:"hold"`   // the lease "leader"
	Newest     int64            `json:"newest"` // the highest version of any record
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
	if f.Flavor == topology.MySQL && f.Version.AtLeast(8, 0, 19) {
		return mysql8
	}
	return mariadb
}

const askVariables = `
SHOW VARIABLES
WHERE Variable_name IN (
	'autocommit', 'binlog_format', 'datadir', 'hostname', 'log_bin', 'port', 'read_only', 'server_id', 'server_uuid',
	'super_read_only', 'version'
)`

const askTables = `
SELECT
	(SELECT COALESCE(MAX(version), 0) FROM record),
	COALESCE((SELECT holder FROM lease WHERE name = 'leader'), ''),
	COALESCE((SELECT term FROM lease WHERE name = 'leader'), 0),
	COALESCE((SELECT beat FROM lease WHERE name = 'leader'), 0)`

// noSuchTable is the number of the error about a missing table.
const noSuchTable = 1146

// readIdentity asks on a connection that database/sql does not have yet, in two round trips.
func readIdentity(ctx context.Context, c driver.QueryerContext) (f Identity, err error) {
	rows, err := ask(ctx, c, askVariables)
	if err != nil {
		return f, err
	}
	vars := map[string]string{}
	for _, r := range rows {
		vars[strings.ToLower(r[0])] = r[1]
	}
	if f.Flavor, f.Version, err = topology.ParseVersion(vars["version"]); err != nil {
		return f, err
	}
	on := func(name string) bool {
		switch strings.ToUpper(vars[name]) {
		case "", "0", "OFF", "NO":
			return false
		}
		return true // read_only of MariaDB 12 has several values that mean on
	}
	f.ID = strings.ToLower(vars["server_uuid"])
	if f.ID == "" {
		f.ID = topology.MadeUUID(vars["server_id"], vars["hostname"], vars["port"], vars["datadir"])
	}
	f.ReadOnly = on("read_only") || on("super_read_only")
	f.Format, f.LogBin, f.Autocommit = strings.ToUpper(vars["binlog_format"]), on("log_bin"), on("autocommit")

	rows, err = ask(ctx, c, askTables)
	var told *mysql.MySQLError
	switch {
	case errors.As(err, &told) && told.Number == noSuchTable:
		return f, nil
	case err != nil:
		return f, err
	case len(rows) != 1:
		return f, fmt.Errorf("%d rows instead of one", len(rows))
	}
	f.Tables = true
	f.Newest, err = strconv.ParseInt(rows[0][0], 10, 64)
	f.Hold.Holder = rows[0][1]
	for i, into := range map[int]*int64{2: &f.Hold.Term, 3: &f.Hold.Beat} {
		var e error
		*into, e = strconv.ParseInt(rows[0][i], 10, 64)
		err = errors.Join(err, e)
	}
	return f, err
}

// ask runs one statement and reads everything that it returns.
func ask(ctx context.Context, c driver.QueryerContext, statement string) (out [][]string, err error) {
	rows, err := c.QueryContext(ctx, statement, nil)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	cells := make([]driver.Value, len(rows.Columns()))
	for {
		switch err := rows.Next(cells); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, err
		}
		line := make([]string, len(cells))
		for i, cell := range cells {
			switch cell := cell.(type) {
			case nil:
			case []byte:
				line[i] = string(cell)
			default:
				line[i] = fmt.Sprint(cell)
			}
		}
		out = append(out, line)
	}
}

// Facts asks the server in use.
func (s *Store) Facts(ctx context.Context) (f Identity, err error) {
	err = s.lend(ctx, s.read, func(c *sql.Conn, _ dialect) error {
		return c.Raw(func(raw any) error {
			q, ok := raw.(driver.QueryerContext)
			if !ok || s.mysql == nil {
				return errors.New("no server is behind it")
			}
			f, err = readIdentity(ctx, q)
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
