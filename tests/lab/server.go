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
	"syscall"
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
	Semisync  bool   // both sides on, with a time-out of an hour
	ExtraArgs []string
}

// Server is one mysqld or mariadbd. It starts read-only. What it is told through DB goes by its Unix socket, so it is heard when the network is cut.
type Server struct {
	Flavor   topology.Flavor
	Name     string
	Key      topology.Key
	ServerID int

	lab     *Lab
	dir     string // as we see it
	args    []string
	process *exec.Cmd
	exited  chan struct{}
	once    sync.Once
	db      *sql.DB
	cut     bool
}

// Start copies a prepared data directory and starts a server on it; it returns when the server answers.
func (l *Lab) Start(ctx context.Context, spec Spec) (*Server, error) {
	if err := knownFlavor(spec.Flavor); err != nil {
		return nil, err
	}
	address, err := l.Address()
	if err != nil {
		return nil, err
	}
	number := 0
	if _, err := fmt.Sscanf(address[strings.LastIndexByte(address, '.')+1:], "%d", &number); err != nil {
		return nil, err
	}
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
	s := &Server{lab: l, Flavor: spec.Flavor, Name: spec.Name, ServerID: spec.ServerID, Key: topology.Key{Host: address, Port: topology.DefaultPort},
		dir: filepath.Join(parent, fmt.Sprint(number))}
	if out, err := exec.CommandContext(ctx, "cp", "-a", "--reflink=auto", template, s.dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copy %s to %s: %w: %s", template, s.dir, err, tail(string(out)))
	}
	s.args = append(options(spec.Flavor, spec.Semisync),
		"--bind-address="+address, fmt.Sprintf("--port=%d", s.Key.Port), "--report-host="+address, fmt.Sprintf("--report-port=%d", s.Key.Port),
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

// start runs the process and waits until it answers.
func (s *Server) start(ctx context.Context) error {
	root := s.lab.root(s.Flavor)
	dir := strings.TrimPrefix(s.dir, root)
	binary := mariadbd
	if s.Flavor == MySQL {
		binary = mysqld
	}
	if s.Name == "template" {
		s.args = append(options(s.Flavor, false), s.args...)
	}
	args := append([]string{"--no-defaults", "--datadir=" + dir, "--socket=" + dir + "/s.sock", "--pid-file=" + dir + "/pid",
		"--log-error=" + dir + "/error.log"}, s.args...)
	process := exec.Command(binary, args...)
	process.Dir = "/"
	process.SysProcAttr = &syscall.SysProcAttr{
		Chroot:     root,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true, // a Ctrl-C at the terminal is for the program that started it
		Credential: &syscall.Credential{Uid: 0, Gid: s.group()},
	}
	if err := s.lab.onKeeper(process.Start); err != nil {
		return fmt.Errorf("start %s %s: %w", s.Flavor, s.Name, err)
	}
	s.process, s.exited = process, make(chan struct{})
	go func(exited chan struct{}) {
		process.Wait() // how it ended is in its log
		close(exited)
	}(s.exited)
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		err := s.DB().PingContext(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("start %s %s at %v: it ended; its log: %s", s.Flavor, s.Name, s.Key, s.Log())
		default:
		}
		if wait := pause(ctx, 20*time.Millisecond); wait != nil {
			return fmt.Errorf("wait for %s %s at %v: %w (last: %v); its log: %s", s.Flavor, s.Name, s.Key, wait, err, s.Log())
		}
	}
}

// group is the process's own group id, by which a cut finds its packets.
func (s *Server) group() uint32 {
	var number uint32
	fmt.Sscanf(s.Key.Host[strings.LastIndexByte(s.Key.Host, '.')+1:], "%d", &number) // the template has no address: 0
	return groups + uint32(s.lab.Subnet)<<8 + number
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
			return fmt.Errorf("%s at %v: %w", strings.Fields(statement)[0], s.Key, err) // a statement may hold a password
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

// Pid of the process itself; 0 when it doesn't run.
func (s *Server) Pid() int {
	if s.process == nil {
		return 0
	}
	select {
	case <-s.exited:
		return 0
	default:
		return s.process.Process.Pid
	}
}

func (s *Server) signal(signal syscall.Signal) error {
	pid := s.Pid()
	if pid == 0 {
		return fmt.Errorf("signal %v to %s at %v: it doesn't run", signal, s.Name, s.Key)
	}
	if err := syscall.Kill(pid, signal); err != nil {
		return fmt.Errorf("signal %v to %s at %v: %w", signal, s.Name, s.Key, err)
	}
	return nil
}

// Signal sends and doesn't wait.
func (s *Server) Signal(signal syscall.Signal) error { return s.signal(signal) }

// Kill sends SIGKILL and waits until the process is gone.
func (s *Server) Kill() error {
	if err := s.signal(syscall.SIGKILL); err != nil {
		return err
	}
	return s.Wait(30 * time.Second)
}

// Terminate sends SIGTERM and waits until the server has shut down.
func (s *Server) Terminate() error {
	if err := s.signal(syscall.SIGTERM); err != nil {
		return err
	}
	return s.Wait(60 * time.Second)
}

// Wait until the process has ended.
func (s *Server) Wait(most time.Duration) error {
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-s.exited:
		return nil
	case <-t.C:
		return fmt.Errorf("wait for the end of %s at %v: still there after %v", s.Name, s.Key, most)
	}
}

// Hang stops the process as it stands (SIGSTOP): connections stay open, and nobody answers.
func (s *Server) Hang() error { return s.signal(syscall.SIGSTOP) }

// Continue ends Hang.
func (s *Server) Continue() error { return s.signal(syscall.SIGCONT) }

// Restart starts a server again that was killed or terminated, with what it has on disk, and with extra arguments.
func (s *Server) Restart(ctx context.Context, extra ...string) error {
	if s.Pid() != 0 {
		return fmt.Errorf("restart %s at %v: it runs", s.Name, s.Key)
	}
	s.args = append(s.args, extra...)
	return s.start(ctx)
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

// Close kills the server, also a hung one, and heals it. Its files stay until the lab is closed.
func (s *Server) Close() error {
	_ = s.DB().Close() // connections to a server that was killed say so
	if s.Pid() != 0 {
		return s.Kill()
	}
	return nil
}
