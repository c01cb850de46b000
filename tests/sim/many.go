package sim

import (
	"runtime"
	"runtime/debug"
	"sync"
)

// Many plays worlds with the numbers from Next to End, without End, on all processors. What happened in them adds up.
type Many[S Sum[S]] struct {
	Play      func(number uint64) (S, *Violation)
	Next, End uint64
	// Hurt is told of each world in which a property was hurt, by one goroutine at a time. It may be nil.
	Hurt func(number uint64, v *Violation)

	mu     sync.Mutex
	sum    S
	played uint64
	failed []*Violation
}

// Sum is what adds up.
type Sum[S any] interface{ Plus(S) S }

// enough is how many worlds in which something was hurt end the run.
const enough = 5

// Run plays the worlds, and returns what was hurt.
func (m *Many[S]) Run() []*Violation {
	// A world lives for a millisecond and leaves a megabyte of garbage behind: to collect it each time that costs more
	// than to play.
	defer debug.SetGCPercent(debug.SetGCPercent(1000))
	var all sync.WaitGroup
	for range runtime.NumCPU() {
		all.Go(func() {
			for number, more := m.next(); more; number, more = m.next() {
				m.add(number)
			}
		})
	}
	all.Wait()
	return m.failed
}

// next is the number of the next world to play.
func (m *Many[S]) next() (number uint64, more bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Next >= m.End || len(m.failed) >= enough {
		return 0, false
	}
	m.Next++
	return m.Next - 1, true
}

func (m *Many[S]) add(number uint64) {
	s, v := m.Play(number)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.played++
	m.sum = m.sum.Plus(s)
	if v == nil {
		return
	}
	m.failed = append(m.failed, v)
	if m.Hurt != nil {
		m.Hurt(number, v)
	}
}

// Progress says how many worlds were played, in how many something was hurt, and what happened in all of them. All
// before next were played, or are being played.
func (m *Many[S]) Progress() (played, next uint64, hurt int, sum S) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.played, m.Next, len(m.failed), m.sum
}

// retold plays a world that keeps no log. One in which a property was hurt is played again, and tells how that came.
func retold[S any](seed uint64, play func(seed uint64, tell bool) (S, *Violation)) (S, *Violation) {
	s, v := play(seed, false)
	if v != nil {
		s, v = play(seed, true)
	}
	return s, v
}
