package pair

import (
	"slices"
	"strings"
	"testing"

	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
)

func codes(complaints []Complaint, at topology.Key) (out []string) {
	for _, c := range complaints {
		if c.At == at && !slices.Contains(out, c.Code) {
			out = append(out, c.Code)
		}
	}
	slices.Sort(out)
	return out
}

func TestDoctorFindsAndMends(t *testing.T) {
	lab.Flavors(t, func(t *testing.T, l *lab.Lab, f topology.Flavor) {
		r := rigged(t, l, f, true, nil)
		for _, c := range Doctor(r.pair.Examine(t.Context())) {
			switch c.Code { // what the lab's servers are on purpose
			case "sync_binlog", "innodb_flush_log_at_trx_commit":
			default:
				t.Errorf("a sound pair: %+v", c)
			}
		}
		spoil := []string{"SET GLOBAL binlog_format = 'ROW'", "SET GLOBAL max_allowed_packet = 1048576"}
		want := []string{"accounts", "binlog_format", "connect_retry", "innodb_flush_log_at_trx_commit",
			"max_allowed_packet", "parallel_workers", "privileges", "read_only",
			"replica_net_timeout", "replication", "retention", "sync_binlog"}
		if f == topology.MariaDB {
			spoil = append([]string{"STOP SLAVE", "CHANGE MASTER TO MASTER_CONNECT_RETRY = 60"}, spoil...)
			spoil = append(spoil, "SET GLOBAL slave_parallel_threads = 4", "SET GLOBAL slave_net_timeout = 60",
				"SET GLOBAL binlog_expire_logs_seconds = 600", "SET GLOBAL gtid_strict_mode = 1",
				"SET GLOBAL read_only = 1", "SET SESSION sql_log_bin = 0", "REVOKE SLAVE MONITOR ON *.* FROM "+
					lab.BackendUser, "SET SESSION sql_log_bin = 1")
			want = append(want, "gtid_strict_mode")
			slices.Sort(want)
		} else {
			spoil = append([]string{"STOP REPLICA", "CHANGE REPLICATION SOURCE TO SOURCE_CONNECT_RETRY = 60, " +
				"SOURCE_RETRY_COUNT = 10"}, spoil...)
			spoil = append(spoil, "SET GLOBAL replica_parallel_workers = 4", "SET GLOBAL replica_net_timeout = 60",
				"SET GLOBAL binlog_expire_logs_seconds = 600", "SET GLOBAL super_read_only = 1")
			r.exec(1, "SET SESSION sql_log_bin = 0", "REVOKE REPLICATION CLIENT ON *.* FROM "+lab.BackendUser,
				"SET SESSION sql_log_bin = 1")
		}
		r.exec(1, spoil...)
		// An account that only the other one has.
		c, err := r.servers[0].DB().Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range []string{"SET SESSION sql_log_bin = 0", "CREATE USER reporter@localhost",
			"SET SESSION sql_log_bin = 1"} {
			if _, err := c.ExecContext(t.Context(), q); err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
		found := Doctor(r.pair.Examine(t.Context()))
		if got := codes(found, r.b()); !slices.Equal(got, want) {
			t.Errorf("found %v\n want %v", got, want)
		}
		for _, c := range found {
			if c.Says == "" || len(c.Statements)+len(c.Config) == 0 && c.Do == "" {
				t.Errorf("no help: %+v", c)
			}
		}
		mended, err := r.pair.Fix(t.Context(), found)
		if err != nil {
			t.Errorf("mended %v: %v", codes(mended, r.b()), err)
		}
		left := Doctor(r.pair.Examine(t.Context()))
		if got := codes(left, r.b()); !slices.Equal(got, []string{"accounts", "privileges", "read_only"}) {
			t.Errorf("after mending: %+v", left)
		}
		if got := codes(left, r.a()); len(got) > 0 {
			t.Errorf("after mending the other: %+v", left)
		}
		r.put(0, "tag", "after")
		r.await("replication goes on", func() bool { return slices.Contains(r.keys(1, "tag"), "after") })
	})
}

// sound is a member with which nothing is wrong.
func sound(id uint32, k, other topology.Key) Exam {
	e := Exam{Member: Member{Key: k, Up: true, Flavor: topology.MariaDB, Version: topology.Version{Major: 10,
		Minor: 11}, ServerID: id, ID: k.Host, LogBin: true, Format: "STATEMENT", GTID: true,
		Tables: true, Channels: []Channel{{Channel: topology.Channel{Source: other, IO: topology.Running,
			SQL: topology.Running, AutoPosition: true, User: "repl"}, ConnectRetry: 1}}},
		Vars: map[string]string{"log_slave_updates": "ON", "relay_log_recovery": "ON", "gtid_domain_id": k.Host,
			"sync_binlog": "1", "innodb_flush_log_at_trx_commit": "1",
			"slave_net_timeout": "4", "slave_parallel_threads": "0"},
		Accounts: []string{"daemons@%", "repl@%"}, Grants: []string{"GRANT SLAVE MONITOR ON *.* TO `daemons`@`%`",
			"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON `orchestrator`.* TO `daemons`@`%`"}}
	return e
}

func TestDoctor(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(a, b *Exam, f *Facts)
		want  string // "code@member", the member "" for the pair
	}{
		{"nothing is wrong", func(a, b *Exam, f *Facts) {}, ""},
		{"one is down", func(a, b *Exam, f *Facts) { b.Up = false }, "down@b"},
		{"one server id", func(a, b *Exam, f *Facts) { b.ServerID = a.ServerID }, "server_id@b"},
		{"one server under two names", func(a, b *Exam, f *Facts) { b.ID = a.ID }, "one_server@"},
		{"one domain", func(a, b *Exam, f *Facts) { a.Vars["gtid_domain_id"], b.Vars["gtid_domain_id"] = "0", "0" },
			"gtid_domain_id@a gtid_domain_id@b"},
		{"another flavour", func(a, b *Exam, f *Facts) {
			b.Flavor = topology.MySQL
			b.Vars["enforce_gtid_consistency"] = "ON"
			b.Grants[0] = "GRANT REPLICATION CLIENT ON *.* TO x"
		}, "flavors@"},
		{"replicates from nobody", func(a, b *Exam, f *Facts) { a.Channels = nil }, "replication@a"},
		{"a plain replica is read-only", func(a, b *Exam, f *Facts) { a.Channels = nil; b.ReadOnly = true },
			"replication@a"},
		{"an applier stopped by an error is not started blindly", func(a, b *Exam, f *Facts) {
			b.Channels[0].SQL, b.Channels[0].SQLErrno, b.Channels[0].SQLError = topology.Stopped, 1062, "duplicate"
		}, "replication@b"},
		{"the account of the daemons is missing on one", func(a, b *Exam, f *Facts) { b.Accounts = []string{"repl@%"} },
			"accounts@b"},
		{"accounts that installing makes may differ",
			func(a, b *Exam, f *Facts) { b.Accounts = append(b.Accounts, "mariadb.sys@localhost", "root@::1") }, ""},
		{"a clock", func(a, b *Exam, f *Facts) { b.Ahead = -5e9 }, "clock@b clock@"},
		{"HAProxy serves both", func(a, b *Exam, f *Facts) {
			f.Proxied, f.Proxy = true, []ProxyServer{{Key: a.Key, Up: true}, {Key: b.Key, Up: true}}
		}, "haproxy@"},
		{"HAProxy knows one", func(a, b *Exam, f *Facts) {
			f.Proxied, f.Proxy = true, []ProxyServer{{Key: a.Key, Up: true}}
		}, "haproxy@b"},
		{"HAProxy serves nobody", func(a, b *Exam, f *Facts) {
			f.Proxied, f.Proxy = true, []ProxyServer{{Key: a.Key}, {Key: b.Key}}
		}, "haproxy@"},
		{"sessions at the one that is not served", func(a, b *Exam, f *Facts) {
			f.Proxied, f.Proxy = true, []ProxyServer{{Key: a.Key, Up: true}, {Key: b.Key, Sessions: 2}}
		}, "haproxy@b"},
		{"HAProxy is silent", func(a, b *Exam, f *Facts) { f.Proxied, f.ProxyErr = true, "no such file" }, "haproxy@"},
		{"no tables on one", func(a, b *Exam, f *Facts) { b.Tables = false }, "tables@b"},
		{"skips errors", func(a, b *Exam, f *Facts) { b.Vars["slave_skip_errors"] = "1062" }, "replica_skip_errors@b"},
		{"filters", func(a, b *Exam, f *Facts) { b.Channels[0].Filters = true }, "filters@b"},
		{"delayed", func(a, b *Exam, f *Facts) { b.Channels[0].Delay = 60 }, "delay@b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := Facts{Members: []Exam{sound(1, keyA, keyB), sound(2, keyB, keyA)}, Database: "orchestrator",
				Backend: "daemons"}
			c.spoil(&f.Members[0], &f.Members[1], &f)
			var got []string
			for _, one := range Doctor(f) {
				got = append(got, one.Code+"@"+one.At.Host)
				if one.Safe && len(one.Statements) == 0 {
					t.Errorf("safe, and no statement: %+v", one)
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %v, want %s", got, c.want)
			}
		})
	}
}
