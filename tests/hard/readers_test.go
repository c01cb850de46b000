package hard

import (
	"fmt"
	"testing"
	"time"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/topology"
	"orchestrator/tests/hostile"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// reader is a change-data reader: it registers as a replica would, and reads the binary log.
type reader struct {
	id   uint32
	host string
	port uint16
}

// reads has the reader log in, register and read, until the test ends.
func (r reader) reads(f *watched.Fleet, s *lab.Server) {
	f.Helper()
	c := logsIn(f, s)
	file, err := s.Row(f.Ctx, say(s.Flavor, "SHOW MASTER STATUS", "SHOW BINARY LOG STATUS"))
	f.Must(err)
	f.Must(c.Command("\x03SET @master_binlog_checksum = 'NONE'"))
	f.Must(c.Register(r.id, r.host, r.port))
	f.Must(c.Dump(r.id, file["File"]))
}

// registers has the reader log in and register as a server with a UUID, until the test ends.
func (r reader) registers(f *watched.Fleet, s *lab.Server, uuid string) {
	f.Helper()
	c := logsIn(f, s)
	f.Must(c.Command(fmt.Sprintf("\x03SET @slave_uuid = '%s', @replica_uuid = '%s'", uuid, uuid)))
	f.Must(c.Register(r.id, r.host, r.port))
}

func logsIn(f *watched.Fleet, s *lab.Server) *hostile.Reader {
	f.Helper()
	r, err := hostile.LogIn(f.Ctx, s)
	f.Must(err)
	f.Cleanup(r.Close)
	return r
}

// What registers without the UUID of a server is a reader of changes: no cluster, no death, nothing to warn of, and no
// reason against a failover. MariaDB's replicas have no UUID: a reader that is none shows by its port, which is 0.
func TestAReaderThatIsNoServer(t *testing.T) {
	first(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
		f := watched.Servers(t, l, lab.Spec{Flavor: flavor}, 1)
		host, err := l.Address()
		f.Must(err)
		if flavor == lab.MySQL {
			reader{9998, host, 3306}.reads(f, f.Primary)
		}
		reader{9999, host, 0}.reads(f, f.Primary)
		f.Await("it is registered", func() bool {
			rows, err := f.Primary.DB().QueryContext(f.Ctx, say(flavor, "SHOW SLAVE HOSTS", "SHOW REPLICAS"))
			f.Must(err)
			defer rows.Close()
			n := 0
			for rows.Next() {
				n++
			}
			return n == map[topology.Flavor]int{lab.MariaDB: 2, lab.MySQL: 3}[flavor]
		})
		f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy, Seeds: keysOf(f.Primary)})
		_, err = f.API.AwaitServers(f.Ctx, 2)
		f.Must(err)
		f.During(3*time.Second, "it is one cluster, and nothing is found", func() bool {
			found, err := f.API.Findings(f.Ctx, "")
			f.Must(err)
			all, err := f.API.Clusters(f.Ctx)
			f.Must(err)
			if len(found) > 0 || len(all) != 1 || all[0].Servers != 2 {
				t.Logf("%+v in %+v", found, all)
			}
			return len(found) == 0 && len(all) == 1 && all[0].Servers == 2
		})
		f.FailsOver()
	})
}

// onIPv6 makes a cluster at ::1, where each server has a port of its own.
func onIPv6(t *testing.T, l *lab.Lab, flavor topology.Flavor, reportHost string) *watched.Fleet {
	f := watched.Servers(t, l, lab.Spec{Flavor: flavor}, 2)
	for i, s := range append([]*lab.Server{f.Primary}, f.Replicas...) {
		f.Must(s.Kill())
		s.Key = topology.Key{Host: "::1", Port: 20000 + 100*l.Subnet + i}
		more := []string{"--bind-address=::1", "--report-host=" + reportHost, fmt.Sprintf("--port=%d", s.Key.Port),
			fmt.Sprintf("--report-port=%d", s.Key.Port)}
		if s == f.Primary {
			more = append(more, "--read-only=0")
		}
		f.Must(s.Restart(f.Ctx, more...))
		if s != f.Primary {
			f.Must(s.Exec(f.Ctx, say(s.Flavor, "STOP SLAVE", "STOP REPLICA")))
			f.Must(l.ReplicateFrom(f.Ctx, s, f.Primary))
		}
	}
	return f
}

// Servers at IPv6 addresses are found from their primary, whether they report their address or not.
func TestServersAtIPv6Addresses(t *testing.T) {
	for name, reportHost := range map[string]string{"reported": "::1", "not reported": ""} {
		t.Run(name, func(t *testing.T) {
			flavors(t, func(t *testing.T, l *lab.Lab, flavor topology.Flavor) {
				f := onIPv6(t, l, flavor, reportHost)
				f.Watch(lab.DaemonSpec{Binary: binary, Config: watched.Policy, Seeds: keysOf(f.Primary)})
				_, err := f.API.AwaitServers(f.Ctx, 3)
				f.Must(err)
				f.During(2*time.Second, "there is no phantom", func() bool {
					all, err := f.API.Clusters(f.Ctx)
					f.Must(err)
					return len(all) == 1 && all[0].Servers == 3 && !f.Found(analysis.UnusableName, "") &&
						!f.Found(analysis.UnknownReader, "")
				})
				f.FailsOver()
			})
		})
	}
}
