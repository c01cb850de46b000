package swarm

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"orchestrator/daemon/topology"
)

// all is everything that a server has executed.
func (v *Server) all() position { return v.executed.with(v.slavePos) }

// variable is what SELECT @@GLOBAL says.
func (v *Server) variable(name string) (string, error) {
	value, ok := "", true
	if v.Flavor == topology.MariaDB {
		switch name {
		case "gtid_slave_pos":
			value = v.slavePos.String()
		case "gtid_binlog_pos", "gtid_binlog_state":
			value = v.executed.String()
		case "gtid_current_pos":
			value = v.all().String()
		default:
			ok = false
		}
	} else {
		switch name {
		case "super_read_only":
			value = digit(v.superReadOnly)
		case "gtid_executed":
			value = v.executed.String()
		case "gtid_purged":
		default:
			ok = false
		}
	}
	switch name {
	case "read_only":
		value, ok = digit(v.readOnly), true
	case "event_scheduler":
		value, ok = "OFF", true
		if v.scheduler {
			value = "ON"
		}
	}
	if !ok {
		return "", &refusal{errVariable, fmt.Sprintf("Unknown system variable '%s'", name)}
	}
	return value, nil
}

func digit(on bool) string {
	if on {
		return "1"
	}
	return "0"
}

// variables are what SHOW GLOBAL VARIABLES says, of those that the daemon asks for.
func (v *Server) variables() map[string]string {
	all := map[string]string{"server_id": strconv.Itoa(int(v.id)), "hostname": "swarm", "report_host": v.Key.Host,
		"port": strconv.Itoa(v.Key.Port), "datadir": fmt.Sprintf("/var/lib/swarm/%s/", v.Key.Host), "log_bin": "ON",
		"log_slave_updates": "ON", "binlog_format": "ROW", "performance_schema": "OFF"}
	if v.Flavor == topology.MySQL {
		all["server_uuid"], all["gtid_mode"], all["log_replica_updates"] = v.uuid, "ON", "ON"
		all["performance_schema"] = "ON"
	} else {
		all["rpl_semi_sync_master_enabled"], all["rpl_semi_sync_slave_enabled"] = "OFF", "OFF"
		all["rpl_semi_sync_master_timeout"] = "10000"
	}
	return all
}

// status is what SHOW GLOBAL STATUS says.
func (v *Server) status() map[string]string {
	all := map[string]string{"uptime": strconv.Itoa(int(time.Since(v.started).Seconds()))}
	if v.Flavor == topology.MariaDB {
		all["rpl_semi_sync_master_clients"] = "0"
		all["rpl_semi_sync_master_status"], all["rpl_semi_sync_slave_status"] = "OFF", "OFF"
	}
	return all
}

var (
	quotedName = regexp.MustCompile(`'(\w+)'`)
	nameHead   = define([]column{{name: "Variable_name"}, {name: "Value"}})
)

// named is a list of variables by name.
func named(_ topology.Flavor, g []string) (statement, bool) {
	var names []string
	for _, m := range quotedName.FindAllStringSubmatch(g[2], -1) {
		names = append(names, strings.ToLower(m[1]))
	}
	slices.Sort(names)
	variables := strings.EqualFold(g[1], "VARIABLES")
	return func(s *session) (table, error) {
		all := s.server.status()
		if variables {
			all = s.server.variables()
		}
		t := table{head: nameHead}
		for _, n := range names {
			if value, ok := all[n]; ok {
				t.rows = append(t.rows, []string{n, value})
			}
		}
		return t, nil
	}, len(names) > 0
}

var grantHead = define([]column{{name: "Grants for " + User + "@%"}})

func grants(*session) (table, error) {
	return table{head: grantHead, rows: [][]string{{"GRANT ALL PRIVILEGES ON *.* TO `" + User + "`@`%`"}}}, nil
}

var (
	hostsHead    = define([]column{{"Server_id", true}, {"Host", false}, {"Port", true}, {"Master_id", true}})
	replicasHead = define([]column{{"Server_Id", true}, {"Host", false}, {"Port", true}, {"Source_Id", true},
		{"Replica_UUID", false}})
)

// replicas are those that are connected, and what else has registered.
func replicas(s *session) (table, error) {
	v := s.server
	t := table{head: hostsHead}
	if v.Flavor == topology.MySQL {
		t.head = replicasHead
	}
	list := func(id uint32, k topology.Key, uuid string) {
		row := []string{strconv.Itoa(int(id)), k.Host, strconv.Itoa(k.Port), strconv.Itoa(int(v.id)), uuid}
		t.rows = append(t.rows, row[:len(t.head)])
	}
	for c := range v.followers {
		list(c.at.id, c.at.Key, c.at.uuid)
	}
	if v.registered != nil {
		for n, k := range v.registered() {
			list(uint32(n), k, fmt.Sprintf("5a4a0001-0000-11f1-9253-%012x", n))
		}
	}
	return t, nil
}

var (
	masterHead = define([]column{{"File", false}, {"Position", true}, {"Binlog_Do_DB", false},
		{"Binlog_Ignore_DB", false}})
	binlogHead = append(masterHead[:len(masterHead):len(masterHead)], define([]column{{"Executed_Gtid_Set", false}})...)
)

func binlogStatus(s *session) (table, error) {
	v := s.server
	v.settle(time.Now())
	t := table{head: masterHead}
	if v.Flavor == topology.MySQL {
		t.head = binlogHead
	}
	row := []string{binlogFile, coordinate(v.executed), "", "", v.executed.String()}
	t.rows = [][]string{row[:len(t.head)]}
	return t, nil
}

var logsHead = define([]column{{"Log_name", false}, {"File_size", true}})

// binaryLogs is the one that there is.
func binaryLogs(s *session) (table, error) {
	v := s.server
	v.settle(time.Now())
	return table{logsHead, [][]string{{binlogFile, coordinate(v.executed)}}}, nil
}

const binlogFile = "binlog.000001"

// coordinate is where in a binary log a position is found, when each transaction takes 300 bytes.
func coordinate(p position) string { return strconv.FormatUint(157+300*p.count(), 10) }

// field is a column of the replication status: what a channel says, or always the same.
type field struct {
	column
	says  func(c *channel) string
	fixed string
}

// The columns of real servers, in their order; '#' marks a number, and what follows '=' is always said.
const (
	mysqlFields = `
Replica_IO_State=Waiting_for_source_to_send_event Source_Host Source_User Source_Port# Connect_Retry#=1
Source_Log_File Read_Source_Log_Pos# Relay_Log_File=relay.000002 Relay_Log_Pos#=666 Relay_Source_Log_File
Replica_IO_Running Replica_SQL_Running Replicate_Do_DB= Replicate_Ignore_DB= Replicate_Do_Table=
Replicate_Ignore_Table= Replicate_Wild_Do_Table= Replicate_Wild_Ignore_Table= Last_Errno#=0 Last_Error=
Skip_Counter#=0 Exec_Source_Log_Pos# Relay_Log_Space#=867 Until_Condition=None Until_Log_File= Until_Log_Pos#=0
Source_SSL_Allowed Source_SSL_CA_File= Source_SSL_CA_Path= Source_SSL_Cert= Source_SSL_Cipher= Source_SSL_Key=
Seconds_Behind_Source# Source_SSL_Verify_Server_Cert=No Last_IO_Errno# Last_IO_Error Last_SQL_Errno#=0 Last_SQL_Error=
Replicate_Ignore_Server_Ids= Source_Server_Id# Source_UUID Source_Info_File=mysql.slave_master_info SQL_Delay#=0
SQL_Remaining_Delay#=NULL Replica_SQL_Running_State=Replica_has_read_all_relay_log Source_Retry_Count#=86400
Source_Bind= Last_IO_Error_Timestamp= Last_SQL_Error_Timestamp= Source_SSL_Crl= Source_SSL_Crlpath= Retrieved_Gtid_Set
Executed_Gtid_Set Auto_Position# Replicate_Rewrite_DB= Channel_Name Source_TLS_Version= Source_public_key_path=
Get_Source_public_key#=1 Network_Namespace=`
	mariaFields = `
Connection_name Slave_SQL_State=Slave_has_read_all_relay_log Slave_IO_State=Waiting_for_master_to_send_event
Master_Host Master_User Master_Port# Connect_Retry#=1 Master_Log_File Read_Master_Log_Pos# Relay_Log_File=relay.000002
Relay_Log_Pos#=666 Relay_Master_Log_File Slave_IO_Running Slave_SQL_Running Replicate_Do_DB= Replicate_Ignore_DB=
Replicate_Do_Table= Replicate_Ignore_Table= Replicate_Wild_Do_Table= Replicate_Wild_Ignore_Table= Last_Errno#=0
Last_Error= Skip_Counter#=0 Exec_Master_Log_Pos# Relay_Log_Space#=1157 Until_Condition=None Until_Log_File=
Until_Log_Pos#=0 Master_SSL_Allowed Master_SSL_CA_File= Master_SSL_CA_Path= Master_SSL_Cert= Master_SSL_Cipher=
Master_SSL_Key= Seconds_Behind_Master# Master_SSL_Verify_Server_Cert=No Last_IO_Errno# Last_IO_Error Last_SQL_Errno#=0
Last_SQL_Error= Replicate_Ignore_Server_Ids= Master_Server_Id# Master_SSL_Crl= Master_SSL_Crlpath= Using_Gtid
Gtid_IO_Pos Replicate_Do_Domain_Ids= Replicate_Ignore_Domain_Ids= Parallel_Mode=optimistic SQL_Delay#=0
SQL_Remaining_Delay#=NULL Slave_SQL_Running_State=Slave_has_read_all_relay_log Slave_DDL_Groups#=0
Slave_Non_Transactional_Groups#=0 Slave_Transactional_Groups#=1 Replicate_Rewrite_DB= Retried_transactions#=0
Max_relay_log_size#=1073741824 Executed_log_entries#=11 Slave_received_heartbeats#=0 Slave_heartbeat_period=30.000
Gtid_Slave_Pos`
)

// said is what a channel says in the columns that are not fixed, by the name that the first of the two vocabularies
// has.
var said = map[string]func(c *channel) string{
	"Connection_name":       func(c *channel) string { return c.name },
	"Master_Host":           func(c *channel) string { return c.source.Host },
	"Master_User":           func(c *channel) string { return c.user },
	"Master_Port":           func(c *channel) string { return strconv.Itoa(c.source.Port) },
	"Master_Log_File":       func(*channel) string { return binlogFile },
	"Read_Master_Log_Pos":   func(c *channel) string { return coordinate(c.received) },
	"Relay_Master_Log_File": func(*channel) string { return binlogFile },
	"Exec_Master_Log_Pos":   func(c *channel) string { return coordinate(c.applied()) },
	"Slave_IO_Running":      func(c *channel) string { return string(c.io) },
	"Slave_SQL_Running":     func(c *channel) string { return yes(c.sql) },
	"Master_SSL_Allowed":    func(c *channel) string { return yes(c.ssl) },
	"Seconds_Behind_Master": behind,
	"Last_IO_Errno":         func(c *channel) string { return strconv.Itoa(c.errno) },
	"Last_IO_Error":         func(c *channel) string { return c.problem },
	"Master_Server_Id":      func(c *channel) string { return strconv.Itoa(int(c.sourceID)) },
	"Master_UUID":           func(c *channel) string { return c.sourceUUID },
	"Retrieved_Gtid_Set":    func(c *channel) string { return c.received.String() },
	"Executed_Gtid_Set":     func(c *channel) string { return c.at.executed.String() },
	"Auto_Position":         func(c *channel) string { return digit(c.auto) },
	"Gtid_IO_Pos":           func(c *channel) string { return c.received.String() },
	"Gtid_Slave_Pos":        func(c *channel) string { return c.at.slavePos.String() },
	"Using_Gtid": func(c *channel) string {
		if c.auto {
			return "Slave_Pos"
		}
		return "No"
	},
}

func yes(on bool) string {
	if on {
		return "Yes"
	}
	return "No"
}

func behind(c *channel) string {
	if c.io != running || !c.sql {
		return null
	}
	return "0"
}

// applied is what of the received is executed; nothing is applied halfway.
func (c *channel) applied() position {
	if !c.sql {
		return c.at.executed
	}
	return c.received
}

// statusFields are the columns by flavour, and statusHeads the packets that define them.
var (
	statusFields = map[topology.Flavor][]field{
		topology.MySQL:   parseFields(mysqlFields),
		topology.MariaDB: parseFields(mariaFields),
	}
	statusHeads = map[topology.Flavor][][]byte{
		topology.MySQL:   headOf(topology.MySQL),
		topology.MariaDB: headOf(topology.MariaDB),
	}
)

var oldWords = strings.NewReplacer("Source", "Master", "Replica_", "Slave_", "Channel_Name", "Connection_name")

func parseFields(list string) (out []field) {
	for _, word := range strings.Fields(list) {
		name, fixed, isFixed := strings.Cut(word, "=")
		f := field{fixed: strings.ReplaceAll(fixed, "_", " ")}
		f.name, f.number = strings.CutSuffix(name, "#")
		if fixed == "NULL" {
			f.fixed = null
		}
		if strings.Contains(fixed, ".") { // a name of a file
			f.fixed = fixed
		}
		if !isFixed {
			if f.says = said[oldWords.Replace(f.name)]; f.says == nil {
				panic("no channel says " + f.name)
			}
		}
		out = append(out, f)
	}
	return out
}

func headOf(f topology.Flavor) [][]byte {
	var columns []column
	for _, one := range statusFields[f] {
		columns = append(columns, one.column)
	}
	return define(columns)
}

func replicaStatus(s *session) (table, error) {
	v := s.server
	v.settle(time.Now())
	t := table{head: statusHeads[v.Flavor]}
	for _, c := range v.channels {
		row := make([]string, 0, len(t.head))
		for _, f := range statusFields[v.Flavor] {
			if f.says != nil {
				row = append(row, f.says(c))
			} else {
				row = append(row, f.fixed)
			}
		}
		t.rows = append(t.rows, row)
	}
	return t, nil
}
