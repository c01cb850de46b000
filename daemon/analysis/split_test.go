package analysis_test

import (
	"slices"
	"strings"
	"testing"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/drawing"
	"orchestrator/daemon/topology"
)

// Of two replicas that were opened beside a dead primary it is said since when, and what each has that the other lacks.
func TestTwoReplicasWereOpened(t *testing.T) {
	for _, c := range []struct{ name, drawing, want string }{
		{"each wrote", `
db1 down
  db4 ioerr=2003
db2 of=db1 rw left=db1,1s exec=db1:1-100+db2:1-5
db3 of=db1 rw left=db1,2s exec=db1:1-100`, `db2:3306: read_only is off, it has 0 replicas and 0 sources
db1:3306: connection refused, for 5 s, 5 times in a row
db2:3306: takes writes, and was last seen as a replica of db1:3306 1 s ago
db3:3306: takes writes, and was last seen as a replica of db1:3306 2 s ago
db2:3306: has 5 transactions that db3:3306 lacks: ` + drawing.UUID(topology.Key{Host: "db2", Port: 3306}) + `:1-5
db3:3306: has nothing that db2:3306 lacks`},
		{"MariaDB, where only the last writer is known", `
db1 mariadb=10.11.6 down
  db4 ioerr=2003
db2 of=db1 mariadb=10.11.6 rw left=db1,1s exec=0-2-105
db3 of=db1 mariadb=10.11.6 rw left=db1,1s exec=0-3-103`, `db2:3306: read_only is off, it has 0 replicas and 0 sources
db1:3306: connection refused, for 5 s, 5 times in a row
db2:3306: takes writes, and was last seen as a replica of db1:3306 1 s ago
db3:3306: takes writes, and was last seen as a replica of db1:3306 1 s ago
db2:3306: is at 0-2-105; what of that db3:3306 lacks can't be counted, because MariaDB names only the last writer: ` +
			`read its binary log
db3:3306: is at 0-3-103; what of that db2:3306 lacks can't be counted, because MariaDB names only the last writer: ` +
			`read its binary log`},
		{"three", `
db1 down
  db5 ioerr=2003
db2 of=db1 rw left=db1,1s
db3 of=db1 rw left=db1,1s
db4 of=db1 rw left=db1,1s`, ""},
	} {
		found := analysis.Analyze(drawing.MustParse(c.drawing), analysis.Defaults)
		i := slices.IndexFunc(found, func(f analysis.Finding) bool { return f.Code == analysis.TwoWritable })
		if i < 0 {
			t.Fatalf("%s: found %v", c.name, found)
		}
		if got := strings.Join(found[i].Evidence, "\n"); c.want != "" && got != c.want {
			t.Errorf("%s: got\n%s", c.name, got)
		}
		so := "and so does db3:3306:"
		if c.name == "three" {
			so = "and so do db3:3306 and db4:3306:"
		}
		if says := found[i].Says; !strings.Contains(says, so) ||
			!strings.HasSuffix(says, "rebuild those that have what it lacks.") {
			t.Errorf("%s: %s", c.name, says)
		}
	}
}
