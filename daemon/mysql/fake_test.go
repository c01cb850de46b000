package mysql

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"orchestrator/daemon/topology"
)

// fake speaks the wire protocol as a server of some version: it lets everybody in, answers what the version knows, and
// says 1064 or 1193 to the rest. It keeps what it was asked: one text for each round trip.
type fake struct {
	version string
	answers func(q string) (columns []string, rows [][]string, errno uint16)
	mu      sync.Mutex
	asked   []string
}

// null is a NULL in an answer.
const null = "\x00null"

func (f *fake) start(t *testing.T) topology.Key { return listen(t, f.serve) }

// taken returns what was asked since the last time.
func (f *fake) taken() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.asked
	f.asked = nil
	return out
}

func (f *fake) serve(c net.Conn) {
	// protocol 41, secure connection, plugin auth
	// and several statements at once
	const capabilities = 0x00000200 | 0x00008000 | 0x00080000 | 0x00030000 | 1
	g := append([]byte{10}, f.version+"\x00"...)
	g = append(g, 1, 0, 0, 0)
	g = append(g, "abcdefgh\x00"...)
	g = binary.LittleEndian.AppendUint16(g, capabilities&0xffff)
	g = append(g, 45, 2, 0)
	g = binary.LittleEndian.AppendUint16(g, capabilities>>16)
	g = append(g, 21, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	g = append(g, "ijklmnopqrst\x00mysql_native_password\x00"...)
	seq := byte(0)
	send := func(p []byte) {
		_, _ = c.Write(append([]byte{byte(len(p)), byte(len(p) >> 8), byte(len(p) >> 16), seq}, p...))
		seq++
	}
	receive := func() []byte {
		var h [4]byte
		if _, err := io.ReadFull(c, h[:]); err != nil {
			return nil
		}
		p := make([]byte, int(h[0])|int(h[1])<<8|int(h[2])<<16)
		if _, err := io.ReadFull(c, p); err != nil {
			return nil
		}
		seq = h[3] + 1
		return p
	}
	send(g)
	if receive() == nil {
		return
	}
	send([]byte{0, 0, 0, 2, 0, 0, 0})
	answer := func(q string, more byte) bool {
		ok, eof := []byte{0, 0, 0, 2 | more, 0, 0, 0}, []byte{0xfe, 0, 0, 2 | more, 0}
		columns, rows, errno := f.answers(q)
		if errno != 0 {
			e := binary.LittleEndian.AppendUint16([]byte{0xff}, errno)
			send(append(e, "#42000the fake does not know this"...))
			return false
		}
		if len(columns) == 0 {
			send(ok)
			return true
		}
		text := func(b []byte, s string) []byte {
			if s == null {
				return append(b, 0xfb)
			}
			if len(s) < 251 {
				return append(append(b, byte(len(s))), s...)
			}
			return append(append(b, 0xfc, byte(len(s)), byte(len(s)>>8)), s...)
		}
		send([]byte{byte(len(columns))})
		for _, name := range columns {
			d := text(nil, "def")
			for _, s := range []string{"", "", "", name, name} {
				d = text(d, s)
			}
			send(append(d, 12, 45, 0, 255, 0, 0, 0, 253, 0, 0, 0, 0, 0))
		}
		send(eof)
		for _, r := range rows {
			var b []byte
			for _, s := range r {
				b = text(b, s)
			}
			send(b)
		}
		send(eof)
		return true
	}
	for {
		p := receive()
		if len(p) == 0 || p[0] != 3 {
			return
		}
		q := string(p[1:])
		f.mu.Lock()
		f.asked = append(f.asked, q)
		f.mu.Unlock()
		all := strings.Split(q, ";\n")
		for n, one := range all {
			const moreResults = 8
			more := byte(moreResults)
			if n == len(all)-1 {
				more = 0
			}
			if !answer(one, more) {
				break
			}
		}
	}
}

const (
	uuid   = "00000000-0000-0000-0000-000000000001"
	source = "00000000-0000-0000-0000-000000000009"
)

// replicaOf answers as a replica of that version does. Words that the version does not know are errors.
func replicaOf(t *testing.T, version string) *fake {
	flavor, v, err := topology.ParseVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	maria := flavor == topology.MariaDB
	newWords := !maria && v.AtLeast(8, 0, 22) // columns of SHOW REPLICA STATUS
	onlyNew := !maria && v.AtLeast(8, 4, 0)
	status := map[string]string{
		"Source_Host": "DB9", "Source_Port": "3307", "Source_User": "repl", "Source_UUID": source,
		"Source_Server_Id": "9", "Replica_IO_Running": "Connecting", "Replica_SQL_Running": "Yes",
		"Last_IO_Errno": "2003", "Last_IO_Error": "can't connect", "Last_SQL_Errno": "0",
		"Source_Log_File": "bin.000002", "Read_Source_Log_Pos": "400",
		"Relay_Source_Log_File": "bin.000002", "Exec_Source_Log_Pos": "300",
		"Seconds_Behind_Source": null, "SQL_Delay": "7", "Replicate_Do_DB": "x", "Source_SSL_Allowed": "Yes",
	}
	executed, received := source+":1-5", source+":1-8"
	if maria {
		delete(status, "Source_UUID")
		status["Connection_name"], status["Using_Gtid"], status["Gtid_IO_Pos"] = "", "Slave_Pos", "0-9-8"
		status["Slave_heartbeat_period"], status["Slave_received_heartbeats"] = "2.500", "12"
	} else {
		status["Channel_Name"], status["Auto_Position"] = "", "1"
		status["Retrieved_Gtid_Set"], status["Executed_Gtid_Set"] = received, executed
	}
	var columns, values []string
	for name, value := range status {
		if !newWords && !strings.HasPrefix(name, "Replicate_") {
			name = strings.ReplaceAll(strings.ReplaceAll(name, "Source", "Master"), "Replica_", "Slave_")
		}
		columns, values = append(columns, name), append(values, value)
	}
	one := func(kv ...string) ([]string, [][]string, uint16) {
		var c, r []string
		for i := 0; i < len(kv); i += 2 {
			c, r = append(c, kv[i]), append(r, kv[i+1])
		}
		return c, [][]string{r}, 0
	}
	return &fake{version: version, answers: func(q string) ([]string, [][]string, uint16) {
		switch {
		case strings.HasPrefix(q, "SELECT VERSION()"):
			return one("version", version, "account", "orc@%")
		case strings.HasPrefix(q, "SHOW GLOBAL VARIABLES"):
			rows := [][]string{{"server_id", "1"}, {"hostname", "box"}, {"report_host", "db1"}, {"port", "3306"},
				{"datadir", "/d/"}, {"log_bin", "ON"},
				{"binlog_format", "ROW"}, {"performance_schema", "ON"}}
			if !maria {
				rows = append(rows, []string{"server_uuid", uuid}, []string{"gtid_mode", "ON"})
			}
			if onlyNew {
				rows = append(rows, []string{"log_replica_updates", "ON"}, []string{"rpl_semi_sync_replica_enabled",
					"ON"})
			} else {
				rows = append(rows, []string{"log_slave_updates", "ON"}, []string{"rpl_semi_sync_slave_enabled", "ON"})
			}
			return []string{"Variable_name", "Value"}, rows, 0
		case strings.HasPrefix(q, "SELECT IS_USED_LOCK("):
			return one("holder", null, "first_mark", null, "last_mark", null)
		case strings.HasPrefix(q, "SHOW GLOBAL STATUS"):
			return []string{"Variable_name", "Value"}, [][]string{{"Uptime", "100"}}, 0
		case q == "SHOW SLAVE HOSTS" && !onlyNew:
			return one("Server_id", "2", "Host", "DB2", "Port", "3308", "Master_id", "1")
		case q == "SHOW REPLICAS" && newWords:
			return one("Server_Id", "2", "Host", "DB2", "Port", "3308", "Source_Id", "1")
		case q == "SHOW MASTER STATUS" && !onlyNew, q == "SHOW BINARY LOG STATUS" && onlyNew:
			return one("File", "own.000001", "Position", "123")
		case q == "SHOW SLAVE STATUS" && !maria && !newWords, q == "SHOW REPLICA STATUS" && newWords,
			q == "SHOW ALL SLAVES STATUS" && maria:
			return columns, [][]string{values}, 0
		case strings.Contains(q, "gtid_purged") && !maria:
			return one("purged", source+":1-2")
		case strings.Contains(q, "performance_schema.processlist") && (maria || !v.AtLeast(8, 0, 22)):
			return nil, nil, 1146
		case strings.Contains(q, "gtid_slave_pos") && maria:
			return one("read_only", "NO_LOCK", "slave_pos", "0-9-5", "binlog_pos", "0-9-5", "command", null, "state",
				null, "seconds", null, "info", null)
		case strings.Contains(q, "super_read_only") && !maria:
			return one("read_only", "1", "super_read_only", "0", "executed", executed, "command", null, "state", null,
				"seconds", null, "info", null)
		}
		return nil, nil, 1064
	}}
}

func TestVersions(t *testing.T) {
	for _, version := range []string{"5.7.44-log", "8.0.20", "8.0.21", "8.0.22", "8.0.23", "8.0.25", "8.0.26",
		"8.0.36-28", "8.4.3", "9.7.0",
		"10.5.2-MariaDB-log", "10.11.19-MariaDB", "5.5.5-11.4.2-MariaDB", "12.1.2-MariaDB"} {
		t.Run(version, func(t *testing.T) {
			f := replicaOf(t, version)
			k := f.start(t)
			s := New(Options{User: "orc"})
			defer func() { _ = s.Close() }()
			i, _, err := s.Probe(t.Context(), k)
			if err != nil {
				t.Fatalf("%v; asked %q", err, f.taken())
			}
			if i.UUID == "" || i.ServerID != 1 || i.Hostname != "box" || i.ReportHost != "db1" || i.Port != 3306 ||
				!i.ReadOnly || i.SuperReadOnly || !i.LogBin ||
				!i.LogReplicaUpdates || i.BinlogFormat != "ROW" || !i.GTID || i.Executed.Empty() ||
				!i.SemiSync.ReplicaEnabled || i.SemiSync.SourceEnabled || i.StartedAt.IsZero() {
				t.Errorf("it says %+v", i)
			}
			if i.StartedAt == i.StartedAt.Round(0) {
				t.Errorf("started at %v: by the wall clock only, and when that is set all servers seem to have "+
					"restarted", i.StartedAt)
			}
			if !slices.Equal(i.Registered, []topology.Key{{Host: "db2", Port: 3308}}) {
				t.Errorf("registered %v", i.Registered)
			}
			if len(i.Channels) != 1 {
				t.Fatalf("channels %+v", i.Channels)
			}
			c := i.Channels[0]
			if c.Source != (topology.Key{Host: "db9", Port: 3307}) || c.SourceID != 9 || c.User != "repl" ||
				c.IO != topology.Connecting || c.SQL != topology.Running ||
				c.IOErrno != 2003 || c.IOError == "" || c.ReadFile != "bin.000002" || c.ReadPos != 400 ||
				c.ExecPos != 300 || c.Lag != nil || c.Delay != 7 ||
				!c.Filters || !c.SSL || !c.AutoPosition || c.Drained(i.Executed) {
				t.Errorf("the channel says %+v", c)
			}
			f.taken()
			for range 5 {
				if _, _, err := s.Probe(t.Context(), k); err != nil {
					t.Fatal(err)
				}
				if asked := f.taken(); len(asked) > 1 {
					t.Errorf("a steady poll asked %q", asked)
				}
			}
		})
	}
}

func TestAnUnknownGrantIsNamed(t *testing.T) {
	f := replicaOf(t, "8.4.3")
	answers := f.answers
	f.answers = func(q string) ([]string, [][]string, uint16) {
		if q == "SHOW REPLICA STATUS" {
			return nil, nil, 1227
		}
		return answers(q)
	}
	s := New(Options{User: "orc"})
	defer func() { _ = s.Close() }()
	_, failure, err := s.Probe(t.Context(), f.start(t))
	if want := "GRANT REPLICATION CLIENT ON *.* TO 'orc'@'%'"; failure != topology.Denied ||
		!strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %s", failure, err, want)
	}
}

func TestStallsAreNamed(t *testing.T) {
	for _, c := range []struct{ state, cause string }{
		{"Waiting for someone to free space", "disk_full"},
		{"Waiting for semi-sync ACK from replica", "semi_sync"},
		{"waiting for handler commit", "commit"},
	} {
		got, dumps := stall([]thread{{"Binlog Dump GTID", "", 0}, {"Query", "Waiting for commit lock", 99}, {"Query",
			c.state, 100}})
		if got == nil || got.Cause != c.cause || got.Count != 2 || got.Seconds != 100 || dumps != 1 {
			t.Errorf("%s: %+v, %d dumps", c.state, got, dumps)
		}
	}
}
