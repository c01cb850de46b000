package hard

import (
	"context"
	wire "encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/topology"
	"orchestrator/tests/lab"
	"orchestrator/tests/watched"
)

// The commands of the protocol by which a replica registers, and asks for the binary log.
const (
	registers = 0x15
	dumps     = 0x12
)

// reader is a change-data reader: it registers as a replica would, and reads the binary log.
type reader struct {
	id   uint32
	host string
	port uint16
}

// reads has the reader log in, register and read, until the test ends. The driver logs in, and after that has the
// connection no more.
func (r reader) reads(f *watched.Fleet, s *lab.Server) {
	f.Helper()
	conn := r.logsIn(f, s)
	file, err := s.Row(f.Ctx, say(s.Flavor, "SHOW MASTER STATUS", "SHOW BINARY LOG STATUS"))
	f.Must(err)
	f.Must(r.command(conn, "\x03SET @master_binlog_checksum = 'NONE'"))
	f.Must(r.command(conn, r.registration()))
	dump := wire.LittleEndian.AppendUint32([]byte{dumps}, 4)
	dump = wire.LittleEndian.AppendUint16(dump, 0)
	dump = append(wire.LittleEndian.AppendUint32(dump, r.id), file["File"]...)
	f.Must(send(conn, string(dump)))
	go func() { _, _ = io.Copy(io.Discard, conn) }()
}

// registers has the reader log in and register as a server with a UUID, until the test ends.
func (r reader) registers(f *watched.Fleet, s *lab.Server, uuid string) {
	f.Helper()
	conn := r.logsIn(f, s)
	f.Must(r.command(conn, fmt.Sprintf("\x03SET @slave_uuid = '%s', @replica_uuid = '%s'", uuid, uuid)))
	f.Must(r.command(conn, r.registration()))
}

func (r reader) logsIn(f *watched.Fleet, s *lab.Server) net.Conn {
	f.Helper()
	c := mysql.NewConfig()
	c.User, c.Passwd, c.Addr = lab.ReplicationUser, lab.ReplicationPassword, s.Key.String()
	conns := make(chan net.Conn, 1)
	c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			conns <- conn
		}
		return conn, err
	}
	connector, err := mysql.NewConnector(c)
	f.Must(err)
	logged, err := connector.Connect(f.Ctx)
	f.Must(err)
	conn := <-conns
	f.Cleanup(func() {
		conn.Close()
		logged.Close()
	})
	return conn
}

func (r reader) registration() string {
	b := wire.LittleEndian.AppendUint32([]byte{registers}, r.id)
	b = append(append(b, byte(len(r.host))), r.host...)
	b = append(b, 0, 0) // no user, no password
	b = wire.LittleEndian.AppendUint16(b, r.port)
	return string(wire.LittleEndian.AppendUint64(b, 0))
}

func send(conn net.Conn, command string) error {
	n := len(command)
	_, err := conn.Write(append([]byte{byte(n), byte(n >> 8), byte(n >> 16), 0}, command...))
	return err
}

// command is answered by OK, or is an error.
func (r reader) command(conn net.Conn, command string) error {
	if err := send(conn, command); err != nil {
		return err
	}
	head := make([]byte, 4)
	if _, err := io.ReadFull(conn, head); err != nil {
		return err
	}
	answer := make([]byte, int(head[0])|int(head[1])<<8)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	if len(answer) == 0 || answer[0] != 0 {
		return fmt.Errorf("the server answers %q", answer)
	}
	return nil
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
