package server

import "sync/atomic"

// Room is memory that the answers of many servers share. Each answer has a modest part that is its own; what is longer
// takes from the room, and fails where that is full: hundreds of servers that all answer as much as they may must not
// fill the machine. A nil Room is endless.
type Room struct {
	size int64
	left atomic.Int64
}

// NewRoom makes one of so many bytes.
func NewRoom(bytes int64) *Room {
	r := &Room{size: bytes}
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
