package lab

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"

	"orchestrator/daemon/topology"
)

// readyWithin is how long a server may take to start, on a machine that is busy.
const readyWithin = 90 * time.Second

// Spec says what to start.
type Spec struct {
	Flavor    topology.Flavor
	Name      string // for errors and drawings; "" gets one from its number
	ServerID  int    // 0: from its number
	Semisync  bool   // replicas acknowledge, and a server that is opened by SetReadOnly waits for them, an hour at most
	ExtraArgs []string
}

// Server is one mysqld or mariadbd. It starts read-only. What it is told through DB goes by its Unix socket, so it is
// heard when the network is cut.
type Server struct {
	Flavor   topology.Flavor
	Name     string
	Key      topology.Key
	ServerID int

	process
	dir      string // as we see it
	args     []string
	semisync bool
	once     sync.Once
	db       *sql.DB
}

// Start copies a prepared data directory and starts a server on it; it returns when the server answers.
func (l *Lab) Start(ctx context.Context, spec Spec) (*Server, error) {
	if err := knownFlavor(spec.Flavor); err != nil {
		return nil, err
	}
	number, err := l.number()
	if err != nil {
		return nil, err
	}
	address := l.address(number)
	if spec.Name == "" {
		spec.Name = fmt.Sprintf("db%d", number)
	}
	if spec.ServerID == 0 {
		spec.ServerID = l.Subnet*1000 + number
	}
	template, err := l.template(ctx, spec.Flavor)
	if err != nil {
		return nil, err
	}
	parent := l.dir
	if spec.Flavor == MySQL {
		parent = l.mysqlDir()
	}
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, err
	}
	key := topology.Key{Host: address, Port: topology.DefaultPort}
	s := &Server{Flavor: spec.Flavor, Name: spec.Name, ServerID: spec.ServerID, Key: key,
		process: process{lab: l, what: fmt.Sprintf("%s %s at %v", spec.Flavor, spec.Name, key),
			number: uint32(number)},
		semisync: spec.Semisync,
		dir:      filepath.Join(parent, fmt.Sprint(number))}
	if err := s.copy(ctx, template); err != nil {
		return nil, err
	}
	s.args = append(options(spec.Flavor, spec.Semisync),
		"--bind-address="+address, fmt.Sprintf("--port=%d", s.Key.Port), "--report-host="+address,
		fmt.Sprintf("--report-port=%d", s.Key.Port),
		fmt.Sprintf("--server-id=%d", spec.ServerID))
	s.args = append(s.args, spec.ExtraArgs...)
	l.mu.Lock()
	l.servers = append(l.servers, s)
	l.mu.Unlock()
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// copy makes the data directory.
func (s *Server) copy(ctx context.Context, template string) error {
	out, err := exec.CommandContext(ctx, "cp", "-a", "--reflink=auto", template, s.dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy %s to %s: %w: %s", template, s.dir, err, tail(string(out)))
	}
	return nil
}

// start runs the process and waits until it answers.
func (s *Server) start(ctx context.Context) error {
	root := s.lab.Root(s.Flavor)
	dir := strings.TrimPrefix(s.dir, root)
	binary := mariadbd
	if s.Flavor == MySQL {
		binary = mysqld
	}
	tmp, err := tmpDir(root, s.dir)
	if err != nil {
		return err
	}
	args := append([]string{"--no-defaults", "--datadir=" + dir, "--socket=" + dir + "/s.sock", "--pid-file=" + dir +
		"/pid",
		"--log-error=" + dir + "/error.log", "--tmpdir=" + tmp}, s.args...)
	if err := s.run(root, nil, binary, args...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	return s.await(ctx, s.DB().PingContext, s.Log)
}

// tmpDir is for the temporary tables of the server whose data directory is given, as the server sees it. Each has its
// own: a MariaDB that starts empties its tmpdir, and another that has just made a table there then crashes when it
// closes it (10.11.19: ha_maria::drop_table, from free_tmp_table).
func tmpDir(root, dataDir string) (string, error) {
	dir := dataDir + ".tmp"
	return strings.TrimPrefix(dir, root), os.MkdirAll(dir, 0o755)
}

// DB speaks to the server as root, by its Unix socket.
func (s *Server) DB() *sql.DB {
	s.once.Do(func() {
		c := mysql.NewConfig()
		c.User, c.Net, c.Addr, c.DBName = "root", "unix", filepath.Join(s.dir, "s.sock"), "mysql"
		c.Timeout = time.Second
		connector, err := mysql.NewConnector(c)
		if err != nil {
			panic(err) // the values above are all there is
		}
		s.db = sql.OpenDB(connector)
		s.db.SetMaxIdleConns(1)
		s.db.SetConnMaxIdleTime(time.Second)
	})
	return s.db
}

// Exec runs statements as root, one after the other.
func (s *Server) Exec(ctx context.Context, statements ...string) error {
	for _, statement := range statements {
		if _, err := s.DB().ExecContext(ctx, statement); err != nil {
			// a statement may hold a password
			return fmt.Errorf("%s at %v: %w", strings.Fields(statement)[0], s.Key, err)
		}
	}
	return nil
}

// DSN is what a program needs to connect as user.
func (s *Server) DSN(user, password string) string {
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Net, c.Addr = user, password, "tcp", s.Key.String()
	return c.FormatDSN()
}

// Restart starts a server again that was killed or terminated, with what it has on disk, and with extra arguments.
func (s *Server) Restart(ctx context.Context, extra ...string) error {
	if s.Pid() != 0 {
		return fmt.Errorf("restart %s at %v: it runs", s.Name, s.Key)
	}
	s.args = append(s.args, extra...)
	return s.start(ctx)
}

// Renew starts a server that was killed on a new and empty data directory.
func (s *Server) Renew(ctx context.Context, extra ...string) error {
	template, err := s.lab.template(ctx, s.Flavor)
	if err != nil {
		return err
	}
	if s.Pid() != 0 {
		return fmt.Errorf("renew %s at %v: it runs", s.Name, s.Key)
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return err
	}
	if err := s.copy(ctx, template); err != nil {
		return err
	}
	return s.Restart(ctx, extra...)
}

// ReadOnly says whether the server is read-only.
func (s *Server) ReadOnly(ctx context.Context) (bool, error) {
	var on bool
	err := s.DB().QueryRowContext(ctx, "SELECT @@GLOBAL.read_only").Scan(&on)
	return on, err
}

// SetReadOnly sets it.
func (s *Server) SetReadOnly(ctx context.Context, on bool) error {
	value := 0
	if on {
		value = 1
	}
	if !on && s.semisync {
		if err := s.Exec(ctx, waitForReplicas[s.Flavor]); err != nil {
			return err
		}
	}
	return s.Exec(ctx, fmt.Sprintf("SET GLOBAL read_only = %d", value))
}

// Log is the end of the server's error log.
func (s *Server) Log() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "error.log"))
	if err != nil {
		return err.Error()
	}
	return tail(string(text))
}

// Close kills the server, also a hung one. Its files stay until the lab is closed.
func (s *Server) Close() error {
	_ = s.DB().Close() // connections to a server that was killed say so
	return s.end()
}
