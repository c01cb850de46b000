package printable

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestWhatActsOnATerminalIsSpelledOut(t *testing.T) {
	for _, c := range [][2]string{
		{"db1 │ größer 日本\n\tend", "db1 │ größer 日本\n\tend"},
		{"\x1b[2J\r\a\x7f", `\u001b[2J\u000d\u0007\u007f`},
		{"\u009b31m \x9b31m", `\u009b31m ` + "\uFFFD31m"},
		{"a\u202egnp.exe\u2066", `a\u202egnp.exe\u2066`},
	} {
		if got := Text(c[0]); got != c[1] {
			t.Errorf("%q: got %q, want %q", c[0], got, c[1])
		}
	}
}

func TestTheWriterSplitsNoCharacter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOf(rapid.SampledFrom([]string{"a", "\n", "ü", "│", "😀", "\x1b", "\u009b", "\u202e"})).
			Draw(t, "text")
		all := strings.Join(text, "")
		var b strings.Builder
		w := Writer(&b)
		for left := []byte(all); len(left) > 0; {
			n := rapid.IntRange(1, len(left)).Draw(t, "n")
			if got, err := w.Write(left[:n]); got != n || err != nil {
				t.Fatalf("wrote %d of %d: %v", got, n, err)
			}
			left = left[n:]
		}
		if b.String() != Text(all) || !utf8.ValidString(b.String()) {
			t.Errorf("got %q, want %q", b.String(), Text(all))
		}
	})
}

func TestJSONKeepsItsMeaning(t *testing.T) {
	const name = "a\x1b\u009b\u202eb\u2028"
	data, err := json.Marshal(name)
	if err != nil {
		t.Fatal(err)
	}
	var got string
	if err := json.Unmarshal([]byte(Text(string(data))), &got); err != nil || got != name {
		t.Errorf("got %q, %v", got, err)
	}
}
