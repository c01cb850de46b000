//go:build !race

package lead_test

// racing tells that the race detector is off.
const racing = false
