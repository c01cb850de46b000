// Package trail keeps the audit records of this daemon: it puts them into their chain and into the store, reads those
// of all daemons, and removes the old ones.
//
// It knows nothing of the API and of what may be changed; package audit knows what a chain is. The one idea: what has
// happened can't be refused. So nobody waits for the store longer than a moment, what is not stored yet stays in the
// outbox, and the number of a record is given before it is stored: what is lost is seen as a gap.
package trail

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"orchestrator/backend"
	"orchestrator/daemon/audit"
)

// The kinds of records in the store.
const (
	RecordKind = "audit"      // by chain, number and process
	HeadKind   = "audit-head" // by chain: its last record
	CutKind    = "audit-cut"  // by chain: the last record that was removed by age
)

// Kinds are all of them.
func Kinds() []string { return []string{RecordKind, HeadKind, CutKind} }

const (
	// patience is how long a request waits until its record is stored.
	patience = time.Second
	// storing bounds one attempt to store.
	storing = 3 * time.Second
	// burst is how many requests that were refused or have failed are recorded at once, and then one a second: whoever
	// repeats them without end must not fill the store. The others are counted.
	burst = 100
)

// Options of a Trail.
type Options struct {
	Outbox  *backend.Outbox
	Store   backend.Store // behind the outbox
	Clock   *backend.Clock
	Process string // id of this process
	// Name is that of this daemon, which is the same after a restart.
	Name string
	// Row is in the file of this daemon. It keeps the name of the chain and its head, whatever the store loses.
	Row    backend.Lease
	Logger *slog.Logger
}

// Trail is the chain of this daemon, and what reads those of the others. Safe for concurrent use.
type Trail struct {
	o       Options
	life    string // in the keys: of two processes that write one chain, neither overwrites the other's records
	failed  *rate.Limiter
	storing sync.WaitGroup

	mu     sync.Mutex
	head   audit.Mark
	missed int64
}

// Open goes on where this daemon has ended, as its file and the store have it.
func Open(ctx context.Context, o Options) (*Trail, error) {
	t := &Trail{o: o, life: random(), failed: rate.NewLimiter(rate.Every(time.Second), burst)}
	row, err := o.Row.Read(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the head of the audit chain: %w", err)
	}
	chain, hash, _ := strings.Cut(row.Holder, " ")
	if chain == "" {
		// A random part: two hosts may have one name, and a file may be lost.
		first := backend.Hold{Holder: o.Name + "#" + random()}
		if row, err = o.Row.Take(ctx, row, first); err != nil {
			return nil, fmt.Errorf("name the audit chain: %w", err)
		}
		chain, hash, _ = strings.Cut(row.Holder, " ")
	}
	t.head = audit.Mark{Daemon: chain, Number: row.Term, Hash: hash}
	stored, err := o.Store.Get(ctx, HeadKind, chain)
	if err != nil && !errors.Is(err, backend.ErrNotFound) {
		return nil, fmt.Errorf("read the head of the audit chain: %w", err)
	}
	// The file may be older than the store: it was restored from a copy.
	if m, bad := backend.Decode[audit.Mark](stored); err == nil && bad == nil && m.Number > t.head.Number {
		t.head.Number, t.head.Hash = m.Number, m.Hash
	}
	_ = o.Clock.See(stored) // versions rise along the chain, whatever the wall clock says now
	return t, nil
}

func random() string {
	salt := make([]byte, 4)
	rand.Read(salt) // never fails
	return hex.EncodeToString(salt)
}

// Append records what was requested and its outcome. It returns when that is stored, or after a moment: then it is
// stored later.
func (t *Trail) Append(ctx context.Context, e audit.Entry) {
	records, head, err := t.seal(e)
	if err != nil {
		t.o.Logger.Error("a change could not be recorded in the audit trail", "change", e.Change, "err", err)
		return
	}
	if len(records) == 0 {
		return
	}
	full := t.o.Outbox.Keep(records...)
	stored := make(chan struct{})
	t.storing.Go(func() {
		defer close(stored)
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), storing)
		defer cancel()
		_, err := t.o.Row.Beat(short, backend.Hold{Holder: head.Daemon + " " + head.Hash, Term: head.Number})
		if err != nil {
			t.o.Logger.Error("the head of the audit chain could not be kept", "number", head.Number, "err", err)
		}
		if err := t.o.Outbox.Put(short, records...); err != nil {
			t.o.Logger.Error("an audit record could not be stored", "number", head.Number, "change", e.Change,
				"kept", full == nil, "err", err)
		}
	})
	wait := time.NewTimer(patience)
	defer wait.Stop()
	select {
	case <-stored:
	case <-wait.C:
	case <-ctx.Done():
	}
}

// seal makes the next record, with the new head; none for a failure of which there are too many.
func (t *Trail) seal(e audit.Entry) ([]backend.Record, audit.Mark, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.Status >= http.StatusBadRequest && !e.Panicked && !t.failed.Allow() { // a panic may have changed something
		t.missed++
		return nil, audit.Mark{}, nil
	}
	version := t.o.Clock.Next()
	r, err := audit.Seal(audit.Record{Daemon: t.head.Daemon, At: time.Now().UTC().Truncate(time.Microsecond),
		Process: t.o.Process, Entry: e, Missed: t.missed}, t.head)
	if err != nil {
		return nil, audit.Mark{}, err
	}
	record, err := backend.Encode(RecordKind, fmt.Sprintf("%s/%012d/%s", r.Daemon, r.Number, t.life), r)
	if err != nil {
		return nil, audit.Mark{}, err
	}
	head, err := backend.Encode(HeadKind, r.Daemon, r.Mark())
	if err != nil {
		return nil, audit.Mark{}, err
	}
	records := []backend.Record{record, head}
	for i := range records {
		records[i].Version, records[i].Writer = version, t.o.Process
	}
	t.head, t.missed = r.Mark(), 0
	return records, t.head, nil
}

// Read returns the trail of all daemons, with what waits to be stored, oldest first.
func (t *Trail) Read(ctx context.Context) (audit.Trail, error) {
	t.mu.Lock()
	own := t.head // first, so that the records are not behind it; and the same with the heads of others
	t.mu.Unlock()
	var out audit.Trail
	var err error
	if out.Heads, err = t.marks(ctx, HeadKind); err != nil {
		return out, err
	}
	if own.Number > 0 {
		out.Heads = append(out.Heads, own)
	}
	if out.Cuts, err = t.marks(ctx, CutKind); err != nil {
		return out, err
	}
	records, err := t.records(ctx)
	for _, r := range records {
		out.Documents = append(out.Documents, r.Document)
	}
	return out, err
}

// records are those of all daemons by version, which is the order of each chain, and roughly that of their times.
func (t *Trail) records(ctx context.Context) ([]backend.Record, error) {
	records, err := t.o.Outbox.List(ctx, RecordKind)
	if err != nil {
		return nil, fmt.Errorf("read the audit records: %w", err)
	}
	slices.SortFunc(records, func(a, b backend.Record) int {
		return cmp.Or(cmp.Compare(a.Version, b.Version), strings.Compare(a.Key, b.Key))
	})
	return records, nil
}

func (t *Trail) marks(ctx context.Context, kind string) (out []audit.Mark, err error) {
	records, err := t.o.Outbox.List(ctx, kind)
	if err != nil {
		return nil, fmt.Errorf("read the marks of the audit chains: %w", err)
	}
	for _, r := range records {
		var m audit.Mark
		if json.Unmarshal(r.Document, &m) != nil || m.Daemon == "" {
			m = audit.Mark{Daemon: r.Key} // somebody has spoilt it: the chain is verified without it
		}
		out = append(out, m)
	}
	return out, nil
}

// Wait returns when nothing is being stored any more.
func (t *Trail) Wait() { t.storing.Wait() }
