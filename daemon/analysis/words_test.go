package analysis

import (
	"testing"
	"time"
)

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 10 * time.Millisecond: "0.01 s", 2 * time.Second: "2 s", 2500 * time.Millisecond: "2.5 s",
		42 * time.Second: "42 s", 10 * time.Minute: "10m0s",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %q, want %q", d, got, want)
		}
	}
}
