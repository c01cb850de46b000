package lab

import (
	"testing"
	"time"
)

// What a daemon's clock is set by is seen in what it says of the time, and only there.
func TestSetClock(t *testing.T) {
	l := Test(t)
	binary, err := BuildToShift(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.StartDaemon(t.Context(), DaemonSpec{Binary: binary, Clock: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, ahead := range []time.Duration{time.Hour, -time.Hour, 0} {
		if err := d.SetClock(t.Context(), ahead); err != nil {
			t.Fatal(err)
		}
	}
}
