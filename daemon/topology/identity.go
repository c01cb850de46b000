package topology

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

// MadeUUID stands in for the server_uuid that MariaDB lacks. It is as good as its parts are, which are the variables of
// these names: two servers with one server_id, host name, port and data directory (containers made from one image) look
// like one, and a server whose server_id is changed looks like another.
func MadeUUID(serverID, hostname, port, datadir string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{serverID, hostname, port, datadir}, "\x00")))
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}
