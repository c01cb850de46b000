package storetest

import (
	"sync"
	"testing"

	"orchestrator/backend"
)

// memories are the stores of a test, by the directory that each stands for.
type memories struct {
	mu sync.Mutex
	in map[string]*Memory
}

func (s *memories) open(dir string) *Memory {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in == nil {
		s.in = map[string]*Memory{}
	}
	if s.in[dir] == nil {
		s.in[dir] = &Memory{}
	}
	return s.in[dir]
}

func TestMemory(t *testing.T) {
	var all memories
	Run(t, func(_ testing.TB, dir string) backend.Store { return all.open(dir) })
}

func TestMemoryLease(t *testing.T) {
	var all memories
	RunLease(t, func(_ testing.TB, dir string) backend.Lease { return all.open(dir).Lease("leader") })
}
