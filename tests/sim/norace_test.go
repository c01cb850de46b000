//go:build !race

package sim

// racing tells that the race detector is off.
const racing = false
