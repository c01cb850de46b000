//go:build race

package sim

// racing says that the race detector is on. A world then takes ten times as long. Each world has one goroutine, and
// they share nothing.
const racing = true
