//go:build race

package sim

// racing tells that the race detector is on, under which a world takes ten times as long; there is one goroutine a world, and nothing shared.
const racing = true
