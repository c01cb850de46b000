package mysql

import (
	"fmt"
	"strings"
	"testing"
)

func TestClientHost(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.7:52646": "10.0.0.7", "10.0.0.7": "10.0.0.7", "DB2.example:4711": "db2.example",
		"::1:52646": "::1", "[::1]:52646": "::1", "2001:db8::7:52072": "2001:db8::7",
		"2001:db8::7:5207": "2001:db8::7", "::1:999": "::1", "::1": "::1", "2001:db8::7": "2001:db8::7",
		"localhost": "localhost", "": "", "what is this:1": "",
	} {
		if got := clientHost(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// A server tells of anybody who registers, whatever they call themselves.
func TestWhatIsNoNameIsShownInPart(t *testing.T) {
	var all []string
	for n := range 5000 {
		all = append(all, fmt.Sprintf("%d%s", n, strings.Repeat("x", 1000)))
	}
	got := some(all)
	if len(got) != 11 || got[10] != "4990 more" || !strings.HasPrefix(got[9], "9xx") || len(got[9]) > 210 {
		t.Errorf("%d texts: %.80q", len(got), got)
	}
	if got := some(all[:10]); len(got) != 10 {
		t.Errorf("%d texts", len(got))
	}
}
