// Package runbook plays the runbooks: the commands in their console blocks are run against a small deployment of real
// parts, which is broken as the page says, and must print what the page shows. What the reader does not see, the
// breaking, stands in comments: <!-- lab: kill db1 -->.
//
// At the beginning of each page db1 is the primary of the cluster shop, backend1 the active member, orchestrator1 the
// daemon that leads; all is well.
package runbook

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"orchestrator/backend/pair"
	"orchestrator/daemon/api"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

var update = flag.Bool("update", false, "write what the commands print into the runbooks; \"? TEXT\" as output waits "+
	"for that text")

const (
	pages = "../../docs/runbooks"
	// patience is how long a page's trouble may take to show.
	patience = 45 * time.Second
	// bound ends one page on a machine that is busy.
	bound = 3 * time.Minute
	// patient is how many pages in a row may fail before the others are not played.
	patient = 3
)

const policy = `
[[policy]]
clusters = ["*"]
recover_primary = true

[[hook]]
name = "pager"
on = ["opened", "promoted", "recovered"]
command = [%q]
attempts = 2
`

// page is the hook that pages have: what it needs of others is a file that may be missing.
const page = `#!/bin/sh
read -r number < "$(dirname "$0")/on-duty" || exit 1
echo "paged $number"
`

// stage is the deployment on which pages are played.
type stage struct {
	*testing.T
	ctx     context.Context
	lab     *lab.Lab
	members []*lab.Server
	servers []*lab.Server
	daemons []*lab.Daemon
	proxies []*lab.HAProxy
	bin     string
	desk    string // where commands are run
	scripts string // those of hooks: /etc/orchestrator/hooks, as pages have it
	host    string
	names   map[string]part // by the name that the page uses
	places  map[string]string
	undo    []func() // what repair does first, see later
}

// part is something that can be broken.
type part interface {
	Kill() error
	Hang() error
	Continue() error
	Pid() int
}

func (s *stage) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func setUp(t *testing.T) *stage {
	t.Helper()
	l := lab.Test(t)
	ctx := t.Context()
	s := &stage{T: t, ctx: ctx, lab: l, bin: t.TempDir(), desk: t.TempDir()}
	var err error
	s.host, err = os.Hostname()
	s.must(err)
	programs := t.TempDir()
	binary, err := lab.Build(ctx, programs)
	s.must(err)
	out, err := exec.CommandContext(ctx, "go", "build", "-o", s.bin+"/",
		"orchestrator/cmd/orchestrator-client").CombinedOutput()
	if err != nil {
		t.Fatalf("build the client: %v: %s", err, out)
	}
	a, b, err := l.Pair(ctx, lab.MariaDB, "--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1")
	s.must(err)
	s.members = []*lab.Server{a, b}
	for _, m := range s.members {
		s.admin(m)
		s.must(m.Exec(ctx, append(append([]string{"SET SESSION sql_log_bin = 0"}, dba...),
			"SET SESSION sql_log_bin = 1")...))
	}
	s.must(os.WriteFile(filepath.Join(l.Dir(), "orchestrator_admin"), []byte("care\n"), 0o600))
	s.must(os.WriteFile(filepath.Join(s.desk, "replicator"), []byte(lab.ReplicationPassword+"\n"), 0o600))
	primary, replicas := l.TestCluster(t, lab.Spec{Flavor: lab.MariaDB}, 2)
	s.must(primary.Exec(ctx, dba...))
	s.servers = append([]*lab.Server{primary}, replicas...)
	s.hook()
	s.daemons, s.proxies, err = l.StartDaemons(ctx, 2,
		lab.DaemonSpec{Binary: binary, Seeds: []topology.Key{primary.Key},
			Config: fmt.Sprintf(policy, filepath.Join(s.scripts, "pager")), Admin: "orchestrator_admin"}, a, b)
	s.must(err)
	c, err := s.daemons[0].AwaitServers(ctx, 3)
	s.must(err)
	s.must(s.leader().SetAlias(ctx, c.Name, "shop"))
	s.wrap(binary)
	return s
}

// hook makes the script that is told about failures, and what it needs.
func (s *stage) hook() {
	s.Helper()
	s.scripts = filepath.Join(s.lab.Dir(), "hooks")
	s.must(os.MkdirAll(s.scripts, 0o755))
	s.must(os.WriteFile(filepath.Join(s.scripts, "pager"), []byte(page), 0o755))
	s.must(os.WriteFile(filepath.Join(s.scripts, "on-duty"), []byte("555-0100\n"), 0o644))
}

// admin makes the account that the backend's page tells to make.
func (s *stage) admin(m *lab.Server) {
	s.Helper()
	version := topology.Version{Major: 10, Minor: 11}
	statements := append([]string{"SET SESSION sql_log_bin = 0", "CREATE USER orchestrator_admin IDENTIFIED BY 'care'"},
		pair.AdminGrants(topology.MariaDB, version, "orchestrator_admin@%", lab.BackendDatabase)...)
	s.must(m.Exec(s.ctx, append(statements, "SET SESSION sql_log_bin = 1")...))
}

// dba is the account of the servers' administrator.
var dba = []string{"CREATE USER dba IDENTIFIED BY 'admin'", "GRANT ALL ON *.* TO dba WITH GRANT OPTION"}

// wrap gives the commands what stands in an operator's files.
func (s *stage) wrap(binary string) {
	s.Helper()
	scripts := map[string]string{
		"orchestrator": fmt.Sprintf("case $1 in backend) exec %s \"$@\" --config $CONFIG --user orchestrator_admin "+
			"--password-file %s;; *) exec %s \"$@\";; esac\n",
			binary, filepath.Join(s.lab.Dir(), "orchestrator_admin"), binary),
		"mariadb": "exec /usr/bin/mariadb --no-defaults -udba -padmin \"$@\"\n",
		"ssh":     s.logs(),
	}
	for name, text := range scripts {
		s.must(os.WriteFile(filepath.Join(s.bin, name), []byte("#!/bin/sh\n"+text), 0o755))
	}
}

// leader is the daemon that says that it leads, if one does only.
func (s *stage) leader() *lab.Daemon {
	s.Helper()
	var found *lab.Daemon
	s.await("one daemon leads", func(ctx context.Context) error {
		found = nil
		for _, d := range s.daemons {
			if st, err := d.Status(ctx); err == nil && st.Leading {
				if found != nil {
					return errors.New("two lead")
				}
				found = d
			}
		}
		if found == nil {
			return errors.New("none leads")
		}
		return nil
	})
	return found
}

func (s *stage) await(what string, holds func(context.Context) error) {
	s.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end) &&
		s.ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(s.ctx, 3*time.Second)
		err = holds(ctx)
		cancel()
		if err == nil {
			return
		}
	}
	s.Fatalf("in vain: %s: %v", what, err)
}

// cast gives everybody the name that the pages use.
func (s *stage) cast() {
	s.Helper()
	s.names, s.places = map[string]part{}, map[string]string{}
	leader := s.leader()
	call := func(name, host string, p part) { s.names[name], s.places[name] = p, host }
	n := 1
	for i, d := range s.daemons {
		at := "1"
		if d != leader {
			n++
			at = fmt.Sprint(n)
		}
		call("orchestrator"+at, strings.TrimSuffix(strings.TrimPrefix(d.URL, "http://"), ":3000"), d)
		call("haproxy"+at, s.proxies[i].Host, s.proxies[i])
	}
	s.await("a member serves, and a primary is known", func(ctx context.Context) error {
		b, err := leader.Backend(ctx)
		if err != nil || b.Serves.IsZero() {
			return fmt.Errorf("%+v (%w)", b, err)
		}
		var c api.Cluster
		for _, d := range append(slices.Clone(s.daemons), leader) { // each is asked on some page
			if c, err = d.Cluster(ctx, "shop"); err != nil || c.Primary.IsZero() {
				return fmt.Errorf("%s: %+v (%w)", d.URL, c, err)
			}
		}
		order := func(kind string, all []*lab.Server, first topology.Key) {
			n := 1
			for _, v := range all {
				at := "1"
				if v.Key != first {
					n++
					at = fmt.Sprint(n)
				}
				call(kind+at, v.Key.Host, v)
			}
		}
		order("backend", s.members, b.Serves)
		order("db", s.servers, c.Primary)
		return nil
	})
}

var named = regexp.MustCompile(`\b(db|backend|orchestrator|haproxy)[1-9]\b`)

// hooks is the directory of scripts that pages speak of.
const hooks = "/etc/orchestrator/hooks"

// What else pages find in that directory.
const (
	configuration = "/etc/orchestrator/orchestrator.toml"
	authorities   = "/etc/orchestrator/ca.pem"
)

// real is a command with real addresses and files.
func (s *stage) real(text string) string {
	text = strings.ReplaceAll(text, hooks, s.scripts)
	text = strings.ReplaceAll(text, configuration, s.first().ConfigFile)
	text = strings.ReplaceAll(text, authorities, filepath.Join(s.desk, "ca.pem"))
	if h, ok := s.names["haproxy1"].(*lab.HAProxy); ok {
		text = strings.ReplaceAll(text, "/etc/haproxy/haproxy.cfg", configured(h))
	}
	return named.ReplaceAllStringFunc(text, func(name string) string {
		if host := s.places[name]; host != "" {
			return host
		}
		return name
	})
}

var address = regexp.MustCompile(`\b(127\.0\.\d+\.\d+)\b(:\d+)?( {2,})?`)

// told is what was printed, with the names of the page.
func (s *stage) told(text string) string {
	text = address.ReplaceAllStringFunc(text, func(found string) string {
		m := address.FindStringSubmatch(found)
		for name, at := range s.places {
			if at == m[1] { // columns stay columns
				return name + m[2] + strings.Repeat(" ", gap(len(m[3]), len(at)-len(name)))
			}
		}
		return found
	})
	if h, ok := s.names["haproxy1"].(*lab.HAProxy); ok {
		text = strings.ReplaceAll(text, configured(h), "/etc/haproxy/haproxy.cfg")
	}
	host := regexp.QuoteMeta(s.host)
	text = regexp.MustCompile(host+`=(orchestrator\d:3000)`).ReplaceAllString(text, "$1")
	text = regexp.MustCompile(host+`:(\d+):[0-9a-f]{8}`).ReplaceAllStringFunc(text, func(id string) string {
		for name, p := range s.names {
			if strings.HasPrefix(name, "orchestrator") &&
				strings.HasPrefix(id, fmt.Sprintf("%s:%d:", s.host, p.Pid())) {
				return name + ":4711:1f0ddba7"
			}
		}
		return "orchestrator1:4710:0ddba11f" // of a former life
	})
	return strings.NewReplacer(s.scripts, hooks, s.lab.Dir(), "/var/lib").Replace(text)
}

// gap is how wide the blanks after a name are, where those after an address that is longer by so much were so wide.
func gap(was, longer int) int {
	if was == 0 {
		return 0
	}
	return max(2, was+longer)
}

var (
	identity = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	id       = regexp.MustCompile(`:\d+:[0-9a-f]{8}\b`)
	life     = regexp.MustCompile(`#[0-9a-f]{12}\b`)
	unit     = regexp.MustCompile(`\d(?:ns|µs|ms|s|m\d+s)\b`)
	number   = regexp.MustCompile(`-?\d+(?:[.,:]\d+)*`)
	spaces   = regexp.MustCompile(`[\s─│├└-]+`)
	plural   = regexp.MustCompile(`\b(\w+?)s\b`)
)

// shape is a line without what differs from run to run: numbers, who of several it is, how wide columns are.
func shape(line string) string {
	line = identity.ReplaceAllString(line, "IDENTITY")
	line = id.ReplaceAllString(line, ":0:ID")
	line = life.ReplaceAllString(line, "#ID")
	line = unit.ReplaceAllString(line, "0s")
	line = number.ReplaceAllString(line, "0")
	line = plural.ReplaceAllString(line, "$1")
	return strings.TrimSpace(spaces.ReplaceAllString(line, " "))
}

// shows says which line of the page was not printed; "" if all were. A line that ends with "…" is the beginning of one,
// and "…" alone stands for any number of lines.
func shows(page, printed []string) string {
	for _, want := range page {
		beginning, short := strings.CutSuffix(strings.TrimSpace(want), "…")
		beginning = shape(beginning)
		if !slices.ContainsFunc(printed, func(got string) bool {
			got = shape(got)
			return got == beginning || short && strings.HasPrefix(got, beginning)
		}) {
			return want
		}
	}
	return ""
}

// long is where a line is cut that goes into a page; what follows one of these differs from run to run.
const long = 170

var fickle = regexp.MustCompile(
	`^(.*?(?:connection refused, for|refused for|its receiver says|is not fit:|MAINT, 0 sessions|IO thread is connecting|out of reach:|from backend\d:3306|^Compared)) .*$`)

// moving are lines that need not come again at all.
var moving = regexp.MustCompile(`^(Seen: HAProxy|HAProxy |Next: HAProxy)`)

func cut(lines []string) []string {
	for i, line := range lines {
		line = fickle.ReplaceAllString(strings.TrimRight(line, " "), "$1 …")
		if moving.MatchString(line) {
			line = "…"
		} else if r := []rune(line); len(r) > long {
			line = strings.TrimRight(string(r[:long]), " ") + " …"
		}
		lines[i] = line
	}
	return lines
}

// looks are commands that may be run again until they say what they should; all others are run once.
var looks = regexp.MustCompile(
	`^(ORCHESTRATOR_API=\S+ )?(orchestrator-client (status|leader|findings|clusters|topology|instances?|why|plan|episodes?|hooks|recoveries status|snapshot)\b|(orchestrator|orchestrator-client) backend (status|comparisons|work|doctor$|verify$)|curl -s|ssh \S+ journalctl|mariadb .*(SELECT|SHOW))`)

func (s *stage) run(command string) []string {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", s.real(command))
	cmd.Dir = s.desk
	cmd.Env = append(os.Environ(), "PATH="+s.bin+":"+os.Getenv("PATH"), "ORCHESTRATOR_API="+s.daemons[0].URL+" "+
		s.daemons[1].URL, "CONFIG="+s.first().ConfigFile, "LOGNAME=ann", "USER=ann", "COLUMNS=200")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	text := s.told(out.String() + errs.String())
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		text += fmt.Sprintf("(exit code %d)\n", exit.ExitCode())
	} else if err != nil {
		s.Errorf("%s: %v", command, err)
	}
	if text = strings.TrimRight(text, "\n"); text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// first is the daemon on whose machine commands are run.
func (s *stage) first() *lab.Daemon {
	if d, ok := s.names["orchestrator1"].(*lab.Daemon); ok {
		return d
	}
	return s.daemons[0]
}

// play runs a command until it shows what the page does, and returns what stands there from now on.
func (s *stage) play(command string, page []string) []string {
	s.Helper()
	var printed []string
	missing := ""
	for end := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		printed = s.run(command)
		missing = shows(page, printed)
		if len(page) > 0 && strings.HasPrefix(page[0], "? ") {
			missing = ""
			if text := strings.TrimPrefix(page[0], "? "); !strings.Contains(strings.Join(printed, "\n"), text) {
				missing = page[0]
			}
		}
		if missing == "" || !looks.MatchString(command) || time.Now().After(end) {
			break
		}
	}
	if *update && (missing != "" || len(page) == 0 || strings.HasPrefix(page[0], "? ")) {
		if missing != "" {
			s.Errorf("$ %s\nwaited in vain for %q", command, missing)
		}
		return cut(printed)
	}
	if missing != "" {
		s.Errorf("$ %s\nprints\n%s\nand not the line\n%s", command, strings.Join(printed, "\n"), missing)
	}
	return page
}

// do is a comment of a page.
func (s *stage) do(order string) {
	s.Helper()
	verb, about, _ := strings.Cut(order, " ")
	name, rest, _ := strings.Cut(about, " ")
	p := s.names[name]
	if name == "primary" { // who is it by now?
		p = s.primary()
	}
	switch verb {
	case "kill", "hang", "continue", "start", "sql", "empty", "revoke", "dump", "fill", "free", "configure", "uncheck",
		"restart", "follow", "replaced", "switched", "reader":
		if p == nil {
			s.Fatalf("%s: who is that?", order)
		}
	}
	switch verb {
	case "run":
		s.run(about)
	case "certificate": // a bundle, of which the second ends first
		s.certificate(s.real(name), "new authority", "400")
		s.certificate(s.real(name), "old authority", "10")
	case "empty": // as after a new installation
		s.must(p.(*lab.Server).Exec(s.ctx, "STOP SLAVE", "RESET SLAVE ALL", "SET SESSION sql_log_bin = 0",
			"DROP DATABASE orchestrator", "CREATE DATABASE orchestrator",
			"SET SESSION sql_log_bin = 1", "RESET MASTER", "SET GLOBAL gtid_slave_pos = ''"))
	case "kill":
		s.must(p.Kill())
	case "hang":
		s.must(p.Hang())
	case "continue":
		s.must(p.Continue())
	case "start":
		s.start(p, strings.Fields(rest)...)
	case "revoke":
		s.revoke(p.(*lab.Server), rest)
	case "dump":
		s.dump(p.(*lab.Server), rest)
	case "reader":
		s.reader(p.(*lab.Server))
	case "fill":
		s.fill(p.(*lab.Daemon))
	case "free":
		s.must(p.(*lab.Daemon).Free())
	case "configure":
		s.configure(p.(*lab.Daemon), rest)
	case "uncheck":
		s.uncheck(p.(*lab.HAProxy))
	case "restart":
		s.restart(p.(*lab.HAProxy))
	case "sql":
		s.must(p.(*lab.Server).Exec(s.ctx, strings.Split(rest, "; ")...))
	case "split": // each daemon with a member, and its HAProxy; servers are reached by both
		side := func(n string) lab.Side {
			return lab.Side{Servers: []*lab.Server{s.names["backend"+n].(*lab.Server)},
				Daemons: []*lab.Daemon{s.names["orchestrator"+n].(*lab.Daemon)},
				Proxies: []*lab.HAProxy{s.names["haproxy"+n].(*lab.HAProxy)}}
		}
		s.must(s.lab.Sides(side("1"), side("2")))
	case "follow":
		s.follow(p.(*lab.Daemon))
	case "switched":
		s.switched(p.(*lab.Server))
	case "replaced":
		s.replaced(p.(*lab.Server))
	case "settle": // a failover is done, and every daemon knows it
		s.primary()
		s.await("all know the same episodes", func(ctx context.Context) error {
			var known []string
			for _, d := range s.daemons {
				es, err := d.Episodes(ctx, "", "")
				if err != nil || len(es) == 0 || es[0].Closed.IsZero() {
					return fmt.Errorf("%+v (%w)", es, err)
				}
				known = append(known, es[0].ID)
			}
			if len(slices.Compact(known)) > 1 {
				return fmt.Errorf("they know %q", known)
			}
			return nil
		})
	case "heal":
		s.must(s.lab.Heal())
	default:
		s.Fatalf("%s: what is that?", order)
	}
}

func (s *stage) primary() *lab.Server {
	s.Helper()
	var found *lab.Server
	s.await("a primary that lives", func(ctx context.Context) error {
		c, err := s.leader().Cluster(ctx, "shop")
		if err != nil {
			return err
		}
		for _, v := range s.servers {
			if v.Key == c.Primary && v.Pid() != 0 && c.Episode == "" {
				found = v
				return nil
			}
		}
		return fmt.Errorf("%v is dead, or an episode (%s) is open", c.Primary, c.Episode)
	})
	return found
}

func (s *stage) start(p part, args ...string) {
	s.Helper()
	switch p := p.(type) {
	case *lab.Server:
		s.must(p.Restart(s.ctx, args...))
	case *lab.HAProxy:
		s.must(p.Start(s.ctx))
	case *lab.Daemon: // it may have to wait for others that are down
		s.must(p.Launch())
	}
}

// repair restores what a page has left broken, so that the next one starts with everything healthy.
func (s *stage) repair() {
	s.Helper()
	s.must(s.lab.Heal())
	for _, all := range [][]*lab.Server{s.members, s.servers} {
		for _, v := range all {
			if v.Pid() == 0 {
				s.start(v)
			}
			s.must(v.Continue())
		}
	}
	for i, d := range s.daemons {
		if s.proxies[i].Pid() == 0 {
			s.start(s.proxies[i])
		}
		s.must(s.proxies[i].Continue())
		if d.Pid() == 0 {
			s.start(d)
		}
		s.must(d.Continue())
	}
	for _, undo := range slices.Backward(s.undo) {
		undo()
	}
	for _, m := range s.members {
		if r, err := m.Replication(s.ctx); err != nil || !r.Running() {
			s.Logf("rejoin: %s", s.run("orchestrator backend rejoin "+m.Key.String()))
		}
		s.must(m.SetReadOnly(s.ctx, false))
	}
	s.await("the members hold the same", func(context.Context) error {
		if out := s.run("orchestrator backend verify --repair"); strings.HasPrefix(out[len(out)-1], "(exit") {
			return errors.New(strings.Join(out, "\n"))
		}
		return nil
	})
	s.await("the first member serves", func(context.Context) error {
		if out := s.run("orchestrator backend promote --to " +
			s.members[0].Key.String()); strings.HasPrefix(out[len(out)-1], "(exit") {
			return errors.New(strings.Join(out, "\n"))
		}
		return nil
	})
	leader := s.leader()
	var c api.Cluster
	s.await("a primary is known", func(ctx context.Context) (err error) {
		if c, err = leader.Cluster(ctx, "shop"); err == nil && (c.Primary.IsZero() || c.Episode != "") {
			err = fmt.Errorf("primary %v, episode %q", c.Primary, c.Episode)
		}
		return err
	})
	primary := s.servers[slices.IndexFunc(s.servers, func(v *lab.Server) bool { return v.Key == c.Primary })]
	s.must(primary.SetReadOnly(s.ctx, false))
	for _, v := range s.servers {
		if v == primary {
			continue
		}
		s.must(v.SetReadOnly(s.ctx, true))
		if r, err := v.Replication(s.ctx); err != nil || r.Source != primary.Key || !r.Running() {
			// a former primary has been nobody's replica
			s.must(v.Exec(s.ctx, "STOP SLAVE", "SET GLOBAL gtid_slave_pos = @@gtid_current_pos"))
			s.must(s.lab.ReplicateFrom(s.ctx, v, primary))
		}
		s.must(leader.EndDowntime(s.ctx, v.Key.String()))
	}
	s.must(leader.EndDowntime(s.ctx, primary.Key.String()))
	s.run("orchestrator-client recoveries on")
	es, err := leader.Episodes(s.ctx, "", "")
	s.must(err)
	for _, e := range es {
		if e.Acknowledged == nil {
			_, err := leader.Acknowledge(s.ctx, e.ID, "the lab", "it was played")
			s.must(err)
		}
	}
	for _, d := range s.daemons {
		s.await("all is well", func(ctx context.Context) error {
			found, err := d.Findings(ctx, "")
			if err == nil && len(found) > 0 {
				err = fmt.Errorf("%+v", found)
			}
			return err
		})
	}
}

func TestRunbooks(t *testing.T) {
	s := setUp(t)
	all, err := filepath.Glob(pages + "/*.md")
	if err != nil || len(all) == 0 {
		t.Fatalf("no runbooks (%v)", err)
	}
	commands, failed := 0, 0
	for _, file := range all {
		if t.Run(strings.TrimSuffix(filepath.Base(file), ".md"), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), bound)
			defer cancel()
			one := *s
			one.T, one.ctx = t, ctx
			commands += one.page(file)
		}) {
			failed = 0
		} else if failed++; failed == patient {
			t.Fatalf("%d pages in a row have failed: what the first left behind can't be repaired", failed)
		}
	}
	t.Logf("%d commands on %d pages", commands, len(all))
}

// page plays one, and says how many commands there are.
func (s *stage) page(file string) (commands int) {
	text, err := os.ReadFile(file)
	s.must(err)
	lines := strings.Split(string(text), "\n")
	if !slices.Contains(lines, "```console") {
		return 0
	}
	s.cast()
	defer s.repair()
	defer func() {
		if s.Failed() {
			for name, p := range s.names {
				if d, ok := p.(*lab.Daemon); ok {
					all := strings.Split(d.Log(), "\n")
					s.Logf("log of %s:\n%s", name, s.told(strings.Join(all[max(0, len(all)-40):], "\n")))
				}
			}
		}
	}()
	var out []string
	for i := 0; i < len(lines); i++ {
		out = append(out, lines[i])
		if order, ok := strings.CutPrefix(lines[i], "<!-- lab: "); ok {
			s.do(strings.TrimSuffix(order, " -->"))
			continue
		}
		if lines[i] != "```console" {
			continue
		}
		for i++; lines[i] != "```"; {
			command, ok := strings.CutPrefix(lines[i], "$ ")
			if !ok {
				s.Fatalf("%s:%d: no command: %q", file, i+1, lines[i])
			}
			first := i + 1
			for i++; lines[i] != "```" && !strings.HasPrefix(lines[i], "$ "); i++ {
			}
			commands++
			out = append(out, "$ "+command)
			out = append(out, s.play(command, lines[first:i])...)
		}
		out = append(out, "```")
	}
	if *update {
		s.must(os.WriteFile(file, []byte(strings.Join(out, "\n")), 0o644))
	}
	return commands
}
