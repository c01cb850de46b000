package server

import (
	"io"
	"slices"
	"sync"
	"sync/atomic"
)

// Room is memory that the answers of many servers share. Each answer has a modest part that is its own; what is longer
// takes from the room, and fails where that is full: hundreds of servers that all answer as much as they may must not
// fill the machine. A nil Room is endless.
//
// They also share what each needs for a moment only, and the names of columns, which are the same in most.
type Room struct {
	size    int64
	left    atomic.Int64
	waiting sync.Pool // of *answering

	mu    sync.Mutex
	named map[string][]string // columns by their names as they came
}

// NewRoom makes one of so many bytes.
func NewRoom(bytes int64) *Room {
	r := &Room{size: bytes, named: map[string][]string{}}
	r.left.Store(bytes)
	return r
}

func (r *Room) take(bytes int64) bool {
	if r == nil || r.left.Add(-bytes) >= 0 {
		return true
	}
	r.left.Add(bytes)
	return false
}

func (r *Room) give(bytes int64) {
	if r != nil {
		r.left.Add(bytes)
	}
}

// longestKept is the longest buffer that is kept for another question.
const longestKept = 64 << 10

// answering is for one question; end takes it back.
func (r *Room) answering(from io.ReadWriter, p *packets) *answering {
	var a *answering
	if r != nil {
		a, _ = r.waiting.Get().(*answering)
	}
	if a == nil {
		a = &answering{buffer: make([]byte, 4<<10)}
	}
	a.from, a.packets, a.shared, a.start, a.end = from, p, r, 0, 0
	return a
}

func (r *Room) end(a *answering) {
	if r == nil || len(a.buffer) > longestKept || len(a.naming) > longestKept {
		return
	}
	a.from, a.packets = nil, nil
	r.waiting.Put(a)
}

// A server can send any names, so what is kept of them is bounded.
const (
	mostNamed    = 500
	longestNamed = 4 << 10 // the replication status has 2 KB
)

// columns are names of columns that came one after another, each with its length before it. They are never changed.
func (r *Room) columns(came []byte, count int) []string {
	if r == nil || len(came) > longestNamed {
		return textsOf(came, count)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.named[string(came)]; known != nil {
		return known
	}
	names := textsOf(came, count)
	if len(r.named) < mostNamed {
		r.named[string(came)] = names
	}
	return names
}

// textsOf reads texts, each with its length before it.
func textsOf(came []byte, count int) []string {
	all, out := string(came), make([]string, 0, count)
	for len(came) > 0 {
		one, rest, known := readText(came)
		if !known {
			return out
		}
		end := len(all) - len(rest)
		out, came = append(out, all[end-len(one):end]), rest
	}
	return slices.Clip(out)
}
