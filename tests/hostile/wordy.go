package hostile

import (
	"regexp"
	"strings"
)

var alias = regexp.MustCompile(`\bAS (\w+)`)

// Wordy answers all that a daemon asks of MySQL, as a server does that replicates, and makes each text so long.
func Wordy(length int) Act {
	long := strings.Repeat("x", length)
	values := map[string]string{"version": "8.4.0-" + long, "account": "orchestrator@%", "super_read_only": "1",
		"executed": "11111111-1111-1111-1111-111111111111:1-9", "purged": ""}
	rows := func(question, address string) (names []string, rows [][]string) {
		switch {
		case strings.HasPrefix(question, "SHOW GLOBAL VARIABLES"):
			return []string{"Variable_name", "Value"}, [][]string{{"server_uuid", address + long}, {"server_id", "7"},
				{"hostname", long}, {"report_host", long}, {"port", "3306"}, {"binlog_format", long}, {"log_bin", "ON"}}
		case strings.HasPrefix(question, "SHOW GLOBAL STATUS"):
			return []string{"Variable_name", "Value"}, [][]string{{"Uptime", "100"}}
		case strings.HasPrefix(question, "SHOW REPLICA STATUS"):
			names = []string{"Source_Host", "Source_Port", "Channel_Name", "Last_IO_Errno", "Last_IO_Error",
				"Last_SQL_Error", "Source_User", "Source_UUID"}
			return names, [][]string{{"127.0.0.9", "1", long, "2003", long, long, long, long}}
		case strings.HasPrefix(question, "SHOW REPLICAS"):
			return []string{"Server_Id", "Host", "Port", "Replica_UUID"}, [][]string{{"8", long, "3306", long}}
		}
		var row []string
		for _, m := range alias.FindAllStringSubmatch(question, -1) {
			names, row = append(names, m[1]), append(row, values[m[1]])
		}
		return append(names, "last"), [][]string{append(row, "")}
	}
	return func(s *Session) {
		questions := strings.Split(string(s.Question[1:]), ";\n")
		for n, q := range questions {
			names, all := rows(q, s.LocalAddr().String())
			s.Head(names...)
			for _, r := range all {
				s.Row(r...)
			}
			if n < len(questions)-1 {
				s.Send(MoreEOF)
			} else {
				s.Send(EOF)
			}
		}
	}
}
