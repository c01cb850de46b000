package haproxy

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Runtime talks to HAProxy's runtime socket ("stats socket … level admin"), with one connection per command.
type Runtime struct {
	Socket  string        // path
	Timeout time.Duration // of one command; 0 means one second
}

// maxAnswer bounds the answer of a command, in bytes.
const maxAnswer = 4 << 20

// Server is one server in one backend, as HAProxy sees it.
type Server struct {
	Backend, Name string
	Address       string // "host:port"
	Status        string // in HAProxy's words: "UP", "DOWN", "DOWN (agent)", "MAINT", "DRAIN"…
	Check         string // result of the last health check
	Agent         string // the agent's last answer
	Sessions      int    // open sessions
	Total         int    // sessions since HAProxy started
	Since         time.Duration
}

// Serves says whether HAProxy would send new connections there if it were the only server.
func (s Server) Serves() bool { return strings.HasPrefix(s.Status, "UP") || s.Status == "no check" }

// State is a state that an operator can set.
type State string

// Ready lets the checks decide. Drain keeps open sessions and accepts no new ones. Maint serves nothing. Only Maint
// ends sessions, and only if the server has "on-marked-down shutdown-sessions". An agent that answers "up ready" ends
// Drain and Maint within agent-inter, so with an agent, its answer must change first.
const (
	Ready State = "ready"
	Drain State = "drain"
	Maint State = "maint"
)

// Version returns the version of the HAProxy that runs.
func (r Runtime) Version(ctx context.Context) (string, error) { return r.info(ctx, "Version") }

// Pid returns the process id of the HAProxy that answers. It changes at a reload.
func (r Runtime) Pid(ctx context.Context) (int, error) {
	text, err := r.info(ctx, "Pid")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

func (r Runtime) info(ctx context.Context, key string) (string, error) {
	answer, err := r.ask(ctx, "show info")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(answer) {
		if v, ok := strings.CutPrefix(line, key+": "); ok {
			return strings.TrimSpace(v), nil
		}
	}
	return "", fmt.Errorf("ask HAProxy at %s for its %s: the answer has none; does another program listen there?",
		r.Socket,
		key)
}

// Servers returns the servers of one backend, or of all if backend is "".
func (r Runtime) Servers(ctx context.Context, backend string) ([]Server, error) {
	answer, err := r.ask(ctx, "show stat")
	if err != nil {
		return nil, err
	}
	servers, err := parseStat(answer)
	if err != nil {
		return nil, fmt.Errorf("ask HAProxy at %s for its servers: %w", r.Socket, err)
	}
	if backend == "" {
		return servers, nil
	}
	return slices.DeleteFunc(servers, func(s Server) bool { return s.Backend != backend }), nil
}

// SetState sets the state of one server.
func (r Runtime) SetState(ctx context.Context, backend, server string, state State) error {
	return r.do(ctx, "set server %s/%s state "+string(state), backend, server)
}

// Shutdown ends all sessions with a server.
func (r Runtime) Shutdown(ctx context.Context, backend, server string) error {
	return r.do(ctx, "shutdown sessions server %s/%s", backend, server)
}

var nameable = regexp.MustCompile(`^[A-Za-z0-9_.:-]+$`)

// do runs a command whose answer is empty when it succeeds.
func (r Runtime) do(ctx context.Context, command, backend, server string) error {
	for _, name := range []string{backend, server} {
		if !nameable.MatchString(name) { // a newline or a ; would begin another command
			return fmt.Errorf("tell HAProxy at %s: %q can't be the name of a backend or server", r.Socket, name)
		}
	}
	command = fmt.Sprintf(command, backend, server)
	answer, err := r.ask(ctx, command)
	if err != nil {
		return err
	}
	switch answer = strings.TrimSpace(answer); {
	case answer == "":
		return nil
	case strings.HasPrefix(answer, "Permission denied"):
		answer += " (set \"level admin\" at the stats socket)"
	case strings.HasPrefix(answer, "No such"):
		answer += fmt.Sprintf(" (its configuration needs server %s in backend %s; to write one: orchestrator haproxy "+
			"config)", server, backend)
	}
	return fmt.Errorf("tell HAProxy at %s %q: its answer: %.300s", r.Socket, command, answer)
}

func (r Runtime) ask(ctx context.Context, command string) (answer string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("ask HAProxy at %s %q: %w%s", r.Socket, command, err, hint(err))
		}
	}()
	timeout := r.Timeout
	if timeout == 0 {
		timeout = time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", r.Socket)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := io.WriteString(conn, command+"\n"); err != nil {
		return "", errors.Join(ctx.Err(), err)
	}
	data, err := io.ReadAll(io.LimitReader(conn, maxAnswer+1))
	if err != nil {
		return "", errors.Join(ctx.Err(), err)
	}
	if len(data) > maxAnswer {
		return "", fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	return string(data), nil
}

func hint(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return "; check that HAProxy runs, with a stats socket there (haproxy.socket)"
	case errors.Is(err, fs.ErrPermission):
		return "; add the user of the daemon to the group of that socket"
	}
	return ""
}

// parseStat parses the CSV of "show stat". It finds columns by name, because newer versions add some.
func parseStat(text string) ([]Server, error) {
	text, ok := strings.CutPrefix(text, "# ")
	if !ok {
		return nil, fmt.Errorf("want a table that begins with \"# pxname\"; got %.40q", text)
	}
	lines := csv.NewReader(strings.NewReader(text))
	lines.FieldsPerRecord = -1
	lines.LazyQuotes = true
	rows, err := lines.ReadAll()
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, errors.New("the answer is empty")
	}
	var out []Server
	for _, row := range rows[1:] {
		field := func(name string) string {
			if i := slices.Index(rows[0], name); i >= 0 && i < len(row) {
				return row[i]
			}
			return ""
		}
		number := func(name string) int {
			n, _ := strconv.Atoi(field(name)) // empty means 0
			return n
		}
		const server = 2
		if number("type") != server {
			continue
		}
		out = append(out, Server{Backend: field("pxname"), Name: field("svname"), Address: field("addr"),
			Status:   field("status"),
			Check:    strings.TrimSpace(field("check_status") + " " + field("last_chk")),
			Agent:    strings.TrimPrefix(field("last_agt"), "via agent : "),
			Sessions: number("scur"), Total: number("stot"), Since: time.Duration(number("lastchg")) * time.Second})
	}
	return out, nil
}
