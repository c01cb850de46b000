//go:build race

package lead_test

// racing tells that the race detector is on. Its runtime gives up now and then ("CHECK failed … slot_locked") under
// hundreds of simulated daemons, so it gets some of them; the tests run without it, too, and whole.
const racing = true
