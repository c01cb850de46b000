package plan_test

import (
	"strings"
	"testing"

	"orchestrator/daemon/plan"
)

func TestTheBoundNamesWhatCantBeKnown(t *testing.T) {
	w := plan.Preview(situation(`
db1 down
  db2 down
    db3 ioerr=2003 nogtid
  db4 ioerr=2003`)).Main()
	const want = "db3:3306 does not replicate by GTID: what only it received from db2:3306, which is out of reach, " +
		"can't be known, and is lost"
	if !strings.Contains(w.Bound, want) {
		t.Errorf("got %q, want %q in it", w.Bound, want)
	}
}
