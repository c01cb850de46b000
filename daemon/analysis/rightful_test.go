package analysis_test

import (
	"strings"
	"testing"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/drawing"
)

// Most servers follow one that only passed on what another wrote: the findings say which one is the primary, and which
// of the two is to be made read-only.
func TestWhoIsThePrimaryByRightIsSaid(t *testing.T) {
	const between = "db1:3306 wrote what the replicas of db2:3306 have, so db1:3306 is the primary, and db2:3306 was " +
		"between the two. "
	const move = between + "Make db2:3306 read-only, and move its replicas under db1:3306."
	for _, c := range []struct{ name, drawing, code, want string }{
		{"an emptied intermediate lacks what they have", `
db1 of=c exec=db1:1-100
db2 of=c rw exec=none
  db3 exec=db1:1-90
  db4 exec=db1:1-90`, "SourceLacksTransactions", "Do not clone from it. " + move},
		{"and takes writes", `
db1 of=c exec=db1:1-100
db2 of=c rw exec=none
  db3 exec=db1:1-90`, "TwoWritable", "db1:3306 takes writes beside db2:3306, which more servers follow. " + move},
		{"on MariaDB", `
db1 mariadb=10.11.6 of=c exec=0-1-100
db2 mariadb=10.11.6 of=c rw exec=none
  db3 exec=0-1-90`, "TwoWritable", move},
		{"the primary is silent", `
db1 of=c down=timeout exec=db1:1-100
db2 of=c rw exec=none
  db3 exec=db1:1-90`, "SourceLacksTransactions", between + "Bring db1:3306 back."},
		{"an intermediate whose source somebody removed", `
db1 of=c
db2 of=c ro
  db3`, "PrimaryNotWritable", "db2:3306, the server of cluster c that most others follow, is read-only. " + move},
		{"two primaries, and each wrote", `
db1 of=c exec=db1:1-100
db2 of=c rw exec=db1:1-100+db2:1-5
  db3 exec=db1:1-100+db2:1-5`, "TwoWritable", "beside db2:3306, the primary of cluster c. Make the wrong one"},
	} {
		got := ""
		for _, f := range analysis.Analyze(drawing.MustParse(c.drawing), analysis.Defaults) {
			if string(f.Code) == c.code {
				got = f.Says
			}
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}
