package paper

import (
	"context"
	"encoding/json"
	"sync"

	"orchestrator/daemon/audit"
	"orchestrator/daemon/drawing"
)

// Audit keeps the records in memory.
type Audit struct {
	mu   sync.Mutex
	kept audit.Trail
	head audit.Mark
}

func (a *Audit) Append(_ context.Context, e audit.Entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.head.Daemon = "d1"
	r, err := audit.Seal(audit.Record{Daemon: "d1", Process: "d1:1", At: drawing.At, Entry: e}, a.head)
	if err != nil {
		panic(err)
	}
	document, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	a.kept.Documents = append(a.kept.Documents, document)
	a.head = r.Mark()
	a.kept.Heads = []audit.Mark{a.head}
}

func (a *Audit) Read(context.Context) (audit.Trail, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := a.kept
	out.Documents = append([]json.RawMessage(nil), a.kept.Documents...)
	return out, nil
}
