package plural_test

import (
	"testing"

	"orchestrator/daemon/plural"
)

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 records", 1: "1 record", 2: "2 records", -1: "-1 records"} {
		if got := plural.Count(n, "record"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestOf(t *testing.T) {
	if got := plural.Of(uint64(1), "is", "are") + plural.Of(int64(2), "is", "are"); got != "isare" {
		t.Errorf("got %q", got)
	}
}

func TestAnd(t *testing.T) {
	for want, words := range map[string][]string{"": nil, "a": {"a"}, "a and b": {"a", "b"},
		"a, b and c": {"a", "b", "c"}} {
		if got := plural.And(words); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
