package analysis_test

import "testing"

func TestEventsThatNobodyRuns(t *testing.T) {
	check(t, []picture{
		{"events of a former primary", "db1 scheduler dormant=shop.purge\n  db2", "db1 EventsNotRun"},
		{"the scheduler is off as well", "db1 dormant=shop.purge dormant=shop.sum\n  db2", "db1 EventsNotRun"},
		{"a replica leaves them to its source", "db1\n  db2 dormant=shop.purge", ""},
		{"in a circle the other one runs them", "db1 source=db2 dormant=shop.purge\n  db2 ro\n  db3",
			"db1 PrimaryNotWritable"},
		{"a read-only primary runs none", "db1 ro dormant=shop.purge\n  db2", "db1 PrimaryNotWritable"},
	})
}
