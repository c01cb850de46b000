package analysis_test

import "testing"

func TestStrangeLocks(t *testing.T) {
	const holds = ` strangers="connection 7 of app@h holds the lock 'orchestrator'; it was ended"`
	check(t, []picture{
		{"at the primary", "db1" + holds + "\n  db2", "db1 StrangeLock"},
		{"at a replica", "db1\n  db2" + holds, "db2 StrangeLock"},
		{"a server that does not answer", "db1\n  db2 down" + holds, "db1 PrimarySingleReplicaDead, db2 ReplicaDead"},
	})
}

func TestPrivileges(t *testing.T) {
	const event = ` ungranted="GRANT EVENT ON *.* TO a: without it, events are not seen"`
	check(t, []picture{
		{"at the primary", "db1" + event + "\n  db2", "db1 MissingPrivileges"},
		{"two of them at a replica", "db1\n  db2" + event + ` ungranted="GRANT RELOAD ON *.* TO a: without it, x"`,
			"db2 MissingPrivileges"},
		{"a server that does not answer", "db1\n  db2 down" + event, "db1 PrimarySingleReplicaDead, db2 ReplicaDead"},
		{"nothing is missing", "db1\n  db2", ""},
	})
}
