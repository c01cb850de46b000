package analysis_test

import (
	"strings"
	"testing"

	"orchestrator/daemon/analysis"
	"orchestrator/daemon/drawing"
)

func TestWhatReplicasGet(t *testing.T) {
	check(t, []picture{
		{"a source that does not log what it replicates", "db1\n  db2 nologupdates\n    db3", "db2 IncompleteSource"},
		{"one without a binary log", "db1\n  db2 nobinlog\n    db3", "db2 IncompleteSource"},
		{"one that filters", "db1\n  db2 filters\n    db3", "db2 IncompleteSource"},
		{"a primary that logs a part", "db1 binlog_filters\n  db2", "db1 IncompleteSource"},
		{"a primary need not log what it does not replicate", "db1 nologupdates\n  db2", ""},
		{"without replicas nobody misses anything, until the primary must be replaced",
			"db1\n  db2 nologupdates\n  db3 filters", "db1 UnfitReplicas"},
		{"a receiver that hangs", "db1 exec=1-100000\n  db2 exec=1-100 recv=1-100 lag=0s\n  db3", "db2 ReplicaBehind"},
		{"a few may be under way", "db1 exec=1-100000\n  db2 exec=1-95000 recv=1-95000 lag=0s", ""},
		{"its source was asked later", "db1 exec=1-100000\n  db2 asked=2s exec=1-100 recv=1-100 lag=0s", ""},
		{"the clock tells it already", "db1 exec=1-100000\n  db2 exec=1-100 recv=1-100 lag=60s", "db2 ReplicaLagging"},
	})
}

func TestLocalWritesThatTheSourceHasPassed(t *testing.T) {
	check(t, []picture{
		{"its log shows that it lacks them", "db1 mariadb=10.11.6 exec=0-1-150 state=0-1-150+0-2-90\n" +
			"  db2 written=0-2-101 exec=0-2-101 state=0-1-100+0-2-101 recv=0-2-101", "db2 ErrantGTID"},
		{"it has them, from when the other was the primary", "db1 mariadb=10.11.6 exec=0-1-150 " +
			"state=0-1-150+0-2-101\n  db2 written=0-2-101 exec=0-2-101 recv=0-2-101", ""},
		{"its log tells nothing of that writer", "db1 mariadb=10.11.6 exec=0-1-150\n" +
			"  db2 written=0-2-101 exec=0-2-101 recv=0-2-101", ""},
	})
}

func TestErrantTransactionsAreToldAsGTIDs(t *testing.T) {
	found := analysis.Analyze(drawing.MustParse("db1 mariadb=10.11.6\n  db2 written=0-2-101 exec=0-2-101"),
		analysis.Defaults)
	if len(found) != 1 || !strings.HasSuffix(found[0].Says, "its source: 0-2-101. Read in "+
		"its binary log what they are, and make it read-only; then clone it again.") ||
		found[0].Transactions.Count() != 1 {
		t.Errorf("got %+v", found)
	}
}
