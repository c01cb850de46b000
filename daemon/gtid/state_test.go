package gtid

import (
	"strings"
	"testing"
)

func TestWhatAStateShows(t *testing.T) {
	for _, c := range []struct{ at, state, set, lacks string }{
		{"0-2-150", "0-1-100,0-2-150", "0-1-120", "0-1-101..120"}, // a copy of 0-1-100 that wrote for itself
		{"0-2-150", "0-1-100,0-2-150", "0-1-100", ""},
		{"0-2-150", "0-1-120,0-2-150", "0-1-120", ""}, // promoted at 0-1-120
		{"0-2-150", "0-2-150", "0-1-120", ""},         // built from a backup: nothing is shown
		{"0-2-9,1-2-10", "0-2-9,1-1-7,1-2-10", "1-1-9", "1-1-8..9"},
		{"0-1-7", "0-1-5", "0-1-6", ""}, // the position tells
		{"0-2-5", "0-1-4,0-2-5", "0-1-6", ""},
		{"0-2-150", "", "0-1-6", ""},
	} {
		s, err := ParseState(c.state)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Lacks(MustParse(c.set), MustParse(c.at)).String(); got != c.lacks {
			t.Errorf("%s lacks of %s: %q, want %q", c.state, c.set, got, c.lacks)
		}
	}
	if _, err := ParseState("0-1"); err == nil {
		t.Error("half a GTID is taken")
	}
}

func TestStatesAreText(t *testing.T) {
	var s, o State
	if s.UnmarshalText([]byte("1-2-3, 0-2-9,0-1-4")) != nil || s.String() != "0-1-4,0-2-9,1-2-3" || s.Empty() {
		t.Errorf("got %s", s)
	}
	text, _ := s.MarshalText()
	if o.UnmarshalText(text) != nil || !o.Equal(s) || o.IsZero() || !(State{}).IsZero() {
		t.Errorf("%s reads as %s", text, o)
	}
	for set, want := range map[string]bool{"0-1-4,1-2-2": true, "0-1-5": false, "0-3-1": false, "": false} {
		if s.Has(MustParse(set)) != want {
			t.Errorf("%s has %s: want %v", s, set, want)
		}
	}
	if got := s.With(MustParse("0-1-6,7-1-1")).String(); got != "0-1-6,0-2-9,1-2-3,7-1-1" || s.Equal(State{}) {
		t.Errorf("with more: %s", got)
	}
	if !(State{}).With(Set{}).Empty() || o.UnmarshalText([]byte("x")) == nil {
		t.Error("nothing is something, or something is nothing")
	}
}

func TestEachWriterOfADomainIsToldApart(t *testing.T) {
	var sets []Set
	for _, text := range []string{"0-1-10,7-1-3", "0-2-8", "0-1-12", "", "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5"} {
		sets = append(sets, MustParse(text))
	}
	var got []string
	for _, s := range ByWriter(sets) {
		got = append(got, s.String())
	}
	if got := strings.Join(got, " "); got != "0-1-12 0-2-8 7-1-3" {
		t.Errorf("got %s", got)
	}
}
