package time

import (
	"sync/atomic"
	"syscall"
)

// shift is by how many seconds the wall clock of this process was set. What measures durations goes on, as it does when a clock is set.
var shift atomic.Int64

func init() {
	name, ok := syscall.Getenv("ORCHESTRATOR_CLOCK")
	if !ok {
		return
	}
	readShift(name)
	go func() {
		for {
			Sleep(10 * Millisecond)
			readShift(name)
		}
	}()
}

// readShift reads the number in the file; a file that is not there, or not a number yet, changes nothing.
func readShift(name string) {
	file, err := open(name)
	if err != nil {
		return
	}
	defer closefd(file)
	var text [32]byte
	n, err := read(file, text[:])
	if err != nil || n == 0 {
		return
	}
	if seconds, err := atoi(string(text[:n])); err == nil {
		shift.Store(int64(seconds))
	}
}
