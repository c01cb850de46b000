package runbook

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

// byHand are the statements of failover-failed.md for a promotion by hand, in their order: end the receiver, see
// whether all is applied, open it.
func byHand(t *testing.T, f topology.Flavor) (receiver, applied, open string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/runbooks/failover-failed.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n### Promote by hand\n")
	section, _, _ = strings.Cut(section, "\n## ")
	name := map[topology.Flavor]string{lab.MariaDB: "MariaDB", lab.MySQL: "MySQL"}[f]
	found := regexp.MustCompile(name+": [^`]*`([^`]+)`").FindAllStringSubmatch(section, -1)
	if len(found) != 3 {
		t.Fatalf("the page has %d statements for %s, want 3: %q", len(found), name, found)
	}
	return found[0][1], found[1][1], found[2][1]
}

// What is done by hand where the daemons can't is played on no page, as a daemon would be faster; it has to be right
// all the same, in both dialects.
func TestPromotingByHandLosesNothing(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		receiver, applied, open := byHand(t, f)
		primary, replicas := l.TestCluster(t, lab.Spec{Flavor: f}, 1)
		candidate := replicas[0]
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		await := func(what string, holds func() (bool, error)) {
			t.Helper()
			for {
				ok, err := holds()
				if ok && err == nil {
					return
				}
				if ctx.Err() != nil {
					t.Fatalf("waited in vain until %s: %v", what, err)
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
		count := func() (n int, err error) {
			return n, candidate.DB().QueryRowContext(ctx, "SELECT COUNT(*) FROM shop.orders").Scan(&n)
		}
		must(primary.Exec(ctx, "CREATE DATABASE shop", "CREATE TABLE shop.orders (id INT PRIMARY KEY)"))
		await("the candidate has the table", func() (bool, error) { _, err := count(); return true, err })

		// Somebody holds up the applier, and the primary dies when all of the rest is received.
		reader, err := candidate.DB().Conn(ctx)
		must(err)
		defer reader.Close()
		_, err = reader.ExecContext(ctx, "LOCK TABLES shop.orders READ")
		must(err)
		for id := range 20 {
			must(primary.Exec(ctx, fmt.Sprintf("INSERT INTO shop.orders VALUES (%d)", id)))
		}
		wrote, err := primary.Executed(ctx)
		must(err)
		await("all is received", func() (bool, error) {
			has, err := candidate.Received(ctx)
			if err != nil {
				return false, err
			}
			done, err := candidate.Executed(ctx)
			return wrote.Subtract(has.Union(done)).Empty(), err
		})
		time.Sleep(100 * time.Millisecond) // MariaDB counts a transaction when it begins to come
		must(primary.Kill())

		must(candidate.Exec(ctx, receiver))
		if all, err := saysApplied(ctx, candidate, strings.Replace(applied, ", 60)", ", 0.3)", 1)); all || err != nil {
			t.Errorf("with 20 rows to apply: applied %v, %v", all, err)
		}
		_, err = reader.ExecContext(ctx, "UNLOCK TABLES")
		must(err)
		await("all is applied", func() (bool, error) { return saysApplied(ctx, candidate, applied) })
		if n, err := count(); n != 20 || err != nil {
			t.Errorf("called applied with %d of 20 rows: %v", n, err)
		}
		for _, statement := range strings.Split(open, ";") {
			must(candidate.Exec(ctx, statement))
		}
		must(candidate.Exec(ctx, "INSERT INTO shop.orders VALUES (20)"))
		var readOnly bool
		must(candidate.DB().QueryRowContext(ctx, "SELECT @@GLOBAL.read_only").Scan(&readOnly))
		if r, err := candidate.Replication(ctx); readOnly || r != (lab.Replication{}) || err != nil {
			t.Errorf("read-only %v, replicates %+v: %v", readOnly, r, err)
		}
	})
}

// saysApplied asks as the page says, and reads the answer as it says.
func saysApplied(ctx context.Context, s *lab.Server, statement string) (bool, error) {
	if s.Flavor == lab.MySQL {
		var timeout bool
		err := s.DB().QueryRowContext(ctx, statement).Scan(&timeout)
		return !timeout, err
	}
	row, err := s.Row(ctx, statement)
	return row["Slave_SQL_Running"] == "Yes" && strings.HasPrefix(row["Slave_SQL_Running_State"],
		"Slave has read all relay log; "), err
}
