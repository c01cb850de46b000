package runbook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"orchestrator/daemon/api"
	"orchestrator/tests/lab"
)

// later makes repair undo what a page has done, the last thing first.
func (s *stage) later(undo func()) { s.undo = append(s.undo, undo) }

// revoke takes a privilege from the account of the daemons, on that server alone.
func (s *stage) revoke(v *lab.Server, privilege string) {
	s.Helper()
	local := func(statement string) {
		s.must(v.Exec(s.ctx, "SET SESSION sql_log_bin = 0", statement, "SET SESSION sql_log_bin = 1"))
	}
	if !strings.Contains(privilege, " ON ") {
		privilege += " ON *.*"
	}
	local("REVOKE " + privilege + " FROM " + lab.User)
	s.later(func() { local("GRANT " + privilege + " TO " + lab.User) })
}

// dump is a session that reads a table slowly, and has others wait meanwhile who would write it; it lasts until
// somebody kills it.
func (s *stage) dump(v *lab.Server, table string) {
	s.Helper()
	c, err := v.DB().Conn(s.ctx)
	s.must(err)
	_, err = c.ExecContext(s.ctx, "LOCK TABLES "+table+" READ")
	s.must(err)
	ctx, cancel := context.WithCancel(s.ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = c.ExecContext(ctx, "SELECT SLEEP(10), document FROM "+table) // it is killed
	}()
	s.later(func() {
		cancel()
		<-ended
		_ = c.Close()
	})
}

// reader is a program that reads the binary log of a server, and that no daemon knows.
func (s *stage) reader(v *lab.Server) {
	s.Helper()
	var log, size string
	s.must(v.DB().QueryRowContext(s.ctx, "SHOW BINARY LOGS").Scan(&log, &size))
	cmd := exec.CommandContext(s.ctx, "mariadb-binlog", "--no-defaults", "--read-from-remote-server", "--stop-never",
		"--host="+v.Key.Host, fmt.Sprintf("--port=%d", v.Key.Port), "--user=dba", "--password=admin", log)
	s.must(cmd.Start())
	s.later(func() {
		s.must(cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
		for range 2 {  // its source notices when it has something to send
			s.must(v.Exec(s.ctx, "FLUSH BINARY LOGS"))
		}
	})
}

// fill has a daemon live on a file system of its own, which is full from now on.
func (s *stage) fill(d *lab.Daemon) {
	s.Helper()
	s.must(d.Terminate())
	s.must(d.RestartOn(s.ctx, "16m"))
	s.must(d.Fill())
	s.later(func() {
		if d.Pid() != 0 {
			s.must(d.Terminate())
		}
		s.must(d.Restart(s.ctx))
	})
}

// configure gives a daemon other values (discovery.concurrency = 1; servers.probe_timeout = "2s"), and restarts it.
func (s *stage) configure(d *lab.Daemon, change string) {
	s.Helper()
	text, err := os.ReadFile(d.ConfigFile)
	s.must(err)
	changed := string(text)
	for pair := range strings.SplitSeq(change, "; ") {
		section, value, _ := strings.Cut(pair, ".")
		key, _, _ := strings.Cut(value, " ")
		changed = regexp.MustCompile(`(?m)^`+key+` = .*\n`).ReplaceAllString(changed, "")
		if head := "[" + section + "]\n"; strings.Contains(changed, head) {
			changed = strings.Replace(changed, head, head+value+"\n", 1)
		} else {
			changed += "\n" + head + value + "\n"
		}
	}
	restart := func() {
		if d.Pid() != 0 {
			s.must(d.Terminate())
		}
		s.must(d.Restart(s.ctx))
	}
	if was := d.ConfigFile + ".was"; !exists(was) {
		s.must(os.Rename(d.ConfigFile, was))
		s.later(func() {
			s.must(os.Rename(was, d.ConfigFile))
			restart()
		})
	}
	s.must(os.WriteFile(d.ConfigFile, []byte(changed), 0o644))
	restart()
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// uncheck has a HAProxy serve the members without asking a daemon which of them is fit, as one does that somebody has
// configured himself.
func (s *stage) uncheck(h *lab.HAProxy) {
	s.Helper()
	text, err := os.ReadFile(configured(h))
	s.must(err)
	members, rest, found := strings.Cut(string(text), "frontend api")
	if !found {
		s.Fatalf("%s is not what it was", configured(h))
	}
	members = regexp.MustCompile(`(?m)^ *(default-server|option tcp-check|tcp-check)( .*)?\n`).ReplaceAllString(members,
		"")
	members = regexp.MustCompile(` agent-send .*`).ReplaceAllString(members, "")
	s.rewrite(h, members+"frontend api"+rest)
	s.later(func() { s.rewrite(h, string(text)) })
}

// rewrite restarts it: of reloads in a row, the one before may still have sessions.
func (s *stage) rewrite(h *lab.HAProxy, config string) {
	s.Helper()
	s.must(h.Kill())
	s.must(h.Write(config))
	s.must(h.Start(s.ctx))
}

// restart has HAProxy take what stands in its file, which a page may have written.
func (s *stage) restart(h *lab.HAProxy) {
	s.Helper()
	text, err := os.ReadFile(configured(h))
	s.must(err)
	s.rewrite(h, string(text))
}

// configured is the file with the configuration of a HAProxy, which the pages call /etc/haproxy/haproxy.cfg.
func configured(h *lab.HAProxy) string {
	return filepath.Join(filepath.Dir(h.Socket), "haproxy.cfg")
}

// certificate adds one to a file.
func (s *stage) certificate(file, name, days string) {
	s.Helper()
	cmd := exec.CommandContext(s.ctx, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", days,
		"-subj", "/CN="+name, "-keyout", filepath.Join(s.desk, "key.pem"))
	pem, err := cmd.Output()
	if err != nil {
		s.Fatalf("certificate of %s: %v", name, err)
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	s.must(err)
	_, err = f.Write(pem)
	s.must(errors.Join(err, f.Close()))
}

// logs is a program that shows what a daemon has said: ssh HOST journalctl -u orchestrator -o cat.
func (s *stage) logs() string {
	text := "case \"$1 $2\" in\n"
	for _, d := range s.daemons {
		host := strings.TrimSuffix(strings.TrimPrefix(d.URL, "http://"), ":3000")
		text += fmt.Sprintf("\"%s journalctl\") exec cat %s;;\n", host, filepath.Join(filepath.Dir(d.ConfigFile),
			"log"))
	}
	return text + "esac\necho \"$1: no such host\" >&2\nexit 255\n"
}

// follow waits until a daemon that has just started knows who leads, and stands ready.
func (s *stage) follow(d *lab.Daemon) {
	s.Helper()
	s.await("it is ready", func(ctx context.Context) error {
		st, err := d.Status(ctx)
		if err == nil && st.NotReady != "" {
			err = errors.New(st.NotReady)
		}
		return err
	})
}

// switched waits until every daemon uses that member of the backend.
func (s *stage) switched(to *lab.Server) {
	s.Helper()
	s.await("all use the other member", func(ctx context.Context) error {
		for _, d := range s.daemons {
			b, err := d.Backend(ctx)
			if err != nil {
				return err
			}
			if b.Serves != to.Key || b.Identity == "" || !slices.ContainsFunc(b.Members,
				func(m api.BackendMember) bool { return m.Key == to.Key && m.Identity == b.Identity }) {
				return fmt.Errorf("%s uses %s, and is to use %v (%s)", d.URL, b.Identity, b.Serves, b.Unavailable)
			}
		}
		return nil
	})
}

// replaced waits until the leader knows another primary; that the others know it too, as settle has it, takes a backend
// that is well.
func (s *stage) replaced(dead *lab.Server) {
	s.Helper()
	s.await("another primary", func(ctx context.Context) error {
		c, err := s.first().Cluster(ctx, "shop")
		if err == nil && (c.Primary == dead.Key || c.Episode != "") {
			err = fmt.Errorf("primary %v, episode %q", c.Primary, c.Episode)
		}
		return err
	})
}
