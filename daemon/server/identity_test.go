package server

import "testing"

func identityOf(uuid, id, host, port, dir string) string {
	return UUID(Row{names: []string{"Server_UUID", "server_id", "hostname", "port", "datadir"}, cells: []string{uuid,
		id, host, port, dir}})
}

func TestUUID(t *testing.T) {
	if got := identityOf("ABC-1", "1", "db1", "3306", "/data"); got != "abc-1" {
		t.Errorf("a server that has one is called %s", got)
	}
	one := identityOf("", "1", "db1", "3306", "/data")
	// Backends remember it: it must never change.
	if one != "274a9410-8774-c6b5-1354-1ef9cd6c74c5" {
		t.Errorf("another one than before: %s", one)
	}
	if identityOf("", "1", "db1", "3306", "/data2") == one || identityOf("", "1", "2", "", "") == identityOf("", "12",
		"", "", "") {
		t.Error("two servers look like one")
	}
}
