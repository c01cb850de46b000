package server

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

// IdentityVariables are the variables that UUID is made of, as a list in SQL.
const IdentityVariables = "'server_uuid', 'server_id', 'hostname', 'port', 'datadir'"

// AskIdentity gives them.
var AskIdentity = Statement{Text: "SHOW GLOBAL VARIABLES WHERE VARIABLE_NAME IN (" + IdentityVariables + ")"}

// UUID tells the server from every other one, from the values of its IdentityVariables: the server_uuid of MySQL.
// MariaDB has none, and gets one that is made of the others. It is as good as they are: two servers with one server_id,
// host name, port and data directory (containers made from one image) look like one, and a server whose server_id is
// changed looks like another.
func UUID(variables Row) string {
	if own := variables.Get("server_uuid"); own != "" {
		return strings.ToLower(own)
	}
	var parts []string
	for _, name := range []string{"server_id", "hostname", "port", "datadir"} {
		parts = append(parts, variables.Get(name))
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}
