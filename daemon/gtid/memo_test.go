package gtid

import (
	"fmt"
	"testing"
)

func TestAMemoReadsWhatParseReads(t *testing.T) {
	texts := []string{"", "0-1-7", "0-1-7,1-2-3", "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-7", "nonsense", "0-1-8",
		"0-1-9", "0-1-10", "0-1-11", "0-1-12"}
	var m Memo
	for range 3 {
		for _, text := range texts {
			for _, m := range []*Memo{&m, nil} {
				set, err := m.Parse(text)
				want, wrong := Parse(text)
				if !set.Same(want) || fmt.Sprint(err) != fmt.Sprint(wrong) {
					t.Errorf("%q: %v, %v; want %v, %v", text, set, err, want, wrong)
				}
				state, err := m.ParseState(text)
				told, wrong := ParseState(text)
				if !state.Equal(told) || fmt.Sprint(err) != fmt.Sprint(wrong) {
					t.Errorf("state %q: %v, %v; want %v, %v", text, state, err, told, wrong)
				}
			}
		}
	}
}

func TestWhatIsSaidAgainIsNotParsedAgain(t *testing.T) {
	var m Memo
	again := func() {
		for _, text := range []string{"0-1-7", "0-1-9,1-2-3", "0-1-5", "0-1-8"} {
			if _, err := m.Parse(text); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := m.ParseState("0-1-7,0-2-9"); err != nil {
			t.Fatal(err)
		}
	}
	again()
	if n := testing.AllocsPerRun(10, again); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
