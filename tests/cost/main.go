// Command cost measures what a steady fleet costs the backend: three daemons with a pair behind their HAProxies watch
// real servers to which nothing happens, and the active member counts what it is asked, what enters its binary log and
// how many rows are written.
//
// It judges nothing. The one idea: the member's own general log tells every statement, so that none is overlooked and
// each has a name.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// settings are what the command line says.
type settings struct {
	flavors, servers string
	length, settle   time.Duration
	binary           string
}

func main() {
	s := settings{}
	flag.StringVar(&s.flavors, "flavors", "mariadb,mysql", "which members, with commas between")
	flag.StringVar(&s.servers, "servers", "4,100", "how many servers the fleet has, with commas between; four make a "+
		"cluster")
	flag.DurationVar(&s.length, "length", 2*time.Minute, "how long is measured")
	flag.DurationVar(&s.settle, "settle", 30*time.Second, "how long the fleet is watched before")
	flag.StringVar(&s.binary, "binary", "bin/orchestrator", "the daemon's program")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := s.measure(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cost:", err)
		stop()
		os.Exit(1)
	}
}

func (s settings) measure(ctx context.Context, out io.Writer) error {
	binary, err := filepath.Abs(s.binary)
	if err != nil {
		return err
	}
	s.binary = binary
	for _, flavor := range strings.Split(s.flavors, ",") {
		for _, text := range strings.Split(s.servers, ",") {
			n, err := strconv.Atoi(text)
			if err != nil || n < 4 || n%4 != 0 {
				return fmt.Errorf("servers %q: want multiples of four", text)
			}
			if err := s.one(ctx, out, topology.Flavor(flavor), n); err != nil {
				return fmt.Errorf("%s, %d servers: %w", flavor, n, err)
			}
		}
	}
	return nil
}

// one measures on members of a flavour with a fleet of n servers. The fleet is of MariaDB, which takes less memory.
func (s settings) one(ctx context.Context, out io.Writer, flavor topology.Flavor, n int) (err error) {
	l, err := lab.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	a, b, err := l.Pair(ctx, flavor)
	if err != nil {
		return err
	}
	var seeds []topology.Key
	for range n / 4 {
		primary, _, err := l.Cluster(ctx, lab.Spec{Flavor: lab.MariaDB,
			ExtraArgs: []string{"--innodb-buffer-pool-size=6M", "--innodb-log-buffer-size=2M"}}, 3)
		if err != nil {
			return err
		}
		seeds = append(seeds, primary.Key)
	}
	daemons, _, err := l.StartDaemons(ctx, 3, lab.DaemonSpec{Binary: s.binary, Seeds: seeds}, a, b)
	if err != nil {
		return err
	}
	for _, d := range daemons {
		if err := awaitAll(ctx, d, n); err != nil {
			return err
		}
	}
	if err := wait(ctx, s.settle); err != nil {
		return err
	}
	// The member that serves is the first; the other one gets by replication what this one writes.
	if err := a.Exec(ctx, "SET GLOBAL log_output = 'TABLE'", "TRUNCATE mysql.general_log"); err != nil {
		return err
	}
	before, err := count(ctx, a)
	if err != nil {
		return err
	}
	if err := a.Exec(ctx, "SET GLOBAL general_log = ON"); err != nil {
		return err
	}
	began := time.Now()
	if err := wait(ctx, s.length); err != nil {
		return err
	}
	if err := a.Exec(ctx, "SET GLOBAL general_log = OFF"); err != nil {
		return err
	}
	took := time.Since(began)
	after, err := count(ctx, a)
	if err != nil {
		return err
	}
	asked, err := statements(ctx, a)
	if err != nil {
		return err
	}
	perMinute := func(n int) float64 { return float64(n) / took.Minutes() }
	sum := 0
	for _, q := range asked {
		sum += q.times
	}
	fmt.Fprintf(out, "\n%s, %d servers, a minute: %.0f statements, %.0f rows changed, %.0f KB of binary log\n\n| "+
		"statement | who | a minute |\n|---|---|--:|\n", flavor, n,
		perMinute(sum), perMinute(after.rows-before.rows), perMinute(after.log-before.log)/1000)
	for _, q := range asked {
		fmt.Fprintf(out, "| %s | %s | %.1f |\n", q.text, q.user, perMinute(q.times))
	}
	return nil
}

// awaitAll waits until a daemon knows n servers that are up.
func awaitAll(ctx context.Context, d *lab.Daemon, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		up := 0
		s, err := d.Snapshot(ctx, "")
		for _, v := range s.Servers {
			if v.Up() {
				up++
			}
		}
		if err == nil && up == n {
			return nil
		}
		if stop := wait(ctx, 200*time.Millisecond); stop != nil {
			return fmt.Errorf("%s knows %d of %d servers (%v): %w", d.URL, up, n, err, stop)
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// counters of a member.
type counters struct{ rows, log int }

func count(ctx context.Context, m *lab.Server) (c counters, err error) {
	// What is inserted can't be told from the general log, which is a table too, and shows in that.
	status, err := m.DB().QueryContext(ctx, "SHOW GLOBAL STATUS WHERE Variable_name IN ('Handler_update', "+
		"'Handler_delete')")
	if err != nil {
		return c, err
	}
	defer status.Close()
	for status.Next() {
		var n int
		if err := status.Scan(new(string), &n); err != nil {
			return c, err
		}
		c.rows += n
	}
	logs, err := m.DB().QueryContext(ctx, "SHOW BINARY LOGS")
	if err != nil {
		return c, errors.Join(err, status.Err())
	}
	defer logs.Close()
	columns, err := logs.Columns()
	if err != nil {
		return c, err
	}
	for logs.Next() {
		var size int
		cells := []any{new(string), &size}
		for range columns[2:] {
			cells = append(cells, new(string))
		}
		if err := logs.Scan(cells...); err != nil {
			return c, err
		}
		c.log += size
	}
	return c, errors.Join(status.Err(), logs.Err())
}

// query is a statement without its values.
type query struct {
	user, text string
	times      int
}

var (
	texts   = regexp.MustCompile(`'(?:[^'\\]|\\.|'')*'`)
	numbers = regexp.MustCompile(`\b\d+\b`)
	blanks  = regexp.MustCompile(`\s+`)
)

// shape is a statement without its values. Only the kind of the first record stays, which tells what it is for.
func shape(kind, text string) string {
	if kind != "Query" {
		return kind
	}
	out := numbers.ReplaceAllString(texts.ReplaceAllString(text, "?"), "?")
	if strings.Contains(out, "INTO record") || strings.Contains(out, "FROM record\nWHERE kind") {
		out = strings.Replace(out, "?", texts.FindString(text), 1)
	}
	out = blanks.ReplaceAllString(out, " ")
	const most = 110
	if len(out) > most {
		out = out[:most] + "…"
	}
	return out
}

// statements are those of the general log, the most frequent first; not the ones by which it is switched and read, nor
// what the applier does.
func statements(ctx context.Context, m *lab.Server) ([]query, error) {
	rows, err := m.DB().QueryContext(ctx, "SELECT user_host, command_type, argument FROM mysql.general_log WHERE "+
		"command_type IN ('Query', 'Connect', 'Ping', 'Init DB', 'Binlog Dump')")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	times := map[query]int{}
	for rows.Next() {
		var who, kind, text string
		if err := rows.Scan(&who, &kind, &text); err != nil {
			return nil, err
		}
		user, _, _ := strings.Cut(strings.TrimLeft(who, "["), "[")
		user, _, _ = strings.Cut(user, "]")
		if user == "root" || user == "" || user == "system user" {
			continue
		}
		times[query{user: user, text: shape(kind, text)}]++
	}
	var out []query
	for q, n := range times {
		q.times = n
		out = append(out, q)
	}
	slices.SortFunc(out, func(x, y query) int {
		return cmp.Or(cmp.Compare(y.times, x.times), cmp.Compare(x.text, y.text), cmp.Compare(x.user, y.user))
	})
	return out, rows.Err()
}
