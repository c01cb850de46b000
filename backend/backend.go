// Package backend defines, in words, what a Store and a Lease promise, and owns the Record and its merge rule.
//
// It stores nothing itself: sqlstore does, and raftstore will; storetest checks that they keep these promises. The one
// idea: a record merges. The higher (version, writer) wins, wherever and in whatever order two versions meet. So any
// write may be lost, repeated, late or reordered, and all copies still end the same.
package backend

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Record is the only thing that is ever stored.
type Record struct {
	// "instance", "episode", "step", "downtime", "tag", "rule", "setting", "forgotten", …
	Kind     string          `json:"kind"`
	Key      string          `json:"key"` // unique within its kind
	Version  int64           `json:"version"`
	Writer   string          `json:"writer"` // id of the daemon that wrote it
	Deleted  bool            `json:"deleted,omitempty"`
	Document json.RawMessage `json:"document,omitempty"`
}

// Wins says whether r replaces o.
func (r Record) Wins(o Record) bool {
	return r.Version > o.Version || r.Version == o.Version && r.Writer > o.Writer
}

// ErrNotFound is returned by Get for a record that was never stored, or was deleted.
var ErrNotFound = errors.New("no such record")

// ErrUnavailable is wrapped by the errors of a store that can't be reached, or whose server was refused: the caller
// may try again later. After such an error, it is not known whether a write was stored, unless the error says so.
var ErrUnavailable = errors.New("the backend is unavailable")

// Store keeps records.
type Store interface {
	// Put merges the records into the store; it returns when they are durable. Records older than what is stored
	// change nothing, and that is not an error.
	Put(ctx context.Context, records ...Record) error
	// Get returns the live record, or ErrNotFound.
	Get(ctx context.Context, kind, key string) (Record, error)
	// List returns the live records of a kind, sorted by key. Everything includes the deleted, for merging stores.
	List(ctx context.Context, kind string) ([]Record, error)
	Everything(ctx context.Context) ([]Record, error)
	// Purge removes, for good, records of a kind that are deleted (or, with all, any) and have a version below before.
	Purge(ctx context.Context, kind string, before int64, all bool) error
	// Identity identifies the server behind the store; a new identity is another copy, perhaps a stale one.
	Identity(ctx context.Context) (string, error)
	Close() error
}

// Hold is the row of a lease as it was last written.
type Hold struct {
	Holder string `json:"holder"`
	Term   int64  `json:"term"`
	Beat   int64  `json:"beat"`
}

// Wins says whether h replaces o: the higher (term, beat, holder).
func (h Hold) Wins(o Hold) bool {
	if h.Term != o.Term {
		return h.Term > o.Term
	}
	if h.Beat != o.Beat {
		return h.Beat > o.Beat
	}
	return h.Holder > o.Holder
}

// Lease is one row that the daemons share. It contains no time: each daemon measures with its own monotonic clock how
// long the row has not changed.
type Lease interface {
	// Read returns the row; the zero Hold if no daemon has ever held it.
	Read(ctx context.Context) (Hold, error)
	// Take replaces the row by next only if it still is what was seen, and returns the row as it is afterwards.
	Take(ctx context.Context, seen, next Hold) (Hold, error)
	// Beat merges the row (the winner stays) and returns it as it is afterwards.
	Beat(ctx context.Context, h Hold) (Hold, error)
}

// LeaseTTL is the default time without movement after which a lease may be taken.
const LeaseTTL = 5 * time.Second
