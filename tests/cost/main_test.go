package main

import "testing"

func TestShapeTellsWhatAStatementIsForAndNoValues(t *testing.T) {
	for _, c := range []struct{ kind, text, want string }{
		{"Query", "SELECT\n\tholder\nFROM lease\nWHERE name = 'leader'", "SELECT holder FROM lease WHERE name = ?"},
		{"Query", "INSERT INTO record (\n\tkind\n) VALUES\n\t('tag', 'db\\'1', 17, 'x')",
			"INSERT INTO record ( kind ) VALUES ('tag', ?, ?, ?)"},
		{"Query", "SELECT\n\tkind\nFROM record\nWHERE kind = 'rule'\nAND (deleted = 0 OR 1)",
			"SELECT kind FROM record WHERE kind = 'rule' AND (deleted = ? OR ?)"},
		{"Connect", "orchestrator@127.0.0.1 on orchestrator", "Connect"},
	} {
		if got := shape(c.kind, c.text); got != c.want {
			t.Errorf("%q becomes %q, want %q", c.text, got, c.want)
		}
	}
}
