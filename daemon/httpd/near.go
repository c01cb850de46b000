package httpd

import (
	"cmp"
	"slices"
	"strings"

	"orchestrator/daemon/drawing"
)

// Near returns the names that the writer of word may have meant, the likeliest first, at most five. It compares with
// all names, so call it only for a word that was not found.
func Near(word string, names []string) []string {
	type guess struct {
		name string
		far  int
	}
	var guesses []guess
	word = strings.ToLower(word)
	if len(word) > 300 { // nobody mistypes that much, and the comparison is quadratic
		return nil
	}
	for _, name := range names {
		lower := strings.ToLower(name)
		far := drawing.Distance(word, lower)
		if host, _, ok := strings.Cut(lower, ":"); ok && !strings.Contains(word, ":") {
			far = min(far, drawing.Distance(word, host)) // people leave the port out
		}
		if word != "" && (strings.Contains(lower, word) || lower != "" && strings.Contains(word, lower)) {
			far = min(far, 2)
		}
		if far <= max(2, len(word)/3) {
			guesses = append(guesses, guess{name, far})
		}
	}
	slices.SortStableFunc(guesses, func(a, b guess) int {
		return cmp.Or(cmp.Compare(a.far, b.far), cmp.Compare(a.name, b.name))
	})
	var out []string
	for _, g := range guesses {
		if !slices.Contains(out, g.name) && len(out) < 5 {
			out = append(out, g.name)
		}
	}
	return out
}
