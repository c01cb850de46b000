package secret

import (
	"slices"
	"strings"
	"testing"
)

// No line of a file is empty, or has blanks around it, and reading them again changes nothing.
func FuzzLines(f *testing.F) {
	f.Add("a\nb")
	f.Add(" \r\n\x00\u2028x")
	f.Fuzz(func(t *testing.T, text string) {
		lines := Lines(text)
		for _, line := range lines {
			if line == "" || line != strings.TrimSpace(line) || strings.Contains(line, "\n") {
				t.Errorf("%q", line)
			}
		}
		if again := Lines(strings.Join(lines, "\n")); !slices.Equal(again, lines) {
			t.Errorf("%q, then %q", lines, again)
		}
	})
}
