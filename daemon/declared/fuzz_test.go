package declared_test

import (
	"testing"
	"time"

	"orchestrator/backend"
	"orchestrator/backend/storetest"
	"orchestrator/daemon/declared"
)

// FuzzRecord has anything on record. The declarations open, and say what they can.
func FuzzRecord(f *testing.F) {
	for _, kind := range []string{"downtime", "rule", "tag", "discovered", "forgotten", "alias", "setting",
		declared.RequestKind} {
		for _, document := range []string{`{}`, `null`, `[]`, `{"off":true}`, `{"until":"2026-01-01T00:00:00Z"}`,
			`{"value":"a"}`, `{"rule":"prefer"}`, "\xff", `{"id":"x","kind":"move","servers":["db1"]}`} {
			f.Add(kind, "db1:3306", document)
			f.Add(kind, "db1:3306/dc", document)
			f.Add(kind, "recoveries", document)
		}
	}
	f.Fuzz(func(t *testing.T, kind, key, document string) {
		r := backend.Record{Kind: kind, Key: key, Version: 1, Writer: "w", Document: []byte(document)}
		store := &storetest.Memory{}
		if err := store.Put(t.Context(), r); err != nil {
			t.Skip() // no store has it
		}
		d, err := declared.Open(t.Context(), store, backend.NewClock(time.Now), "test")
		if err != nil {
			t.Fatal(err)
		}
		d.RecoveriesOff()
		d.Unknown()
		d.Discovered()
		d.Alias("db1")
		d.Planned("db1")
	})
}
