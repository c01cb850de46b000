package storetest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"orchestrator/backend"
)

// Memory is a store in memory, for tests of what uses one: it touches no file, so that a test in a bubble of
// testing/synctest waits for no disk. The zero value is an empty store. It passes Run and RunLease. Several daemons of
// a test may share one; Close closes nothing.
type Memory struct {
	mu      sync.Mutex
	records map[string]map[string]backend.Record // by kind and key
	holds   map[string]backend.Hold              // by name of the lease
}

// Put implements backend.Store.
func (m *Memory) Put(ctx context.Context, records ...backend.Record) error {
	for _, r := range records {
		if err := r.Check(); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.records == nil {
		m.records = map[string]map[string]backend.Record{}
	}
	for _, r := range records {
		kind := m.records[r.Kind]
		if kind == nil {
			kind = map[string]backend.Record{}
			m.records[r.Kind] = kind
		}
		if old, ok := kind[r.Key]; !ok || r.Wins(old) {
			r.Document = bytes.Clone(r.Document)
			kind[r.Key] = r
		}
	}
	return nil
}

// Get implements backend.Store.
func (m *Memory) Get(ctx context.Context, kind, key string) (backend.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.records[kind][key]
	switch {
	case ctx.Err() != nil:
		return backend.Record{}, ctx.Err()
	case !ok || r.Deleted:
		return backend.Record{}, fmt.Errorf("%s %q: %w", kind, key, backend.ErrNotFound)
	}
	return r, nil
}

// List implements backend.Store.
func (m *Memory) List(ctx context.Context, kind string) ([]backend.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	live := slices.DeleteFunc(sorted(m.records[kind]), func(r backend.Record) bool { return r.Deleted })
	return live, ctx.Err()
}

// Everything implements backend.Store.
func (m *Memory) Everything(ctx context.Context) ([]backend.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var all []backend.Record
	for _, kind := range slices.Sorted(maps.Keys(m.records)) {
		all = append(all, sorted(m.records[kind])...)
	}
	return all, nil
}

func sorted(records map[string]backend.Record) []backend.Record {
	return slices.SortedFunc(maps.Values(records),
		func(a, b backend.Record) int { return strings.Compare(a.Key, b.Key) })
}

// Purge implements backend.Store.
func (m *Memory) Purge(ctx context.Context, kind string, before int64, all bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	maps.DeleteFunc(m.records[kind], func(_ string, r backend.Record) bool {
		return r.Version < before && (all || r.Deleted)
	})
	return nil
}

// Identity implements backend.Store.
func (m *Memory) Identity(ctx context.Context) (string, error) {
	return fmt.Sprintf("memory %p", m), ctx.Err()
}

// Close implements backend.Store.
func (*Memory) Close() error { return nil }

// Lease returns the lease of that name.
func (m *Memory) Lease(name string) backend.Lease { return memoryLease{m, name} }

type memoryLease struct {
	memory *Memory
	name   string
}

// Read implements backend.Lease.
func (l memoryLease) Read(ctx context.Context) (backend.Hold, error) {
	return l.replace(ctx, func(backend.Hold) bool { return false }, backend.Hold{})
}

// Take implements backend.Lease.
func (l memoryLease) Take(ctx context.Context, seen, next backend.Hold) (backend.Hold, error) {
	if !next.Wins(seen) {
		return backend.Hold{}, fmt.Errorf("take lease %q: %v does not win over %v", l.name, next, seen)
	}
	return l.replace(ctx, func(now backend.Hold) bool { return now == seen }, next)
}

// Beat implements backend.Lease.
func (l memoryLease) Beat(ctx context.Context, h backend.Hold) (backend.Hold, error) {
	return l.replace(ctx, h.Wins, h)
}

// replace writes next where may says so of the row as it is, and returns the row as it is then.
func (l memoryLease) replace(ctx context.Context, may func(backend.Hold) bool, next backend.Hold) (backend.Hold,
	error) {
	l.memory.mu.Lock()
	defer l.memory.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return backend.Hold{}, err
	}
	if may(l.memory.holds[l.name]) {
		if l.memory.holds == nil {
			l.memory.holds = map[string]backend.Hold{}
		}
		l.memory.holds[l.name] = next
	}
	return l.memory.holds[l.name], nil
}
